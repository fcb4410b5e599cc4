/** All images of one site under a space group, with rounded special positions put right. */
import { UnitcellError } from "../errors.js";
import { invert } from "./linear-algebra.js";
import { MIN_ATOM_DISTANCE } from "./structure.js";
import type { SymmetryOperator } from "./symmetry.js";

/**
 * Images of one whole atom this close are one atom on a special position whose coordinates were rounded (0.333 in a
 * 10 Å cell is 0.006 Å off). Two real atoms are never nearer, so below this limit merging is the only possible reading.
 */
export const MERGE_DISTANCE = MIN_ATOM_DISTANCE; // Å

/** Images nearer than this coincide but for rounding errors: the site stays exactly as listed. */
const EXACT_DISTANCE = 1e-6; // Å

export interface Orbit {
  /** (M, 3) row-major fractional coordinates in [0, 1), the listed site (or its special position) first. */
  readonly coords: Float64Array;
  /** How far the site was moved onto its special position, Å; 0 when it was exact. */
  readonly moved: number;
}

/** Numbers of an operator in a row: rotation (9,), then the translation as listed (3,). */
const ROW = 12;

function packOperators(operators: readonly SymmetryOperator[]): Float64Array {
  const rows = new Float64Array(ROW * operators.length);
  for (let i = 0; i < operators.length; i++) {
    const { rotation, translation, listed = translation } = operators[i];
    for (let k = 0; k < 9; k++) rows[ROW * i + k] = rotation[k];
    for (let k = 0; k < 3; k++) rows[ROW * i + 9 + k] = listed[k];
  }
  return rows;
}

/**
 * rotation · x + translation into out[at .. at + 3], the operator at rows[op]. The order of the sums and the translation
 * as listed are those of pymatgen's SymmOp.operate, so that images have its bits: there a product of 4x4 and 4, which
 * BLAS sums in two lanes.
 */
function applyTo(out: Float64Array, at: number, rows: Float64Array, op: number, x: Float64Array): void {
  const u = x[0];
  const v = x[1];
  const w = x[2];
  out[at] = rows[op] * u + rows[op + 2] * w + (rows[op + 1] * v + rows[op + 9]);
  out[at + 1] = rows[op + 3] * u + rows[op + 5] * w + (rows[op + 4] * v + rows[op + 10]);
  out[at + 2] = rows[op + 6] * u + rows[op + 8] * w + (rows[op + 7] * v + rows[op + 11]);
}

/**
 * A function that expands sites of one crystal.
 * @param operators a group (checkGroup)
 * @param metric (3, 3) metric tensor, Å²
 * The returned function throws CORRUPT when images lie within MERGE_DISTANCE but no special position explains it.
 */
export function orbitExpander(
  operators: readonly SymmetryOperator[],
  metric: readonly number[],
): (site: readonly number[]) => Orbit {
  const g = metric;
  // |d| < MERGE_DISTANCE implies |d_i| < window_i: a cheap test before the full distance.
  const reciprocal = invert(metric);
  const windowA = MERGE_DISTANCE * Math.sqrt(reciprocal[0]);
  const windowB = MERGE_DISTANCE * Math.sqrt(reciprocal[4]);
  const windowC = MERGE_DISTANCE * Math.sqrt(reciprocal[8]);
  const rows = packOperators(operators);
  const image = new Float64Array(3);
  const shift = new Float64Array(3);
  const images = new Float64Array(3 * operators.length);

  /** Distance (Å) between fractional rows, nearest images; Infinity as soon as it must exceed MERGE_DISTANCE. Sets shift. */
  function near(a: Float64Array, i: number, b: Float64Array, j: number): number {
    let d = a[i] - b[j];
    shift[0] = d - Math.round(d);
    if (Math.abs(shift[0]) > windowA) return Number.POSITIVE_INFINITY;
    d = a[i + 1] - b[j + 1];
    shift[1] = d - Math.round(d);
    if (Math.abs(shift[1]) > windowB) return Number.POSITIVE_INFINITY;
    d = a[i + 2] - b[j + 2];
    shift[2] = d - Math.round(d);
    if (Math.abs(shift[2]) > windowC) return Number.POSITIVE_INFINITY;
    return length(shift);
  }

  function length(d: Float64Array): number {
    const u = d[0];
    const v = d[1];
    const w = d[2];
    return Math.sqrt(
      Math.max(0, u * u * g[0] + v * v * g[4] + w * w * g[8] + 2 * (u * v * g[1] + u * w * g[2] + v * w * g[5])),
    );
  }

  /** Operators that leave the site in place, and the mean of its images under them. */
  function specialPosition(site: Float64Array): { position: Float64Array; stabilizer: number; moved: number } {
    const sum = new Float64Array(3);
    let stabilizer = 0;
    let spread = 0;
    for (let op = 0; op < rows.length; op += ROW) {
      applyTo(image, 0, rows, op, site);
      const distance = near(image, 0, site, 0);
      if (distance >= MERGE_DISTANCE) continue;
      stabilizer++;
      spread = Math.max(spread, distance);
      for (let k = 0; k < 3; k++) sum[k] += shift[k];
    }
    if (spread < EXACT_DISTANCE) return { position: site, stabilizer, moved: 0 };
    const offset = sum.map((s) => s / stabilizer);
    return { position: site.map((x, k) => x + offset[k]), stabilizer, moved: length(offset) };
  }

  return (listed) => {
    const { position, stabilizer, moved } = specialPosition(Float64Array.from(listed));
    let count = 0;
    for (let op = 0; op < rows.length; op += ROW) {
      applyTo(images, 3 * count, rows, op, position);
      let earlier = 0;
      while (earlier < count && near(images, 3 * count, images, 3 * earlier) >= MERGE_DISTANCE) earlier++;
      if (earlier === count) count++;
    }
    if (count * stabilizer !== operators.length)
      throw new UnitcellError(
        "CORRUPT",
        `symmetry images lie less than ${MERGE_DISTANCE} Å apart, but on no special position: ` +
          `${count} images, ${operators.length} operators, ${stabilizer} of which keep the site`,
        { images: count, operators: operators.length, stabilizer },
      );
    const coords = images.slice(0, 3 * count);
    for (let i = 0; i < coords.length; i++) coords[i] -= Math.floor(coords[i]);
    return { coords, moved };
  };
}

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

/**
 * rotation · x + translation into out[at .. at + 3]. The order of the sums and the translation as listed are those of
 * pymatgen's SymmOp.operate, so that images have its bits: there a product of 4x4 and 4, which BLAS sums in two lanes.
 */
function applyTo(
  out: Float64Array,
  at: number,
  { rotation: r, translation, listed: t = translation }: SymmetryOperator,
  x: Float64Array,
): void {
  const [u, v, w] = x;
  out[at] = r[0] * u + r[2] * w + (r[1] * v + t[0]);
  out[at + 1] = r[3] * u + r[5] * w + (r[4] * v + t[1]);
  out[at + 2] = r[6] * u + r[8] * w + (r[7] * v + t[2]);
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
  const windows = [0, 4, 8].map((i) => MERGE_DISTANCE * Math.sqrt(reciprocal[i]));
  const image = new Float64Array(3);
  const shift = new Float64Array(3);
  const images = new Float64Array(3 * operators.length);

  /** Distance (Å) between fractional rows, nearest images; Infinity as soon as it must exceed MERGE_DISTANCE. Sets shift. */
  function near(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number): number {
    for (let k = 0; k < 3; k++) {
      const d = a[i + k] - b[j + k];
      shift[k] = d - Math.round(d);
      if (Math.abs(shift[k]) > windows[k]) return Infinity;
    }
    return length(shift);
  }

  function length([u, v, w]: ArrayLike<number> & Iterable<number>): number {
    return Math.sqrt(
      Math.max(0, u * u * g[0] + v * v * g[4] + w * w * g[8] + 2 * (u * v * g[1] + u * w * g[2] + v * w * g[5])),
    );
  }

  /** Operators that leave the site in place, and the mean of its images under them. */
  function specialPosition(site: Float64Array): { position: Float64Array; stabilizer: number; moved: number } {
    const sum = new Float64Array(3);
    let stabilizer = 0;
    let spread = 0;
    for (const operator of operators) {
      applyTo(image, 0, operator, site);
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
    for (const operator of operators) {
      applyTo(images, 3 * count, operator, position);
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

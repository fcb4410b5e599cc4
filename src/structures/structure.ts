import { UnitcellError } from "../errors.js";

/**
 * A periodic crystal of N whole atoms.
 *   lattice     (3, 3) row-major; rows are the cell vectors a, b, c in Å
 *   pbc         which of a, b, c repeat; all true unless the file says otherwise
 *   numbers     (N,) atomic numbers
 *   fracCoords  (N, 3) row-major fractional coordinates, not necessarily inside [0, 1)
 */
export interface Structure {
  readonly lattice: Float64Array;
  readonly pbc: readonly [boolean, boolean, boolean];
  readonly numbers: Uint8Array;
  readonly fracCoords: Float64Array;
  readonly id?: string;
  /** What the reader had to assume or repair, one sentence each; carried into the prediction's warnings. */
  readonly notes?: readonly string[];
}

/** A structure that could not be read, in its place among those that could. */
export interface UnreadStructure {
  readonly id?: string;
  readonly error: UnitcellError;
}

/** Atoms closer than this cannot be two atoms: the shortest bond known is H-H at 0.74 Å. */
export const MIN_ATOM_DISTANCE = 0.1; // Å

/** Cells with more atoms are refused: graphs of that size are no crystal graphs, and a count in a file is not trusted. */
export const MAX_ATOMS = 200_000;

/** Cells from the origin: beyond, rounding takes more than 1e-9 of a cell off an atom's place, and searches of images never end. */
const MAX_COORDINATE = 1e6;

/** A cell thinner than this (volume over the product of its edge lengths) is taken as collapsed. */
const MIN_CELL_FLATNESS = 1e-5;

/** a · (b × c) of a row-major (3, 3) matrix; Å³ for a lattice, negative for a left-handed one. */
export function determinant(m: ArrayLike<number>): number {
  return m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) + m[2] * (m[3] * m[7] - m[4] * m[6]);
}

/** Distances (Å) between opposite faces of a cell of that volume (Å³): along a, b, c. */
export function cellHeights(m: Float64Array, volume: number): Float64Array {
  const heights = new Float64Array(3);
  for (let i = 0; i < 3; i++) {
    const u = (3 * i + 3) % 9;
    const v = (3 * i + 6) % 9;
    const x = m[u + 1] * m[v + 2] - m[u + 2] * m[v + 1];
    const y = m[u + 2] * m[v] - m[u] * m[v + 2];
    const z = m[u] * m[v + 1] - m[u + 1] * m[v];
    heights[i] = volume / Math.sqrt(x * x + y * y + z * z);
  }
  return heights;
}

/** Row vectors (N, 3) times a (3, 3) matrix: fractional to Cartesian with the lattice. */
export function transformRows(rows: ArrayLike<number>, m: ArrayLike<number>): Float64Array {
  const out = new Float64Array(rows.length);
  for (let i = 0; i < rows.length; i += 3)
    for (let j = 0; j < 3; j++) out[i + j] = rows[i] * m[j] + rows[i + 1] * m[3 + j] + rows[i + 2] * m[6 + j];
  return out;
}

/**
 * Check that a lattice and its atoms can be a crystal, then return them as a Structure.
 * @throws {UnitcellError} as checkStructure does; CORRUPT when two atoms lie closer than MIN_ATOM_DISTANCE
 */
export function makeStructure(parts: Structure): Structure {
  assertNoOverlap(parts, checkStructure(parts));
  return parts;
}

/**
 * The checks that cost next to nothing, so that structures made by hand get them too: array types (Wasm reads the bytes)
 * and lengths, finite numbers, a cell with volume.
 * @returns the cell's volume, Å³
 * @throws {UnitcellError} ARGUMENT or MISMATCH for an array of the wrong type or length; CORRUPT when there is no atom, a
 *   number is not finite, a coordinate beyond MAX_COORDINATE or the cell has no volume
 */
export function checkStructure({ lattice, pbc, numbers, fracCoords }: Structure): number {
  if (!isArray(lattice, "Float64Array") || !isArray(numbers, "Uint8Array") || !isArray(fracCoords, "Float64Array")) {
    const found = [lattice, numbers, fracCoords].map(typeOf);
    throw new UnitcellError(
      "ARGUMENT",
      `lattice, numbers and fracCoords must be Float64Array, Uint8Array and Float64Array, found ${found.join(", ")}`,
    );
  }
  if (numbers.length === 0) throw new UnitcellError("CORRUPT", "structure has no atoms");
  if (fracCoords.length !== 3 * numbers.length)
    throw new UnitcellError("MISMATCH", `${numbers.length} atoms but ${fracCoords.length} coordinates`);
  if (lattice.length !== 9 || pbc?.length !== 3)
    throw new UnitcellError(
      "MISMATCH",
      `expected lattice [9] and pbc [3], found [${lattice.length}], [${pbc?.length}]`,
    );
  if (!lattice.every((x) => Number.isFinite(x)))
    throw new UnitcellError("CORRUPT", `lattice must be nine finite numbers, found ${lattice.join(", ")}`);
  const edge = (i: number) => Math.hypot(lattice[i], lattice[i + 1], lattice[i + 2]);
  const [a, b, c] = [edge(0), edge(3), edge(6)];
  const volume = Math.abs(determinant(lattice));
  if (!(volume > MIN_CELL_FLATNESS * a * b * c))
    throw new UnitcellError("CORRUPT", `cell has no volume: ${volume} Å³ for edges ${a}, ${b}, ${c} Å`, { volume });
  for (let i = 0; i < fracCoords.length; i++)
    if (!(Math.abs(fracCoords[i]) <= MAX_COORDINATE))
      throw new UnitcellError(
        "CORRUPT",
        `atom ${Math.floor(i / 3)}: coordinate ${"xyz"[i % 3]} is ${fracCoords[i]} cells, expected at most ${MAX_COORDINATE}`,
        { atom: Math.floor(i / 3) },
      );
  return volume;
}

/** Of this realm or another. */
function isArray(value: unknown, type: "Float64Array" | "Uint8Array"): boolean {
  return value instanceof (type === "Float64Array" ? Float64Array : Uint8Array) || typeOf(value) === type;
}

function typeOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/**
 * Every atom against the earlier ones in the bins its surroundings touch: about one atom per bin, so the cost is linear.
 * Each component is reduced to its nearest image on its own, which is exact for distances far below the cell's heights.
 */
function assertNoOverlap({ lattice, pbc, numbers, fracCoords }: Structure, volume: number): void {
  const heights = cellHeights(lattice, volume);
  // A distance below the limit has every fractional component below its window.
  const windows = [MIN_ATOM_DISTANCE / heights[0], MIN_ATOM_DISTANCE / heights[1], MIN_ATOM_DISTANCE / heights[2]];
  // Bins at least two windows wide, so that an atom's surroundings touch at most two along each axis.
  const edge = Math.max(2 * MIN_ATOM_DISTANCE, Math.cbrt(volume / numbers.length));
  const bins = [0, 0, 0];
  for (let k = 0; k < 3; k++) bins[k] = Math.max(1, Math.floor(heights[k] / edge));
  // A cell far thinner than its bins would ask for many more of them than it has atoms.
  while (bins[0] * bins[1] * bins[2] > 8 * numbers.length) {
    const most = bins.indexOf(Math.max(...bins));
    bins[most] = Math.ceil(bins[most] / 2);
  }
  const binAlong = (x: number, k: number) => {
    const inside = pbc[k] ? x - Math.floor(x) : x;
    return Math.min(bins[k] - 1, Math.max(0, Math.floor(inside * bins[k])));
  };
  const lastInBin = new Int32Array(bins[0] * bins[1] * bins[2]).fill(-1);
  const previous = new Int32Array(numbers.length);
  const low = new Int32Array(3);
  const high = new Int32Array(3);
  const delta = new Float64Array(3);
  const check = (i: number, j: number) => {
    for (let k = 0; k < 3; k++) {
      const d = fracCoords[3 * j + k] - fracCoords[3 * i + k];
      delta[k] = pbc[k] ? d - Math.round(d) : d;
      if (Math.abs(delta[k]) > windows[k]) return;
    }
    const distance = Math.hypot(...transformRows(delta, lattice));
    if (distance < MIN_ATOM_DISTANCE)
      throw new UnitcellError(
        "CORRUPT",
        `atoms ${i} and ${j} overlap: ${distance.toPrecision(3)} Å apart, at least ${MIN_ATOM_DISTANCE} Å expected`,
        { atoms: [i, j], distance },
      );
  };
  for (let atom = 0; atom < numbers.length; atom++) {
    let own = 0;
    for (let k = 0; k < 3; k++) {
      const x = fracCoords[3 * atom + k];
      own = own * bins[k] + binAlong(x, k);
      low[k] = binAlong(x - windows[k], k);
      high[k] = binAlong(x + windows[k], k);
    }
    for (let corner = 0; corner < 8; corner++) {
      let bin = 0;
      let fresh = true;
      for (let k = 0; k < 3; k++) {
        const upper = (corner >> k) & 1;
        fresh &&= upper === 0 || high[k] !== low[k];
        bin = bin * bins[k] + (upper ? high[k] : low[k]);
      }
      if (fresh) for (let other = lastInBin[bin]; other >= 0; other = previous[other]) check(other, atom);
    }
    previous[atom] = lastInBin[own];
    lastInBin[own] = atom;
  }
}

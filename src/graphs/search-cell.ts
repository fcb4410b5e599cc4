/** The cell a neighbour search works in: closed along every axis, compact, all atoms inside. */
import { invert } from "../structures/linear-algebra.js";
import { cellHeights, determinant, type Structure, transformRows } from "../structures/structure.js";

/**
 * The same crystal on a compact basis:
 *   lattice (3, 3) Å = basis (3, 3) . given lattice; heights (3,) Å between opposite faces; volume Å³
 *   frac    (N, 3) in [0, 1); cells (N, 3) whole cells of this basis taken off the coordinates
 */
export interface SearchCell {
  readonly lattice: Float64Array;
  readonly basis: Float64Array;
  readonly heights: Float64Array;
  readonly volume: number;
  readonly frac: Float64Array;
  /** Absent where all are 0. */
  readonly cells: Float64Array | undefined;
}

/** The cell for a search within `cutoff` (Å). */
export function searchCell(structure: Structure, cutoff: number): SearchCell {
  const [a, b, c] = structure.pbc;
  return a && b && c ? compactCell(structure) : compactCell(closeOpenAxes(structure, cutoff));
}

type Cell = Pick<Structure, "lattice" | "fracCoords">;

/** An axis that does not repeat becomes one that does, stretched until images are out of reach. */
function closeOpenAxes({ lattice, pbc, fracCoords }: Structure, cutoff: number): Cell {
  const stretched = lattice.slice();
  const frac = fracCoords.slice();
  const heights = cellHeights(lattice, Math.abs(determinant(lattice)));
  for (const axis of [0, 1, 2].filter((i) => !pbc[i])) {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (let i = axis; i < frac.length; i += 3) {
      low = Math.min(low, frac[i]);
      high = Math.max(high, frac[i]);
    }
    const stretch = high - low + (cutoff + 1) / heights[axis];
    for (let i = axis; i < frac.length; i += 3) frac[i] = (frac[i] - low) / stretch;
    for (let j = 0; j < 3; j++) stretched[3 * axis + j] *= stretch;
  }
  return { lattice: stretched, fracCoords: frac };
}

/**
 * Compact basis, coordinates in [0, 1): each vector loses its projections on the others until none gets shorter, so
 * that a needle of a cell costs no more images than a cube.
 */
function compactCell({ lattice: given, fracCoords }: Cell): SearchCell {
  const lattice = given.slice();
  const basis = Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
  let reduced = false;
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 0; i < 9; i += 3)
      for (let j = 0; j < 9; j += 3) {
        if (i === j) continue;
        const dot = lattice[i] * lattice[j] + lattice[i + 1] * lattice[j + 1] + lattice[i + 2] * lattice[j + 2];
        const square = lattice[j] * lattice[j] + lattice[j + 1] * lattice[j + 1] + lattice[j + 2] * lattice[j + 2];
        // The margin keeps a half-way projection (a hexagonal cell's) from flipping for ever.
        const times = Math.abs(dot) > 0.5000001 * square ? Math.round(dot / square) : 0;
        if (times === 0) continue;
        for (let x = 0; x < 3; x++) {
          lattice[i + x] -= times * lattice[j + x];
          basis[i + x] -= times * basis[j + x];
        }
        changed = reduced = true;
      }
  }
  const frac = reduced ? transformRows(transformRows(fracCoords, given), invert(lattice)) : fracCoords.slice();
  const volume = Math.abs(determinant(lattice));
  return { lattice, basis, heights: cellHeights(lattice, volume), volume, frac, cells: wrap(frac) };
}

/** Take whole cells off the coordinates and return them; undefined where there were none. */
function wrap(frac: Float64Array): Float64Array | undefined {
  let cells: Float64Array | undefined;
  for (let i = 0; i < frac.length; i++) {
    const whole = Math.floor(frac[i]);
    if (whole === 0) continue;
    cells ??= new Float64Array(frac.length);
    cells[i] = whole;
    frac[i] -= whole;
    if (frac[i] < 1) continue;
    frac[i] = 0; // -1e-17 rounds up to 1
    cells[i]++;
  }
  return cells;
}

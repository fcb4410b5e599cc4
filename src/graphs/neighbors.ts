import { KernelMemory } from "../kernels.js";
import { invert } from "../structures/linear-algebra.js";
import { determinant, type Structure, transformRows } from "../structures/structure.js";

/**
 * Neighbours of every atom, nearest first, atom i's at start[i] to start[i + 1]:
 *   start (N + 1,); index (start[N],) neighbouring atom; distance (start[N],) Å
 * Ties with the last one wanted are all listed, so an atom may have more than asked for.
 */
export interface NeighborLists {
  readonly start: Int32Array;
  readonly index: Int32Array;
  readonly distance: Float64Array;
}

/** Distances closer than this (Å) are equal but for rounding: float64 noise is below 1e-12 for cells up to 1,000 Å. */
export const TIE_TOLERANCE = 1e-8;

/** Atoms searched per kernel call, and the room for one atom's neighbours: bounds the output buffers. */
const ATOMS_PER_CALL = 256;
const NEIGHBOR_ROOM = 512;

/** Widest bin: a sparse cell gains nothing from larger ones. */
const MAX_BIN = 4; // Å

let searcher: KernelMemory | undefined;

/**
 * Every neighbour no farther than the k-th nearest (ties included) and no farther than `cutoff`, over all periodic
 * images, an atom's own images included. float64 in Wasm, linear in the number of atoms.
 */
export function findNeighbors(structure: Structure, cutoff: number, k: number): NeighborLists {
  searcher ??= new KernelMemory();
  const memory = searcher;
  const mark = memory.mark();
  try {
    return search(memory, structure, cutoff, k, NEIGHBOR_ROOM);
  } finally {
    memory.release(mark);
  }
}

function search(memory: KernelMemory, structure: Structure, cutoff: number, k: number, room: number): NeighborLists {
  const N = structure.numbers.length;
  const { lattice, frac } = reducedCell(closeOpenAxes(structure, cutoff));
  const heights = cellHeights(lattice);
  const bins = binCounts(heights, Math.abs(determinant(lattice)), N);
  const [na, nb, nc] = bins;
  const at = {
    lattice: memory.put(lattice),
    frac: memory.put(frac),
    heights: memory.put(heights.map((h, i) => h / bins[i])),
    atoms: memory.allocate(4 * N),
    start: memory.allocate(4 * (na * nb * nc + 1)),
    best: memory.allocate(8 * k),
    count: memory.allocate(4 * ATOMS_PER_CALL),
    index: memory.allocate(4 * ATOMS_PER_CALL * room),
    distance: memory.allocate(8 * ATOMS_PER_CALL * room),
  };
  memory.kernels.binAtoms(at.atoms, at.start, at.frac, N, na, nb, nc);
  const start = new Int32Array(N + 1);
  const parts: { index: Int32Array; distance: Float64Array }[] = [];
  for (let first = 0; first < N; first += ATOMS_PER_CALL) {
    const last = Math.min(first + ATOMS_PER_CALL, N);
    // pymatgen counts a neighbour exactly at the cutoff as inside, with this same margin.
    const written = memory.kernels.nearestNeighbors(
      at.count,
      at.index,
      at.distance,
      room,
      first,
      last,
      k,
      cutoff + TIE_TOLERANCE,
      TIE_TOLERANCE,
      at.lattice,
      at.frac,
      at.heights,
      at.atoms,
      at.start,
      at.best,
      na,
      nb,
      nc,
    );
    // More ties than room: a crystal of extraordinary symmetry. Start over with more.
    if (written < 0) return search(memory, structure, cutoff, k, 4 * room);
    const count = memory.i32(at.count, last - first);
    for (let i = first; i < last; i++) start[i + 1] = start[i] + count[i - first];
    parts.push({
      index: memory.i32(at.index, written).slice(),
      distance: memory.f64(at.distance, written).slice(),
    });
  }
  return { start, ...concatenate(parts, start[N]) };
}

function concatenate(parts: { index: Int32Array; distance: Float64Array }[], total: number) {
  if (parts.length === 1) return parts[0];
  const index = new Int32Array(total);
  const distance = new Float64Array(total);
  let at = 0;
  for (const part of parts) {
    index.set(part.index, at);
    distance.set(part.distance, at);
    at += part.index.length;
  }
  return { index, distance };
}

/** An axis that does not repeat becomes one that does, stretched until images are out of reach. */
function closeOpenAxes({ lattice, pbc, fracCoords }: Structure, cutoff: number) {
  if (pbc.every(Boolean)) return { lattice, frac: fracCoords };
  const stretched = lattice.slice();
  const frac = fracCoords.slice();
  const heights = cellHeights(lattice);
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
  return { lattice: stretched, frac };
}

/**
 * The same crystal on a compact basis with coordinates in [0, 1): each vector loses its projections on the others
 * until none gets shorter, so that a needle of a cell costs no more images than a cube.
 */
function reducedCell(cell: { lattice: Float64Array; frac: Float64Array }) {
  const lattice = cell.lattice.slice();
  let reduced = false;
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 0; i < 9; i += 3)
      for (let j = 0; j < 9; j += 3) {
        if (i === j) continue;
        const dot = lattice[i] * lattice[j] + lattice[i + 1] * lattice[j + 1] + lattice[i + 2] * lattice[j + 2];
        const square = lattice[j] ** 2 + lattice[j + 1] ** 2 + lattice[j + 2] ** 2;
        // The margin keeps a half-way projection (a hexagonal cell's) from flipping for ever.
        const times = Math.abs(dot) > 0.5000001 * square ? Math.round(dot / square) : 0;
        if (times === 0) continue;
        for (let x = 0; x < 3; x++) lattice[i + x] -= times * lattice[j + x];
        changed = reduced = true;
      }
  }
  const frac = reduced ? transformRows(transformRows(cell.frac, cell.lattice), invert(lattice)) : cell.frac.slice();
  for (let i = 0; i < frac.length; i++) {
    const inside = frac[i] - Math.floor(frac[i]);
    frac[i] = inside < 1 ? inside : 0; // -1e-17 rounds up to 1
  }
  return { lattice, frac };
}

/** Distances (Å) between opposite faces of the cell: along a, b, c. */
function cellHeights(lattice: Float64Array): Float64Array {
  const volume = Math.abs(determinant(lattice));
  return Float64Array.from([0, 3, 6], (i) => {
    const [ux, uy, uz] = lattice.subarray((i + 3) % 9, ((i + 3) % 9) + 3);
    const [vx, vy, vz] = lattice.subarray((i + 6) % 9, ((i + 6) % 9) + 3);
    return volume / Math.hypot(uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx);
  });
}

/** Bins along each axis: about two atoms a bin. */
function binCounts(heights: Float64Array, volume: number, N: number): number[] {
  let width = Math.min(Math.cbrt((2 * volume) / N), MAX_BIN);
  for (;;) {
    const counts = Array.from(heights, (h) => Math.max(1, Math.floor(h / width)));
    // A near-empty cell would have far more bins than atoms.
    if (counts[0] * counts[1] * counts[2] <= 8 * N + 64) return counts;
    width *= 1.5;
  }
}

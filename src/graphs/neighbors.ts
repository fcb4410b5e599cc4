import { UnitcellError } from "../errors.js";
import { KernelMemory } from "../kernels.js";
import { invert } from "../structures/linear-algebra.js";
import { determinant, MIN_ATOM_DISTANCE, type Structure, transformRows } from "../structures/structure.js";

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

/** Neighbours with the image they are seen in. */
export interface NeighborImages extends NeighborLists {
  /**
   * (start[N], 3) whole cells of the structure's own lattice: neighbour j of atom i lies at
   * (frac_j + image - frac_i) . lattice from it, coordinates as given.
   */
  readonly image: Float64Array;
}

/** Distances closer than this (Å) are equal but for rounding: float64 noise is below 1e-12 for cells up to 1,000 Å. */
export const TIE_TOLERANCE = 1e-8;

/** Neighbours a search lists at most, all atoms together: hundreds of MiB. A wide cutoff in a large cell asks for more. */
export const MAX_NEIGHBORS = 2 ** 24;

/** Atoms searched per kernel call, and the room for one atom's neighbours: bounds the output buffers. */
const ATOMS_PER_CALL = 256;
const NEIGHBOR_ROOM = 512;

/** Widest bin: a sparse cell gains nothing from larger ones. */
const MAX_BIN = 4; // Å

/** A search that took more memory gives it back: Wasm memory never shrinks. */
const KEEP_BYTES = 64 * 2 ** 20;

let searcher: KernelMemory | undefined;

/** What to look for: `k` = 0 is every neighbour within `cutoff` (Å), unsorted. */
interface Query {
  readonly cutoff: number;
  readonly k: number;
  readonly tolerance: number;
  readonly images: boolean;
}

/**
 * Every neighbour no farther than the k-th nearest (ties included) and no farther than `cutoff`, over all periodic
 * images, an atom's own images included. float64 in Wasm, linear in the number of atoms.
 * @throws {UnitcellError} LIMIT when there are more than MAX_NEIGHBORS
 */
export function findNeighbors(structure: Structure, cutoff: number, k: number): NeighborLists {
  return lookUp(structure, { cutoff, k, tolerance: TIE_TOLERANCE, images: false });
}

/**
 * As findNeighbors, with the images; neighbours up to `tolerance` (Å) beyond the k-th nearest count as tied with it.
 * With k = 0 every neighbour within `cutoff`, in no particular order.
 * @throws {UnitcellError} LIMIT when there are more than MAX_NEIGHBORS
 */
export function findNeighborImages(
  structure: Structure,
  cutoff: number,
  k: number,
  tolerance = TIE_TOLERANCE,
): NeighborImages {
  const { image, ...lists } = lookUp(structure, { cutoff, k, tolerance, images: true });
  return { ...lists, image: image! };
}

/**
 * Readers check pairs of atoms; here an atom's own images and structures made by hand are caught, too.
 * @throws {UnitcellError} CORRUPT when an atom and another, or an image, are closer than MIN_ATOM_DISTANCE
 */
export function checkDistances({ start, index, distance }: NeighborLists): void {
  for (let i = 0; i + 1 < start.length; i++)
    for (let e = start[i]; e < start[i + 1]; e++)
      if (distance[e] < MIN_ATOM_DISTANCE)
        throw new UnitcellError(
          "CORRUPT",
          `atoms ${i} and ${index[e]} (or its image) overlap: ${distance[e].toPrecision(3)} Å apart, ` +
            `at least ${MIN_ATOM_DISTANCE} Å expected`,
        );
}

function lookUp(structure: Structure, query: Query): NeighborLists & { image?: Float64Array } {
  searcher ??= new KernelMemory();
  const memory = searcher;
  const mark = memory.mark();
  try {
    const cell = reducedCell(closeOpenAxes(structure, query.cutoff));
    // More ties than room: a crystal of extraordinary symmetry, or all of a large sphere. Start over with more.
    for (let room = NEIGHBOR_ROOM; ; room *= 4) {
      const found = search(memory, cell, query, room);
      if (found) return query.images ? { ...found, image: ownImages(found, cell) } : found;
      memory.release(mark);
    }
  } finally {
    memory.release(mark);
    if (memory.bytes > KEEP_BYTES) searcher = undefined;
  }
}

type Found = NeighborLists & { readonly reducedImage: Int32Array };

/** Undefined where one atom has more than `room` neighbours. */
function search(memory: KernelMemory, cell: ReducedCell, query: Query, room: number): Found | undefined {
  const { lattice, frac } = cell;
  const { cutoff, k, tolerance, images } = query;
  const N = frac.length / 3;
  const perCall = Math.min(ATOMS_PER_CALL, Math.max(1, Math.floor((ATOMS_PER_CALL * NEIGHBOR_ROOM) / room)));
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
    count: memory.allocate(4 * perCall),
    index: memory.allocate(4 * perCall * room),
    distance: memory.allocate(8 * perCall * room),
    image: images ? memory.allocate(12 * perCall * room) : 0,
  };
  memory.kernels.binAtoms(at.atoms, at.start, at.frac, N, na, nb, nc);
  const start = new Int32Array(N + 1);
  const index: Int32Array[] = [];
  const distance: Float64Array[] = [];
  const image: Int32Array[] = [];
  for (let first = 0; first < N; first += perCall) {
    const last = Math.min(first + perCall, N);
    // pymatgen counts a neighbour exactly at the cutoff as inside, with this same margin.
    const written = memory.kernels.nearestNeighbors(
      at.count,
      at.index,
      at.distance,
      at.image,
      room,
      first,
      last,
      k,
      cutoff + TIE_TOLERANCE,
      tolerance,
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
    if (written < 0 && room < MAX_NEIGHBORS) return undefined;
    if (written < 0 || start[first] + written > MAX_NEIGHBORS)
      throw new UnitcellError(
        "LIMIT",
        `expected at most ${MAX_NEIGHBORS} neighbours, found more within ${cutoff} Å of the first ${last} of ${N} atoms`,
        { limit: MAX_NEIGHBORS, cutoff },
      );
    const count = memory.i32(at.count, last - first);
    for (let i = first; i < last; i++) start[i + 1] = start[i] + count[i - first];
    index.push(memory.i32(at.index, written).slice());
    distance.push(memory.f64(at.distance, written).slice());
    if (images) image.push(memory.i32(at.image, 3 * written).slice());
  }
  return {
    start,
    index: concatenate(index, new Int32Array(index.length > 1 ? start[N] : 0)),
    distance: concatenate(distance, new Float64Array(distance.length > 1 ? start[N] : 0)),
    reducedImage: concatenate(image, new Int32Array(image.length > 1 ? 3 * start[N] : 0)),
  };
}

/** One array of many, copied into `out`; a single one is taken as it is. */
function concatenate<T extends Int32Array | Float64Array>(parts: T[], out: T): T {
  if (parts.length === 1) return parts[0];
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Images between wrapped atoms on the reduced basis, told in cells of the given basis between the atoms as given. */
function ownImages({ start, index, reducedImage }: Found, { basis, cells }: ReducedCell): Float64Array {
  const image = new Float64Array(reducedImage.length);
  for (let i = 0; i + 1 < start.length; i++)
    for (let e = start[i]; e < start[i + 1]; e++) {
      const j = 3 * index[e];
      const a = reducedImage[3 * e] - cells[j] + cells[3 * i];
      const b = reducedImage[3 * e + 1] - cells[j + 1] + cells[3 * i + 1];
      const c = reducedImage[3 * e + 2] - cells[j + 2] + cells[3 * i + 2];
      for (let x = 0; x < 3; x++) image[3 * e + x] = a * basis[x] + b * basis[3 + x] + c * basis[6 + x];
    }
  return image;
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

/** The same crystal on a compact basis, `lattice` = `basis` . given lattice, and `cells` (N, 3) taken off its coordinates. */
interface ReducedCell {
  readonly lattice: Float64Array;
  readonly basis: Float64Array;
  readonly frac: Float64Array;
  readonly cells: Float64Array;
}

/**
 * Compact basis, coordinates in [0, 1): each vector loses its projections on the others until none gets shorter, so
 * that a needle of a cell costs no more images than a cube.
 */
function reducedCell(cell: { lattice: Float64Array; frac: Float64Array }): ReducedCell {
  const lattice = cell.lattice.slice();
  const basis = Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
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
        for (let x = 0; x < 3; x++) {
          lattice[i + x] -= times * lattice[j + x];
          basis[i + x] -= times * basis[j + x];
        }
        changed = reduced = true;
      }
  }
  const frac = reduced ? transformRows(transformRows(cell.frac, cell.lattice), invert(lattice)) : cell.frac.slice();
  const cells = frac.map(Math.floor);
  for (let i = 0; i < frac.length; i++) {
    frac[i] -= cells[i];
    if (frac[i] < 1) continue;
    frac[i] = 0; // -1e-17 rounds up to 1
    cells[i]++;
  }
  return { lattice, basis, frac, cells };
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

import { UnitcellError } from "../errors.js";
import type { KernelMemory } from "../kernels.js";
import { MIN_ATOM_DISTANCE, type Structure } from "../structures/structure.js";
import { type SearchCell, searchCell } from "./search-cell.js";
import { withSearchMemory } from "./search-memory.js";

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
      if (distance[e] < MIN_ATOM_DISTANCE) throw overlap(i, index[e], distance[e]);
}

/** The error of two atoms too close to be two. */
export function overlap(i: number, j: number, distance: number): UnitcellError {
  return new UnitcellError(
    "CORRUPT",
    `atoms ${i} and ${j} (or its image) overlap: ${distance.toPrecision(3)} Å apart, ` +
      `at least ${MIN_ATOM_DISTANCE} Å expected`,
  );
}

function lookUp(structure: Structure, query: Query): NeighborLists & { image?: Float64Array } {
  return withSearchMemory((memory) => {
    const cell = searchCell(structure, query.cutoff);
    const mark = memory.mark();
    // More ties than room: a crystal of extraordinary symmetry, or all of a large sphere. Start over with more.
    for (let room = NEIGHBOR_ROOM; ; room *= 4) {
      const found = search(memory, cell, query, room);
      if (found) return query.images ? { ...found, image: ownImages(found, cell) } : found;
      memory.release(mark);
    }
  });
}

type Found = NeighborLists & { readonly reducedImage: Int32Array };

/** Undefined where one atom has more than `room` neighbours. */
function search(memory: KernelMemory, cell: SearchCell, query: Query, room: number): Found | undefined {
  const { lattice, frac, heights } = cell;
  const { cutoff, k, tolerance, images } = query;
  const N = frac.length / 3;
  const perCall = Math.min(ATOMS_PER_CALL, Math.max(1, Math.floor((ATOMS_PER_CALL * NEIGHBOR_ROOM) / room)));
  const bins = binCounts(heights, cell.volume, N);
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

/** Images between wrapped atoms on the compact basis, told in cells of the given basis between the atoms as given. */
function ownImages({ start, index, reducedImage }: Found, { basis, cells }: SearchCell): Float64Array {
  const image = new Float64Array(reducedImage.length);
  for (let i = 0; i + 1 < start.length; i++)
    for (let e = 3 * start[i]; e < 3 * start[i + 1]; e += 3) {
      let a = reducedImage[e];
      let b = reducedImage[e + 1];
      let c = reducedImage[e + 2];
      if (cells) {
        const j = 3 * index[e / 3];
        a += cells[3 * i] - cells[j];
        b += cells[3 * i + 1] - cells[j + 1];
        c += cells[3 * i + 2] - cells[j + 2];
      }
      for (let x = 0; x < 3; x++) image[e + x] = a * basis[x] + b * basis[3 + x] + c * basis[6 + x];
    }
  return image;
}

/** Bins along each axis: about two atoms a bin. */
function binCounts(heights: Float64Array, volume: number, N: number): [number, number, number] {
  let width = Math.min(Math.cbrt((2 * volume) / N), MAX_BIN);
  for (;;) {
    const a = Math.max(1, Math.floor(heights[0] / width));
    const b = Math.max(1, Math.floor(heights[1] / width));
    const c = Math.max(1, Math.floor(heights[2] / width));
    // A near-empty cell would have far more bins than atoms.
    if (a * b * c <= 8 * N + 64) return [a, b, c];
    width *= 1.5;
  }
}

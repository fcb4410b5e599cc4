import type { SphereGraphConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { KernelMemory } from "../kernels.js";
import { checkStructure, MIN_ATOM_DISTANCE, type Structure } from "../structures/structure.js";
import type { CrystalGraph } from "./graph.js";
import { MAX_NEIGHBORS, overlap } from "./neighbors.js";
import { type SearchCell, searchCell } from "./search-cell.js";
import { withSearchMemory } from "./search-memory.js";
import { isolatedAtoms, structureNotes } from "./warnings.js";

/** Slack of the squared distance, Å². Source: matgl's neighbour search (pymatgen's, numerical_tol). */
const SQUARE_TOLERANCE = 1e-8;

/** Rounding of positions to float32, relative to the cell's size: four roundings of 2^-24 along each of three axes. */
const SCREEN_MARGIN = 1e-6;

/** A crystal with more is looked at for overlapping atoms first: one that is squeezed together would take seconds to refuse. */
const MANY_EDGES = 1e6;

/**
 * Edges by receiving atom i, at start[i] to start[i + 1], each atom's by length, then sending atom:
 *   start (N + 1,); source (E,); lengths (E,) Å
 */
interface SphereEdges {
  readonly start: Int32Array;
  readonly source: Int32Array;
  readonly lengths: Float64Array;
  /** (E, 3) whole cells: the receiving atom seen so far from the sending one, coordinates as given. Where asked for. */
  readonly image: Float64Array | undefined;
}

/**
 * MEGNet's graph as matgl builds it: every pair of atoms with distance² < cutoff² + 1e-8 Å², periodic images (an atom's
 * own, too) included, both directions, no limit of edges. Axes that do not repeat have no images.
 *
 * An atom without edges beside atoms that have some is fine (its mean is 0) and named in a warning. A crystal without
 * any edge is refused: upstream divides 0 by 0 and gives NaN for it alone, but a finite number in a batch with others.
 * @throws {UnitcellError} ARGUMENT when the cutoff is not positive, and what checkStructure finds; CORRUPT when atoms
 *   or their images overlap; UNSUPPORTED when no two atoms are within the cutoff; LIMIT beyond `maxEdges`, and
 *   MAX_NEIGHBORS
 */
export function buildSphereGraph(
  structure: Structure,
  config: SphereGraphConfig,
  maxEdges = MAX_NEIGHBORS,
): CrystalGraph {
  const { cutoff } = config;
  if (!(cutoff > 0 && Number.isFinite(cutoff)))
    throw new UnitcellError("ARGUMENT", `graph needs a positive cutoff, found ${cutoff} Å`);
  checkStructure(structure);
  const { start, source, lengths } = sphereEdges(structure, cutoff, { maxEdges });
  if (source.length === 0)
    throw new UnitcellError(
      "UNSUPPORTED",
      `no two atoms within ${cutoff} Å of each other, so the crystal has no graph; the reference code gives NaN for it ` +
        "alone and a finite number in a batch with others",
    );
  return {
    numAtoms: structure.numbers.length,
    numEdges: source.length,
    numbers: structure.numbers,
    start,
    source,
    lengths,
    cutoff,
    warnings: [...structureNotes(structure), ...isolatedAtoms(structure, start, cutoff)],
  };
}

/** The edges of buildSphereGraph, with their images when `images`. */
export function sphereEdges(
  structure: Structure,
  cutoff: number,
  { images = false, maxEdges = MAX_NEIGHBORS } = {},
): SphereEdges {
  const limit = Math.min(maxEdges, MAX_NEIGHBORS);
  const square = cutoff * cutoff + SQUARE_TOLERANCE;
  const radius = Math.sqrt(square);
  const cell = searchCell(structure, radius);
  // As many as an even density has.
  const even = (((4 / 3) * Math.PI * radius ** 3) / cell.volume) * structure.numbers.length ** 2;
  if (even > MANY_EDGES && cutoff > MIN_ATOM_DISTANCE) sphereEdges(structure, MIN_ATOM_DISTANCE);
  const bins = columnBins(cell, radius, structure.numbers.length);
  const edges = withSearchMemory((memory) => {
    const place = putCell(memory, structure, cell, square);
    const scratch = memory.allocate(
      memory.kernels.sphereScratch(structure.numbers.length, bins[0] * bins[1] * bins[2]),
    );
    const mark = memory.mark();
    // Half as many again as an even density has; where atoms cluster there are more.
    for (let capacity = 1.5 * even + 64; ; capacity *= 4) {
      const most = Math.floor(Math.min(capacity, limit));
      const found = search(memory, { place, scratch, bins, most, images }, structure.numbers.length);
      if (found) return found;
      if (most === Math.floor(limit))
        throw new UnitcellError("LIMIT", `expected at most ${limit} edges, found more within ${cutoff} Å`, {
          limit,
          cutoff,
        });
      memory.release(mark);
    }
  });
  // Each atom's shortest edge is its first.
  for (let i = 0; i + 1 < edges.start.length; i++)
    if (edges.start[i] < edges.start[i + 1] && edges.lengths[edges.start[i]] < MIN_ATOM_DISTANCE)
      throw overlap(i, edges.source[edges.start[i]], edges.lengths[edges.start[i]]);
  return edges;
}

interface Place {
  readonly cell: number;
  readonly frac: number;
  readonly given: number;
  readonly origin: number;
}

/** What the kernel reads of the crystal, in the kernel's order. */
function putCell(memory: KernelMemory, structure: Structure, cell: SearchCell, square: number): Place {
  const { lattice, basis, heights, frac, cells } = cell;
  const fields = new Float64Array(32);
  fields.set(lattice, 0);
  fields.set(basis, 9);
  fields.set(structure.lattice, 18);
  let size = 0;
  for (const x of lattice) size += Math.abs(x);
  const radius = Math.sqrt(square);
  const screen = radius + SCREEN_MARGIN * (size + radius);
  for (let k = 0; k < 3; k++) fields[27 + k] = screen / heights[k];
  fields[30] = square;
  fields[31] = screen * screen;
  return {
    cell: memory.put(fields),
    frac: memory.put(frac),
    given: memory.put(structure.fracCoords),
    origin: cells ? memory.put(inGivenCells(cells, basis)) : 0,
  };
}

/** Cells (N, 3) of the compact basis told in those of the given one, which mostly is the same. */
function inGivenCells(cells: Float64Array, basis: Float64Array): Float64Array {
  if (basis.every((x, i) => x === (i % 4 === 0 ? 1 : 0))) return cells;
  const out = new Float64Array(cells.length);
  for (let i = 0; i < cells.length; i += 3)
    for (let x = 0; x < 3; x++)
      out[i + x] = cells[i] * basis[x] + cells[i + 1] * basis[3 + x] + cells[i + 2] * basis[6 + x];
  return out;
}

interface Search {
  readonly place: Place;
  readonly scratch: number;
  readonly bins: readonly [number, number, number];
  readonly most: number;
  readonly images: boolean;
}

/** Undefined where there are more than `most` edges. */
function search(memory: KernelMemory, { place, scratch, bins, most, images }: Search, N: number) {
  const start = memory.allocate(4 * (N + 1));
  const source = memory.allocate(4 * (most + 1));
  const length = memory.allocate(8 * (most + 1));
  const image = images ? memory.allocate(24 * most) : 0;
  const { cell, frac, given, origin } = place;
  const [na, nb, nc] = bins;
  const E = memory.kernels.sphereEdges(
    start,
    source,
    length,
    image,
    most,
    cell,
    frac,
    given,
    origin,
    N,
    na,
    nb,
    nc,
    scratch,
  );
  if (E < 0) return undefined;
  return {
    start: memory.i32(start, N + 1).slice(),
    source: memory.i32(source, E).slice(),
    lengths: memory.f64(length, E).slice(),
    image: images ? memory.f64(image, 3 * E).slice() : undefined,
  };
}

/** Atoms of a run that make up for the cost of beginning it: a run's length is the sphere's diameter and a bin. */
const RUN_ATOMS = 12;

/** Columns wide enough for runs of RUN_ATOMS, cut along c into bins of a quarter of the radius; some four bins an atom at most. */
function columnBins({ heights, volume }: SearchCell, radius: number, N: number): [number, number, number] {
  const most = 4 * N + 16;
  let width = Math.sqrt((RUN_ATOMS * volume) / (2.25 * radius * N));
  width = Math.min(Math.max(width, radius / 2), 2 * radius);
  for (;;) {
    const a = Math.max(1, Math.floor(heights[0] / width));
    const b = Math.max(1, Math.floor(heights[1] / width));
    if (a * b <= most) return [a, b, Math.max(1, Math.floor(Math.min((4 * heights[2]) / radius, most / (a * b))))];
    width *= 1.5;
  }
}

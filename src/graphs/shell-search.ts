import type { ShellGraphConfig } from "../config.js";
import { type Structure, transformRows } from "../structures/structure.js";
import {
  checkCutoff,
  type ImageRange,
  imageRange,
  longestEdge,
  roundedLattice,
  roundedReciprocalLengths,
} from "./jarvis.js";
import { checkDistances, findNeighborImages, type NeighborImages } from "./neighbors.js";
import { SHELL_TOLERANCE, type ShellRule } from "./shell-rules.js";

/** Each atom's candidates and how far its shell reaches, by upstream's arithmetic. */
export interface Shells {
  readonly lists: NeighborImages;
  /** Of each entry of the lists, Å; infinite where upstream does not see it. */
  readonly distance: Float64Array;
  /** (N,) Å: distance of each atom's last place. */
  readonly last: Float64Array;
  /** The lattice that positions and bonds come from. */
  readonly lattice: Float64Array;
  /** The cutoff really used, Å, and the atoms that had too few neighbours within the first. */
  readonly cutoff: number;
  readonly short: readonly number[];
}

/** Pairs closer than this (Å) are no neighbours to upstream; its image range reaches as much farther. */
const BOND_TOLERANCE = 0.15;

/** float64 noise of distances computed in two ways, generously. */
const NOISE = 1e-7; // Å

interface Frame {
  readonly structure: Structure;
  readonly k: number;
  readonly rule: ShellRule;
  readonly lattice: Float64Array;
  /** (N, 3) Å */
  readonly positions: Float64Array;
  /** Reciprocal lengths as upstream rounds them, 1/Å. */
  readonly reciprocal: readonly number[];
  /** Most that upstream's distances differ from the crystal's own, Å. */
  readonly margin: number;
}

/**
 * Candidates around every atom: all neighbours no farther than its `maxNeighbors`-th plus SHELL_TOLERANCE, the cutoff
 * grown until each atom has so many.
 * @throws {UnitcellError} CORRUPT when atoms or their images overlap; LIMIT when the cutoff grows beyond MAX_CUTOFF or
 *   there are more than MAX_NEIGHBORS candidates
 */
export function findShells(structure: Structure, config: ShellGraphConfig, rule: ShellRule): Shells {
  const lattice = rule.asWritten ? roundedLattice(structure.lattice) : structure.lattice;
  const frame: Frame = {
    structure: { ...structure, pbc: [true, true, true] },
    k: config.maxNeighbors,
    rule,
    lattice,
    positions: transformRows(structure.fracCoords, lattice),
    reciprocal: roundedReciprocalLengths(lattice),
    margin: NOISE + roundingMargin(structure, lattice),
  };
  let cutoff = config.cutoff;
  let short: readonly number[] | undefined;
  for (;;) {
    const found = search(frame, cutoff);
    const missing = Array.from(found.last.keys()).filter((i) => !(found.last[i] <= cutoff));
    short ??= missing;
    if (missing.length === 0) return { ...found, lattice, cutoff, short };
    const edge = rule.asWritten ? longestEdge(lattice) : 0;
    cutoff = cutoff < edge ? edge : 2 * cutoff;
    checkCutoff(cutoff, `fewer than ${config.maxNeighbors} neighbours`);
  }
}

/** Two atoms' coordinates differ by at most the spread of all of them, so their positions by so much of the rounding. */
function roundingMargin({ lattice, fracCoords }: Structure, rounded: Float64Array): number {
  const { low, high } = spread(fracCoords);
  return [0, 1, 2].reduce((sum, axis) => {
    const row = [0, 1, 2].map((x) => rounded[3 * axis + x] - lattice[3 * axis + x]);
    return sum + (high[axis] - low[axis]) * Math.hypot(...row);
  }, 0);
}

function spread(fracCoords: Float64Array) {
  const low = [0, 1, 2].map(() => Number.POSITIVE_INFINITY);
  const high = [0, 1, 2].map(() => Number.NEGATIVE_INFINITY);
  for (let i = 0; i < fracCoords.length; i++) {
    low[i % 3] = Math.min(low[i % 3], fracCoords[i]);
    high[i % 3] = Math.max(high[i % 3], fracCoords[i]);
  }
  return { low, high };
}

/**
 * The kernel's nearest neighbours, in the crystal's own distances, with margins wide enough that upstream's are among
 * them; more of them where upstream misses some of the nearest (outside its image range, or too close).
 */
function search(frame: Frame, cutoff: number): Pick<Shells, "lists" | "distance" | "last"> {
  const { structure, k, rule, margin } = frame;
  const tolerance = 2 * margin + SHELL_TOLERANCE;
  const range = rule.asWritten
    ? imageRange(structure.fracCoords, cutoff + BOND_TOLERANCE, frame.reciprocal)
    : undefined;
  for (let wanted = k; ; wanted *= 2) {
    const lists = findNeighborImages(structure, cutoff + tolerance, wanted, tolerance);
    checkDistances(lists);
    const distance = upstreamDistances(frame, lists, range);
    const last = lastPlaces(lists, distance, k);
    // Complete where all nearer ones are listed, or everything within the cutoff is.
    const complete = last.every((d, i) => {
      const end = lists.start[i] + wanted - 1;
      if (end >= lists.start[i + 1]) return true;
      const reach = lists.distance[end] + tolerance;
      return Math.min(d, cutoff) + SHELL_TOLERANCE + margin <= reach;
    });
    if (complete) return { lists, distance, last };
  }
}

/**
 * Distances in upstream's float64 arithmetic, operation by operation, for these decide which equally distant neighbours
 * make the cut: T = (a L0 + b L1) + c L2 from the lattice as given, X = T + position_j, D = X - position_i,
 * d = sqrt((Dx² + Dy²) + Dz²). JavaScript adds from left to right and fuses nothing.
 */
function upstreamDistances({ structure, positions }: Frame, lists: NeighborImages, range?: ImageRange): Float64Array {
  const L = structure.lattice;
  const { start, index, image } = lists;
  const distance = new Float64Array(index.length);
  for (let i = 0; i + 1 < start.length; i++)
    for (let e = start[i]; e < start[i + 1]; e++) {
      const [a, b, c] = [image[3 * e], image[3 * e + 1], image[3 * e + 2]];
      const j = index[e];
      const x = a * L[0] + b * L[3] + c * L[6] + positions[3 * j] - positions[3 * i];
      const y = a * L[1] + b * L[4] + c * L[7] + positions[3 * j + 1] - positions[3 * i + 1];
      const z = a * L[2] + b * L[5] + c * L[8] + positions[3 * j + 2] - positions[3 * i + 2];
      const d = Math.sqrt(x * x + y * y + z * z);
      distance[e] = d > BOND_TOLERANCE && (!range || inside(range, a, b, c)) ? d : Number.POSITIVE_INFINITY;
    }
  return distance;
}

function inside({ low, high }: ImageRange, a: number, b: number, c: number): boolean {
  return a >= low[0] && a < high[0] && b >= low[1] && b < high[1] && c >= low[2] && c < high[2];
}

/** The k-th smallest distance of each atom, infinite where there are fewer. */
function lastPlaces({ start }: NeighborImages, distance: Float64Array, k: number): Float64Array {
  return Float64Array.from({ length: start.length - 1 }, (_, i) => {
    if (start[i + 1] - start[i] < k) return Number.POSITIVE_INFINITY;
    return distance.slice(start[i], start[i + 1]).sort()[k - 1];
  });
}

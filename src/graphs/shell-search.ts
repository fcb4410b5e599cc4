import type { ShellGraphConfig } from "../config.js";
import { dotRows } from "../structures/linear-algebra.js";
import { type Structure, transformRows } from "../structures/structure.js";
import {
  checkCutoff,
  displace,
  type ImageRange,
  imageRange,
  inside,
  longestEdge,
  roundedLattice,
  roundedReciprocalLengths,
  roundingMargin,
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

/** Neighbours of one atom that are worth keeping in order while they are found, which takes time with their square. */
const MAX_SORTED = 4096;

/** Pairs closer than this (Å) are no neighbours to upstream; its image range reaches as much farther. */
const BOND_TOLERANCE = 0.15;

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
    // numpy.dot's fused arithmetic: with two roundings each, one of the reference data's structures gets other edges.
    positions: (rule.asWritten ? dotRows : transformRows)(structure.fracCoords, lattice),
    reciprocal: roundedReciprocalLengths(lattice),
    margin: roundingMargin(structure, lattice),
  };
  let cutoff = config.cutoff;
  let short: readonly number[] | undefined;
  for (;;) {
    const found = search(frame, cutoff);
    const missing: number[] = [];
    for (let i = 0; i < found.last.length; i++) if (!(found.last[i] <= cutoff)) missing.push(i);
    short ??= missing;
    if (missing.length === 0) return { ...found, lattice, cutoff, short };
    const edge = rule.asWritten ? longestEdge(lattice) : 0;
    cutoff = cutoff < edge ? edge : 2 * cutoff;
    checkCutoff(cutoff, `fewer than ${config.maxNeighbors} neighbours`);
  }
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
    const all = wanted > MAX_SORTED;
    const lists = findNeighborImages(structure, cutoff + tolerance, all ? 0 : wanted, tolerance);
    checkDistances(lists);
    const distance = upstreamDistances(frame, lists, range);
    const last = lastPlaces(lists, distance, k);
    // Complete where all nearer ones are listed, or everything within the cutoff is.
    const complete =
      all ||
      last.every((d, i) => {
        const end = lists.start[i] + wanted - 1;
        if (end >= lists.start[i + 1]) return true;
        const reach = lists.distance[end] + tolerance;
        return Math.min(d, cutoff) + SHELL_TOLERANCE + margin <= reach;
      });
    if (complete) return { lists, distance, last };
  }
}

/** As upstream computes them, operation by operation: these decide which equally distant neighbours make the cut. */
function upstreamDistances({ structure, positions }: Frame, lists: NeighborImages, range?: ImageRange): Float64Array {
  const { start, index, image } = lists;
  const distance = new Float64Array(index.length);
  const D = new Float64Array(3);
  for (let i = 0; i + 1 < start.length; i++)
    for (let e = start[i]; e < start[i + 1]; e++) {
      displace(D, structure.lattice, positions, i, index[e], image, 3 * e);
      const d = Math.sqrt(D[0] * D[0] + D[1] * D[1] + D[2] * D[2]);
      distance[e] = d > BOND_TOLERANCE && (!range || inside(range, image, 3 * e)) ? d : Number.POSITIVE_INFINITY;
    }
  return distance;
}

/** The k-th smallest distance of each atom, infinite where there are fewer. */
function lastPlaces({ start }: NeighborImages, distance: Float64Array, k: number): Float64Array {
  const last = new Float64Array(start.length - 1);
  const nearest = new Float64Array(k); // ascending; lists are nearly so
  for (let i = 0; i + 1 < start.length; i++) {
    nearest.fill(Number.POSITIVE_INFINITY);
    for (let e = start[i]; e < start[i + 1]; e++) {
      if (!(distance[e] < nearest[k - 1])) continue;
      let at = k - 1;
      for (; at > 0 && nearest[at - 1] > distance[e]; at--) nearest[at] = nearest[at - 1];
      nearest[at] = distance[e];
    }
    last[i] = nearest[k - 1];
  }
  return last;
}

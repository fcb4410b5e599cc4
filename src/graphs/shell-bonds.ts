import type { Structure } from "../structures/structure.js";
import { bondVector, type EdgeList } from "./edges.js";
import type { NeighborImages } from "./neighbors.js";
import { SHELL_TOLERANCE, type ShellRule } from "./shell-rules.js";
import type { Shells } from "./shell-search.js";

/** Entries of the neighbour lists that each atom keeps, atom i's at start[i] to start[i + 1]. */
interface Kept {
  readonly start: Int32Array;
  readonly entries: Int32Array;
}

/**
 * The edges of the shells, and the atoms of which a neighbour within SHELL_TOLERANCE of the last place is left out at
 * both ends.
 */
export function shellEdges(
  structure: Structure,
  shells: Shells,
  rule: ShellRule & { readonly canonize: boolean },
): { edges: EdgeList; cut: number[] } {
  const { lists } = shells;
  const kept = keepShells(shells, rule.tolerance);
  const bonds = new Bonds(structure, shells.lattice, kept.entries.length);
  const cut: number[] = [];
  for (let i = 0; i + 1 < lists.start.length; i++) {
    for (let at = kept.start[i]; at < kept.start[i + 1]; at++) {
      const entry = kept.entries[at];
      if (!rule.canonize || firstSeen(lists, kept, i, entry, rule.twiceToImages)) bonds.add(i, lists, entry);
    }
    if (isCut(shells, kept, i, rule)) cut.push(i);
  }
  return { edges: bonds.edges(), cut };
}

function keepShells({ lists, distance, last }: Shells, tolerance: number): Kept {
  const { start } = lists;
  const keptStart = new Int32Array(start.length);
  const entries = new Int32Array(distance.length);
  let count = 0;
  for (let i = 0; i + 1 < start.length; i++) {
    for (let e = start[i]; e < start[i + 1]; e++) if (distance[e] <= last[i] + tolerance) entries[count++] = e;
    keptStart[i + 1] = count;
  }
  return { start: keptStart, entries: entries.subarray(0, count) };
}

/**
 * Whether this end is the one to add the bond: the lower atom does, the higher one only where the lower did not keep it.
 * Of a bond to an atom's own image both ends are the same atom; upstream adds it from either (`twiceToImages`).
 */
function firstSeen(lists: NeighborImages, kept: Kept, i: number, entry: number, twiceToImages: boolean): boolean {
  const j = lists.index[entry];
  if (i < j || (i === j && (twiceToImages || pointsUp(lists.image, entry)))) return true;
  return !keptByOtherEnd(lists, kept, i, entry);
}

/** Exactly one of an image and its opposite does. */
function pointsUp(image: Float64Array, entry: number): boolean {
  return (image[3 * entry] || image[3 * entry + 1] || image[3 * entry + 2]) > 0;
}

/** Whether the neighbour keeps the bond, too: its own list holds this atom in the opposite image. */
function keptByOtherEnd({ index, image }: NeighborImages, kept: Kept, i: number, entry: number): boolean {
  const j = index[entry];
  for (let at = kept.start[j]; at < kept.start[j + 1]; at++) {
    const other = kept.entries[at];
    if (index[other] !== i) continue;
    if (
      image[3 * other] === -image[3 * entry] &&
      image[3 * other + 1] === -image[3 * entry + 1] &&
      image[3 * other + 2] === -image[3 * entry + 2]
    )
      return true;
  }
  return false;
}

/** Whether a larger tolerance would have given atom i a bond, or one of the two to an image, that is not there. */
function isCut(shells: Shells, kept: Kept, i: number, rule: ShellRule & { readonly canonize: boolean }): boolean {
  const { lists, distance, last } = shells;
  for (let e = lists.start[i]; e < lists.start[i + 1]; e++)
    if (
      distance[e] > last[i] + rule.tolerance &&
      distance[e] <= last[i] + SHELL_TOLERANCE &&
      !(rule.canonize && !(rule.twiceToImages && lists.index[e] === i) && keptByOtherEnd(lists, kept, i, e))
    )
      return true;
  return false;
}

/** Edges as bonds are added, two each. */
class Bonds {
  #count = 0;
  readonly #source: Int32Array;
  readonly #receiver: Int32Array;
  readonly #vectors: Float64Array;
  readonly #crystal: { readonly lattice: Float64Array; readonly fracCoords: Float64Array };

  constructor({ fracCoords }: Structure, lattice: Float64Array, most: number) {
    this.#crystal = { lattice, fracCoords };
    this.#source = new Int32Array(2 * most);
    this.#receiver = new Int32Array(2 * most);
    this.#vectors = new Float64Array(6 * most);
  }

  /** Atom i's neighbour at `entry`: an edge to it, and one back. */
  add(i: number, { index, image }: NeighborImages, entry: number): void {
    const j = index[entry];
    const e = this.#count;
    this.#count += 2;
    const vectors = this.#vectors;
    bondVector(vectors, 3 * e, this.#crystal, i, j, image, 3 * entry);
    for (let x = 0; x < 3; x++) vectors[3 * e + 3 + x] = -vectors[3 * e + x];
    this.#source[e] = i;
    this.#source[e + 1] = j;
    this.#receiver[e] = j;
    this.#receiver[e + 1] = i;
  }

  edges(): EdgeList {
    return {
      source: this.#source.subarray(0, this.#count),
      receiver: this.#receiver.subarray(0, this.#count),
      vectors: this.#vectors.subarray(0, 3 * this.#count),
    };
  }
}

import { seededRandom } from "../random.js";

/**
 * Which of several equally distant neighbours make the cut at k is an accident of search order in upstream's code.
 * Here it follows from the crystal alone, so it is the same for any atom order, origin or setting of the cell:
 *
 * 1. Colour refinement. Atoms start with their atomic number as colour; then an atom's colour becomes (its colour, the
 *    sorted list of (distance, colour) of its neighbours, whole tied shells included) until no class splits. Distances
 *    are numbered by clusters, gaps above TIE_TOLERANCE apart, so rounding splits no class (colors.ts).
 * 2. A tied shell of which only some fit is cut in proportion to its colours.
 *
 * Atoms of one colour see the same colours at the same distances before the cut, hence after it too: the partition is
 * equitable on the cut graph, so atoms of one colour get equal features in any message-passing network, and which atoms
 * of a colour are taken changes nothing (colour refinement: Weisfeiler and Leman 1968; for networks, Xu et al.,
 * arXiv:1810.00826).
 */

/** A tied shell of an atom of which only some fit. */
export interface TiedShell {
  /** Positions in the neighbour lists. */
  readonly entries: readonly number[];
  /** Colour of the neighbour at a position. */
  color(entry: number): number;
  /** Edges left for the shell. */
  readonly room: number;
  readonly atom: number;
  /** The atom's own colour, and how many colours the crystal has. */
  readonly own: number;
  readonly colors: number;
}

/** Which entries of a shell become edges. */
export type ShellCut = (shell: TiedShell) => readonly number[];

/**
 * In proportion to the colours, by largest remainder. Equal remainders are taken in an order that looks random and
 * follows from the colours alone, other for each colour of atom: one order for all would favour the same species
 * throughout the crystal, and shift the prediction further than any accident of order does.
 */
export const proportionalCut: ShellCut = ({ entries, color, room, own, colors }) => {
  const groups = groupBy(entries, color);
  if (groups.size === 1) return entries.slice(0, room);
  const shares = Array.from(groups, ([key, members]) => {
    const wanted = members.length * room; // in units of 1 / entries.length, so that remainders are whole numbers
    const order = Math.imul(own * colors + key, 0x9e3779b1) >>> 0; // Fibonacci hashing (Knuth, vol. 3, 6.4)
    return { order, members, take: Math.floor(wanted / entries.length), rest: wanted % entries.length };
  });
  let left = room - shares.reduce((sum, share) => sum + share.take, 0);
  for (const share of shares.sort((a, b) => b.rest - a.rest || a.order - b.order)) if (left-- > 0) share.take++;
  return shares.flatMap((share) => share.members.slice(0, share.take));
};

/** Entries by their key, keys in the order of their first entry. */
function groupBy(entries: readonly number[], key: (entry: number) => number): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const entry of entries) {
    const members = groups.get(key(entry));
    if (members) members.push(entry);
    else groups.set(key(entry), [entry]);
  }
  return groups;
}

/**
 * Every way to take `room` of the tied entries that gives another multiset of neighbouring atoms; undefined when there
 * are more than `limit`.
 */
export function allCuts(
  entries: readonly number[],
  atom: (entry: number) => number,
  room: number,
  limit: number,
): number[][] | undefined {
  const groups = groupBy(entries, atom);
  let partial: number[][] = [[]];
  let rest = entries.length;
  for (const members of groups.values()) {
    rest -= members.length;
    partial = partial.flatMap((chosen) => {
      const least = Math.max(0, room - chosen.length - rest);
      const most = Math.min(members.length, room - chosen.length);
      return Array.from({ length: most - least + 1 }, (_, i) => [...chosen, ...members.slice(0, least + i)]);
    });
    if (partial.length > limit) return undefined; // each of them can be completed, so there are at least as many
  }
  return partial;
}

/** Cuts in random order from a fixed seed, for where all of them are too many. */
export function randomCut(): ShellCut {
  const random = seededRandom(1);
  return ({ entries, room }) => {
    const left = [...entries];
    return Array.from({ length: room }, () => left.splice(Math.floor(random() * left.length), 1)[0]);
  };
}

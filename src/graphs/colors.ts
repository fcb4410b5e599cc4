/**
 * Colour refinement (ties.ts says what for): of which atoms the surroundings are the same however far one looks.
 *
 * All rounds are those of the plain algorithm, in which every atom's colour becomes (its colour, the sorted list of
 * (distance, colour) of its neighbours) at once; but an atom is looked at only where something changed. Where a class
 * falls into parts, its largest part goes without saying: what lists only atoms of that part looks as it did, and so do
 * all others of its own class that do (Hopcroft's "all but the largest", 1971). Around a defect that is one shell of atoms
 * a round, not the whole crystal. Lifting needs colours of bonds and pairs of bonds too, and no order that a tie's cut
 * would depend on: refine.ts.
 */
import type { NeighborLists } from "./neighbors.js";

/** Colours 0 to count - 1 of the atoms, (N,). */
export interface Coloring {
  readonly atoms: Int32Array;
  readonly count: number;
}

/**
 * Colours by refinement, in an order that depends on the crystal alone.
 * @param cluster numbers of the lists' distances (clusters.ts)
 */
export function refineColors(numbers: Uint8Array, lists: NeighborLists, cluster: Int32Array): Coloring {
  const partition = startPartition(numbers);
  const users = reverse(lists);
  const signatures = new Signatures(lists, cluster, partition.color);
  let changed = partition.members; // whose colour is another than that of most of their former class
  while (changed.length > 0) {
    const touched = touchedClasses(partition, users, changed, changed === partition.members);
    // All of them are compared by the colours of this round before any gets another.
    const splits: Split[] = [];
    for (const [begin, atoms] of touched) {
      const split = splitClass(partition, signatures, begin, atoms);
      if (split.length > 1) splits.push({ begin, groups: split });
    }
    changed = Int32Array.from(splits.flatMap((split) => applySplit(partition, split)));
  }
  return ranked(partition);
}

/**
 * Classes as runs of atoms: `members` (N,) by class, in the classes' order; a class is told by where its run begins, which
 * is the `color` (N,) of its atoms and keeps the order when it is split. end[begin] is where the run ends.
 */
interface Partition {
  readonly members: Int32Array;
  readonly color: Int32Array;
  readonly end: Int32Array;
}

function startPartition(numbers: Uint8Array): Partition {
  const begin = new Int32Array(257);
  for (let i = 0; i < numbers.length; i++) begin[numbers[i] + 1]++;
  for (let z = 0; z < 256; z++) begin[z + 1] += begin[z];
  const next = begin.slice();
  const members = new Int32Array(numbers.length);
  const color = new Int32Array(numbers.length);
  const end = new Int32Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    members[next[numbers[i]]++] = i;
    color[i] = begin[numbers[i]];
    end[color[i]] = begin[numbers[i] + 1];
  }
  return { members, color, end };
}

/** Who lists an atom: atom j is in the lists of index[start[j]..start[j + 1]), as often as it is there. */
function reverse({ start, index }: NeighborLists): { start: Int32Array; index: Int32Array } {
  const from = new Int32Array(start.length);
  for (let e = 0; e < index.length; e++) from[index[e] + 1]++;
  for (let j = 0; j + 1 < from.length; j++) from[j + 1] += from[j];
  const next = from.slice();
  const users = new Int32Array(index.length);
  for (let i = 0; i + 1 < start.length; i++) for (let e = start[i]; e < start[i + 1]; e++) users[next[index[e]]++] = i;
  return { start: from, index: users };
}

/** Atoms that list a changed one, or all in the first round, by class; classes of one atom cannot split. */
function touchedClasses(
  { color, end }: Partition,
  users: { start: Int32Array; index: Int32Array },
  changed: Int32Array,
  first: boolean,
): Map<number, number[]> {
  const classes = new Map<number, number[]>();
  const seen = new Uint8Array(color.length);
  const touch = (i: number) => {
    if (seen[i] || end[color[i]] - color[i] === 1) return;
    seen[i] = 1;
    const atoms = classes.get(color[i]);
    if (atoms) atoms.push(i);
    else classes.set(color[i], [i]);
  };
  for (const j of changed)
    if (first) touch(j);
    else for (let u = users.start[j]; u < users.start[j + 1]; u++) touch(users.index[u]);
  return classes;
}

/** Atoms of one signature; `signature` is that of Signatures. `atoms` is absent for those that were not looked at. */
interface Group {
  readonly signature: Float64Array;
  readonly atoms: number[] | undefined;
}

interface Split {
  readonly begin: number;
  readonly groups: readonly Group[];
}

/** The parts of a class in the order of their signatures, when `touched` of its atoms may have changed theirs. */
function splitClass(partition: Partition, signatures: Signatures, begin: number, touched: readonly number[]): Group[] {
  const groups: Group[] = [];
  const byHash = new Map<number, Group[]>();
  for (const i of touched) {
    const hash = signatures.read(i);
    const alike = byHash.get(hash);
    const group = alike?.find(({ signature }) => signatures.isLast(signature));
    if (group) {
      group.atoms!.push(i);
      continue;
    }
    const fresh = { signature: signatures.last(), atoms: [i] };
    groups.push(fresh);
    if (alike) alike.push(fresh);
    else byHash.set(hash, [fresh]);
  }
  if (touched.length < partition.end[begin] - begin) {
    // The rest have one signature, and it is none of these: they list no changed atom.
    const isTouched = new Set(touched);
    let at = begin;
    while (isTouched.has(partition.members[at])) at++;
    signatures.read(partition.members[at]);
    groups.push({ signature: signatures.last(), atoms: undefined });
  }
  return groups.sort((a, b) => compare(a.signature, b.signature));
}

/** Give the parts of a class runs of their own; returns the atoms of all but the largest. */
function applySplit({ members, color, end }: Partition, { begin, groups }: Split): number[] {
  const stop = end[begin];
  const isListed = new Set(groups.flatMap(({ atoms }) => atoms ?? []));
  const rest: number[] = [];
  if (isListed.size < stop - begin)
    for (let at = begin; at < stop; at++) if (!isListed.has(members[at])) rest.push(members[at]);
  const parts = groups.map(({ atoms }) => atoms ?? rest);
  let largest = parts[0];
  let at = begin;
  for (const part of parts) {
    if (part.length > largest.length) largest = part;
    const from = at;
    for (const i of part) {
      members[at++] = i;
      color[i] = from;
    }
    end[from] = at;
  }
  return parts.flatMap((part) => (part === largest ? [] : part));
}

/** An atom's neighbours as (distance cluster, colour) in ascending order, one number each. */
class Signatures {
  readonly #lists: NeighborLists;
  readonly #cluster: Int32Array;
  readonly #color: Int32Array;
  #pairs = new Float64Array(64);
  #count = 0;

  constructor(lists: NeighborLists, cluster: Int32Array, color: Int32Array) {
    this.#lists = lists;
    this.#cluster = cluster;
    this.#color = color;
  }

  /** Read atom i's; returns a hash of it. */
  read(i: number): number {
    const { start, index } = this.#lists;
    const [from, end] = [start[i], start[i + 1]];
    if (end - from > this.#pairs.length) this.#pairs = new Float64Array(2 * (end - from));
    const pairs = this.#pairs;
    // Clusters stay below 2^31 and colours below 2^22, so a pair is an exact double. Lists are sorted by distance.
    for (let e = from; e < end; e++) {
      const pair = this.#cluster[e] * 2 ** 22 + this.#color[index[e]];
      let at = e - from;
      for (; at > 0 && pairs[at - 1] > pair; at--) pairs[at] = pairs[at - 1];
      pairs[at] = pair;
    }
    this.#count = end - from;
    let hash = this.#count;
    for (let at = 0; at < this.#count; at++) hash = Math.imul(hash ^ (pairs[at] % 0xfffffffb), 0x9e3779b1);
    return hash;
  }

  /** A copy of what was read last. */
  last(): Float64Array {
    return this.#pairs.slice(0, this.#count);
  }

  isLast(signature: Float64Array): boolean {
    if (signature.length !== this.#count) return false;
    for (let at = 0; at < this.#count; at++) if (signature[at] !== this.#pairs[at]) return false;
    return true;
  }
}

function compare(a: Float64Array, b: Float64Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** Numbers 0, 1, ... instead of where the runs begin. */
function ranked({ members, end }: Partition): Coloring {
  const atoms = new Int32Array(members.length);
  let count = 0;
  for (let begin = 0; begin < members.length; begin = end[begin]) {
    for (let at = begin; at < end[begin]; at++) atoms[members[at]] = count;
    count++;
  }
  return { atoms, count };
}

import type { OpName } from "../ops/ops.js";
import type { Axis, Node, Program, Value } from "../ops/program.js";
import { readingsOf } from "./check-inputs.js";
import type { Sizes } from "./sizes.js";

/**
 * The memory of a run, laid out once a program whatever the sizes: blocks one behind another, one for each batch input,
 * then one for the values of each axis; values of distinct numbers stand among those that the numbers are of.
 */
export interface ArenaPlan {
  readonly blocks: readonly Block[];
  /** The block of each batch input, by name. */
  readonly ofInput: ReadonlyMap<string, number>;
  /** Where each value lies, by its id: an input's numbers in the input's own block. */
  readonly places: readonly Place[];
}

/** So many 4-byte numbers for each row of the axis, and so many more. */
export interface Block {
  readonly rows: Axis;
  readonly columns: number;
  readonly more: number;
}

/** A value begins behind that many numbers for each row of the block. */
export interface Place {
  readonly block: number;
  readonly first: number;
}

/**
 * Operations whose kernels say that `out` may be one of their first inputs: how many. What they write in place needs no
 * second stretch of memory, or of the cache.
 */
const OVERWRITES: Partial<Record<OpName, number>> = {
  affine: 1,
  layerNorm: 1,
  sigmoid: 1,
  softplus: 1,
  shiftedSoftplus: 1,
  silu: 1,
  tanh: 1,
  exp: 1,
  hinge: 1,
  envelope: 1,
  scaleRows: 1,
  lstmCell: 2, // the cell: gates are four times as wide
  lstmOutput: 2,
  add: 2,
  mul: 2,
  ratio: 2,
  gatherSum: 3,
};

/**
 * Place values so that two share bytes only when the first is dead before the second is written, or is what it is written
 * over. A value lives from its node to its last reader, those in `kept` to the end. The widest come first, each as low as
 * it can: greedy by size of Pisarchyk and Lee, arXiv:2001.03288, with columns for bytes.
 */
export function planArena(program: Program, kept: readonly Value[] = [program.output]): ArenaPlan {
  const { nodes } = program;
  const blocks: Block[] = [];
  const ofInput = new Map<string, number>();
  for (const { name, kind, rows, columns } of readingsOf(program))
    if (!ofInput.has(name)) ofInput.set(name, blocks.push({ rows, columns, more: kind === "starts" ? 1 : 0 }) - 1);
  const places: Place[] = [];
  for (const { op, index, output } of nodes)
    if (op === "input") places[output.id] = { block: ofInput.get(index!)!, first: 0 };
  const computed = nodes.filter(({ op }) => op !== "input").map(({ output }) => output);
  const follows = successions(program, kept);
  for (const rows of new Set(computed.map(roomFor))) {
    const firsts = new Map<Value, number>();
    const ofAxis = computed.filter((value) => roomFor(value) === rows).sort((a, b) => b.columns - a.columns);
    for (const value of ofAxis) firsts.set(value, lowest(value, firsts, follows));
    const columns = Math.max(...ofAxis.map((value) => firsts.get(value)! + wide(value)));
    const block = blocks.push({ rows, columns, more: 0 }) - 1;
    for (const [{ id }, first] of firsts) places[id] = { block, first };
  }
  return { blocks, ofInput, places };
}

/** Axes that never have more rows than another: their values share its bytes. */
const WITHIN: Partial<Record<Axis, Axis>> = { L: "E", C: "T" };

const roomFor = ({ rows }: Value): Axis => WITHIN[rows] ?? rows;

/** How one value may follow another in its bytes: not at all, in exactly its place, or anywhere. */
type Succession = "no" | "in place" | "yes";

function successions({ nodes }: Program, kept: readonly Value[]): (a: Value, b: Value) => Succession {
  const lastReader = nodes.map((node) => node.output.id);
  for (const node of nodes) for (const { id } of node.inputs) lastReader[id] = node.output.id;
  for (const { id } of kept) lastReader[id] = nodes.length;
  return (a, b) => {
    const [first, second] = a.id < b.id ? [a, b] : [b, a];
    if (lastReader[first.id] !== second.id) return lastReader[first.id] < second.id ? "yes" : "no";
    return overwrites(nodes[second.id], first.id) ? "in place" : "no";
  };
}

/** Columns of a value with whole vectors of 16 bytes, however many its rows. */
const wide = ({ columns }: Value): number => Math.ceil(columns / 4) * 4;

/** A value's place in the way of none of those that have theirs: over one that dies for it, else the lowest gap. */
function lowest(value: Value, placed: ReadonlyMap<Value, number>, follows: (a: Value, b: Value) => Succession): number {
  const size = wide(value);
  const near: { readonly from: number; readonly end: number; readonly how: Succession }[] = [];
  for (const [other, from] of placed) {
    const how = follows(other, value);
    if (how !== "yes") near.push({ from, end: from + wide(other), how });
  }
  const over = near.find(
    ({ from: first, how }) =>
      how === "in place" &&
      near.every(
        ({ from, end, how }) => end <= first || first + size <= from || (how === "in place" && from === first),
      ),
  );
  if (over) return over.from;
  near.sort((a, b) => a.from - b.from);
  let first = 0;
  for (const { from, end } of near) {
    if (first + size <= from) break;
    first = Math.max(first, end);
  }
  return first;
}

/** Whether a node may write its output over this value, row by row. */
function overwrites({ op, inputs, indices = [], output, residual }: Node, value: number): boolean {
  const most = Math.min(OVERWRITES[op] ?? 0, residual ? inputs.length - 1 : inputs.length);
  const inOrder = ({ columns }: Value, i: number) => columns === output.columns && indices[i] === undefined;
  return inputs.every((input, i) => input.id !== value || (i < most && inOrder(input, i)));
}

/** Bytes of a block in a run: whole vectors of 16. */
export function blockBytes({ rows, columns, more }: Block, sizes: Sizes): number {
  return Math.ceil((sizes[rows] * columns + more) / 4) * 16;
}

/** Bytes that a run takes beside the weights, from its sizes alone: inputs that a batch may leave out count as there. */
export function runBytes({ blocks }: Pick<ArenaPlan, "blocks">, sizes: Sizes): number {
  let bytes = 0;
  for (const block of blocks) bytes += blockBytes(block, sizes);
  return bytes;
}

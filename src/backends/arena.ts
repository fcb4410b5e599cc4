import type { Batch } from "../graphs/batch.js";
import type { OpName } from "../ops/ops.js";
import type { Axis, Node, Program, Value } from "../ops/program.js";
import { readingsOf, type Sizes } from "./check-inputs.js";

/**
 * The memory of a run, laid out once a program whatever the sizes: blocks one behind another, first the batch inputs,
 * then slots that values share.
 */
export interface ArenaPlan {
  readonly blocks: readonly Block[];
  /** The block of each value, by id; that of a batch input read as numbers is the input's own. */
  readonly ofValue: readonly number[];
  /** The block of each batch input, by name. */
  readonly ofInput: ReadonlyMap<string, number>;
}

/** So many 4-byte numbers for each row of the axis, and so many more. */
export interface Block {
  readonly rows: Axis;
  readonly columns: number;
  readonly more: number;
}

/**
 * Operations whose kernels say that `out` may be one of their first inputs: how many. What they write in place needs no
 * second stretch of memory, or of the cache.
 */
const OVERWRITES: Partial<Record<OpName, number>> = {
  affine: 1,
  layerNorm: 1,
  gatherSum: 3,
  sigmoid: 1,
  softplus: 1,
  shiftedSoftplus: 1,
  silu: 1,
  tanh: 1,
  exp: 1,
  hinge: 1,
  envelope: 1,
  scaleRows: 1,
  add: 2,
  mul: 2,
  ratio: 2,
};

/**
 * Give values slots so that two share one only when the first is dead before the second is written, or is what it is
 * written over. A value lives from its node to its last reader, those in `kept` to the end. The widest come first, each
 * into the first slot of its axis that is free while it lives: greedy by size of Pisarchyk and Lee, arXiv:2001.03288.
 */
export function planArena(program: Program, kept: readonly Value[] = [program.output]): ArenaPlan {
  const { nodes } = program;
  const ofInput = new Map<string, number>();
  const blocks: Block[] = [];
  for (const { name, kind, rows, columns } of readingsOf(program))
    if (!ofInput.has(name)) ofInput.set(name, blocks.push({ rows, columns, more: kind === "starts" ? 1 : 0 }) - 1);
  const ofValue = nodes.map(({ op, index }) => (op === "input" ? ofInput.get(index!)! : -1));

  const lastReader = nodes.map((node) => node.output.id);
  for (const node of nodes) for (const { id } of node.inputs) lastReader[id] = node.output.id;
  for (const { id } of kept) lastReader[id] = nodes.length;
  const follows = (a: number, b: number) => lastReader[a] < b || (lastReader[a] === b && overwrites(nodes[b], a));
  const values: number[][] = [];
  const widestFirst = nodes.filter(({ op }) => op !== "input").sort((a, b) => b.output.columns - a.output.columns);
  for (const { output } of widestFirst) {
    const { id, rows, columns } = output;
    const free = (others: readonly number[]) => others.every((other) => follows(other, id) || follows(id, other));
    let at = blocks.findIndex((block, i) => i >= ofInput.size && block.rows === rows && free(values[i]));
    if (at < 0) at = blocks.push({ rows, columns, more: 0 }) - 1;
    values[at] ??= [];
    values[at].push(id);
    ofValue[id] = at;
  }
  return { blocks, ofValue, ofInput };
}

/** Whether a node may write its output over this value, row by row. */
function overwrites({ op, inputs, indices = [], output }: Node, value: number): boolean {
  const most = OVERWRITES[op] ?? 0;
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

/** What a batch's sizes allow at most: as many distinct lengths as bonds, as many cosines as pairs. */
export function largestSizes(sizes: Batch["sizes"]): Sizes {
  return { ...sizes, L: sizes.E, C: sizes.T };
}

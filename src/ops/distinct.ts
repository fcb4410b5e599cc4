/** Work on numbers that repeat is done once for each number: bonds of equal length, pairs of equal angle. */
import type { Axis, Node, Program, Value } from "./program.js";
import { type Pass, rewriteNodes } from "./rewrite.js";

/** Batch inputs of one number a row, and the axis of their distinct numbers. */
const SOURCES = [
  { name: "lengths", rows: "E", axis: "L" },
  { name: "cosines", rows: "T", axis: "C" },
] as const satisfies readonly { name: string; rows: Axis; axis: Axis }[];

/** Names of the inputs that bindDistinct makes of one: its distinct numbers, and for each row which of them it has. */
const distinctValues = (name: string) => `${name}.distinct`;
const distinctIndex = (name: string) => `${name}.row`;

/** The batch inputs of which those are made, by the names of both. */
export const MADE_OF: ReadonlyMap<string, { readonly name: string; readonly rows: "E" | "T" }> = new Map(
  SOURCES.flatMap((source) => [
    [distinctValues(source.name), source],
    [distinctIndex(source.name), source],
  ]),
);

/**
 * What follows row by row from lengths alone, or from cosines alone, moves to the axis of their distinct numbers (the
 * expansion in Gaussians, embeddings, the first layer's linear of them) and is gathered where it meets anything else. A
 * row's bits depend on no other row, so they stay what they were.
 */
export const moveToDistinct: Pass = (program) => SOURCES.reduce(moved, program);

function moved(program: Program, { name, axis }: (typeof SOURCES)[number]): Program {
  const moved = new Map<number, Value>();
  return rewriteNodes(program, (node, { fresh }) => {
    const { op, index, inputs, output } = node;
    const source = op === "input" && index === name;
    const follows = inputs.length > 0 && !node.indices && !node.starts && inputs.every(({ id }) => moved.has(id));
    if (!source && !follows) return node;
    const value = fresh(axis, output.columns);
    moved.set(output.id, value);
    const made: Node = source
      ? { ...node, output: value, index: distinctValues(name) }
      : { ...node, output: value, inputs: inputs.map(({ id }) => moved.get(id)!) };
    // For those that read it row by row; nobody, mostly.
    const spread: Node = source
      ? node
      : { op: "gather", output, inputs: [value], params: [], numbers: {}, indices: [distinctIndex(name)] };
    return [made, spread];
  });
}

/** Inputs of a batch, and the number of rows of each axis. */
export interface Bound {
  readonly sizes: Readonly<Record<Axis, number>>;
  readonly inputs: ReadonlyMap<string, Float32Array | Int32Array>;
}

/** The inputs of which a program reads distinct numbers. */
export type DistinctSources = readonly (typeof SOURCES)[number][];

export function distinctSources({ nodes }: Program): DistinctSources {
  return SOURCES.filter(({ axis }) => nodes.some(({ op, output }) => op === "input" && output.rows === axis));
}

/**
 * The batch with what a program reads besides: distinct numbers in ascending order, and for each row its number's place.
 * @param batch checked to have the inputs that the program reads
 */
export function bindDistinct(
  sources: DistinctSources,
  { sizes, inputs }: { sizes: Readonly<Record<"B" | "N" | "E" | "T", number>>; inputs: Bound["inputs"] },
): Bound {
  const made = new Map(inputs);
  const counts = { L: 0, C: 0 };
  for (const { name, axis } of sources) {
    const { values, rows } = distinct(inputs.get(name) as Float32Array);
    made.set(distinctValues(name), values);
    made.set(distinctIndex(name), rows);
    counts[axis] = values.length;
  }
  return { sizes: { ...sizes, ...counts }, inputs: made };
}

const FIRST_SLOTS = 256;

/** 2^32 over the golden ratio: spreads neighbouring bits over the table (Knuth, The Art of Computer Programming, 6.4). */
const SPREAD = 0x9e3779b9;

/** Numbers and the places where they were first seen, by open addressing on the bits; 0 and -0 are one number. */
class Table {
  #slots = new Int32Array(FIRST_SLOTS).fill(-1);
  #shift = 32 - Math.log2(FIRST_SLOTS);
  #bits = new Int32Array(FIRST_SLOTS / 2);
  count = 0;

  /** The place of some bits among those seen, in the order in which they came. */
  place(bits: number): number {
    const slots = this.#slots;
    let slot = Math.imul(bits, SPREAD) >>> this.#shift;
    for (;;) {
      const found = slots[slot];
      if (found < 0) break;
      if (this.#bits[found] === bits) return found;
      slot = (slot + 1) & (slots.length - 1);
    }
    if (this.count === this.#bits.length) {
      this.#grow();
      return this.place(bits);
    }
    slots[slot] = this.count;
    this.#bits[this.count] = bits;
    return this.count++;
  }

  /** A copy of the numbers seen. */
  numbers(): Float32Array {
    return new Float32Array(this.#bits.buffer, 0, this.count).slice();
  }

  #grow(): void {
    const bits = this.#bits;
    this.#bits = new Int32Array(2 * bits.length);
    this.#slots = new Int32Array(2 * this.#slots.length).fill(-1);
    this.#shift--;
    this.count = 0;
    for (const known of bits) this.place(known);
  }
}

function distinct(numbers: Float32Array): { values: Float32Array; rows: Int32Array } {
  const bits = new Int32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const table = new Table();
  const rows = new Int32Array(bits.length);
  for (let r = 0; r < bits.length; r++) rows[r] = table.place(bits[r] === MINUS_ZERO ? 0 : bits[r]);
  const values = table.numbers().sort();
  const sorted = new Int32Array(values.buffer);
  const rank = new Int32Array(values.length);
  for (let i = 0; i < sorted.length; i++) rank[table.place(sorted[i])] = i;
  for (let r = 0; r < rows.length; r++) rows[r] = rank[rows[r]];
  return { values, rows };
}

/** Its bits as an int32. */
const MINUS_ZERO = -0x80000000;

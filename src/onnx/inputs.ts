/** What an exported network is fed: its inputs, and a batch of crystals as their tensors. */
import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import type { Axis } from "../ops/program.js";
import type { OnnxType, OnnxValue } from "./model-proto.js";

/**
 * An input of an exported network.
 *   numbers   float32, `columns` a row
 *   index     int32, one a row
 *   starts    int32, one a row: the first of the rows of `over` that belong to it; with
 *   counts    int32, one a row: how many of them
 *   weights   float32, one a row; a batch without them means ones
 *   slots     int32: 0, 1, ... as many as the most of those counts, or more
 */
export interface OnnxInput {
  readonly name: string;
  readonly kind: "numbers" | "index" | "starts" | "counts" | "weights" | "slots";
  readonly rows: Axis;
  readonly columns: number;
  /** Of counts and slots: the batch's row starts that they are told by. */
  readonly of?: string;
}

/** A tensor to feed. */
export interface Feed {
  readonly type: "f32" | "i32";
  readonly dims: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** Rows that each axis is to have, and entries of each input of slots; dead ones are added up to them. */
export interface FeedSizes {
  readonly rows: Batch["sizes"];
  readonly slots: ReadonlyMap<string, number>;
}

/** What an input means, for those who make it without unitcell. */
const MEANINGS: Readonly<Record<string, string>> = {
  numbers: "atomic number of each atom, those of a crystal one after another",
  source: "sending atom of each bond",
  receiver: "receiving atom of each bond, ascending",
  edgeStart: "first bond of each receiving atom",
  edgeCount: "number of bonds of each receiving atom",
  crystalStart: "first atom of each crystal",
  crystalCount: "number of atoms of each crystal",
  atomCrystal: "crystal of each atom",
  edgeCrystal: "crystal of each bond, that of its receiving atom",
  lengths: "length of each bond, in Å",
  tripletSource: "sending bond of each pair of bonds",
  tripletReceiver: "receiving bond of each pair, ascending",
  tripletStart: "first pair of each receiving bond",
  tripletCount: "number of pairs of each receiving bond",
  cosines: "cosine of the angle of each pair",
  cell: "a, b, c in Å and alpha, beta, gamma in degrees of each crystal",
  state: "row of the table of states of each crystal",
  atomWeight: "how many equal atoms of its crystal each atom stands for; 1 unless the graph is compressed",
  edgeWeight: "how many equal bonds of its receiving atom each bond stands for; 1 unless the graph is compressed",
  tripletWeight: "how many equal pairs of its receiving bond each pair stands for; 1 unless the graph is compressed",
  edgeTotal: "edgeWeight times the receiving atom's atomWeight",
};

/** The names of the inputs made of some row starts: "edgeCount" and "edgeSlots" for "edgeStart". */
export const countsOf = (starts: string) => starts.replace(/Start$/, "Count");
export const slotsOf = (starts: string) => starts.replace(/Start$/, "Slots");

export const ROWS: Readonly<Record<string, string>> = { B: "crystals", N: "atoms", E: "bonds", T: "pairs" };

/** An input as the file declares it. */
export function declare({ name, kind, rows, columns }: OnnxInput): OnnxValue {
  const axis = ROWS[rows];
  const meaning =
    kind === "slots" ? `0, 1, 2, ... : as many as the most rows that a segment has, or more` : MEANINGS[name];
  const dims = kind === "slots" ? [name] : [axis, ...(columns > 1 ? [columns] : [])];
  return { name, type: typeOf(kind), dims, description: meaning };
}

function typeOf(kind: OnnxInput["kind"]): OnnxType & Feed["type"] {
  return kind === "numbers" || kind === "weights" ? "f32" : "i32";
}

/**
 * The least sizes that a batch can be fed with. No axis is empty: an axis without rows gets a dead one, which no segment
 * holds, since runtimes differ in what they make of nothing.
 */
export function feedSizes(inputs: readonly OnnxInput[], batch: Batch): FeedSizes {
  const { B, N, E, T } = batch.sizes;
  const slots = new Map<string, number>();
  for (const { name, kind, of } of inputs)
    if (kind === "slots") slots.set(name, Math.max(1, longest(find(batch, of!))));
  return { rows: { B, N: Math.max(1, N), E: Math.max(1, E), T: Math.max(1, T) }, slots };
}

/** Arrays for padded tensors, one for each input, used again while its size stays. */
export class FeedArrays {
  readonly #arrays = new Map<string, Float32Array | Int32Array>();

  get(name: string, type: Feed["type"], count: number): Float32Array | Int32Array {
    const former = this.#arrays.get(name);
    if (former?.length === count) return former;
    const made = type === "f32" ? new Float32Array(count) : new Int32Array(count);
    this.#arrays.set(name, made);
    return made;
  }
}

/** Most rows in a segment. */
function longest(starts: ArrayLike<number>): number {
  let most = 0;
  for (let s = 0; s + 1 < starts.length; s++) most = Math.max(most, starts[s + 1] - starts[s]);
  return most;
}

/**
 * A batch as tensors, one for each input. Dead rows, up to the sizes asked for, are in no segment, so that no result that
 * is looked at depends on them; dead segments are empty.
 * @param arrays to write padded tensors into
 * @throws {UnitcellError} MISMATCH where the batch lacks an input
 */
export function feedsOf(
  inputs: readonly OnnxInput[],
  batch: Batch,
  sizes = feedSizes(inputs, batch),
  arrays = new FeedArrays(),
): Map<string, Feed> {
  return new Map(inputs.map((input) => [input.name, feedOf(input, batch, sizes, arrays)]));
}

function feedOf(
  { name, kind, rows, columns, of }: OnnxInput,
  batch: Batch,
  sizes: FeedSizes,
  arrays: FeedArrays,
): Feed {
  if (kind === "slots") {
    const count = sizes.slots.get(name)!;
    return { type: "i32", dims: [count], data: Int32Array.from({ length: count }, (_, i) => i) };
  }
  const type = typeOf(kind);
  const height = sizes.rows[rows as keyof Batch["sizes"]];
  const dims = columns > 1 ? [height, columns] : [height];
  const live = numbersOf(name, kind, of, batch);
  const count = height * columns;
  if (live?.length === count) return { type, dims, data: live };
  const data = arrays.get(name, type, count);
  data.set(live ?? []);
  data.fill(FILLERS[kind], live?.length ?? 0);
  return { type, dims, data };
}

/** Of dead rows: indices of what there is, no rows in segments, lengths and weights like any other. */
const FILLERS = { index: 0, starts: 0, counts: 0, numbers: 1, weights: 1 } as const;

/** Those of the batch's own rows; none where they are ones. */
function numbersOf(
  name: string,
  kind: OnnxInput["kind"],
  of: string | undefined,
  batch: Batch,
): Float32Array | Int32Array | undefined {
  if (kind === "weights") return batch.inputs.get(name);
  const found = find(batch, of ?? name);
  if (kind === "starts") return found.subarray(0, -1);
  if (kind === "counts") return Int32Array.from({ length: found.length - 1 }, (_, s) => found[s + 1] - found[s]);
  return found;
}

function find({ inputs }: Batch, name: string): Float32Array | Int32Array {
  const found = inputs.get(name);
  if (!found) throw new UnitcellError("MISMATCH", `the batch has no input "${name}"`);
  return found;
}

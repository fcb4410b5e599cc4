/** What an exported network is fed: its inputs, and a batch of crystals as their tensors. */
import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import type { Axis } from "../ops/program.js";
import type { OnnxType, OnnxValue } from "./model-proto.js";

/**
 * An input of an exported network.
 *   numbers   float32, `columns` a row
 *   index     int32, one a row
 *   starts    int32, one a row and one more
 *   weights   float32, one a row; a batch without them means ones
 *   slots     int32: 0, 1, ... up to the most rows that a segment of `of` has, which may be more but not fewer
 */
export interface OnnxInput {
  readonly name: string;
  readonly kind: "numbers" | "index" | "starts" | "weights" | "slots";
  readonly rows: Axis;
  readonly columns: number;
  /** Of slots: the row starts whose segments they count through. */
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
  edgeStart: "first bond of each receiving atom, and the count of bonds",
  crystalStart: "first atom of each crystal, and the count of atoms",
  atomCrystal: "crystal of each atom",
  edgeCrystal: "crystal of each bond, that of its receiving atom",
  lengths: "length of each bond, in Å",
  tripletSource: "sending bond of each pair of bonds",
  tripletReceiver: "receiving bond of each pair, ascending",
  tripletStart: "first pair of each receiving bond, and the count of pairs",
  cosines: "cosine of the angle of each pair",
  cell: "a, b, c in Å and alpha, beta, gamma in degrees of each crystal",
  state: "row of the table of states of each crystal",
  atomWeight: "how many equal atoms of its crystal each atom stands for; 1 unless the graph is compressed",
  edgeWeight: "how many equal bonds of its receiving atom each bond stands for; 1 unless the graph is compressed",
  tripletWeight: "how many equal pairs of its receiving bond each pair stands for; 1 unless the graph is compressed",
  edgeTotal: "edgeWeight times the receiving atom's atomWeight",
};

/** The name of the input of slots for some row starts: "edgeSlots" for "edgeStart". */
export const slotsOf = (starts: string) => starts.replace(/Start$/, "Slots");

export const ROWS: Readonly<Record<string, string>> = { B: "crystals", N: "atoms", E: "bonds", T: "pairs" };

/** An input as the file declares it. */
export function declare({ name, kind, rows, columns, of }: OnnxInput): OnnxValue {
  const axis = ROWS[rows];
  const meaning =
    kind === "slots" ? `0, 1, 2, ... : as many as the most rows that a segment of ${of} has, or more` : MEANINGS[name];
  const dims =
    kind === "slots" ? [name] : [kind === "starts" ? `${axis} + 1` : axis, ...(columns > 1 ? [columns] : [])];
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
  for (const { name, of } of inputs) if (of !== undefined) slots.set(name, Math.max(1, longest(find(batch, of))));
  return { rows: { B, N: Math.max(1, N), E: Math.max(1, E), T: Math.max(1, T) }, slots };
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
 * @throws {UnitcellError} MISMATCH where the batch lacks an input
 */
export function feedsOf(
  inputs: readonly OnnxInput[],
  batch: Batch,
  sizes = feedSizes(inputs, batch),
): Map<string, Feed> {
  return new Map(inputs.map((input) => [input.name, feedOf(input, batch, sizes)]));
}

function feedOf({ name, kind, rows, columns }: OnnxInput, batch: Batch, sizes: FeedSizes): Feed {
  if (kind === "slots") {
    const count = sizes.slots.get(name)!;
    return { type: "i32", dims: [count], data: Int32Array.from({ length: count }, (_, i) => i) };
  }
  const type = typeOf(kind);
  const height = sizes.rows[rows as keyof Batch["sizes"]] + (kind === "starts" ? 1 : 0);
  const dims = columns > 1 ? [height, columns] : [height];
  const count = height * columns;
  const given = kind === "weights" && !batch.inputs.has(name) ? undefined : find(batch, name);
  if (given?.length === count) return { type, dims, data: given };
  const data = type === "f32" ? new Float32Array(count) : new Int32Array(count);
  data.set(given ?? []);
  // Of dead rows: index 0, which there is; lengths and weights like any other; the end of all segments.
  const filler = kind === "index" ? 0 : kind === "starts" ? given!.at(-1)! : 1;
  data.fill(filler, given?.length ?? 0);
  return { type, dims, data };
}

function find({ inputs }: Batch, name: string): Float32Array | Int32Array {
  const found = inputs.get(name);
  if (!found) throw new UnitcellError("MISMATCH", `the batch has no input "${name}"`);
  return found;
}

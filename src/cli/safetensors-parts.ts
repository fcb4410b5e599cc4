/** What of a checkpoint goes into a .safetensors file, and what cannot. */
import { findStateDict } from "../checkpoint/layouts.js";
import { namedValues } from "../checkpoint/parts.js";
import { UnitcellError } from "../errors.js";
import { numpyNumber } from "../formats/numpy-values.js";
import { SHARED_KEY } from "../formats/safetensors-save.js";
import { TorchTensor } from "../formats/torch-tensors.js";
import { NumpyScalar, SparseTensor, type TorchValue } from "../formats/values.js";
import { isTensor } from "../formats/walk.js";
import { nameTensors } from "../summary.js";
import type { Tensor } from "../tensor.js";
import type { OpenedFile } from "./open.js";
import { shownName } from "./shown.js";
import { tensorPieces } from "./tensor-pieces.js";
import { kindOf, textOf } from "./tree.js";

export interface SafetensorsParts {
  readonly tensors: Map<string, Tensor>;
  /** Values beside the tensors, as JSON texts. */
  readonly metadata: Map<string, string>;
  /** What has no place, in words. */
  readonly leftOut: string[];
}

/** Levels and characters of one value in the metadata. */
const MOST_DEPTH = 8;
const MOST_JSON = 64 * 1024;

/**
 * The state dict, or all tensors by dotted names where there is none.
 * @throws {UnitcellError} UNSUPPORTED for sparse tensors in a state dict and for a file without tensors, MISMATCH when
 *   two tensors have one name
 */
export function safetensorsParts(root: TorchValue): SafetensorsParts {
  const found = findStateDict(root);
  const parts: SafetensorsParts = { tensors: new Map(), metadata: new Map(), leftOut: [] };
  for (const { name, key, tensor } of nameTensors(root)) {
    if (found && key === undefined) continue;
    const taken = key ?? name;
    if (parts.tensors.has(taken))
      throw new UnitcellError("MISMATCH", `two tensors of the file are named ${shownName(taken)}`, { name: taken });
    parts.tensors.set(taken, tensor);
  }
  if (parts.tensors.size === 0) throw new UnitcellError("UNSUPPORTED", "the file holds no tensors");
  for (const [name, value] of found?.dict ?? []) {
    if (typeof name === "string" && isTensor(value)) continue;
    if (value instanceof SparseTensor)
      throw new UnitcellError("UNSUPPORTED", `safetensors cannot hold the ${value.layout} tensor ${textOf(name)}`);
    parts.leftOut.push(`${textOf(name)} of the state dict (${kindOf(value)})`);
  }
  if (root instanceof Map && root !== found?.dict)
    for (const [key, value] of root) if (key !== found?.key) addValue(parts, key, value, !found);
  return parts;
}

function addValue(parts: SafetensorsParts, key: TorchValue, value: TorchValue, hasTensors: boolean): void {
  const json = typeof key === "string" ? jsonOf(value) : undefined;
  if (json !== undefined) parts.metadata.set(key as string, json);
  // Without a state dict the tensors inside are kept under their own names.
  else if (!(hasTensors && isTensor(value)))
    parts.leftOut.push(`${typeof key === "string" ? shownName(key) : textOf(key)} (${kindOf(value)})`);
}

/** A value as JSON when it is text, numbers and containers of them; NaN and infinities become strings. */
function jsonOf(value: TorchValue): string | undefined {
  try {
    const text = JSON.stringify(plain(value, 0));
    return text.length <= MOST_JSON ? text : undefined;
  } catch (error) {
    if (error === NOT_JSON) return undefined;
    throw error;
  }
}

const NOT_JSON = new Error("no JSON");

function plain(value: TorchValue, depth: number): unknown {
  if (depth > MOST_DEPTH) throw NOT_JSON;
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "bigint") return String(value);
  if (value instanceof NumpyScalar && numpyNumber(value) !== undefined) return plain(numpyNumber(value)!, depth);
  if (Array.isArray(value) && value.length <= MOST_JSON) return value.map((item) => plain(item, depth + 1));
  const named = namedValues(value);
  if (!named || named.size > MOST_JSON) throw NOT_JSON;
  return Object.fromEntries([...named].map(([key, item]) => [key, plain(item, depth + 1)]));
}

/**
 * Ties tensors again that our writer wrote apart, where they still are equal to the bit.
 * @returns how many
 */
export async function retie(file: OpenedFile): Promise<number> {
  const { root, info } = file;
  const metadata = info.get("metadata");
  const text = metadata instanceof Map ? metadata.get(SHARED_KEY) : undefined;
  if (typeof text !== "string" || !(root instanceof Map)) return 0;
  let count = 0;
  for (const [name, first] of sharedNames(text)) {
    const [tensor, original] = [root.get(name), root.get(first)];
    if (!(tensor instanceof TorchTensor && original instanceof TorchTensor) || tensor === original) continue;
    if (tensor.dtype !== original.dtype || tensor.shape.join() !== original.shape.join()) continue;
    if (!(await sameBytes(file, tensor, original))) continue;
    tensor.storage = original.storage;
    count++;
  }
  return count;
}

/** The JSON object {name: first name} of our writer; nothing when it is something else. */
function sharedNames(text: string): [string, string][] {
  try {
    const found: unknown = JSON.parse(text);
    if (typeof found !== "object" || found === null || Array.isArray(found)) return [];
    return Object.entries(found).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  } catch {
    return [];
  }
}

async function sameBytes(file: OpenedFile, a: Tensor, b: Tensor): Promise<boolean> {
  const others = tensorPieces(file, b);
  for await (const piece of tensorPieces(file, a)) {
    const other = (await others.next()).value as Uint8Array;
    if (Buffer.compare(piece, other) !== 0) return false;
  }
  return true;
}

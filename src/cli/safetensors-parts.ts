/** What of a checkpoint goes into a .safetensors file, and what cannot. */
import { findStateDict } from "../checkpoint/layouts.js";
import { plainValue } from "../checkpoint/plain.js";
import { UnitcellError } from "../errors.js";
import { jsonOf } from "../formats/json-values.js";
import { SHARED_KEY } from "../formats/safetensors-save.js";
import { elementCount, TorchTensor } from "../formats/torch-tensors.js";
import { Float, placeFloat, SparseTensor, type TorchValue } from "../formats/values.js";
import { isTensor } from "../formats/walk.js";
import { nameTensors } from "../summary.js";
import { isRealNumber, type Tensor, toScalar } from "../tensor.js";
import type { OpenedFile } from "./open.js";
import { shownName } from "./shown.js";
import { tensorPieces } from "./tensor-pieces.js";
import { kindOf, textOf } from "./tree.js";

export interface SafetensorsParts {
  readonly tensors: Map<string, Tensor>;
  /** Values beside the tensors, as JSON texts (checkpoint/metadata.ts). */
  readonly metadata: Map<string, string>;
  /** What has no place, in words. */
  readonly leftOut: string[];
}

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
  const plain = typeof key === "string" ? plainValue(value) : undefined;
  const json = plain === undefined ? undefined : jsonOf(plain);
  if (json !== undefined) parts.metadata.set(key as string, json);
  // Without a state dict the tensors inside are kept under their own names.
  else if (!(hasTensors && isTensor(value)))
    parts.leftOut.push(`${typeof key === "string" ? shownName(key) : textOf(key)} (${kindOf(value)})`);
}

/**
 * Puts numbers in place of tensors of one element beside the state dict, at the top and in a normalizer, as CGCNN's main.py
 * saves them: metadata has no place for tensors, and without its normalizer a network predicts something else.
 */
export async function readScalars(file: OpenedFile): Promise<void> {
  const { root } = file;
  const key = findStateDict(root)?.key;
  if (!(root instanceof Map) || key === undefined) return;
  const normalizer = root.get("normalizer");
  for (const dict of [root, ...(normalizer instanceof Map ? [normalizer] : [])] as Map<TorchValue, TorchValue>[])
    for (const [name, value] of dict) {
      if (!isTensor(value) || name === key || !isRealNumber(value.dtype) || elementCount(value.shape) !== 1) continue;
      const { dtype, shape } = value;
      const number = toScalar({ dtype, shape, data: await file.read(value) });
      dict.set(name, placeFloat(/^b?f/.test(dtype) ? new Float(number) : number, dict, name));
    }
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

/**
 * A TorchValue as JSON that test/interop.py gives too for the Python value: type-tagged, numbers to the bit, what is one
 * object in two places marked as such.
 *
 * Containers, byte arrays and tensors are {"k": kind, ...}; the second time one is met it is {"k": "ref", "n": i}, i
 * counting them in order of first meeting. Storages are counted likewise.
 */
import { classDtype } from "../src/formats/pickled-storages.js";
import { rowMajorStrides, Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import {
  ByteArray,
  Complex,
  Float,
  isFloatAt,
  isFloatKey,
  OrderedDict,
  SparseTensor,
  TorchConstant,
  TorchSize,
  type TorchValue,
} from "../src/formats/values.js";
import { type Tensor, TORCH_DTYPES } from "../src/tensor.js";

export type Json = null | boolean | string | number | Json[] | { [key: string]: Json };

interface Seen {
  readonly objects: Map<object, number>;
  readonly storages: Map<object, number>;
}

/** The description of a value and everything in it. */
export function describeValue(value: TorchValue): Json {
  return describe(value, false, { objects: new Map(), storages: new Map() });
}

/** Sets have no order: their members sorted, in what this or interop.py gave. */
export function sortSets(json: Json): Json {
  if (Array.isArray(json)) return json.map(sortSets);
  if (typeof json !== "object" || json === null) return json;
  const sorted = Object.fromEntries(Object.entries(json).map(([key, part]) => [key, sortSets(part)]));
  if (json.k === "set" || json.k === "frozenset")
    (sorted.items as Json[]).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return sorted;
}

/** Where two descriptions first differ, and how; undefined when they are equal. */
export function difference(found: Json | undefined, expected: Json | undefined, path = "value"): string | undefined {
  const [a, b] = [found, expected];
  if (a === b) return undefined;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b || Array.isArray(a) !== Array.isArray(b))
    return `${path}: found ${JSON.stringify(a)?.slice(0, 600)}, expected ${JSON.stringify(b)?.slice(0, 600)}`;
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const [inA, inB] = [a, b].map((node) => (node as { [key: string]: Json })[key]);
    const found = difference(inA, inB, `${path}.${key}`);
    if (found) return found;
  }
  return undefined;
}

function describe(value: TorchValue, isFloat: boolean, seen: Seen): Json {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") return { k: "int", v: String(value) };
  if (typeof value === "number") {
    const whole = Number.isInteger(value) && Math.abs(value) <= 2 ** 53 && !Object.is(value, -0);
    return whole && !isFloat ? { k: "int", v: String(value) } : { k: "float", bits: bits(value) };
  }
  if (value instanceof Float) return { k: "float", bits: bits(value.value) };
  if (value instanceof Complex) return { k: "complex", re: bits(value.re), im: bits(value.im) };
  if (value instanceof TorchConstant) return { k: value.kind, v: String(value) };
  if (value instanceof TorchSize) return { k: "size", v: [...value] };
  if (value instanceof Storage) return storageOf(value, seen);
  if (value instanceof Uint8Array && !(value instanceof ByteArray)) return { k: "bytes", hex: hex(value) };
  if (Array.isArray(value) && Object.isFrozen(value)) return { k: "tuple", items: items(value, seen) };
  const known = seen.objects.get(value);
  if (known !== undefined) return { k: "ref", n: known };
  seen.objects.set(value, seen.objects.size);
  return describeObject(value, seen);
}

function describeObject(value: object, seen: Seen): Json {
  if (value instanceof ByteArray) return { k: "bytearray", hex: hex(value) };
  if (Array.isArray(value)) return { k: "list", items: items(value, seen) };
  if (value instanceof Set) {
    const kind = Object.isFrozen(value) ? "frozenset" : "set";
    return { k: kind, items: [...value].map((member) => describe(member, isFloatAt(value, member), seen)) };
  }
  if (value instanceof Map) {
    const kind = value instanceof OrderedDict ? "OrderedDict" : "dict";
    const entries = [...value].map(([key, item]) => [
      describe(key, isFloatKey(value, key), seen),
      describe(item, isFloatAt(value, key), seen),
    ]);
    const attributes = value instanceof OrderedDict ? value.attributes : undefined;
    return { k: kind, items: entries, attrs: attributes ? describe(attributes, false, seen) : null };
  }
  if (value instanceof SparseTensor) {
    const parts = [...value.parts.values()].map((part) => describe(part, false, seen));
    return {
      k: "sparse",
      layout: `torch.${value.layout}`,
      parts,
      shape: [...value.shape],
      coalesced: value.isCoalesced ?? false,
    };
  }
  return tensorOf(value as Tensor, seen);
}

function items(list: readonly TorchValue[], seen: Seen): Json[] {
  return list.map((item, i) => describe(item, isFloatAt(list, i), seen));
}

/** A hand-made tensor is described as what it is read as. */
function tensorOf(tensor: Tensor, seen: Seen): Json {
  const { dtype, shape } = tensor;
  const asTorch = tensor instanceof TorchTensor ? tensor : undefined;
  const storage = asTorch ? asTorch.storage : new Storage("?", undefined, tensor.data.length, "cpu", tensor.data);
  const attributes = asTorch?.attributes;
  const quantizer = asTorch?.quantizer;
  return {
    k: "tensor",
    dtype: `torch.${TORCH_DTYPES[dtype]}`,
    shape: [...shape],
    stride: [...(asTorch?.strides ?? rowMajorStrides(shape))],
    offset: asTorch?.storage ? asTorch.offset : 0,
    grad: asTorch?.requiresGrad ?? false,
    param: asTorch?.isParameter ?? false,
    conj: asTorch?.conj ?? false,
    neg: asTorch?.neg ?? false,
    storage: storage ? storageBytes(storage, seen) : null,
    quantizer: quantizer ? items(quantizer, seen) : null,
    attrs: attributes ? describe(attributes, false, seen) : null,
  };
}

/** A storage as a value; untyped ones are read as bytes. */
function storageOf(storage: Storage, seen: Seen): Json {
  const dtype = classDtype(storage) ?? "u8";
  return { k: "storage", dtype: `torch.${TORCH_DTYPES[dtype]}`, storage: storageBytes(storage, seen) };
}

/** torch makes a new empty storage for each reference it reads, so those have no number. */
function storageBytes(storage: Storage, seen: Seen): Json {
  if (storage.byteLength === 0) return { n: null, hex: "" };
  const known = seen.storages.get(storage);
  if (known === undefined) seen.storages.set(storage, seen.storages.size);
  return { n: known ?? seen.storages.size - 1, hex: hex(storage.bytes!) };
}

function bits(value: number): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return hex(new Uint8Array(view.buffer));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

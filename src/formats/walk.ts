/** Walking a value: every part once, by identity, without recursion (files can nest a million levels deep and in cycles). */
import type { Tensor } from "../tensor.js";
import { TorchTensor } from "./torch-tensors.js";
import { NumpyArray, OrderedDict, PythonObject, SparseTensor, type TorchValue } from "./values.js";

/** Where a part is: the key in its parent, up to the root. */
export interface Place {
  readonly parent: Place | undefined;
  /** A dict key, an index, the name of an attribute or part. */
  readonly key: TorchValue;
}

export interface Part {
  readonly value: TorchValue;
  /** undefined for the root. */
  readonly place: Place | undefined;
}

/** All parts of a value, depth first in file order; a part that occurs twice is given once, at its first place. */
export function* walkParts(root: TorchValue): Generator<Part> {
  const seen = new Set<TorchValue>();
  const open: Part[] = [{ value: root, place: undefined }];
  while (open.length > 0) {
    const part = open.pop()!;
    const { value } = part;
    if (typeof value === "object" && value !== null) {
      if (seen.has(value)) continue;
      seen.add(value);
    }
    yield part;
    const inner = partsOf(part);
    for (let i = inner.length - 1; i >= 0; i--) open.push(inner[i]);
  }
}

/** A tensor made by hand, or a file's own. */
export function isTensor(value: unknown): value is Tensor {
  return (
    value instanceof TorchTensor ||
    (typeof value === "object" && value !== null && "dtype" in value && "shape" in value && "data" in value)
  );
}

/** The tensors of a value with their places, parts of sparse tensors and scales of quantized ones included. */
export function* walkTensors(root: TorchValue): Generator<{ tensor: Tensor; place: Place | undefined }> {
  for (const { value, place } of walkParts(root)) if (isTensor(value)) yield { tensor: value, place };
}

/** Keys joined by dots, as torch names parameters: `state_dict.conv.weight`, `optimizer.state.0.exp_avg`. */
export function placeName(place: Place | undefined): string {
  const keys: string[] = [];
  for (let at = place; at; at = at.parent)
    keys.push(typeof at.key === "object" && at.key !== null ? "(object)" : String(at.key));
  return keys.reverse().join(".");
}

/** What is directly inside a value. */
export function partsOf({ value, place }: Part): Part[] {
  const parts: Part[] = [];
  const add = (key: TorchValue, item: TorchValue | undefined) => {
    if (item !== undefined) parts.push({ value: item, place: { parent: place, key } });
  };
  if (typeof value !== "object" || value === null) return parts;
  if (Array.isArray(value)) for (const [i, item] of value.entries()) add(i, item);
  else if (value instanceof Set) for (const item of value) add(parts.length, item);
  else if (value instanceof Map) {
    for (const [key, item] of value) {
      if (typeof key === "object" && key !== null) add("(key)", key);
      add(key, item);
    }
    if (value instanceof OrderedDict) add("(attributes)", value.attributes);
  } else if (value instanceof PythonObject) {
    for (const [i, item] of value.args.entries()) add(`(argument ${i})`, item);
    add("(keywords)", value.kwargs);
    if (value.callee instanceof PythonObject) add("(callee)", value.callee);
    // Attributes are what a reader looks for: they go by their own names.
    if (value.state instanceof Map) for (const [key, item] of value.state) add(key, item);
    else add("(state)", value.state);
    add("(items)", value.listItems);
    if (value.dictItems) for (const [key, item] of value.dictItems) add(key, item);
  } else if (value instanceof SparseTensor) for (const [name, part] of value.parts) add(name, part);
  else if (value instanceof NumpyArray) for (const [i, item] of (value.items ?? []).entries()) add(i, item);
  else if (value instanceof TorchTensor) {
    add("(quantizer)", value.quantizer);
    add("(attributes)", value.attributes);
  }
  return parts;
}

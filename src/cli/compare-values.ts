/** Where two values differ, whatever is in them: walked side by side, without recursion, through cycles too. */
import { numpyNumber } from "../formats/numpy-number.js";
import { Storage, TorchTensor } from "../formats/torch-tensors.js";
import { NumpyArray, NumpyScalar, type TorchValue } from "../formats/values.js";
import { isTensor, partsOf } from "../formats/walk.js";
import type { Tensor } from "../tensor.js";
import { quotedText, shownName } from "./shown.js";
import { kindOf, textOf } from "./tree.js";

export type Found =
  /** A value on one side only, or two that differ, as short texts. */
  | { readonly path: string; readonly a: string | undefined; readonly b: string | undefined }
  /** Two tensors at one place, for the caller to compare. */
  | { readonly path: string; readonly tensors: readonly [Tensor, Tensor] };

interface Pair {
  readonly path: string;
  readonly a: TorchValue | undefined;
  readonly b: TorchValue | undefined;
}

/**
 * Differences in the order of `a`. Dicts are equal in any order and whether or not they are OrderedDicts, numbers as in
 * Python (1 == 1.0 == True), NaN to NaN; a list is no tuple.
 * @param tolerance for numbers
 */
export function* compareValues(root: TorchValue, other: TorchValue, tolerance: number): Generator<Found> {
  const seen = new Map<TorchValue, Set<TorchValue>>();
  const open: Pair[] = [{ path: "", a: root, b: other }];
  while (open.length > 0) {
    const pair = open.pop()!;
    const { path } = pair;
    if (pair.a === undefined || pair.b === undefined) {
      yield { path, a: short(pair.a), b: short(pair.b) };
      continue;
    }
    const [a, b] = [comparable(pair.a), comparable(pair.b)];
    if (isTensor(a) && isTensor(b)) {
      yield { path, tensors: [a, b] };
      continue;
    }
    if (!sameItself(a, b, tolerance)) {
      yield { path, a: short(pair.a), b: short(pair.b) };
      continue;
    }
    if (typeof a !== "object" || a === null) continue;
    const met = seen.get(a);
    if (met?.has(b)) continue;
    if (met) met.add(b);
    else seen.set(a, new Set([b]));
    const inner = innerPairs(path, a, b);
    for (let i = inner.length - 1; i >= 0; i--) open.push(inner[i]);
  }
}

/** A numpy number as the number, a storage as a tensor of its bytes. */
function comparable(value: TorchValue): TorchValue {
  if (value instanceof NumpyScalar) return numpyNumber(value) ?? value;
  if (!(value instanceof Storage)) return value;
  return TorchTensor.over(value, { dtype: "u8", shape: [value.byteLength], strides: [1], offset: 0 });
}

/** True when two values are equal save for what is inside them. */
function sameItself(a: TorchValue, b: TorchValue, tolerance: number): boolean {
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined) {
    // biome-ignore lint/suspicious/noDoubleEquals: a bigint and a number
    if (x == y || (Number.isNaN(x) && Number.isNaN(y))) return true;
    return Math.abs(Number(x) - Number(y)) <= tolerance;
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (a instanceof Map && b instanceof Map) return true;
  if (kindOf(a) !== kindOf(b)) return false;
  if (a instanceof Uint8Array) return sameBytes(a, b as Uint8Array);
  if (a instanceof NumpyArray) return textOf(a) === textOf(b) && sameBytes(a.bytes, (b as NumpyArray).bytes);
  if (a instanceof NumpyScalar) return textOf(a) === textOf(b) && sameBytes(a.bytes, (b as NumpyScalar).bytes);
  // Containers are compared item by item; every other class says all in its text.
  return Array.isArray(a) || a instanceof Set || textOf(a) === textOf(b);
}

function numeric(value: TorchValue): number | bigint | undefined {
  if (typeof value === "boolean") return Number(value);
  return typeof value === "number" || typeof value === "bigint" ? value : undefined;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** What is inside two values, by key. */
function innerPairs(path: string, a: TorchValue, b: TorchValue): Pair[] {
  const [ours, theirs] = [keyed(a), keyed(b)];
  const pairs: Pair[] = [];
  for (const [id, { name, value }] of ours)
    pairs.push({ path: joined(path, name), a: value, b: theirs.get(id)?.value });
  for (const [id, { name, value }] of theirs)
    if (!ours.has(id)) pairs.push({ path: joined(path, name), a: undefined, b: value });
  return pairs;
}

function joined(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

type Keyed = Map<string, { readonly name: string; readonly value: TorchValue }>;

function keyed(value: TorchValue): Keyed {
  const inner: Keyed = new Map();
  const add = (key: TorchValue, item: TorchValue) => {
    const name = typeof key === "string" ? shownName(key) : `${textOf(key)}`;
    const id = identity(key);
    // Keys that only a nested object tells apart are numbered.
    inner.set(inner.has(id) ? `${id} ${inner.size}` : id, { name, value: item });
  };
  if (value instanceof Map) for (const [key, item] of value) add(key, item);
  else if (value instanceof Set) for (const item of value) add(item, item);
  else for (const { place, value: item } of partsOf({ value, place: undefined })) add(place!.key, item);
  return inner;
}

/** Equal for keys that Python calls equal. */
function identity(key: TorchValue): string {
  const number = numeric(key);
  if (number !== undefined) return `number ${number}`;
  if (typeof key === "string") return `text ${key}`;
  const items = Array.isArray(key) ? key.slice(0, 8).map((item) => textOf(item)) : [];
  return `${kindOf(key)} ${textOf(key)} ${items.join()}`;
}

/** A value in a few words. */
function short(value: TorchValue | undefined): string | undefined {
  if (value === undefined) return undefined;
  // Longer than elsewhere: two paths may differ at their ends only.
  if (typeof value === "string") return quotedText(value);
  const text = textOf(value);
  if (typeof value !== "object" || value === null) return text;
  return text === undefined ? kindOf(value) : `${kindOf(value)} ${text}`;
}

/** Settings as plain values: what JSON and torch.load(weights_only=True) understand. */
import {
  Float,
  isFloatAt,
  NumpyScalar,
  placeFloat,
  TorchConstant,
  TorchSize,
  type TorchValue,
} from "../formats/values.js";
import { namedValues, pythonScalar } from "./parts.js";

/** Levels of dicts and lists, and values in all: a file may nest in cycles, and hold one list in a million places. */
const MOST_DEPTH = 32;
const MOST_VALUES = 2 ** 16;

export interface Plain<T> {
  readonly value: T;
  /** What has no plain form, by its path: "args.model". */
  readonly leftOut: readonly string[];
}

/**
 * A copy of named settings. A Namespace becomes a dict, a set a list, numpy's scalars Python's; a dtype or device its
 * text. Everything else (tensors, arrays, objects, bytes, dicts with other keys than texts) is left out; so is a list with
 * one of these in it.
 */
export function plainSettings(args: ReadonlyMap<string, TorchValue>, at: string): Plain<Map<string, TorchValue>> {
  const copy = new PlainCopy();
  return { value: copy.dict(args, at, 0), leftOut: copy.leftOut };
}

/** A copy of one value, as plainSettings; undefined where a part of it has no plain form. */
export function plainValue(value: TorchValue, isFloat = false): TorchValue | undefined {
  const copy = new PlainCopy();
  const plain = copy.value(value, isFloat, "", 0);
  return copy.leftOut.length === 0 ? plain : undefined;
}

class PlainCopy {
  readonly leftOut: string[] = [];
  private count = 0;

  dict(of: ReadonlyMap<string, TorchValue>, at: string, depth: number): Map<string, TorchValue> {
    const copy = new Map<string, TorchValue>();
    for (const [key, item] of of) {
      const plain = this.value(item, isFloatAt(of, key), `${at}.${key}`, depth + 1);
      if (plain !== undefined) copy.set(key, placeFloat(plain, copy, key));
    }
    return copy;
  }

  /** Undefined, and its place noted, for what has no plain form. A whole float comes as a Float, to be placed. */
  value(value: TorchValue, isFloat: boolean, at: string, depth: number): TorchValue | undefined {
    const plain =
      ++this.count > MOST_VALUES || depth > MOST_DEPTH ? undefined : this.convert(value, isFloat, at, depth);
    if (plain === undefined) this.leftOut.push(at);
    return plain;
  }

  private convert(value: TorchValue, isFloat: boolean, at: string, depth: number): TorchValue | undefined {
    if (typeof value === "number") return isFloat ? new Float(value) : value;
    if (value === null || typeof value !== "object" || value instanceof Float) return value;
    // Complex numbers and bytes have no JSON.
    if (value instanceof NumpyScalar) return typeof value.value === "object" ? undefined : pythonScalar(value);
    if (value instanceof TorchConstant) return String(value);
    const named = namedValues(value);
    if (named) return this.dict(named, at, depth);
    if (Array.isArray(value)) return this.list(value, at, depth);
    return value instanceof Set ? this.list([...value], at, depth) : undefined;
  }

  private list(items: readonly TorchValue[], at: string, depth: number): TorchValue[] | undefined {
    if (items.length > MOST_VALUES) return undefined;
    const copy: TorchValue[] = [];
    for (const [i, item] of items.entries()) {
      const plain = this.value(item, isFloatAt(items, i), `${at}.${i}`, depth + 1);
      if (plain === undefined) return undefined;
      copy[i] = placeFloat(plain, copy, i);
    }
    // A tuple stays one.
    return Object.isFrozen(items) && !(items instanceof TorchSize) ? (Object.freeze(copy) as TorchValue[]) : copy;
  }
}

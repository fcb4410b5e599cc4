/** Values in the types that torch.load accepts with weights_only=True, its default since 2.6. */
import { pythonScalar } from "../checkpoint/parts.js";
import {
  Float,
  isFloatAt,
  NumpyArray,
  NumpyScalar,
  OrderedDict,
  PythonGlobal,
  PythonObject,
  type TorchValue,
} from "../formats/values.js";

/** Values of a file can nest deeply; what programs write for themselves does not. */
const MOST_LEVELS = 100;

/**
 * Values for saving: numpy scalars as the Python numbers they are, an argparse.Namespace as a dict; what needs neither is
 * the value itself. A metric from numpy is the usual reason why a best checkpoint, and only that, does not load.
 */
export class WeightsOnly {
  /** Places of what remains and torch.load will refuse (numpy arrays, objects of classes): "optimizer.state.0". */
  readonly refused: string[] = [];
  /** What has been seen, each once: a file may hold one list in a million places, and in itself. */
  private readonly done = new Map<TorchValue, TorchValue>();

  /** @param place of the value, for `refused` */
  convert(value: TorchValue, place: string, level = 0): TorchValue {
    if (typeof value !== "object" || value === null || level > MOST_LEVELS) return value;
    const known = this.done.get(value);
    if (known !== undefined) return known;
    // In itself it stays what it is.
    this.done.set(value, value);
    const converted = this.convertNow(value, place, level);
    this.done.set(value, converted);
    return converted;
  }

  private convertNow(value: TorchValue, place: string, level: number): TorchValue {
    if (value instanceof NumpyScalar) return this.ofNumpy(value, place);
    if (value instanceof PythonObject && value.type === "argparse.Namespace" && value.state instanceof Map)
      return this.convert(value.state, place, level);
    // torch.load knows this one class of Python's.
    if (value instanceof PythonObject && value.type === "collections.Counter") return value;
    if (value instanceof NumpyArray || value instanceof PythonObject || value instanceof PythonGlobal) {
      this.refused.push(place);
      return value;
    }
    if (Array.isArray(value)) return this.ofList(value, place, level + 1);
    return value instanceof Map ? this.ofDict(value, place, level + 1) : value;
  }

  private ofNumpy(scalar: NumpyScalar, place: string): TorchValue {
    const value = pythonScalar(scalar);
    if (value === undefined) this.refused.push(place);
    return value ?? scalar;
  }

  private ofList(list: readonly TorchValue[], place: string, level: number): TorchValue {
    const items = list.map((item, i) => this.convert(item, `${place}.${i}`, level));
    if (items.every((item, i) => item === list[i])) return list;
    const kept = items.map((item, i) => asFloat(item, isFloatAt(list, i)));
    return Object.isFrozen(list) ? Object.freeze(kept) : kept;
  }

  private ofDict(dict: Map<TorchValue, TorchValue>, place: string, level: number): TorchValue {
    const entries = [...dict].map(
      ([key, item]) => [key, this.convert(item, `${place}.${String(key)}`, level)] as const,
    );
    if (entries.every(([key, item]) => item === dict.get(key))) return dict;
    const copy = dict instanceof OrderedDict ? new OrderedDict() : new Map<TorchValue, TorchValue>();
    if (copy instanceof OrderedDict && dict instanceof OrderedDict) copy.attributes = dict.attributes;
    for (const [key, item] of entries) copy.set(key, asFloat(item, isFloatAt(dict, key)));
    return copy;
  }
}

/** A copy of a container has forgotten which whole numbers were floats. */
function asFloat(item: TorchValue, isFloat: boolean): TorchValue {
  return isFloat && typeof item === "number" ? new Float(item) : item;
}

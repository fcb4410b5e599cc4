/** Values in the types that torch.load accepts with weights_only=True, its default since 2.6. */
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

const MOST_LEVELS = 100;

/**
 * A value for saving: numpy scalars as the Python numbers they are, an argparse.Namespace as a dict; what needs neither is
 * the value itself. A metric from numpy is the usual reason why a best checkpoint, and only that, does not load.
 * @param refused gets the place of what remains and torch.load will refuse (numpy arrays, objects of classes)
 */
export function forWeightsOnly(value: TorchValue, place: string, refused: string[]): TorchValue {
  // Values of a file can nest deeply or in cycles; what programs write for themselves does not.
  if (place.split(".").length > MOST_LEVELS) return value;
  if (value instanceof NumpyScalar) return ofNumpy(value, place, refused);
  if (value instanceof PythonObject && value.type === "argparse.Namespace" && value.state instanceof Map)
    return forWeightsOnly(value.state, place, refused);
  if (value instanceof NumpyArray || value instanceof PythonObject || value instanceof PythonGlobal) {
    refused.push(place);
    return value;
  }
  if (Array.isArray(value)) return ofList(value, place, refused);
  return value instanceof Map ? ofDict(value, place, refused) : value;
}

function ofNumpy(scalar: NumpyScalar, place: string, refused: string[]): TorchValue {
  const { value } = scalar;
  if (value === undefined) {
    refused.push(place);
    return scalar;
  }
  const isFloat = typeof value === "number" && scalar.dtype.code.startsWith("f");
  return isFloat ? new Float(value) : value;
}

function ofList(list: readonly TorchValue[], place: string, refused: string[]): TorchValue {
  const items = list.map((item, i) => forWeightsOnly(item, `${place}.${i}`, refused));
  if (items.every((item, i) => item === list[i])) return list;
  const kept = items.map((item, i) => asFloat(item, isFloatAt(list, i)));
  return Object.isFrozen(list) ? Object.freeze(kept) : kept;
}

function ofDict(dict: Map<TorchValue, TorchValue>, place: string, refused: string[]): TorchValue {
  const entries = [...dict].map(
    ([key, item]) => [key, forWeightsOnly(item, `${place}.${String(key)}`, refused)] as const,
  );
  if (entries.every(([key, item]) => item === dict.get(key))) return dict;
  const copy = dict instanceof OrderedDict ? new OrderedDict() : new Map<TorchValue, TorchValue>();
  if (copy instanceof OrderedDict && dict instanceof OrderedDict) copy.attributes = dict.attributes;
  for (const [key, item] of entries) copy.set(key, asFloat(item, isFloatAt(dict, key)));
  return copy;
}

/** A copy of a container has forgotten which whole numbers were floats. */
function asFloat(item: TorchValue, isFloat: boolean): TorchValue {
  return isFloat && typeof item === "number" ? new Float(item) : item;
}

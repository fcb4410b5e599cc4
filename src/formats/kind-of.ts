import { plainText } from "./pickle-machine.js";
import { NumpyArray, PythonObject, type TorchValue } from "./values.js";
import { isTensor } from "./walk.js";

/** A word for messages, never the value: it may be large. */
export function kindOf(value: TorchValue): string {
  if (value === null) return "None";
  if (value instanceof Map) return "a dict";
  if (value instanceof Uint8Array) return "bytes";
  if (Array.isArray(value)) return "a list or tuple";
  if (isTensor(value)) return `a tensor of shape [${value.shape}]`;
  if (value instanceof NumpyArray) return `a numpy array of shape [${value.shape}]`;
  if (value instanceof PythonObject) return `an object of ${plainText(value.type)}`;
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

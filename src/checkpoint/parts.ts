/** The parts of checkpoints, each read or refused: a part that is there is never left out in silence. */
import { UnitcellError } from "../errors.js";
import { kindOf } from "../formats/kind-of.js";
import { numpyNumber } from "../formats/numpy-number.js";
import { Float, NumpyArray, NumpyScalar, OrderedDict, PythonObject, type TorchValue } from "../formats/values.js";
import { isTensor } from "../formats/walk.js";
import { numElements, type StateDict, toScalar } from "../tensor.js";

export type Dict = ReadonlyMap<TorchValue, TorchValue>;

/** The tensors of a dict; anything else in it is left out. */
export function tensorsOf(dict: Dict): StateDict {
  const tensors: StateDict = new Map();
  for (const [name, value] of dict) if (typeof name === "string" && isTensor(value)) tensors.set(name, value);
  return tensors;
}

/** True for a dict of named tensors and nothing else. */
export function isStateDict(root: TorchValue): root is Map<TorchValue, TorchValue> {
  return (
    root instanceof Map &&
    root.size > 0 &&
    [...root].every(([name, value]) => typeof name === "string" && isTensor(value))
  );
}

/** @throws {UnitcellError} MISMATCH for a dict with anything but named tensors */
export function readStateDict(dict: Dict): StateDict {
  // nn.Module.load_state_dict reads module versions from the dict's _metadata, so saving again must find it.
  const ordered = new OrderedDict();
  if (dict instanceof OrderedDict) ordered.attributes = dict.attributes;
  const stateDict = ordered as unknown as StateDict;
  const other: string[] = [];
  for (const [name, value] of dict)
    if (typeof name === "string" && isTensor(value)) stateDict.set(name, value);
    else other.push(typeof name === "string" ? name : kindOf(name));
  if (other.length > 0)
    throw new UnitcellError(
      "MISMATCH",
      `state_dict entries that are not named tensors: ${other.slice(0, 20).join(", ")}`,
      { names: other },
    );
  return stateDict;
}

/** A normalizer that cannot be read must not be left out: predictions would be silently wrong. */
export function readNormalizer(value: TorchValue, what = "normalizer"): { mean: number; std: number } {
  if (!(value instanceof Map))
    throw new UnitcellError("MISMATCH", `${what} should be a dict with mean and std, found ${kindOf(value)}`);
  return {
    mean: readNumber(value.get("mean") ?? null, `${what} mean`),
    std: readNumber(value.get("std") ?? null, `${what} std`),
  };
}

/** A dict of named numbers, as `metrics`; undefined for anything else. */
export function readMetrics(value: TorchValue | undefined): Readonly<Record<string, number>> | undefined {
  if (!(value instanceof Map)) return undefined;
  const entries = [...value].map(([name, item]) => [name, numberOf(item)] as const);
  const isMetrics =
    entries.length > 0 && entries.every(([name, item]) => typeof name === "string" && item !== undefined);
  return isMetrics ? Object.fromEntries(entries as [string, number][]) : undefined;
}

/** A Python or numpy number; undefined for anything else, one in a tensor too. */
export function numberOf(value: TorchValue | undefined): number | undefined {
  if (typeof value === "number") return value;
  return value instanceof NumpyScalar || value instanceof NumpyArray ? numpyNumber(value) : undefined;
}

/** The Python value that a numpy scalar is; undefined for what Python has no number or text for (dates). */
export function pythonScalar({ dtype, value }: NumpyScalar): TorchValue | undefined {
  return typeof value === "number" && dtype.code.startsWith("f") ? new Float(value) : value;
}

/** Names under which training scripts keep their arguments. */
const ARGS_KEYS = ["args", "hyper_parameters", "hparams", "config", "model_args"];

/** Where the arguments are, by ARGS_KEYS; undefined where none of these is a dict of names. */
export function findArgs(top: Dict): { key: string; args: ReadonlyMap<string, TorchValue> } | undefined {
  for (const key of ARGS_KEYS) {
    const args = namedValues(top.get(key));
    if (args) return { key, args };
  }
  return undefined;
}

/** @throws {UnitcellError} MISMATCH for anything but named arguments */
export function readArgs(value: TorchValue): ReadonlyMap<string, TorchValue> {
  const named = namedValues(value);
  if (named) return named;
  throw new UnitcellError("MISMATCH", `args should be a dict of named arguments, found ${kindOf(value)}`);
}

/** A dict with names as keys, or an argparse.Namespace; undefined for anything else. */
export function namedValues(value: TorchValue | undefined): ReadonlyMap<string, TorchValue> | undefined {
  const named = value instanceof PythonObject && value.type === "argparse.Namespace" ? value.state : value;
  const isNamed = named instanceof Map && [...named.keys()].every((key) => typeof key === "string");
  return isNamed ? (named as Map<string, TorchValue>) : undefined;
}

/** A Python or numpy number, or a tensor or array with one element, in full precision. */
export function readNumber(value: TorchValue, what: string): number {
  const number = isTensor(value) && numElements(value.shape) === 1 ? toScalar(value) : numberOf(value);
  if (number !== undefined) return number;
  throw new UnitcellError("MISMATCH", `${what} should be a number, found ${kindOf(value)}`);
}

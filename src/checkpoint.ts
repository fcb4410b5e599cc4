/** Checkpoints: what training scripts put around a state dict. One row per layout; a new layout is a new row. */
import type { Input } from "./bytes.js";
import { UnitcellError } from "./errors.js";
import { isModule, moduleStateDict } from "./formats/module.js";
import { numpyNumber } from "./formats/numpy-values.js";
import { loadTorch, type ReadOptions } from "./formats/torch.js";
import { NumpyArray, NumpyScalar, PythonObject, type TorchValue } from "./formats/values.js";
import { isTensor } from "./formats/walk.js";
import { numElements, type StateDict, toScalar } from "./tensor.js";

export interface Checkpoint {
  /** Names as in the file: prefixes of wrappers (`module.`, `_orig_mod.`) go where a model takes it. */
  readonly stateDict: StateDict;
  /** prediction = output * std + mean, in the units of the target. */
  readonly normalizer?: { readonly mean: number; readonly std: number };
  /** Training arguments as saved; CGCNN saves vars(args). */
  readonly args?: ReadonlyMap<string, TorchValue>;
  readonly epoch?: number;
  /** By the name in the file, e.g. best_mae_error (CGCNN's name for the AUC of a classifier too). */
  readonly metrics?: Readonly<Record<string, number>>;
  /** "cgcnn" (upstream's checkpoint dict), "plain" (a bare state dict) or "module" (a whole saved module). */
  readonly layout: string;
  /** Every other key as read: the optimizer, the scheduler, what we do not know. */
  readonly extra: ReadonlyMap<TorchValue, TorchValue>;
}

type Dict = ReadonlyMap<TorchValue, TorchValue>;

interface Layout {
  readonly name: string;
  /** What it needs of a file's value; undefined where the file is not of this layout. */
  read(root: TorchValue): Omit<Checkpoint, "layout"> | undefined;
}

/** Order matters: the first that matches reads. */
const LAYOUTS: readonly Layout[] = [
  {
    name: "cgcnn",
    read: (root) => (root instanceof Map && root.get("state_dict") instanceof Map ? readCgcnn(root) : undefined),
  },
  {
    name: "plain",
    read: (root) => (isStateDict(root) ? { stateDict: readStateDict(root), extra: new Map() } : undefined),
  },
  {
    name: "module",
    read: (root) => (isModule(root) ? { stateDict: moduleStateDict(root), extra: new Map() } : undefined),
  },
];

/**
 * Read a checkpoint from a torch or safetensors file. A whole module saved with `torch.save(model)` names its class and
 * needs `unknownClasses: "inert"`: its tensors are read, its code is not.
 * @throws {UnitcellError} every code of loadTorch; UNSUPPORTED when the file holds no known layout (the message lists
 *   the keys it has); MISMATCH when a part is there and is not what the layout says
 */
export async function loadCheckpoint(input: Input, options: ReadOptions = {}): Promise<Checkpoint> {
  const root = await loadTorch(input, options);
  for (const layout of LAYOUTS) {
    const checkpoint = layout.read(root);
    if (checkpoint) return { ...checkpoint, layout: layout.name };
  }
  if (!(root instanceof Map))
    throw new UnitcellError("UNSUPPORTED", `expected a dict with a state dict, the file holds ${kindOf(root)}`);
  const keys = [...root.keys()].map((key) => (typeof key === "string" ? JSON.stringify(key) : kindOf(key)));
  const shown = keys.slice(0, 20).join(", ") + (keys.length > 20 ? ` and ${keys.length - 20} more` : "");
  throw new UnitcellError("UNSUPPORTED", `no known checkpoint layout has these keys: ${shown || "none"}`, { keys });
}

/**
 * CGCNN's main.py: epoch, state_dict, best_mae_error, optimizer, normalizer {mean, std}, args. Missing parts are left
 * out, as in a bare {"state_dict": ...}. The published files hold floats; main.py today saves tensors and numpy scalars.
 */
function readCgcnn(root: Dict): Omit<Checkpoint, "layout"> {
  const extra = new Map(root);
  const take = (key: string): TorchValue => {
    const value = extra.get(key) ?? null;
    extra.delete(key);
    return value;
  };
  const stateDict = readStateDict(take("state_dict") as Dict);
  const normalizer = take("normalizer");
  const args = take("args");
  const epoch = take("epoch");
  const best = take("best_mae_error");
  return {
    stateDict,
    ...(normalizer !== null && { normalizer: readNormalizer(normalizer) }),
    ...(args !== null && { args: readArgs(args) }),
    ...(epoch !== null && { epoch: readNumber(epoch, "epoch") }),
    ...(best !== null && { metrics: { best_mae_error: readNumber(best, "best_mae_error") } }),
    extra,
  };
}

function isStateDict(root: TorchValue): root is Map<TorchValue, TorchValue> {
  return (
    root instanceof Map &&
    root.size > 0 &&
    [...root].every(([name, value]) => typeof name === "string" && isTensor(value))
  );
}

function readStateDict(dict: Dict): StateDict {
  const stateDict: StateDict = new Map();
  const other: string[] = [];
  for (const [name, value] of dict)
    if (typeof name === "string" && isTensor(value)) stateDict.set(name, value);
    else other.push(typeof name === "string" ? name : kindOf(name));
  if (other.length > 0)
    throw new UnitcellError(
      "MISMATCH",
      `state_dict entries that are not named tensors: ${other.slice(0, 20).join(", ")}`,
      {
        names: other,
      },
    );
  return stateDict;
}

/** A normalizer that cannot be read must not be left out: predictions would be silently wrong. */
function readNormalizer(value: TorchValue): { mean: number; std: number } {
  if (!(value instanceof Map))
    throw new UnitcellError("MISMATCH", `normalizer should be a dict with mean and std, found ${kindOf(value)}`);
  return {
    mean: readNumber(value.get("mean") ?? null, "normalizer mean"),
    std: readNumber(value.get("std") ?? null, "normalizer std"),
  };
}

/** A dict of arguments, or an argparse.Namespace. */
function readArgs(value: TorchValue): ReadonlyMap<string, TorchValue> {
  const named = value instanceof PythonObject && value.type === "argparse.Namespace" ? (value.state ?? null) : value;
  if (named instanceof Map && [...named.keys()].every((key) => typeof key === "string"))
    return named as Map<string, TorchValue>;
  throw new UnitcellError("MISMATCH", `args should be a dict of named arguments, found ${kindOf(value)}`);
}

/** A Python or numpy number, or a tensor or array with one element, in full precision. */
function readNumber(value: TorchValue, what: string): number {
  if (typeof value === "number") return value;
  if (isTensor(value) && numElements(value.shape) === 1) return toScalar(value);
  const scalar = value instanceof NumpyScalar || value instanceof NumpyArray ? numpyNumber(value) : undefined;
  if (scalar !== undefined) return scalar;
  throw new UnitcellError("MISMATCH", `${what} should be a number, found ${kindOf(value)}`);
}

/** A word for messages, never the value: it may be large. */
function kindOf(value: TorchValue): string {
  if (value === null) return "None";
  if (value instanceof Map) return "a dict";
  if (value instanceof Uint8Array) return "bytes";
  if (Array.isArray(value)) return "a list or tuple";
  if (isTensor(value)) return `a tensor of shape [${value.shape}]`;
  if (value instanceof NumpyArray) return `a numpy array of shape [${value.shape}]`;
  if (value instanceof PythonObject) return `an object of ${value.type}`;
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

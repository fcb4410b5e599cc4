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
  /** Where the state dict is, without a look at tensor data; undefined where the file is not of this layout. */
  find(root: TorchValue): Omit<FoundStateDict, "layout"> | undefined;
  /** Everything it needs of a value for which `find` found a state dict. */
  read(root: TorchValue): Omit<Checkpoint, "layout">;
}

/** A state dict inside a file's value. */
export interface FoundStateDict {
  /** As Checkpoint.layout; undefined where only a usual name for a state dict was recognised. */
  readonly layout: string | undefined;
  /** The top-level key it is under; undefined when the value itself is the state dict or the module. */
  readonly key: string | undefined;
  /** The dict as the file holds it; undefined for a module, whose names are put together from its parts. */
  readonly dict: Map<TorchValue, TorchValue> | undefined;
  /** Its tensors; anything else in the dict is left out. */
  readonly tensors: StateDict;
}

/** Order matters: the first that matches reads. */
const LAYOUTS: readonly Layout[] = [
  {
    name: "cgcnn",
    find: (root) => under(root, "state_dict"),
    read: (root) => readCgcnn(root as Dict),
  },
  {
    name: "plain",
    find: (root) => (isStateDict(root) ? { key: undefined, dict: root, tensors: tensorsOf(root) } : undefined),
    read: (root) => ({ stateDict: readStateDict(root as Dict), extra: new Map() }),
  },
  {
    name: "module",
    find: (root) => (isModule(root) ? { key: undefined, dict: undefined, tensors: moduleStateDict(root) } : undefined),
    read: (root) => ({ stateDict: moduleStateDict(root as PythonObject), extra: new Map() }),
  },
];

/** Where training scripts other than those with a layout keep a state dict. */
const USUAL_KEYS = ["model_state_dict", "model", "module", "net", "weights", "params"];

/** The state dict of a value that need not be loaded; undefined where none is recognised. */
export function findStateDict(root: TorchValue): FoundStateDict | undefined {
  for (const { name, find } of LAYOUTS) {
    const found = find(root);
    if (found) return { layout: name, ...found };
  }
  for (const key of USUAL_KEYS) {
    const found = under(root, key);
    if (found && found.tensors.size > 0) return { layout: undefined, ...found };
  }
  return undefined;
}

/** A dict, or a whole module, at a key of the top level. */
function under(root: TorchValue, key: string): Omit<FoundStateDict, "layout"> | undefined {
  const value = root instanceof Map ? root.get(key) : undefined;
  if (value instanceof Map) return { key, dict: value, tensors: tensorsOf(value) };
  return isModule(value) && key !== "state_dict"
    ? { key, dict: undefined, tensors: moduleStateDict(value) }
    : undefined;
}

function tensorsOf(dict: Dict): StateDict {
  const tensors: StateDict = new Map();
  for (const [name, value] of dict) if (typeof name === "string" && isTensor(value)) tensors.set(name, value);
  return tensors;
}

/**
 * Read a checkpoint from a torch or safetensors file. A whole module saved with `torch.save(model)` names its class and
 * needs `unknownClasses: "inert"`: its tensors are read, its code is not.
 * @throws {UnitcellError} every code of loadTorch; UNSUPPORTED when the file holds no known layout (the message lists
 *   the keys it has); MISMATCH when a part is there and is not what the layout says
 */
export async function loadCheckpoint(input: Input, options: ReadOptions = {}): Promise<Checkpoint> {
  const root = await loadTorch(input, options);
  const layout = LAYOUTS.find(({ find }) => find(root));
  if (layout) return { ...layout.read(root), layout: layout.name };
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

function readArgs(value: TorchValue): ReadonlyMap<string, TorchValue> {
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

/** What training programs put around a state dict. One row per layout; a new layout is a new row. */
import type { Checkpoint } from "../checkpoint.js";
import { UnitcellError } from "../errors.js";
import { kindOf } from "../formats/kind-of.js";
import { isModule, moduleStateDict } from "../formats/module.js";
import type { TorchValue } from "../formats/values.js";
import type { StateDict } from "../tensor.js";
import {
  type Dict,
  findArgs,
  isStateDict,
  readArgs,
  readMetrics,
  readNormalizer,
  readNumber,
  readStateDict,
  tensorsOf,
} from "./parts.js";

/** A state dict inside a file's value. */
export interface FoundStateDict {
  /** As Checkpoint.layout. */
  readonly layout: string;
  /** The top-level key it is under; undefined when the value itself is the state dict or the module. */
  readonly key: string | undefined;
  /** The dict as the file holds it; undefined for a module, whose names are put together from its parts. */
  readonly dict: Map<TorchValue, TorchValue> | undefined;
  /** Its tensors; anything else in the dict is left out. */
  readonly tensors: StateDict;
}

type Found = Omit<FoundStateDict, "layout">;
/** A checkpoint's parts but for the state dict, which is found in the same way in all of them. */
type Parts = Omit<Checkpoint, "layout" | "stateDict" | "file">;

interface Layout {
  readonly name: string;
  /** Where the state dict is, without a look at tensor data; undefined where the file is not of this layout. */
  find(root: TorchValue): Found | undefined;
  /**
   * Everything else it needs.
   * @param rest the entries beside the state dict, which it may take out; what is left is `extra`
   */
  read(rest: Map<TorchValue, TorchValue>): Omit<Parts, "extra">;
}

/** Where training scripts keep a state dict. What is under the first can be nothing else; the others must hold tensors. */
const STATE_DICT_KEYS = ["state_dict", "model_state_dict", "model", "module", "net", "weights", "params"];

/** Order matters: the first that matches reads. */
const LAYOUTS: readonly Layout[] = [
  {
    name: "lightning",
    find: (root) => (has(root, "pytorch-lightning_version") ? under(root, "state_dict") : undefined),
    read: readTraining,
  },
  {
    name: "ignite",
    find: (root) => (trainerOf(root) ? under(root, "model") : undefined),
    read: readIgnite,
  },
  {
    name: "training",
    find: (root) => {
      for (const key of STATE_DICT_KEYS) {
        const found = under(root, key);
        if (found && (key === "state_dict" || found.tensors.size > 0)) return found;
      }
      return undefined;
    },
    read: readTraining,
  },
  {
    name: "plain",
    find: (root) => (isStateDict(root) ? { key: undefined, dict: root, tensors: tensorsOf(root) } : undefined),
    read: () => ({}),
  },
  {
    name: "module",
    find: (root) => (isModule(root) ? { key: undefined, dict: undefined, tensors: moduleStateDict(root) } : undefined),
    read: () => ({}),
  },
];

/** The state dict of a value that need not be loaded; undefined where none is recognised. */
export function findStateDict(root: TorchValue): FoundStateDict | undefined {
  for (const { name, find } of LAYOUTS) {
    const found = find(root);
    if (found) return { layout: name, ...found };
  }
  return undefined;
}

/**
 * The checkpoint that a loaded value is.
 * @throws {UnitcellError} UNSUPPORTED for no known layout, with the keys there are; MISMATCH when a part is there and is not
 *   what the layout says
 */
export function readLayout(root: TorchValue): Checkpoint {
  for (const { name, find, read } of LAYOUTS) {
    const found = find(root);
    if (!found) continue;
    const extra = new Map(found.key === undefined ? [] : (root as Dict));
    if (found.key !== undefined) extra.delete(found.key);
    const stateDict = found.dict ? readStateDict(found.dict) : found.tensors;
    return { stateDict, ...read(extra), layout: name, extra };
  }
  if (!(root instanceof Map))
    throw new UnitcellError("UNSUPPORTED", `expected a dict with a state dict, the file holds ${kindOf(root)}`);
  const keys = [...root.keys()].map((key) => (typeof key === "string" ? JSON.stringify(key) : kindOf(key)));
  const shown = keys.slice(0, 20).join(", ") + (keys.length > 20 ? ` and ${keys.length - 20} more` : "");
  throw new UnitcellError("UNSUPPORTED", `no known checkpoint layout has these keys: ${shown || "none"}`, { keys });
}

/** A dict, or a whole module, at a key of the top level. */
function under(root: TorchValue, key: string): Found | undefined {
  const value = root instanceof Map ? root.get(key) : undefined;
  if (value instanceof Map) return { key, dict: value, tensors: tensorsOf(value) };
  return isModule(value) && key !== "state_dict"
    ? { key, dict: undefined, tensors: moduleStateDict(value) }
    : undefined;
}

function has(root: TorchValue, key: string): boolean {
  return root instanceof Map && root.has(key);
}

/**
 * What most training programs write, each part only where it is there. CGCNN's main.py: epoch, state_dict, best_mae_error,
 * optimizer, normalizer {mean, std}, args; the published files hold floats, main.py today saves tensors and numpy scalars.
 * Lightning: epoch, state_dict, hyper_parameters and much that only resuming needs.
 */
export function readTraining(rest: Map<TorchValue, TorchValue>): Omit<Parts, "extra"> {
  const take = (key: string): TorchValue => {
    const value = rest.get(key) ?? null;
    rest.delete(key);
    return value;
  };
  const normalizer = take("normalizer");
  const epoch = take("epoch");
  const best = take("best_mae_error");
  const metrics = readMetrics(rest.get("metrics"));
  if (metrics) rest.delete("metrics");
  const args = takeArgs(rest);
  return {
    ...(normalizer !== null && { normalizer: readNormalizer(normalizer) }),
    ...(args && { args }),
    ...(epoch !== null && { epoch: readNumber(epoch, "epoch") }),
    ...((best !== null || metrics) && {
      metrics: { ...(best !== null && { best_mae_error: readNumber(best, "best_mae_error") }), ...metrics },
    }),
  };
}

/** `args` is settings or an error; the other names may be anything, and stay where they are then. */
function takeArgs(rest: Map<TorchValue, TorchValue>): ReadonlyMap<string, TorchValue> | undefined {
  const plain = rest.get("args") ?? null;
  const found = plain === null ? findArgs(rest) : { key: "args", args: readArgs(plain) };
  rest.delete("args");
  if (found) rest.delete(found.key);
  return found?.args;
}

/** The state of ignite's trainer: epoch_length, max_epochs, iteration; undefined where there is none. */
function trainerOf(root: TorchValue): Dict | undefined {
  const trainer = root instanceof Map ? root.get("trainer") : undefined;
  return trainer instanceof Map && trainer.has("iteration") ? trainer : undefined;
}

/** ignite's Checkpoint of {model, optimizer, lr_scheduler, trainer}, as ALIGNN wrote until 2024. It counts iterations. */
function readIgnite(rest: Map<TorchValue, TorchValue>): Omit<Parts, "extra"> {
  const trainer = trainerOf(rest)!;
  const [iteration, length] = [trainer.get("iteration"), trainer.get("epoch_length")];
  const isCounted = typeof iteration === "number" && typeof length === "number" && length > 0;
  return isCounted ? { epoch: Math.floor(iteration / length) } : {};
}

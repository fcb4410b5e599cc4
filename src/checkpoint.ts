/** Checkpoints: a state dict, and what the program that trained it wrote around and beside it. */
import type { Input } from "./bytes.js";
import { readLayout } from "./checkpoint/layouts.js";
import { TRAINING_CLASSES } from "./checkpoint/training-classes.js";
import { loadTorch, type ReadOptions } from "./formats/torch.js";
import type { TorchValue } from "./formats/values.js";
import type { StateDict } from "./tensor.js";

export interface Checkpoint {
  /** Names as in the file: prefixes of wrappers (`module.`, `model.`, `_orig_mod.`) go where a model takes it. */
  readonly stateDict: StateDict;
  /** prediction = output * std + mean, in the units of the target. */
  readonly normalizer?: { readonly mean: number; readonly std: number };
  /**
   * Settings of training and architecture by their own names: CGCNN's args, Lightning's hyper_parameters. Nested dicts are
   * Maps.
   */
  readonly args?: ReadonlyMap<string, TorchValue>;
  readonly epoch?: number;
  /** By the name in the file, e.g. best_mae_error (CGCNN's name for the AUC of a classifier too). */
  readonly metrics?: Readonly<Record<string, number>>;
  /**
   * What was around the state dict: "training" (a dict with it and more, as CGCNN and most scripts write), "lightning",
   * "ignite" (ALIGNN until 2024), "plain" (nothing), "module" (a whole saved module).
   */
  readonly layout: string;
  /** Every other key as read: the optimizer, the scheduler, what we do not know. */
  readonly extra: ReadonlyMap<TorchValue, TorchValue>;
}

/**
 * Read a checkpoint from a torch or safetensors file. Optimizers and schedulers of torch that a file holds whole are read
 * as objects that do nothing. A whole module saved with `torch.save(model)` names its class and needs
 * `unknownClasses: "inert"`: its tensors are read, its code is not.
 * @throws {UnitcellError} every code of loadTorch; UNSUPPORTED when the file holds no known layout (the message lists
 *   the keys it has); MISMATCH when a part is there and is not what the layout says
 */
export async function loadCheckpoint(input: Input, options: ReadOptions = {}): Promise<Checkpoint> {
  return readLayout(await loadTorch(input, withTrainingClasses(options)));
}

/** An explicit "refuse" or "inert" stays; a list of names gets torch's own added. */
function withTrainingClasses(options: ReadOptions): ReadOptions {
  const { unknownClasses = [] } = options;
  if (typeof unknownClasses === "string") return options;
  return { ...options, unknownClasses: [...TRAINING_CLASSES, ...unknownClasses] };
}

/** Checkpoints: a state dict, and what the program that trained it wrote around and beside it. */

import type { Input } from "./bytes.js";
import { type Bundle, type CheckpointFiles, openBundle } from "./checkpoint/bundle.js";
import { readLayout } from "./checkpoint/layouts.js";
import { TRAINING_CLASSES } from "./checkpoint/training-classes.js";
import type { ReadOptions } from "./formats/torch.js";
import type { TorchValue } from "./formats/values.js";
import type { StateDict } from "./tensor.js";
import { rare } from "./when-needed.js";

export type { CheckpointFiles } from "./checkpoint/bundle.js";
export { saveCheckpoint } from "./checkpoint/save.js";

/** What a training script saved, whatever its layout: the state dict, and the parts around it by one name each. */
export interface Checkpoint {
  /** Names as in the file: prefixes of wrappers (`module.`, `model.`, `_orig_mod.`) go where a model takes it. */
  readonly stateDict: StateDict;
  /** prediction = output * std + mean, in the units of the target. */
  readonly normalizer?: { readonly mean: number; readonly std: number };
  /**
   * Settings of training and architecture by their own names: CGCNN's args, Lightning's hyper_parameters, ALIGNN's
   * config.json, matgl's init_args. Nested dicts are Maps.
   */
  readonly args?: ReadonlyMap<string, TorchValue>;
  readonly epoch?: number;
  /**
   * By the name in the file: best_mae_error (CGCNN's name for the AUC of a classifier too), and those of a dict `metrics`.
   */
  readonly metrics?: Readonly<Record<string, number>>;
  /**
   * What was around the state dict: "training" (a dict with it and more, as CGCNN and most scripts write), "lightning",
   * "ignite" (ALIGNN until 2024), "plain" (nothing), "metadata" (a safetensors file's, as saveCheckpoint and convert
   * write it), "module" (a whole saved module).
   */
  readonly layout: string;
  /** Every other key as read: the optimizer, the scheduler, what we do not know. */
  readonly extra: ReadonlyMap<TorchValue, TorchValue>;
  /** Name of the file the state dict came from, within a bundle. */
  readonly file?: string;
}

/**
 * Read a checkpoint: a torch or safetensors file, a plain zip with one in it, or several files that belong together, as
 * ALIGNN (config.json beside the weights) and matgl (state.pt, model.pt, model.json) write. The file's own args come
 * before those of a config.json. Optimizers and schedulers of torch that a file holds whole are read as objects that do
 * nothing. A whole module saved with `torch.save(model)` names its class and needs `unknownClasses: "inert"`: its tensors
 * are read, its code is not.
 * @throws {UnitcellError} every code of loadTorch; UNSUPPORTED when the file holds no known layout (the message lists
 *   the keys it has), or matgl's target transformer is another than the Normalizer; MISMATCH when a part is there and is
 *   not what the layout says, CORRUPT for metadata of ours that is no JSON, or two files contradict each other; of several files, NOT_FOUND where none is a checkpoint
 *   and ARGUMENT where more than one is and no name tells which
 */
export async function loadCheckpoint(input: Input | CheckpointFiles, options: ReadOptions = {}): Promise<Checkpoint> {
  return readCheckpoint(await openTrained(input, options));
}

/** Opens what loadCheckpoint reads. @throws {UnitcellError} as openBundle */
export function openTrained(input: Input | CheckpointFiles, options: ReadOptions): Promise<Bundle> {
  return openBundle(input, withTrainingClasses(options));
}

/** Reads what is open. @throws {UnitcellError} as loadCheckpoint */
export async function readCheckpoint({ torch, name, settings }: Bundle): Promise<Checkpoint> {
  await torch.load();
  const found = readLayout(torch.root);
  const metadata = torch.info.get("metadata");
  const checkpoint = metadata instanceof Map ? (await rare()).withMetadata(found, metadata) : found;
  return { ...(await settings(checkpoint.args)), ...checkpoint, ...(name !== undefined && { file: name }) };
}

/** An explicit "refuse" or "inert" stays; a list of names gets torch's own added. */
function withTrainingClasses(options: ReadOptions): ReadOptions {
  const { unknownClasses = [] } = options;
  if (typeof unknownClasses === "string") return options;
  return { ...options, unknownClasses: [...TRAINING_CLASSES, ...unknownClasses] };
}

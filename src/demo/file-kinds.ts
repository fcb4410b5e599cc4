/** What the files that a user gives are, by their names: which belong together, which are structures. */
import { isWeights, MATGL_ARGS, MATGL_STATE } from "../checkpoint/file-names.js";
import { parseCheckpointName } from "../runs/checkpoint-names.js";

/** Files of one checkpoint. */
export interface CheckpointGroup {
  /** A name for people: the file's, with its folder where every program gives the file that name. */
  readonly name: string;
  /** Paths; the state dict's first. */
  readonly paths: readonly string[];
  /** Whether it takes part in predictions unless the user says otherwise: not beside the best of its run. */
  readonly used: boolean;
}

export interface FileKinds {
  readonly checkpoints: readonly CheckpointGroup[];
  readonly structures: readonly string[];
  /** Tables of known values. */
  readonly references: readonly string[];
  /** What describes runs: histories and metadata. */
  readonly runFiles: readonly string[];
  readonly ignored: readonly string[];
}

const STRUCTURE = /\.(cif|mcif|vasp|poscar|xyz|extxyz|json|jsonl)$|^(poscar|contcar)[^/]*$/i;
const RUN_FILE = /^(training_history|history_val|history_train)\.json$|_metadata\.json$/;
const SETTINGS = /^(config|model)\.json$/;
/** Names that say nothing without their folder. */
const COMMON_NAME = /^(best_model|current_model|last_model|state|model|checkpoint|model_best)\.(pt|pth|pth\.tar|zip)$/;

const baseOf = (path: string) => path.slice(path.lastIndexOf("/") + 1);
const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);

/** @param paths as given, folders joined by "/" */
export function sortFiles(paths: readonly string[]): FileKinds {
  const weights = paths.filter((path) => isWeights(baseOf(path)) || /\.zip$/i.test(path));
  const withWeights = new Set(weights.map(folderOf));
  const taken = new Set<string>(weights);
  const settings = paths.filter((path) => SETTINGS.test(baseOf(path)) && withWeights.has(folderOf(path)));
  for (const path of settings) taken.add(path);
  const rest = paths.filter((path) => !taken.has(path));
  const runFiles = rest.filter((path) => RUN_FILE.test(baseOf(path)));
  const references = rest.filter((path) => /\.csv$/i.test(path));
  const structures = rest.filter((path) => STRUCTURE.test(baseOf(path)) && !runFiles.includes(path));
  const known = new Set([...runFiles, ...references, ...structures]);
  return {
    checkpoints: groupCheckpoints(weights, settings),
    structures,
    references,
    runFiles,
    ignored: rest.filter((path) => !known.has(path)),
  };
}

function groupCheckpoints(weights: readonly string[], settings: readonly string[]): CheckpointGroup[] {
  const all = new Set(weights);
  // matgl's arguments belong to its state dict, and are no checkpoint of their own.
  const own = weights.filter((path) => baseOf(path) !== MATGL_ARGS || !all.has(folderOf(path) + MATGL_STATE));
  const withBest = new Set(own.flatMap((path) => (tagOf(path)?.tag === "best" ? [tagOf(path)!.run] : [])));
  return own.map((path) => {
    const folder = folderOf(path);
    const args = baseOf(path) === MATGL_STATE && all.has(folder + MATGL_ARGS) ? [folder + MATGL_ARGS] : [];
    const name = tagOf(path);
    return {
      name: nameOf(path),
      paths: [path, ...args, ...settings.filter((other) => folderOf(other) === folder)],
      used: name === undefined || name.tag === "best" || !withBest.has(name.run),
    };
  });
}

const tagOf = (path: string) => parseCheckpointName(path);

function nameOf(path: string): string {
  const base = baseOf(path);
  const folder = folderOf(path).split("/").at(-2);
  return folder && COMMON_NAME.test(base) ? `${folder}/${base}` : base;
}

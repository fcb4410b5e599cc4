/** Which files of a folder make a checkpoint, by their names as ALIGNN, matgl and CGCNN give them. */
import { UnitcellError } from "../errors.js";
import { quoted } from "../formats/json-scanner.js";

const WEIGHTS = /\.(pt|pth\.tar|pth|ckpt|safetensors)$/i;
/** Hugging Face's; its other .bin files hold something else. */
const WEIGHTS_BIN = /^pytorch_model(-\d+-of-\d+)?\.bin$/;

/** ALIGNN's settings. */
export const CONFIG = "config.json";
/** matgl writes its arguments twice: as values, and as a text for people. */
export const MATGL_STATE = "state.pt";
export const MATGL_ARGS = "model.pt";
export const MATGL_TEXT = "model.json";

/** Of several checkpoints, what its program calls the best: ALIGNN's, CGCNN's. */
const BEST = ["best_model.pt", "model_best.pth.tar"];

/** Names of candidates in a message. */
const MOST_NAMES = 20;

export function isWeights(name: string): boolean {
  return WEIGHTS.test(name) || WEIGHTS_BIN.test(name);
}

/** "cgcnn_mp_best" of "cgcnn_mp_best.pt". */
export function withoutWeightsEnding(name: string): string {
  return name.replace(WEIGHTS_BIN.test(name) ? /\.bin$/ : WEIGHTS, "");
}

/** Files that are looked at in a folder or zip; everything else there is left alone. */
export function isBundleFile(name: string): boolean {
  return isWeights(name) || isSettings(name);
}

function isSettings(name: string): boolean {
  return name === CONFIG || name === MATGL_TEXT;
}

/**
 * The file with the state dict.
 * @param names without folders
 * @throws {UnitcellError} NOT_FOUND for none, ARGUMENT for several where no name tells which
 */
export function stateDictFile(names: readonly string[]): string {
  if (names.length === 1) return names[0];
  const byEnding = names.filter(isWeights);
  // A file that a user named may have any ending; then there are settings beside it, and nothing else.
  const others = names.filter((name) => !isSettings(name));
  const candidates = byEnding.length === 0 && others.length === 1 ? others : byEnding;
  if (candidates.length === 1) return candidates[0];
  if (candidates.length === 0) {
    const found = names.length > 0 ? listed(names) : "none";
    throw new UnitcellError("NOT_FOUND", `expected a checkpoint (.pt, .pth, .ckpt, .safetensors), found ${found}`, {
      names,
    });
  }
  if (candidates.includes(MATGL_STATE) && candidates.includes(MATGL_ARGS)) return MATGL_STATE;
  const best = candidates.filter((name) => BEST.includes(name));
  if (best.length === 1) return best[0];
  throw new UnitcellError(
    "ARGUMENT",
    `expected one checkpoint, found ${candidates.length}: ${listed(candidates)}; name the file to open`,
    { names: candidates },
  );
}

/** The files that say more about a state dict, by its own file's name: they are looked for beside it. */
export function companionsOf(stateDict: string): readonly string[] {
  return stateDict === MATGL_STATE ? [MATGL_ARGS, MATGL_TEXT, CONFIG] : [CONFIG];
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MOST_NAMES).map(quoted).join(", ");
  return names.length > MOST_NAMES ? `${shown} and ${names.length - MOST_NAMES} more` : shown;
}

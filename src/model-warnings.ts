/** What a model is to be warned of, whatever the structure's graph. */
import { nameAtoms } from "./graphs/warnings.js";
import type { Model } from "./models/model.js";
import type { PredictionWarning } from "./prediction.js";
import { SYMBOLS } from "./structures/elements.js";
import type { Structure } from "./structures/structure.js";

const NO_NORMALIZER: PredictionWarning = {
  code: "no-normalizer",
  message: "the checkpoint has no normalizer: the value is the network's own output, in units of its training targets",
};

/** What the reader of a value, or of a part of one, should know of the model. */
export function valueWarnings({ config, normalizes, normalizer }: Model): PredictionWarning[] {
  return normalizes && config.task === "regression" && !normalizer ? [NO_NORMALIZER] : [];
}

/** Of elements that the model was trained without, where that is known. */
export function elementWarnings({ trainedOn }: Model, structure: Structure): PredictionWarning[] {
  if (!trainedOn) return [];
  const atoms = Array.from(structure.numbers.keys()).filter((i) => !trainedOn.has(structure.numbers[i]));
  if (atoms.length === 0) return [];
  const symbols = [...new Set(atoms.map((i) => SYMBOLS[structure.numbers[i]]))].join(", ");
  const message = `the model was trained without ${symbols} (${nameAtoms(structure, atoms)}): what it makes of them is a guess`;
  return [{ code: "unseen-element", message, atoms }];
}

/**
 * What a training checkpoint holds beside its tensors, in the metadata of a safetensors file, which is text by key:
 *
 *   "unitcell.checkpoint": '["normalizer","args","epoch","best_mae_error"]'
 *   "normalizer":          '{"mean":-1.699178719088435,"std":1.0563029540802564}'
 *   "args":                '{"radius":8.0,"max_num_nbr":12}'
 *   "epoch":               '968'
 *   "best_mae_error":      '0.03972001800748568'
 *
 * The first key lists which of the others are values, as JSON with Python's NaN and Infinity. They are read as the keys of
 * the training layout are, hyper_parameters and the like too. A file without that key is someone else's: what its metadata
 * may mean is not known, and it is let alone.
 */
import type { Checkpoint } from "../checkpoint.js";
import { UnitcellError } from "../errors.js";
import { quoted } from "../formats/json-scanner.js";
import { jsonOf, parseJson } from "../formats/json-values.js";
import type { TorchValue } from "../formats/values.js";
import { readTraining } from "./layouts.js";

/** Checkpoint.layout of a state dict with values in its file's metadata. */
export const METADATA_LAYOUT = "metadata";

export const CHECKPOINT_KEY = "unitcell.checkpoint";

/** The first key's text, for these others. */
export function metadataKeys(keys: Iterable<string>): string {
  return jsonOf([...keys])!;
}

/**
 * The values in a file's metadata; none where it does not say that there are any.
 * @param metadata a safetensors file's, as TorchFile.info has it; anything but a Map is none
 * @throws {UnitcellError} CORRUPT where the list or a value is no JSON, MISMATCH where a listed key is not there
 */
export function metadataValues(metadata: TorchValue | undefined): Map<string, TorchValue> {
  const values = new Map<string, TorchValue>();
  const list = metadata instanceof Map ? metadata.get(CHECKPOINT_KEY) : undefined;
  if (typeof list !== "string") return values;
  const keys = parseJson(list, `metadata ${CHECKPOINT_KEY}`);
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === "string"))
    throw new UnitcellError("CORRUPT", `metadata ${CHECKPOINT_KEY}: expected a list of names, found ${quoted(list)}`);
  for (const key of keys as string[]) {
    const text = (metadata as ReadonlyMap<string, TorchValue>).get(key);
    if (typeof text !== "string")
      throw new UnitcellError("MISMATCH", `the metadata lists ${quoted(key)} as a value, and does not hold it`, {
        key,
      });
    values.set(key, parseJson(text, `metadata ${quoted(key)}`));
  }
  return values;
}

/** What the tensors of a safetensors file are together with the values in its metadata. @throws {UnitcellError} as metadataValues */
export function withMetadata(tensors: Checkpoint, metadata: TorchValue): Checkpoint {
  const extra = metadataValues(metadata);
  if (extra.size === 0) return tensors;
  return { stateDict: tensors.stateDict, ...readTraining(extra), layout: METADATA_LAYOUT, extra };
}

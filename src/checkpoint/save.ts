/** Checkpoints as files: the training layout in a .pt, the same in a safetensors file's metadata. */
import type { Checkpoint } from "../checkpoint.js";
import { UnitcellError } from "../errors.js";
import { quoted } from "../formats/json-scanner.js";
import { jsonOf } from "../formats/json-values.js";
import { saveSafetensors } from "../formats/safetensors-save.js";
import { saveTorch } from "../formats/torch-save.js";
import { Float, OrderedDict, placeFloat, type TorchValue } from "../formats/values.js";
import { CHECKPOINT_KEY, metadataKeys } from "./metadata.js";

/**
 * The bytes of a file that loadCheckpoint reads as the same parts.
 *   torch        a dict {epoch, state_dict, best_mae_error, metrics {name: float}, normalizer {mean, std}, args} and what is in `extra`;
 *                where `extra` is empty and args are plain (slimCheckpoint sees to both), torch.load(weights_only=True)
 *                reads it, from torch 2 on: that of 1.13 knows no floats, and needs weights_only=False
 *   safetensors  the tensors, the rest as JSON in the metadata (metadata.ts)
 * @throws {UnitcellError} as saveTorch and saveSafetensors; UNSUPPORTED for parts that safetensors cannot hold, by name
 */
export function saveCheckpoint(checkpoint: Checkpoint, format: "torch" | "safetensors"): Uint8Array {
  const beside = besideStateDict(checkpoint);
  if (format === "torch") {
    const state: [string, TorchValue] = ["state_dict", new OrderedDict(checkpoint.stateDict)];
    // CGCNN's order.
    const first = [...beside].filter(([key]) => key === "epoch");
    return saveTorch(new Map<TorchValue, TorchValue>([...checkpoint.extra, ...first, state, ...beside]));
  }
  const unheld = [...checkpoint.extra.keys()].map(String);
  const metadata = new Map<string, string>();
  for (const [key, value] of beside) {
    const json = jsonOf(value);
    if (json === undefined) unheld.push(key);
    else metadata.set(key, json);
  }
  if (unheld.length > 0)
    throw new UnitcellError(
      "UNSUPPORTED",
      `safetensors cannot hold ${unheld.slice(0, 20).map(quoted).join(", ")}; slimCheckpoint makes plain values of what it can`,
      { names: unheld },
    );
  return saveSafetensors(
    checkpoint.stateDict,
    metadata.size === 0 ? undefined : new Map([[CHECKPOINT_KEY, metadataKeys(metadata.keys())], ...metadata]),
  );
}

/** The named parts by the training layout's keys. */
function besideStateDict({ epoch, metrics, normalizer, args }: Checkpoint): Map<string, TorchValue> {
  const parts = new Map<string, TorchValue>();
  const { best_mae_error: best, ...others } = metrics ?? {};
  if (best !== undefined) parts.set("best_mae_error", new Float(best));
  if (Object.keys(others).length > 0)
    parts.set("metrics", new Map(Object.entries(others).map(([name, value]) => [name, new Float(value)])));
  if (epoch !== undefined) parts.set("epoch", epoch);
  if (normalizer) {
    const dict = new Map<string, TorchValue>();
    for (const key of ["mean", "std"] as const) dict.set(key, placeFloat(new Float(normalizer[key]), dict, key));
    parts.set("normalizer", dict);
  }
  if (args) parts.set("args", args);
  return parts;
}

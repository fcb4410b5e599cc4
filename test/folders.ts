/** Small checkpoints and folders of them, as training programs leave them. */
import { saveTorch } from "../src/formats/torch-save.js";
import { Float, OrderedDict, type TorchValue } from "../src/formats/values.js";
import type { Tensor } from "../src/tensor.js";

function floats(...values: number[]): Tensor {
  return { dtype: "f32", shape: [values.length], data: new Uint8Array(new Float32Array(values).buffer) };
}

/** A whole training state after an epoch; `rest` adds keys and takes some away (undefined). */
export function trained(epoch: number, rest: Readonly<Record<string, TorchValue | undefined>> = {}): Uint8Array {
  const dict = new OrderedDict([["fc.weight", floats(epoch, 1, 2, 3)]] as [string, TorchValue][]);
  const parts: Record<string, TorchValue | undefined> = {
    epoch,
    state_dict: dict,
    optimizer: new Map<TorchValue, TorchValue>([["state", new Map()]]),
    scheduler: null,
    rng_state: floats(7),
    metrics: new Map<TorchValue, TorchValue>([["val_mae", new Float(1 / epoch)]]),
    ...rest,
  };
  return saveTorch(
    new Map(Object.entries(parts).filter((entry): entry is [string, TorchValue] => entry[1] !== undefined)),
  );
}

/** The state dict and nothing else. */
export function weights(...values: number[]): Uint8Array {
  return saveTorch(new OrderedDict([["fc.weight", floats(...values)]] as [string, TorchValue][]));
}

/** With bits turned over in the middle, where the numbers of a small file are. */
export function damaged(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  for (let at = copy.length >> 2; at < copy.length >> 1; at++) copy[at] ^= 255;
  return copy;
}

/** Files by name: one run that wrote every second epoch, its best (epoch 8), final, history and metadata. */
export function trainedRun(run: string, epochs = 10): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (let epoch = 2; epoch <= epochs; epoch += 2) files.set(`${run}_epoch${epoch}.pt`, trained(epoch));
  files.set(`${run}_best.pt`, trained(epochs - 2));
  files.set(`${run}_final.pt`, trained(epochs));
  const history = Array.from({ length: epochs }, (_, i) => ({
    epoch: i + 1,
    loss: 10 ** -(i / 3),
    val_mae: i + 1 === epochs - 2 ? 0.01 : 1 / (i + 1),
  }));
  const described = { model_name: run, epochs, best_val_mae: 0.01, training_time: 3600, history };
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  files.set("training_history.json", json(described));
  files.set(`${run}_metadata.json`, json({ model_type: "cgcnn", n_train: 40000, test_mae: 0.285 }));
  return files;
}

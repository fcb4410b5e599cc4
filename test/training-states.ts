/** Small trainings for the tests of runs. */
import { Float, OrderedDict, type TorchValue } from "../src/formats/values.js";
import type { TrainingState } from "../src/runs/training-state.js";
import { readFile, type Store } from "../src/stores/store.js";
import type { StateDict, Tensor } from "../src/tensor.js";

export function tensorOf(...values: number[]): Tensor {
  return { dtype: "f32", shape: [values.length], data: new Uint8Array(Float32Array.from(values).buffer) };
}

/** A generator's state, as torch.get_rng_state() gives it. */
export function rngState(seed: number): Tensor {
  return { dtype: "u8", shape: [64], data: Uint8Array.from({ length: 64 }, (_, i) => (seed * 31 + i * 7) & 255) };
}

/** A complete state, other for every epoch. */
export function stateOf(
  epoch: number,
  metrics: Record<string, number> = { val_mae: 1 / epoch },
  more: Partial<TrainingState> = {},
): TrainingState {
  const group = new Map<TorchValue, TorchValue>([
    ["lr", new Float(1)],
    ["betas", Object.freeze([0.9, 0.999])],
    ["weight_decay", 0],
    ["amsgrad", false],
    ["params", [0]],
  ]);
  return {
    stateDict: modelOf(epoch),
    epoch,
    metrics,
    optimizer: new Map<TorchValue, TorchValue>([
      ["state", new Map([[0, new Map<TorchValue, TorchValue>([["exp_avg", tensorOf(epoch, 2)]])]])],
      ["param_groups", [group]],
    ]),
    scheduler: new Map<TorchValue, TorchValue>([
      ["last_epoch", epoch],
      ["base_lrs", [new Float(1)]],
    ]),
    rng: rngState(epoch),
    ...more,
  };
}

export function modelOf(epoch: number): StateDict {
  const dict = new OrderedDict();
  dict.set("fc.weight", tensorOf(epoch, epoch / 3));
  dict.set("fc.bias", tensorOf(-epoch));
  return dict as unknown as StateDict;
}

/** The epoch that a model is of. */
export function epochOf(stateDict: StateDict): number {
  return new Float32Array(stateDict.get("fc.weight")!.data.slice().buffer)[0];
}

/** Names in a store, and below a folder where that is named. */
export async function keysOf(store: Store, folder?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) keys.push(key);
  return keys.sort();
}

export async function textOf(store: Store, key: string): Promise<string> {
  return new TextDecoder().decode((await readFile(store, key))!);
}

export async function putText(store: Store, key: string, text: string): Promise<void> {
  await store.put(key, new TextEncoder().encode(text));
}

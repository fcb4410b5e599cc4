/** A training that takes no time, for tests of folders of checkpoints: small states, and a metric that depends on the epoch. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { TorchValue } from "../src/formats/values.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { checkCheckpoint } from "../src/runs/restore.js";
import { anyOf, keepBest, keepLatest, type Ranking } from "../src/runs/retention.js";
import type { TrainingState } from "../src/runs/training-state.js";
import type { ReadStore } from "../src/stores/store.js";
import type { Tensor } from "../src/tensor.js";

export const BY: Ranking = { metric: "val_mae", mode: "min" };
export const RETENTION = anyOf(keepLatest(3), keepBest(2, BY));

/** Falls slowly under noise: about every fourth epoch is the best so far. */
export function maeOf(epoch: number): number {
  const noise = (Math.imul(epoch + 1, 2654435761) >>> 0) / 2 ** 32;
  return 10 - epoch / 200 + noise / 20;
}

function tensor(count: number, value: number): Tensor {
  return { dtype: "f32", shape: [count], data: new Uint8Array(new Float32Array(count).fill(value).buffer) };
}

/** As a training has it after an epoch: parameters and moments of an optimizer, every number of them the epoch. */
export function stateAfter(epoch: number, numbers = 200): TrainingState {
  const moments = new Map<TorchValue, TorchValue>([
    ["step", epoch],
    ["exp_avg", tensor(numbers, epoch)],
  ]);
  return {
    stateDict: new Map([["fc.weight", tensor(numbers, epoch)]]),
    epoch,
    metrics: { train_loss: 2 * maeOf(epoch), [BY.metric]: maeOf(epoch) },
    optimizer: new Map<TorchValue, TorchValue>([["state", new Map([[0, moments]])]]),
    scheduler: null,
    rng: tensor(16, epoch),
  };
}

/** Why checkpoints do not load. @param versions of files that did load before, which are not read again; set anew */
export async function findBroken(store: ReadStore, versions?: Map<string, string>): Promise<string[]> {
  const broken: string[] = [];
  for (const info of await listCheckpoints(store)) {
    if (versions?.get(info.key) === info.version) continue;
    const problem = await checkCheckpoint(store, info);
    if (problem !== undefined) broken.push(`${info.key}: ${problem}`);
    else versions?.set(info.key, info.version);
  }
  return broken;
}

/** Unfinished files anywhere in a folder. */
export function partsIn(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.filter((name) => name.endsWith(".part")).map((name) => join(folder, name));
}

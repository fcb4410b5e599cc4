import type { Checkpoint } from "../checkpoint.js";
import type { ModelConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { ElementTable } from "../graphs/features.js";
import type { ExpectedTensor } from "../load-report.js";
import type { Param, Program } from "../ops/program.js";
import type { StateDict } from "../tensor.js";
import type { ShareRule } from "./shares.js";

/** Name of the element table among a program's parameters; not part of a checkpoint. */
export const ELEMENT_TABLE = "elements";

/** Settings by the names of the reference code; they win over the checkpoint's own. */
export type Settings = Readonly<Record<string, number | boolean | string>>;

/** What a checkpoint says of its architecture. */
export interface Recognized<Config extends ModelConfig = ModelConfig> {
  readonly config: Config;
  /** Settings that the checkpoint records, "cutoff 8". */
  readonly found: readonly string[];
  /** Settings it does not record and the published defaults supplied, one sentence each. */
  readonly assumed: readonly string[];
  readonly property: string | undefined;
}

/** A tensor of the state dict, and the number it is filled with when one does without it. */
export interface ModelTensor extends ExpectedTensor {
  readonly initial: 0 | 1;
}

/** A network that runs from its original checkpoints; its row in known.ts says how it is recognised. */
export interface Architecture<Config extends ModelConfig = ModelConfig> {
  readonly type: Config["type"];
  /** Its targets were normalised in training: a checkpoint without normalizer gives no property. */
  readonly normalizes: boolean;
  /**
   * The config from names and shapes of tensors and the settings saved with them; tensor data is not looked at.
   * @throws {UnitcellError} MISMATCH where they contradict each other, UNSUPPORTED for settings this code lacks
   */
  readConfig(stateDict: StateDict, checkpoint: Checkpoint, settings: Settings): Recognized<Config>;
  /** The state dict that a config asks for. */
  tensors(config: Config): Map<string, ModelTensor>;
  /** Element features, where the model does not bring its own. */
  elements(config: Config, params: ReadonlyMap<string, Param>, checkpoint: Checkpoint): ElementTable;
  program(config: Config, params: ReadonlyMap<string, Param>): Program;
  /** How a regression's output is split among the atoms, from the value labelled "atoms"; absent where it cannot be. */
  shares?(config: Config, params: ReadonlyMap<string, Param>): ShareRule | undefined;
}

/** Collects the tensors of a state dict, layer by layer; methods are named after torch's modules. */
export class TensorList {
  readonly tensors = new Map<string, ModelTensor>();

  add(name: string, shape: readonly number[], initial: 0 | 1 = 0): void {
    this.tensors.set(name, { shape, dtype: "f32", initial });
  }

  linear(at: string, outputs: number, inputs: number): void {
    this.add(`${at}.weight`, [outputs, inputs]);
    this.add(`${at}.bias`, [outputs]);
  }

  layerNorm(at: string, features: number): void {
    this.add(`${at}.weight`, [features], 1);
    this.add(`${at}.bias`, [features]);
  }

  /** The counter of batches, which nothing reads, included. */
  batchNorm(at: string, features: number): void {
    this.layerNorm(at, features);
    this.add(`${at}.running_mean`, [features]);
    this.add(`${at}.running_var`, [features], 1);
    this.tensors.set(`${at}.num_batches_tracked`, { shape: [], optional: true, initial: 0 });
  }
}

/** Layers of one kind, of which published networks have 3 to 9: each is dozens of tensors and operations. */
export const MAX_LAYERS = 256;

/**
 * Highest layer number that a name holds, plus one; gaps are caught when the state dict is read. Numbers beyond the count
 * of tensors are no layer's: a name must not make us expect a billion of them.
 * @throws {UnitcellError} LIMIT beyond MAX_LAYERS
 */
export function countLayers(stateDict: StateDict, name: RegExp): number {
  let count = 0;
  for (const key of stateDict.keys()) {
    const layer = Number(name.exec(key)?.[1] ?? -1);
    if (layer >= stateDict.size || layer < count) continue;
    if (layer >= MAX_LAYERS)
      throw new UnitcellError("LIMIT", `expected at most ${MAX_LAYERS} layers of a kind, found ${key}`, {
        name: key,
        limit: MAX_LAYERS,
      });
    count = layer + 1;
  }
  return count;
}

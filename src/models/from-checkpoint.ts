/** Every network at hand, so that a checkpoint is one of them without waiting. `loadModel` loads only the one it needs. */
import type { Checkpoint } from "../checkpoint.js";
import type { ModelConfig } from "../config.js";
import { withoutWrapperPrefixes } from "../load-report.js";
import { ALIGNN } from "./alignn.js";
import type { Architecture, Recognized, Settings } from "./architecture.js";
import { buildModel } from "./build-model.js";
import { CGCNN } from "./cgcnn.js";
import { MEGNET } from "./megnet.js";
import type { Model, ModelOptions } from "./model.js";
import { recognize } from "./recognize.js";

const ARCHITECTURES: { readonly [type in ModelConfig["type"]]: Architecture } = {
  cgcnn: CGCNN,
  alignn: ALIGNN,
  megnet: MEGNET,
};

/** The architecture of a config. */
export function architectureOf({ type }: ModelConfig): Architecture {
  return ARCHITECTURES[type];
}

/**
 * Which architecture a checkpoint is of, by the names and shapes of its tensors, and with which settings. Tensor data is
 * not looked at.
 * @param settings by the names of the reference code; they win over the checkpoint's own
 * @throws {UnitcellError} UNSUPPORTED when it is of none, with the tensors found; MISMATCH when tensors and settings
 *   contradict each other
 */
export function recognizeModel(checkpoint: Checkpoint, settings: Settings = {}): Recognized {
  const stateDict = withoutWrapperPrefixes(checkpoint.stateDict);
  const { type } = recognize(stateDict, [...checkpoint.stateDict.keys()]);
  return ARCHITECTURES[type].readConfig(stateDict, checkpoint, settings);
}

/**
 * The model a checkpoint holds. Unless options.strict is false, a missing, unexpected or wrong-shaped tensor is an error
 * that lists them all.
 * @throws {UnitcellError} MISMATCH when tensors, settings and element table contradict each other, UNSUPPORTED when the
 *   tensors are of no known architecture, ARGUMENT for options that the architecture has no use for
 */
export function modelFromCheckpoint(checkpoint: Checkpoint, options: ModelOptions = {}): Model {
  const recognized = recognizeModel(checkpoint, options.graph);
  return buildModel(architectureOf(recognized.config), checkpoint, recognized, options);
}

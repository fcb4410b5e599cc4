export { type ArchitectureSummary, summarizeArchitecture } from "./architecture-summary.js";
export type { Backend, Session } from "./backends/backend.js";
export { wasmBackend } from "./backends/wasm.js";
export * from "./checkpoints.js";
export type {
  AlignnConfig,
  CgcnnConfig,
  GaussianBasis,
  GraphConfig,
  MegnetConfig,
  ModelConfig,
  NearestGraphConfig,
  NeighborPolicy,
  RadiusGraphConfig,
  ShellGraphConfig,
  SphereGraphConfig,
} from "./config.js";
export { type Embedding, type EmbedOptions, embed, embedStream } from "./embed.js";
export { type Ensemble, ensemble } from "./ensemble.js";
export { type Batch, collate } from "./graphs/batch.js";
export { cgcnnElementTable, type ElementTable, parseElementTable } from "./graphs/features.js";
export { buildGraph, type CrystalGraph } from "./graphs/graph.js";
export type { Warning } from "./graphs/warnings.js";
export { loadModel } from "./load-model.js";
export type { Recognized, Settings } from "./models/architecture.js";
export { modelFromCheckpoint, recognizeModel } from "./models/from-checkpoint.js";
export type { Model, ModelOptions, Normalizer } from "./models/model.js";
export type { Axis, Node, Param, Program, Value } from "./ops/program.js";
export { type PredictOptions, predict, predictStream } from "./predict.js";
export type {
  FailedPrediction,
  MemberPrediction,
  ModelInfo,
  Prediction,
  PredictionWarning,
  TieRange,
} from "./prediction.js";
export { type CacheOptions, PredictionCache } from "./prediction-cache.js";
export {
  type ChangeReport,
  type ComparisonOptions,
  comparePredictions,
  type StructureChange,
} from "./prediction-change.js";
export { type ParseOptions, parseEach, parseStructures, type StructureFormat } from "./structures/parse.js";
export type { Structure, UnreadStructure } from "./structures/structure.js";

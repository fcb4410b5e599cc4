/**
 * The checkpoint toolkit alone, as "unitcell/checkpoints": reading and writing checkpoint files, stores, runs. It holds no
 * Wasm and no networks; `unitcell` exports all of it too.
 */

export type { Sink } from "./bytes.js";
export { saveCheckpoint } from "./checkpoint.js";
export { castTensor } from "./formats/cast.js";
export { isModule, moduleStateDict } from "./formats/module.js";
export { type SafetensorsOptions, saveSafetensors, writeSafetensors } from "./formats/safetensors-save.js";
export { loadShards, parseShardIndex, type ShardIndex } from "./formats/shards.js";
export { saveTorch, type WriteOptions, writeTorch } from "./formats/torch-save.js";
export { type Place, placeName, walkTensors } from "./formats/walk.js";
export { type ExpectedTensor, type LoadReport, matchStateDict } from "./load-report.js";
export * from "./reader.js";
export type { CheckpointInfo, Tag } from "./runs/checkpoint-info.js";
export type { HistoryRow, RunMetadata, TrainingHistory } from "./runs/history.js";
export { listCheckpoints } from "./runs/listing.js";
export {
  CheckpointManager,
  type Resumed,
  type ResumeOptions,
  type RunOptions,
  type Saved,
} from "./runs/manager.js";
export { pinCheckpoint, unpinCheckpoint } from "./runs/pins.js";
export { type PlanOptions, type PruneOptions, type PruneResult, planStorePrune, pruneStore } from "./runs/prune.js";
export type { KeptCheckpoint, PrunePlan } from "./runs/prune-plan.js";
export {
  type Amount,
  type Duplicates,
  type Growth,
  type ReportOptions,
  type RunReport,
  type StorageReport,
  storageReport,
} from "./runs/report.js";
export { checkCheckpoint, type Described, describeCheckpoint, type Restored, type Which } from "./runs/restore.js";
export {
  allOf,
  anyOf,
  keepBest,
  keepEvery,
  keepLatest,
  keepTagged,
  keepWithin,
  keepYoungerThan,
  planPrune,
  type Ranking,
  type RetentionPolicy,
} from "./runs/retention.js";
export { type RestoreOptions, restoreCheckpoint } from "./runs/run-files.js";
export type { Part, TrainingState } from "./runs/training-state.js";
export { emptyTrash, listTrash, type TrashBatch, undoRemoval } from "./runs/trash.js";
export { type CastReport, type SlimDType, type SlimOptions, type SlimReport, slimCheckpoint } from "./slim.js";
export { type SparsifiedTensor, type SparsifyOptions, type SparsityReport, sparsify } from "./sparsify.js";
export { type HttpOptions, type HttpSource, httpSource } from "./stores/http.js";
export { type HttpStore, type HttpStoreOptions, httpStore, type IndexEntry } from "./stores/http-store.js";
export { indexedDbStore } from "./stores/indexeddb.js";
export { memoryStore } from "./stores/memory.js";
export { opfsStore } from "./stores/opfs.js";
export { type S3Client, type S3Options, s3Store } from "./stores/s3.js";
export type {
  ChangeOptions,
  Content,
  Liveness,
  PutOptions,
  ReadStore,
  Store,
  StoreEntry,
  StoreSource,
} from "./stores/store.js";
export {
  type CopyOptions,
  copyFile,
  type DownloadOptions,
  download,
  type HashedStore,
  type Progress,
} from "./stores/transfer.js";
export { type CheckpointSummary, inspectCheckpoint, type TensorSummary } from "./summary.js";
export { StatsAccumulator, type TensorStats, tensorStats } from "./tensor-stats.js";

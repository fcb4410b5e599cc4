/**
 * What the page and its worker say to each other. Only plain data crosses (files and blobs are handles, and cost nothing);
 * tables cross in rows, a batch at a time, so that no message keeps the page busy.
 */
import type { TreeNode } from "../cli/tree.js";
import type { ErrorCode } from "../errors.js";
import type { Prediction, PredictionWarning } from "../prediction.js";
import type { CheckpointInfo } from "../runs/checkpoint-info.js";
import type { KeptCheckpoint } from "../runs/prune-plan.js";
import type { StorageReport } from "../runs/report.js";
import type { TrashBatch } from "../runs/trash.js";
import type { TensorStats } from "../tensor-stats.js";

/** An error as it crosses; UNEXPECTED is a fault of ours, or of the browser. */
export interface Problem {
  readonly code: ErrorCode | "UNEXPECTED";
  readonly message: string;
}

/** A file that the user gave, with its folders where it came with any: "saved_models/cgcnn_best.pt". */
export interface GivenFile {
  readonly path: string;
  readonly file: File;
}

/** An open checkpoint in a line. */
export interface CheckpointCard {
  readonly id: number;
  /** As in records. */
  readonly name: string;
  readonly files: readonly string[];
  readonly bytes: number;
  readonly parameters: number;
  /** "CGCNN"; undefined where nothing of ours was recognised. */
  readonly architecture: string | undefined;
  readonly property: string | undefined;
  readonly unit: string | undefined;
  /** States to choose from (MEGNet's fidelities); 0 where there are none. */
  readonly states: number;
  /** Why its predictions cannot be split among the atoms; undefined where they can. */
  readonly noShares: string | undefined;
  /** Whether it takes part in predictions. */
  readonly used: boolean;
  /** Why it takes no part unless it is asked to. */
  readonly note: string | undefined;
  /** Why there is no model. */
  readonly problem: Problem | undefined;
}

export interface TensorRow {
  readonly name: string;
  readonly dtype: string;
  readonly shape: string;
  readonly bytes: number;
  /** Device, what it is tied to, whether it is no part of the state dict. */
  readonly notes: string;
}

/** Facts in the order in which they are shown. */
export type Facts = readonly (readonly [label: string, text: string])[];

export interface CheckpointDetails {
  readonly card: CheckpointCard;
  readonly facts: Facts;
  readonly found: readonly string[];
  readonly assumed: readonly string[];
  readonly warnings: readonly string[];
  readonly tensors: readonly TensorRow[];
}

/** What is directly inside a value of the file. */
export interface TreeLevel {
  readonly nodes: readonly TreeNode[];
  /** By node: whether there is something inside. */
  readonly opens: readonly boolean[];
  /** Of all, how many are inside. */
  readonly total: number;
}

export interface Histogram {
  readonly stats: TensorStats;
  /** Bins + 1 edges; none where the tensor has no finite numbers. */
  readonly edges: readonly number[];
  readonly counts: readonly number[];
}

export interface StructureRow {
  readonly index: number;
  readonly id: string;
  readonly file: string;
  readonly formula: string | undefined;
  readonly sites: number | undefined;
  readonly problem: Problem | undefined;
}

export interface ResultRow {
  readonly index: number;
  readonly value: number | undefined;
  readonly std: number | undefined;
  readonly warnings: number;
  readonly problem: Problem | undefined;
}

export interface StructureDetails {
  readonly row: StructureRow;
  /** Absent where the structure could not be read. */
  readonly crystal?: {
    readonly symbols: readonly string[];
    /** (N, 3) Å, inside the cell. */
    readonly positions: Float64Array;
    /** (3, 3) rows a, b, c in Å. */
    readonly lattice: Float64Array;
    readonly notes: readonly string[];
  };
  readonly prediction: Prediction | undefined;
  readonly problem: Problem | undefined;
}

/** A prediction split among the atoms by one model. */
export interface Shares {
  readonly model: string;
  readonly unit: string | undefined;
  readonly values: readonly number[];
  readonly warnings: readonly PredictionWarning[];
}

export interface OpenSummary {
  readonly checkpoints: number;
  readonly structures: number;
  readonly references: number;
  readonly runFiles: number;
  /** Files of no kind that we read. */
  readonly ignored: readonly string[];
  /** All structures were closed while these were read: none of them is open. */
  readonly closed: boolean;
}

export interface PredictSummary {
  /** Now, and not before. */
  readonly computed: number;
  /** Of those computed now. */
  readonly failed: number;
  readonly done: number;
  readonly total: number;
  readonly cancelled: boolean;
  readonly elapsedMs: number;
  readonly backend: string | undefined;
}

export interface PredictRequest {
  readonly state: number | undefined;
  /** Of the models that do not name it themselves. */
  readonly property: string | undefined;
  readonly unit: string | undefined;
}

/** A retention policy as the form gives it: what any of the given rules keeps is kept. */
export interface Policy {
  readonly latest: number | undefined;
  readonly every: number | undefined;
  readonly best: { readonly count: number; readonly metric: string; readonly mode: "min" | "max" } | undefined;
}

export interface Library {
  readonly checkpoints: readonly CheckpointInfo[];
  readonly report: StorageReport;
  readonly trash: readonly TrashBatch[];
  /** Of the runs that have a history. */
  readonly histories: readonly RunCurves[];
  /** Histories that cannot be read, and why. */
  readonly unread: readonly string[];
  /** Whether the browser has promised not to clear it by itself. */
  readonly persisted: boolean;
}

export interface RunCurves {
  readonly run: string;
  readonly epochs: readonly number[];
  /** A metric that an epoch lacks is null. */
  readonly metrics: readonly (readonly [name: string, values: readonly (number | null)[]])[];
}

export interface PlanView {
  readonly keep: readonly KeptCheckpoint[];
  readonly remove: readonly CheckpointInfo[];
  readonly bytesFreed: number;
}

/** What the page asks of the worker. */
export interface Calls {
  /** Hands files over for `open`: some at a time, since to copy the handles of many keeps the page busy. */
  give(files: readonly GivenFile[]): void;
  open(): OpenSummary;
  use(id: number, used: boolean): void;
  close(id: number): void;
  clearStructures(): void;
  describe(id: number): CheckpointDetails;
  tree(id: number, path: readonly number[], most: number): TreeLevel;
  histogram(id: number, tensor: number): Histogram;
  predict(request: PredictRequest): PredictSummary;
  cancel(): void;
  /** Predictions that are no longer asked for in the same way. */
  forget(): void;
  structure(index: number): StructureDetails;
  shares(index: number, id: number, request: PredictRequest): Shares;
  download(format: "csv" | "json"): Blob;
  library(): Library;
  keep(id: number): readonly string[];
  openKept(key: string): OpenSummary;
  pin(key: string, pinned: boolean): void;
  plan(policy: Policy): PlanView;
  prune(): number;
  undo(): number;
  emptyTrash(): number;
}

/** What the worker tells by itself. */
export type Told =
  | { readonly kind: "opening"; readonly done: number; readonly total: number }
  | { readonly kind: "checkpoints"; readonly cards: readonly CheckpointCard[] }
  | { readonly kind: "structures"; readonly rows: readonly StructureRow[] }
  /** All structures are closed: rows and results told before are of them, those told from here on are not. */
  | { readonly kind: "closed" }
  | { readonly kind: "references"; readonly values: readonly (readonly [id: string, value: number])[] }
  | { readonly kind: "results"; readonly rows: readonly ResultRow[]; readonly done: number; readonly total: number }
  | { readonly kind: "problem"; readonly file: string; readonly problem: Problem };

export type Request = { readonly call: number; readonly name: keyof Calls; readonly values: readonly unknown[] };
export type Answer =
  | { readonly call: number; readonly value: unknown }
  | { readonly call: number; readonly problem: Problem }
  | { readonly told: Told };

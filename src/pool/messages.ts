/** What a pool and its workers say to each other; all of it is cloned on the way. */
import type { Ensemble } from "../ensemble.js";
import type { Model } from "../models/model.js";
import type { FailedPrediction, Prediction } from "../prediction.js";
import type { Structure } from "../structures/structure.js";
import type { StructureText } from "./structure-text.js";

/** What a worker makes records of: of a structure one, of a text one for each structure in it. */
export type Item = Structure | StructureText;

export type Records = (Prediction | FailedPrediction)[];

/** How to predict. Models are sent before and named by their number. */
export interface Request {
  readonly models: readonly number[];
  /** Where they are one. */
  readonly ensemble: Omit<Ensemble, "members"> | undefined;
  readonly options: {
    readonly tieRange?: boolean;
    readonly state?: number;
    readonly maxAtoms?: number;
    readonly maxEdges?: number;
    readonly lift?: boolean;
  };
}

export type ToWorker =
  | { readonly type: "model"; readonly id: number; readonly model: Model }
  /** The model is not needed any more. */
  | { readonly type: "forget"; readonly id: number }
  | {
      readonly type: "predict";
      readonly request: Request;
      readonly items: readonly Item[];
    };

export type FromWorker =
  /** It listens. In browsers, the name of a Web Lock that it holds as long as it lives. */
  | { readonly type: "ready"; readonly lock?: string }
  /** Of each item of the oldest order that has none yet, its records. */
  | { readonly type: "records"; readonly records: readonly Records[] }
  /** A defect: it cannot be trusted with more. */
  | { readonly type: "failed"; readonly message: string };

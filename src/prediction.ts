/** The record of a prediction: one shape for the API, the command line and the cache (prediction.schema.json). */
import type { ErrorCode } from "./errors.js";
import type { Warning } from "./graphs/warnings.js";

/** Changes when a field changes its meaning or goes. */
export const RECORD_SCHEMA = 1;

/** What the model, or each model of an ensemble, says of one crystal. */
export interface Prediction extends Estimate {
  readonly schema: typeof RECORD_SCHEMA;
  readonly id?: string;
  /** Reduced formula, elements by rising electronegativity: "SrTiO3". */
  readonly formula: string;
  readonly sites: number;
  readonly property?: string;
  readonly unit?: string;
  /** Of an ensemble: sample standard deviation of the members' values, times its calibration factor. */
  readonly std?: number;
  /** Of an ensemble: whether a calibration factor was given. Without one `std` is a spread, not an error bar. */
  readonly calibrated?: boolean;
  /** Of an ensemble, in its order. */
  readonly members?: readonly MemberPrediction[];
  readonly warnings: readonly PredictionWarning[];
  readonly backend: string;
  /** ms from structure to value; the share of its atoms where several ran together. */
  readonly elapsedMs: number;
  /** It was computed before, and read from a cache. */
  readonly cached?: true;
}

/** A model's numbers for one crystal, and the model. */
interface Estimate {
  /** The property, or for a classifier the probability of class 1. Of several outputs the first. */
  readonly value: number;
  /** Of a model with several outputs, all of them. */
  readonly values?: readonly number[];
  /** Of every class; classifiers only. */
  readonly probabilities?: readonly number[];
  readonly model: ModelInfo;
  /** The index of the state asked for, where the model has several (MEGNet's fidelities). */
  readonly state?: number;
  /** Å, the cutoff of the graph; larger than the model's own where the rule extends it. */
  readonly cutoff?: number;
  /** Where the graph is not upstream's own. */
  readonly neighborPolicy?: "symmetric";
  /**
   * How many times fewer rows were computed than the graph has, by telling alike ones only once (graphs/lift.ts): pairs of
   * bonds where the network has them, else bonds; 1 where nothing is alike. Absent where lifting was turned off.
   */
  readonly compression?: number;
  /** With `tieRange`, where a neighbour tie matters: the values that other choices among the tied give. */
  readonly tie?: TieRange;
}

/** What one model of an ensemble says. */
export type MemberPrediction = Estimate;

/** Which model made a prediction. */
export interface ModelInfo {
  /** A name for people: of the file, or "ensemble of 3". */
  readonly name?: string;
  /** Of the checkpoint file, hexadecimal. */
  readonly sha256?: string;
  /** "CGCNN", "ALIGNN", "MEGNet" or "ensemble". */
  readonly architecture: string;
  /** Settings that the checkpoint does not record and published defaults supplied. */
  readonly assumed?: readonly string[];
}

/** What a reader of a value should know of it; docs/records.md says what the codes mean. */
export interface PredictionWarning {
  readonly code: Warning["code"] | "no-normalizer" | "unseen-element" | "backend-failed";
  readonly message: string;
  /** The atoms concerned, by position in the structure. */
  readonly atoms?: readonly number[];
  /** The member of an ensemble that it is about, by position; of all when absent. */
  readonly member?: number;
}

/** The range of a value over the ways to choose among tied neighbours. */
export interface TieRange {
  readonly min: number;
  readonly max: number;
  /** Choices tried; all there are when `exhaustive`. */
  readonly choices: number;
  readonly exhaustive: boolean;
}

/** A structure that gave no prediction, and why. */
export interface FailedPrediction {
  readonly schema: typeof RECORD_SCHEMA;
  readonly id?: string;
  readonly error: { readonly code: ErrorCode; readonly message: string };
}

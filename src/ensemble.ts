/** Several models of one property as one: their mean, their spread, and what each of them says. */
import { UnitcellError } from "./errors.js";
import type { Model } from "./models/model.js";
import {
  type FailedPrediction,
  type MemberPrediction,
  type Prediction,
  type PredictionWarning,
  RECORD_SCHEMA,
} from "./prediction.js";

/** Several models of one property, to be given to `predict` as one. Made by `ensemble`. */
export interface Ensemble {
  readonly members: readonly Model[];
  /** Factor from the members' spread to an error bar; absent where nobody worked it out. */
  readonly calibration?: number;
  readonly property?: string;
  readonly unit?: string;
  readonly name: string;
}

/**
 * An ensemble of models of any architectures that predict one property.
 * @param options.calibration factor on the standard deviation, worked out by the caller on data of known values
 * @throws {UnitcellError} ARGUMENT for fewer than two models or a calibration that is not positive; MISMATCH where
 *   properties, units, tasks or numbers of outputs differ
 */
export function ensemble(members: readonly Model[], options: { calibration?: number; name?: string } = {}): Ensemble {
  const { calibration, name = `ensemble of ${members.length}` } = options;
  if (members.length < 2)
    throw new UnitcellError("ARGUMENT", `an ensemble needs at least two models, found ${members.length}`);
  if (calibration !== undefined && !(calibration > 0 && Number.isFinite(calibration)))
    throw new UnitcellError("ARGUMENT", `calibration must be a positive number, found ${calibration}`);
  sameOf(members, "property", ({ property }) => property);
  sameOf(members, "unit", ({ unit }) => unit);
  sameOf(members, "task", ({ config }) => config.task);
  sameOf(members, "number of outputs or classes", ({ config: { task, outputs } }) =>
    // One output of a classifier is the probability of the second of two classes.
    task === "classification" ? Math.max(2, outputs) : outputs,
  );
  const [{ property, unit }] = members;
  return {
    members,
    name,
    ...(calibration !== undefined && { calibration }),
    ...(property && { property }),
    ...(unit && { unit }),
  };
}

/** @throws {UnitcellError} MISMATCH with every member's own */
function sameOf(members: readonly Model[], what: string, of: (model: Model) => string | number | undefined): void {
  const all = members.map(of);
  if (all.every((one) => one === all[0])) return;
  const found = members.map(({ name, architecture }, i) => `${name ?? architecture}: ${all[i] ?? "not known"}`);
  throw new UnitcellError("MISMATCH", `members of an ensemble must share their ${what}, found ${found.join("; ")}`);
}

/**
 * One structure's record from its members' records. Where one of them failed the ensemble fails: a mean over the others
 * would be another ensemble's.
 */
export function combinePredictions(
  { members, calibration, name }: Ensemble,
  records: readonly (Prediction | FailedPrediction)[],
): Prediction | FailedPrediction {
  const predictions: Prediction[] = [];
  for (const [i, record] of records.entries())
    if ("error" in record) {
      const { code, message } = record.error;
      // What every member says is about the structure.
      if (records.every((other) => "error" in other && other.error.message === message)) return record;
      return { ...record, error: { code, message: `${members[i].name ?? members[i].architecture}: ${message}` } };
    } else predictions.push(record);
  const [{ id, formula, sites, property, unit }] = predictions;
  const values = predictions.map(({ value }) => value);
  const outputs = meanOfRows(predictions.map((prediction) => prediction.values));
  const probabilities = meanOfRows(predictions.map((prediction) => prediction.probabilities));
  return {
    schema: RECORD_SCHEMA,
    ...(id !== undefined && { id }),
    formula,
    sites,
    ...(property !== undefined && { property }),
    ...(unit !== undefined && { unit }),
    value: mean(values),
    std: sampleDeviation(values) * (calibration ?? 1),
    calibrated: calibration !== undefined,
    ...(outputs && { values: outputs }),
    ...(probabilities && { probabilities }),
    members: predictions.map(toMember),
    warnings: mergeWarnings(predictions),
    model: { name, architecture: "ensemble" },
    backend: [...new Set(predictions.map(({ backend }) => backend))].join(", "),
    elapsedMs: predictions.reduce((sum, { elapsedMs }) => sum + elapsedMs, 0),
  };
}

const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** Square root of the sum of squared differences over n - 1. */
function sampleDeviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, x) => sum + (x - middle) ** 2, 0) / (values.length - 1));
}

/** Column by column, where every member has as many. */
function meanOfRows(rows: readonly (readonly number[] | undefined)[]): number[] | undefined {
  const [first] = rows;
  if (!first || !rows.every((row) => row?.length === first.length)) return undefined;
  return first.map((_, c) => mean(rows.map((row) => row![c])));
}

function toMember({
  value,
  values,
  probabilities,
  model,
  state,
  cutoff,
  neighborPolicy,
  compression,
  tie,
}: Prediction): MemberPrediction {
  return {
    value,
    ...(values && { values }),
    ...(probabilities && { probabilities }),
    model,
    ...(state !== undefined && { state }),
    ...(cutoff !== undefined && { cutoff }),
    ...(neighborPolicy && { neighborPolicy }),
    ...(compression !== undefined && { compression }),
    ...(tie && { tie }),
  };
}

/** What all members say is said once; the rest names its member. */
function mergeWarnings(predictions: readonly Prediction[]): PredictionWarning[] {
  const key = ({ code, message }: PredictionWarning) => `${code} ${message}`;
  const count = new Map<string, number>();
  for (const { warnings } of predictions)
    for (const warning of warnings) count.set(key(warning), (count.get(key(warning)) ?? 0) + 1);
  const merged = new Map<string, PredictionWarning>();
  for (const [member, { warnings }] of predictions.entries())
    for (const warning of warnings)
      if (count.get(key(warning)) === predictions.length) merged.set(key(warning), warning);
      else merged.set(`${member} ${key(warning)}`, { ...warning, member });
  return [...merged.values()];
}

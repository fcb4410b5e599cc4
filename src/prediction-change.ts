/** What a change of weights does to predictions: two models of one network on the same structures. */
import { type BatchOptions, checkOptions, type StructureStream } from "./batches.js";
import { UnitcellError } from "./errors.js";
import type { Model } from "./models/model.js";
import { predictStream } from "./predict.js";
import type { FailedPrediction, Prediction } from "./prediction.js";
import type { Structure, UnreadStructure } from "./structures/structure.js";

/** As for `predict`, and the largest difference that is accepted. */
export interface ComparisonOptions extends BatchOptions {
  /** The largest difference that is accepted, in the unit of the property. */
  readonly tolerance?: number;
}

/** One structure, in the order given. A regression's value, or a classifier's probability of class 1. */
export type StructureChange =
  | {
      readonly id?: string;
      readonly formula: string;
      readonly before: number;
      readonly after: number;
      /** |after - before|; of several outputs or classes the largest. */
      readonly difference: number;
    }
  | {
      readonly id?: string;
      /** What kept either model from predicting it. */
      readonly error: FailedPrediction["error"];
      readonly failed: "before" | "after" | "both";
    };

/** How the predictions of two models differ: each structure, and the largest and mean difference. */
export interface ChangeReport {
  readonly property?: string;
  readonly unit?: string;
  readonly structures: readonly StructureChange[];
  readonly compared: number;
  readonly failed: number;
  /** Over the structures compared, in the unit; NaN where there are none. */
  readonly largest: number;
  readonly mean: number;
  readonly tolerance?: number;
  /** With a tolerance: at least one structure was compared, none failed, and no difference is above it. */
  readonly accepted?: boolean;
}

/**
 * Predict structures with both models and compare. A structure that fails is in the report and keeps it from being accepted.
 * All structures are held in memory, and read once.
 * @throws {UnitcellError} ARGUMENT for a tolerance below 0 and for options that predict refuses, MISMATCH when the models
 *   are not of one architecture and task, or have other numbers of outputs
 */
export async function comparePredictions(
  before: Model,
  after: Model,
  structures: StructureStream,
  { tolerance, ...options }: ComparisonOptions = {},
): Promise<ChangeReport> {
  if (tolerance !== undefined && !(tolerance >= 0))
    throw new UnitcellError("ARGUMENT", `a tolerance is 0 or more, found ${tolerance}`);
  checkOptions([before, after], options);
  const kind = ({ architecture, config: { task, outputs } }: Model) => `${architecture} ${task} of ${outputs} outputs`;
  if (kind(before) !== kind(after))
    throw new UnitcellError("MISMATCH", `a ${kind(before)} cannot be compared with a ${kind(after)}`);
  const held: (Structure | UnreadStructure)[] = [];
  for await (const structure of structures) held.push(structure);
  const rows: StructureChange[] = [];
  const others = predictStream(after, held, options);
  for await (const record of predictStream(before, held, options))
    rows.push(changeOf(record, (await others.next()).value as Prediction | FailedPrediction));
  const differences = rows.flatMap((row) => ("error" in row ? [] : [row.difference]));
  const largest = differences.length > 0 ? differences.reduce((most, one) => Math.max(most, one), 0) : Number.NaN;
  const failed = rows.length - differences.length;
  return {
    ...(before.property && { property: before.property }),
    ...(before.unit && { unit: before.unit }),
    structures: rows,
    compared: differences.length,
    failed,
    largest,
    mean: differences.reduce((sum, one) => sum + one, 0) / differences.length,
    ...(tolerance !== undefined && { tolerance, accepted: failed === 0 && largest <= tolerance }),
  };
}

function changeOf(before: Prediction | FailedPrediction, after: Prediction | FailedPrediction): StructureChange {
  const id = before.id === undefined ? {} : { id: before.id };
  if ("error" in before) return { ...id, error: before.error, failed: "error" in after ? "both" : "before" };
  if ("error" in after) return { ...id, error: after.error, failed: "after" };
  const [old, now] = [numbersOf(before), numbersOf(after)];
  const difference = old.reduce((most, value, i) => Math.max(most, Math.abs(now[i] - value)), 0);
  return { ...id, formula: before.formula, before: before.value, after: after.value, difference };
}

/** Everything that the network says. */
function numbersOf({ value, values, probabilities }: Prediction): readonly number[] {
  return values ?? probabilities ?? [value];
}

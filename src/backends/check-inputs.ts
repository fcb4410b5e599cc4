import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import { MADE_OF } from "../ops/distinct.js";
import { SEGMENT_OF } from "../ops/gates.js";
import type { Axis, Program } from "../ops/program.js";
import { largestSizes } from "./sizes.js";

/** One way in which a program reads a batch input: how many entries there must be, and what they may hold. */
export interface Reading {
  readonly name: string;
  readonly kind: "numbers" | "index" | "starts" | "weights";
  /** Of row starts there is one more than rows. */
  readonly rows: Axis;
  /** Entries a row. */
  readonly columns: number;
  /** What an index points into and where row starts end: the rows of an axis, or of a table. */
  readonly limit: Axis | number;
}

/** How a program reads its batch inputs, each way once. */
export function readingsOf({ nodes, params: tables }: Program): Reading[] {
  const all = nodes.flatMap(
    ({ op, output, index, indices = [], starts, weights, over, inputs: values, params }): Reading[] => {
      const rows = over ?? output.rows;
      const found: Reading[] = [];
      if (op === "input") found.push({ name: index!, kind: "numbers", rows, columns: output.columns, limit: rows });
      else if (index !== undefined)
        found.push({ name: index, kind: "index", rows, columns: 1, limit: tables.get(params[0])!.shape[0] });
      for (const [i, name] of indices.entries())
        if (name !== undefined) found.push({ name, kind: "index", rows, columns: 1, limit: values[i].rows });
      if (starts !== undefined)
        found.push({ name: starts, kind: "starts", rows: output.rows, columns: 1, limit: rows });
      if (weights !== undefined) found.push({ name: weights, kind: "weights", rows, columns: 1, limit: rows });
      return found;
    },
  );
  return unlike(all);
}

const unlike = (readings: readonly Reading[]) => [
  ...new Map(readings.map((reading) => [Object.values(reading).join(" "), reading])).values(),
];

/** Of these readings, those that a batch must allow: what is made of it is sound if the batch is. */
export function checksOf(readings: readonly Reading[]): Reading[] {
  return unlike(
    readings.flatMap((reading): Reading[] => {
      const source = MADE_OF.get(reading.name);
      if (!source) return [reading];
      const { name, rows } = source;
      return reading.kind === "numbers" ? [{ ...reading, name, rows, limit: rows }] : [];
    }),
  );
}

/**
 * Kernels trust their inputs, so a batch is checked before a run: inputs present, of their type and length, numbers not
 * NaN, indices inside what they point into, row starts from 0 to its end and of the segments that rows say they are in; weights, which a batch need not have, finite
 * and above 0.
 * @throws {UnitcellError} MISMATCH
 */
export function checkInputs(checks: readonly Reading[], { sizes: given, inputs }: Batch): void {
  const sizes = largestSizes(given);
  for (const { name, kind, rows, columns, limit } of checks) {
    const data = inputs.get(name);
    if (data === undefined && kind === "weights") continue;
    const length = sizes[rows] * columns + (kind === "starts" ? 1 : 0);
    if (data?.length !== length)
      throw new UnitcellError(
        "MISMATCH",
        `batch input "${name}" must have ${length} entries, found ${data ? data.length : "none of that name"}`,
      );
    const end = typeof limit === "number" ? limit : sizes[limit];
    if (kind === "numbers") checkNumbers(name, typed(name, data, "Float32Array"));
    else if (kind === "weights") checkWeights(name, typed(name, data, "Float32Array"));
    else if (kind === "index") checkIndex(name, typed(name, data, "Int32Array"), end);
    else {
      checkStarts(name, typed(name, data, "Int32Array"), end);
      checkSegments(name, data, inputs);
    }
  }
}

/** Not `instanceof`: arrays may come from another realm. */
function typed<Type extends "Float32Array" | "Int32Array">(
  name: string,
  data: Float32Array | Int32Array,
  type: Type,
): Type extends "Float32Array" ? Float32Array : Int32Array {
  const found = data[Symbol.toStringTag];
  if (found !== type) throw new UnitcellError("MISMATCH", `batch input "${name}" must be ${type}, found ${found}`);
  return data as ReturnType<typeof typed<Type>>;
}

function checkNumbers(name: string, data: Float32Array): void {
  for (let i = 0; i < data.length; i++)
    if (Number.isNaN(data[i])) throw new UnitcellError("MISMATCH", `batch input "${name}" holds NaN`);
}

function checkWeights(name: string, data: Float32Array): void {
  for (let i = 0; i < data.length; i++)
    if (!(data[i] > 0 && data[i] < Number.POSITIVE_INFINITY))
      throw new UnitcellError("MISMATCH", `batch input "${name}" holds ${data[i]}, not a finite number above 0`);
}

function checkIndex(name: string, data: Int32Array, end: number): void {
  for (let i = 0; i < data.length; i++)
    if (!(data[i] >= 0 && data[i] < end))
      throw new UnitcellError("MISMATCH", `batch input "${name}" holds ${data[i]}, outside 0 to ${end}`);
}

/** What tells each row its segment, and stands in for the row starts in some passes, must agree with them. */
function checkSegments(name: string, start: ArrayLike<number>, inputs: Batch["inputs"]): void {
  const segment = inputs.get(SEGMENT_OF[name]);
  for (let s = 0; segment && s + 1 < start.length; s++)
    for (let r = start[s]; r < start[s + 1]; r++)
      if (segment[r] !== s)
        throw new UnitcellError(
          "MISMATCH",
          `batch input "${SEGMENT_OF[name]}" must be ${s} at ${r} by "${name}", found ${segment[r]}`,
        );
}

/** Row starts ascend from 0 to the end. */
function checkStarts(name: string, data: Int32Array, end: number): void {
  let least = 0;
  for (let i = 0; i < data.length; i++) {
    if (!(data[i] >= least && data[i] <= end))
      throw new UnitcellError("MISMATCH", `batch input "${name}" holds ${data[i]}, outside ${least} to ${end}`);
    least = data[i];
  }
  if (data[0] !== 0 || least !== end)
    throw new UnitcellError("MISMATCH", `batch input "${name}" must go from 0 to ${end}, found ${data[0]} to ${least}`);
}

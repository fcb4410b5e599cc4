import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import type { Program } from "../ops/program.js";

/**
 * Kernels trust their inputs, so a batch is checked before a run: inputs present, of their type and length, numbers not
 * NaN, indices inside what they point into, row starts from 0 to its end; weights, which a batch need not have, finite
 * and above 0.
 * @throws {UnitcellError} MISMATCH
 */
export function checkInputs(program: Program, batch: Batch): void {
  const sizes = { ...batch.sizes, L: 0, C: 0 };
  const checked = new Set<string>();
  for (const { op, output, index, indices, starts, weights, over, inputs: values, params } of program.nodes) {
    const rows = sizes[over ?? output.rows];
    const checkIndex = (name: string, limit: number) => {
      const data = inputOf(batch, name, "Int32Array", rows);
      if (!checked.has(`${name} ${limit}`)) checkRange(name, data, limit);
      checked.add(`${name} ${limit}`);
    };
    if (op === "input") {
      const data = inputOf(batch, index!, "Float32Array", sizes[output.rows] * output.columns);
      if (data.some(Number.isNaN)) throw new UnitcellError("MISMATCH", `batch input "${index}" holds NaN`);
    } else if (index !== undefined) checkIndex(index, program.params.get(params[0])!.shape[0]);
    for (const [i, name] of (indices ?? []).entries()) if (name !== undefined) checkIndex(name, sizes[values[i].rows]);
    if (starts !== undefined) {
      const end = rows;
      const data = inputOf(batch, starts, "Int32Array", sizes[output.rows] + 1);
      if (!checked.has(`${starts} to ${end}`)) checkStarts(starts, data, end);
      checked.add(`${starts} to ${end}`);
    }
    if (weights !== undefined && batch.inputs.has(weights)) {
      const data = inputOf(batch, weights, "Float32Array", rows);
      if (!checked.has(weights)) checkWeights(weights, data);
      checked.add(weights);
    }
  }
}

function inputOf({ inputs }: Batch, name: string, type: string, length: number): Float32Array | Int32Array {
  const data = inputs.get(name);
  if (data?.length !== length)
    throw new UnitcellError(
      "MISMATCH",
      `batch input "${name}" must have ${length} entries, found ${data ? data.length : "none of that name"}`,
    );
  const found = Object.prototype.toString.call(data).slice(8, -1);
  if (found !== type) throw new UnitcellError("MISMATCH", `batch input "${name}" must be ${type}, found ${found}`);
  return data;
}

function checkRange(name: string, data: Float32Array | Int32Array, limit: number): void {
  for (const at of data)
    if (!(at >= 0 && at < limit))
      throw new UnitcellError("MISMATCH", `batch input "${name}" holds ${at}, outside 0 to ${limit}`);
}

function checkWeights(name: string, data: Float32Array | Int32Array): void {
  for (const weight of data)
    if (!(weight > 0 && weight < Number.POSITIVE_INFINITY))
      throw new UnitcellError("MISMATCH", `batch input "${name}" holds ${weight}, not a finite number above 0`);
}

/** Row starts ascend from 0 to the end. */
function checkStarts(name: string, data: Float32Array | Int32Array, end: number): void {
  let least = 0;
  for (const at of data) {
    if (!(at >= least && at <= end))
      throw new UnitcellError("MISMATCH", `batch input "${name}" holds ${at}, outside ${least} to ${end}`);
    least = at;
  }
  if (data[0] !== 0 || least !== end)
    throw new UnitcellError("MISMATCH", `batch input "${name}" must go from 0 to ${end}, found ${data[0]} to ${least}`);
}

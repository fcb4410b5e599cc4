/**
 * A Program run in float64, one plain loop per operation: the independent answer that backends and passes are compared
 * with. Slow on purpose.
 */
import type { Batch } from "../src/graphs/batch.js";
import type { OpName } from "../src/ops/ops.js";
import type { Node, Program } from "../src/ops/program.js";

type Matrix = { rows: number; columns: number; data: Float64Array };
type Cell = (r: number, c: number) => number;

/** Every value of the program, by id, as (rows, columns) float64. */
export function runOracle(program: Program, batch: Batch): Matrix[] {
  const values: Matrix[] = [];
  for (const node of program.nodes) {
    const rows = batch.sizes[node.output.rows];
    const { columns } = node.output;
    const cell = CELLS[node.op](
      node,
      node.inputs.map((input) => values[input.id]),
      node.params.map((name) => program.params.get(name)!.data),
      node.index ? batch.inputs.get(node.index)! : new Float32Array(),
    );
    const data = new Float64Array(rows * columns);
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) data[r * columns + c] = cell(r, c);
    values.push({ rows, columns, data });
  }
  return values;
}

const at = (x: Matrix, r: number, c: number) => x.data[r * x.columns + c];
const sum = (from: number, end: number, term: (i: number) => number) => {
  let total = 0;
  for (let i = from; i < end; i++) total += term(i);
  return total;
};
export const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
export const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

const CELLS: Record<OpName, (node: Node, x: Matrix[], p: Float32Array[], index: ArrayLike<number>) => Cell> = {
  embedding:
    ({ output }, _, [table], index) =>
    (r, c) =>
      table[index[r] * output.columns + c],
  gaussian:
    ({ numbers }, _x, _p, lengths) =>
    (r, c) =>
      Math.exp(-(((lengths[r] - numbers.first - c * numbers.step) / numbers.step) ** 2)),
  linear:
    (_, [x], [weight, bias]) =>
    (r, c) =>
      bias[c] + sum(0, x.columns, (k) => at(x, r, k) * weight[c * x.columns + k]),
  scaledLinear:
    (_, [x], [weight, scale, shift]) =>
    (r, c) =>
      shift[c] + scale[c] * sum(0, x.columns, (k) => at(x, r, k) * weight[c * x.columns + k]),
  batchNorm:
    ({ numbers }, [x], [weight, bias, mean, variance]) =>
    (r, c) =>
      ((at(x, r, c) - mean[c]) / Math.sqrt(variance[c] + numbers.eps)) * weight[c] + bias[c],
  affine:
    (_, [x], [scale, shift]) =>
    (r, c) =>
      at(x, r, c) * scale[c] + shift[c],
  gather:
    (_, [x], _p, index) =>
    (r, c) =>
      at(x, index[r], c),
  gatherAdd:
    (_, [x, v], _p, index) =>
    (r, c) =>
      at(x, r, c) + at(v, index[r], c),
  concat: (_, xs) => (r, c) => {
    let column = c;
    for (const x of xs) {
      if (column < x.columns) return at(x, r, column);
      column -= x.columns;
    }
    throw new Error(`concat has no column ${c}`);
  },
  slice:
    ({ numbers }, [x]) =>
    (r, c) =>
      at(x, r, numbers.first + c),
  sigmoid:
    (_, [x]) =>
    (r, c) =>
      sigmoid(at(x, r, c)),
  softplus:
    (_, [x]) =>
    (r, c) =>
      softplus(at(x, r, c)),
  logSoftmax:
    (_, [x]) =>
    (r, c) => {
      const top = Math.max(...x.data.subarray(r * x.columns, (r + 1) * x.columns));
      return at(x, r, c) - top - Math.log(sum(0, x.columns, (k) => Math.exp(at(x, r, k) - top)));
    },
  add:
    (_, [a, b]) =>
    (r, c) =>
      at(a, r, c) + at(b, r, c),
  mul:
    (_, [a, b]) =>
    (r, c) =>
      at(a, r, c) * at(b, r, c),
  segmentSum:
    (_, [x], _p, start) =>
    (r, c) =>
      sum(start[r], start[r + 1], (i) => at(x, i, c)),
  segmentMean:
    (_, [x], _p, start) =>
    (r, c) =>
      sum(start[r], start[r + 1], (i) => at(x, i, c)) / (start[r + 1] - start[r]),
  gate:
    ({ output }, [x]) =>
    (r, c) =>
      sigmoid(at(x, r, c)) * softplus(at(x, r, output.columns + c)),
};

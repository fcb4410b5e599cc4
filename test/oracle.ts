/**
 * A Program run in float64, one plain loop per operation: the independent answer that backends and passes are compared
 * with. Slow on purpose.
 */
import type { Batch } from "../src/graphs/batch.js";
import { bindDistinct, distinctSources } from "../src/ops/distinct.js";
import type { OpName } from "../src/ops/ops.js";
import type { Activation, Node, Program } from "../src/ops/program.js";

type Matrix = { rows: number; columns: number; data: Float64Array };
/** A value as a node reads it: row r is its row index[r]. */
type Read = Matrix & { index: ArrayLike<number> | undefined };
type Cell = (r: number, c: number) => number;

/** Every value of the program, by id, as (rows, columns) float64. */
export function runOracle(program: Program, given: Batch): Matrix[] {
  const values: Matrix[] = [];
  const batch = bindDistinct(distinctSources(program), given);
  for (const node of program.nodes) {
    const rows = batch.sizes[node.output.rows];
    const { columns } = node.output;
    const read = node.inputs.map((input, i) => {
      const name = node.indices?.[i];
      return { ...values[input.id], index: name === undefined ? undefined : batch.inputs.get(name)! };
    });
    const residual = node.residual ? read.splice(-1) : [];
    const added = node.op === "linear" || node.op === "scaledLinear" ? read.splice(1) : [];
    const activation = node.activation ? ACTIVATION[node.activation] : (x: number) => x;
    const cell = CELLS[node.op](
      node,
      read,
      node.params.map((name) => program.params.get(name)!.data),
      node.index ? batch.inputs.get(node.index)! : new Float32Array(),
      node.starts ? batch.inputs.get(node.starts)! : new Int32Array(),
      (node.weights && batch.inputs.get(node.weights)) ||
        new Float32Array(node.over ? batch.sizes[node.over] : 0).fill(1),
    );
    const data = new Float64Array(rows * columns);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++)
        data[r * columns + c] = total(residual, r, c) + activation(cell(r, c) + total(added, r, c));
    values.push({ rows, columns, data });
  }
  return values;
}

const at = (x: Read, r: number, c: number) => x.data[(x.index ? x.index[r] : r) * x.columns + c];
const total = (xs: readonly Read[], r: number, c: number) => xs.reduce((all, x) => all + at(x, r, c), 0);
const sum = (from: number, end: number, term: (i: number) => number) => {
  let total = 0;
  for (let i = from; i < end; i++) total += term(i);
  return total;
};
export const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
export const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** ALIGNN's polynomial cutoff as its notes write it. */
export function envelope(x: number, { cutoff, exponent: p }: Readonly<Record<string, number>>): number {
  const q = x / cutoff;
  const [c1, c2, c3] = [(-(p + 1) * (p + 2)) / 2, p * (p + 2), (-p * (p + 1)) / 2];
  return q > 1 ? 0 : 1 + c1 * q ** p + c2 * q ** (p + 1) + c3 * q ** (p + 2);
}

type Rule = (
  node: Node,
  x: Read[],
  p: Float32Array[],
  index: ArrayLike<number>,
  starts: ArrayLike<number>,
  weights: ArrayLike<number>,
) => Cell;

/** An operation on each number by itself. */
const each =
  (f: (x: number) => number): Rule =>
  (_, [x]) =>
  (r, c) =>
    f(at(x, r, c));

/** Without scales they are 1. */
const linear: Rule = (_, [x], [weight, ...rest]) => {
  const shift = rest[rest.length - 1];
  const scale = rest.length === 2 ? rest[0] : new Float32Array(shift.length).fill(1);
  return (r, c) => shift[c] + scale[c] * sum(0, x.columns, (k) => at(x, r, k) * weight[c * x.columns + k]);
};

const ACTIVATION: Record<Activation, (x: number) => number> = {
  softplus,
  shiftedSoftplus: (x) => softplus(x) - Math.LN2,
  silu: (x) => x * sigmoid(x),
  sigmoid,
  tanh: Math.tanh,
};

const CELLS: Record<OpName, Rule> = {
  input:
    ({ output }, _x, _p, data) =>
    (r, c) =>
      data[r * output.columns + c],
  zeros: () => () => 0,
  embedding:
    ({ output }, _, [table], index) =>
    (r, c) =>
      table[index[r] * output.columns + c],
  gaussian:
    ({ numbers }, [x], [centers]) =>
    (r, c) =>
      Math.exp(-numbers.gamma * (at(x, r, 0) - (centers ? centers[c] : numbers.first + c * numbers.step)) ** 2),
  linear,
  scaledLinear: linear,
  bandedLinear: linear,
  batchNorm:
    ({ numbers }, [x], [weight, bias, mean, variance]) =>
    (r, c) =>
      ((at(x, r, c) - mean[c]) / Math.sqrt(variance[c] + numbers.eps)) * weight[c] + bias[c],
  layerNorm:
    ({ numbers }, [x], [weight, bias]) =>
    (r, c) => {
      const mean = sum(0, x.columns, (k) => at(x, r, k)) / x.columns;
      const variance = sum(0, x.columns, (k) => (at(x, r, k) - mean) ** 2) / x.columns;
      return ((at(x, r, c) - mean) / Math.sqrt(variance + numbers.eps)) * weight[c] + bias[c];
    },
  affine:
    (_, [x], [scale, shift]) =>
    (r, c) =>
      at(x, r, c) * scale[c] + shift[c],
  gather:
    (_, [x]) =>
    (r, c) =>
      at(x, r, c),
  gatherSum: (_, x) => (r, c) => total(x, r, c),
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
  sigmoid: each(sigmoid),
  softplus: each(softplus),
  shiftedSoftplus: each(ACTIVATION.shiftedSoftplus),
  silu: each(ACTIVATION.silu),
  tanh: each(Math.tanh),
  exp: each(Math.exp),
  hinge: (node, x, ...rest) => {
    const { factor, threshold } = node.numbers;
    return each((d) => factor * Math.max(threshold - d, 0))(node, x, ...rest);
  },
  envelope: (node, x, ...rest) => each((d) => envelope(d, node.numbers))(node, x, ...rest),
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
  scaleRows:
    (_, [x, a]) =>
    (r, c) =>
      at(x, r, c) * at(a, r, 0),
  ratio:
    ({ numbers }, [a, b]) =>
    (r, c) =>
      at(a, r, c) / (at(b, r, c) + numbers.eps),
  segmentSum:
    (_, [x], _p, _index, start, w) =>
    (r, c) =>
      sum(start[r], start[r + 1], (i) => w[i] * at(x, i, c)),
  segmentMean:
    (_, [x], _p, _index, start, w) =>
    (r, c) =>
      sum(start[r], start[r + 1], (i) => w[i] * at(x, i, c)) / (sum(start[r], start[r + 1], (i) => w[i]) || 1),
  segmentAttention:
    (_, [x, query], _p, _index, start, w) =>
    (r, c) => {
      const logit = (i: number) => sum(0, x.columns, (k) => at(x, i, k) * at(query, r, k));
      let top = Number.NEGATIVE_INFINITY;
      for (let i = start[r]; i < start[r + 1]; i++) top = Math.max(top, logit(i));
      const weight = (i: number) => w[i] * Math.exp(logit(i) - top);
      const total = sum(start[r], start[r + 1], weight);
      return total ? sum(start[r], start[r + 1], (i) => weight(i) * at(x, i, c)) / total : 0;
    },
  lstmCell:
    ({ output: { columns } }, [gates, cell]) =>
    (r, c) => {
      const gate = (i: number) => at(gates, r, i * columns + c);
      return sigmoid(gate(1)) * at(cell, r, c) + sigmoid(gate(0)) * Math.tanh(gate(2));
    },
  lstmOutput:
    ({ output: { columns } }, [gates, cell]) =>
    (r, c) =>
      sigmoid(at(gates, r, 3 * columns + c)) * Math.tanh(at(cell, r, c)),
  gatedSum:
    ({ output: { columns } }, z, _p, _index, start, w) =>
    (r, c) =>
      sum(start[r], start[r + 1], (i) => w[i] * sigmoid(total(z, i, c)) * softplus(total(z, i, columns + c))),
  gatedMean:
    ({ numbers }, x, _p, _index, start, w) =>
    (r, c) => {
      const [m, v] = [x.slice(0, -1), x[x.length - 1]];
      const gate = (i: number) => w[i] * sigmoid(total(m, i, c));
      const above = sum(start[r], start[r + 1], (i) => gate(i) * at(v, i, c));
      return above / (sum(start[r], start[r + 1], gate) + numbers.eps);
    },
  gate:
    ({ output }, [x]) =>
    (r, c) =>
      sigmoid(at(x, r, c)) * softplus(at(x, r, output.columns + c)),
};

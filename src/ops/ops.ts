type Numbers = Readonly<Record<string, number>>;

/**
 * Columns of an operation's result, from the columns of its inputs, the shapes of its parameters and its numbers; NaN
 * when they do not fit. Its rows follow from the index given, else from the inputs.
 */
type ColumnRule = (inputs: readonly number[], params: readonly (readonly number[])[], numbers: Numbers) => number;

const same: ColumnRule = ([first, ...rest]) => (rest.every((c) => c === first) ? first : Number.NaN);
const first: ColumnRule = ([f]) => f;
const given: ColumnRule = (_, __, { columns }) => columns;
const perColumn: ColumnRule = ([f], params) => (params.every((shape) => shape[0] === f) ? f : Number.NaN);
const linear: ColumnRule = ([k], [weight, ...rest]) =>
  weight[1] === k && rest.every((shape) => shape[0] === weight[0]) ? weight[0] : Number.NaN;

/** What every backend must know of the operations; one row each. */
export const OPS = {
  /** A batch input of (rows, columns) numbers. */
  input: given,
  zeros: given,
  /** out[r] = table[index[r]]; table (rows, F). */
  embedding: (_, [table]) => table[1],
  /** out[r, k] = exp(-gamma (x[r] - c[k])²); centres c are the parameter (K,), else first + k step. */
  gaussian: ([f], [centers], { count }) => (f === 1 ? (centers ? centers[0] : count) : Number.NaN),
  /** out = x Wᵀ + b; W (O, K), b (O,). */
  linear,
  /** out = (x Wᵀ) * scale + shift: a linear with the affine behind it taken up; W (O, K), scale, shift (O,). */
  scaledLinear: linear,
  /** Either of them, of Gaussians of ascending numbers: most of their columns are 0. */
  bandedLinear: linear,
  /** out = (x - running_mean) / sqrt(running_var + eps) * weight + bias, per column. */
  batchNorm: perColumn,
  /** out = (x - mean) / sqrt(variance + eps) * weight + bias, mean and variance over the columns of a row. */
  layerNorm: perColumn,
  /** out = x * scale + shift per column: what a pass leaves of a batchNorm; scale, shift (F,). */
  affine: perColumn,
  /** out[r] = x[index[r]], index that of the node's `indices`. */
  gather: first,
  /** The sum of up to three values, each row by row or gathered: what passes make of adds and gathers. */
  gatherSum: same,
  /** Columns of the inputs one after another. */
  concat: (inputs) => inputs.reduce((sum, c) => sum + c, 0),
  /** Columns first .. first + columns of x. */
  slice: ([f], _, { first, columns }) => (first + columns <= f ? columns : Number.NaN),
  sigmoid: first,
  /** log(1 + exp(x)). */
  softplus: first,
  /** log(1 + exp(x)) - log 2. */
  shiftedSoftplus: first,
  /** x sigmoid(x). */
  silu: first,
  tanh: first,
  exp: first,
  /** Over the columns of a row. */
  logSoftmax: first,
  /** factor * max(threshold - x, 0). */
  hinge: first,
  /** 1 + c1 q^p + c2 q^(p+1) + c3 q^(p+2) with q = x / cutoff, p = exponent; 0 beyond the cutoff. */
  envelope: first,
  add: same,
  mul: same,
  /** out[r, f] = x[r, f] * a[r]. */
  scaleRows: ([f, a]) => (a === 1 ? f : Number.NaN),
  /** a / (b + eps). */
  ratio: same,
  /** out[s] = sum of w[r] x[r] over rows starts[s] .. starts[s + 1], w the weights, else 1. */
  segmentSum: first,
  /** out[s] = that sum over the sum of w[r]; 0 where there are no rows. */
  segmentMean: first,
  /**
   * out[s] = sum of rows r of x times softmax over those rows of (x[r] . query[s] + log w[r]); 0 where there are none.
   */
  segmentAttention: same,
  /** sigmoid(first half of the columns) * softplus(second half): what a pass makes of CGCNN's gate. */
  gate: ([f]) => f / 2,
  /** sigmoid(f) c + sigmoid(i) tanh(g) of a cell c, and gates i, f, g, o side by side before their activations. */
  lstmCell: ([gates, cell]) => (gates === 4 * cell ? cell : Number.NaN),
  /** sigmoid(o) tanh(c) of the same gates and the cell that lstmCell gave. */
  lstmOutput: ([gates, cell]) => (gates === 4 * cell ? cell : Number.NaN),
  /** The weighted segmentSum of the gate of the sum of three values, one of them the segment's own. */
  gatedSum: ([f, ...rest]) => same([f, ...rest], [], {}) / 2,
  /**
   * out[s] = sum of w[r] sigmoid(m[r]) * v[r] over (sum of w[r] sigmoid(m[r]) + eps), rows r of segment s: what a pass
   * makes of ALIGNN's gate. v is the last value read, m the sum of those before it.
   */
  gatedMean: same,
} as const satisfies Record<string, ColumnRule>;

export type OpName = keyof typeof OPS;

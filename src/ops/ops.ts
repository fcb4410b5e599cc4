type Numbers = Readonly<Record<string, number>>;

/**
 * Columns of an operation's result, from the columns of its inputs, the shapes of its parameters and its numbers; NaN
 * when they do not fit. Its rows follow from the index given, else from the inputs.
 */
type ColumnRule = (inputs: readonly number[], params: readonly (readonly number[])[], numbers: Numbers) => number;

const same: ColumnRule = ([first, ...rest]) => (rest.every((c) => c === first) ? first : Number.NaN);
const first: ColumnRule = ([f]) => f;
const perColumn: ColumnRule = ([f], params) => (params.every((shape) => shape[0] === f) ? f : Number.NaN);
const linear: ColumnRule = ([k], [weight, ...rest]) =>
  weight[1] === k && rest.every((shape) => shape[0] === weight[0]) ? weight[0] : Number.NaN;

/** What every backend must know of the operations; one row each. */
export const OPS = {
  /** out[r] = table[index[r]]; table (rows, F). */
  embedding: (_, [table]) => table[1],
  /** out[r, k] = exp(-((lengths[r] - first - k step) / step)²). */
  gaussian: (_, __, { count }) => count,
  /** out = x Wᵀ + b; W (O, K), b (O,). */
  linear,
  /** out = (x Wᵀ) * scale + shift: a linear with the affine behind it taken up; W (O, K), scale, shift (O,). */
  scaledLinear: linear,
  /** out = (x - running_mean) / sqrt(running_var + eps) * weight + bias, per column. */
  batchNorm: perColumn,
  /** out = x * scale + shift per column: what a pass leaves of a batchNorm; scale, shift (F,). */
  affine: perColumn,
  /** out[r] = x[index[r]]. */
  gather: first,
  /** out[r] = x[r] + v[index[r]]: what a pass makes of a linear over a concat with gathered rows. */
  gatherAdd: same,
  /** Columns of the inputs one after another. */
  concat: (inputs) => inputs.reduce((sum, c) => sum + c, 0),
  /** Columns first .. first + columns of x. */
  slice: ([f], _, { first, columns }) => (first + columns <= f ? columns : Number.NaN),
  sigmoid: first,
  /** log(1 + exp(x)). */
  softplus: first,
  /** Over the columns of a row. */
  logSoftmax: first,
  add: same,
  mul: same,
  /** out[s] = sum of rows starts[s] .. starts[s + 1] of x. */
  segmentSum: first,
  /** out[s] = their mean. */
  segmentMean: first,
  /** sigmoid(first half of the columns) * softplus(second half): what a pass makes of CGCNN's gate. */
  gate: ([f]) => f / 2,
} as const satisfies Record<string, ColumnRule>;

export type OpName = keyof typeof OPS;

type Numbers = Readonly<Record<string, number>>;
type ParamShape = readonly number[];

/** What every backend must know of an operation; one row per operation. */
interface OpRule {
  /**
   * Columns of the result, from the columns of its inputs, the shapes of its parameters and its numbers; NaN when they
   * do not fit. Rows follow from the index given, else from the inputs.
   */
  columns(inputs: readonly number[], params: readonly ParamShape[], numbers: Numbers): number;
  /** Multiply-adds per row of the result, for estimating the work of a batch; an exponential counts as 16. */
  cost(inputs: readonly number[], columns: number): number;
}

const same = ([first, ...rest]: readonly number[]) => (rest.every((c) => c === first) ? first : Number.NaN);
const copied = () => 0;

export const OPS = {
  /** out[r] = table[index[r]]; table (rows, F). */
  embedding: { columns: (_, [table]) => table[1], cost: copied },
  /** out[r, k] = exp(-((lengths[r] - first - k step) / step)²). */
  gaussian: { columns: (_, __, { count }) => count, cost: (_, columns) => 16 * columns },
  /** out = x Wᵀ + b; W (O, K), b (O,). */
  linear: {
    columns: ([k], [weight, bias]) => (weight[1] === k && bias[0] === weight[0] ? weight[0] : Number.NaN),
    cost: ([k], columns) => k * columns,
  },
  /** out = (x Wᵀ) * scale + shift: a linear with the affine behind it taken up; W (O, K), scale, shift (O,). */
  scaledLinear: {
    columns: ([k], [weight, scale, shift]) =>
      weight[1] === k && scale[0] === weight[0] && shift[0] === weight[0] ? weight[0] : Number.NaN,
    cost: ([k], columns) => k * columns,
  },
  /** out = (x - running_mean) / sqrt(running_var + eps) * weight + bias, per column. */
  batchNorm: {
    columns: ([f], params) => (params.every((shape) => shape[0] === f) ? f : Number.NaN),
    cost: (_, columns) => columns,
  },
  /** out = x * scale + shift per column: what a pass leaves of a batchNorm; scale, shift (F,). */
  affine: {
    columns: ([f], params) => (params.every((shape) => shape[0] === f) ? f : Number.NaN),
    cost: (_, columns) => columns,
  },
  /** out[r] = x[index[r]]. */
  gather: { columns: ([f]) => f, cost: copied },
  /** out[r] = x[r] + v[index[r]]: what a pass makes of a linear over a concat with gathered rows. */
  gatherAdd: { columns: same, cost: (_, columns) => columns },
  /** Columns of the inputs one after another. */
  concat: { columns: (inputs) => inputs.reduce((sum, c) => sum + c, 0), cost: copied },
  /** Columns first .. first + columns of x. */
  slice: {
    columns: ([f], _, { first, columns }) => (first + columns <= f ? columns : Number.NaN),
    cost: copied,
  },
  sigmoid: { columns: same, cost: (_, columns) => 16 * columns },
  /** log(1 + exp(x)). */
  softplus: { columns: same, cost: (_, columns) => 32 * columns },
  /** Over the columns of a row. */
  logSoftmax: { columns: same, cost: (_, columns) => 32 * columns },
  add: { columns: same, cost: (_, columns) => columns },
  mul: { columns: same, cost: (_, columns) => columns },
  /** out[s] = sum of rows starts[s] .. starts[s + 1] of x. */
  segmentSum: { columns: ([f]) => f, cost: (_, columns) => columns },
  /** out[s] = their mean. */
  segmentMean: { columns: ([f]) => f, cost: (_, columns) => columns },
  /** sigmoid(first half of the columns) * softplus(second half): what a pass makes of CGCNN's gate. */
  gate: { columns: ([f]) => f / 2, cost: (_, columns) => 48 * columns },
} as const satisfies Record<string, OpRule>;

export type OpName = keyof typeof OPS;

/** How much arithmetic a program is, for choosing where it runs. */
import type { OpName } from "./ops.js";
import type { Axis, Node, Program } from "./program.js";

/** Floating-point operations of a node: for each row of its result, and for each row in the segments of those. */
interface Cost {
  readonly row: number;
  readonly inner?: number;
}

/** An exponential or logarithm: range reduction and a polynomial (assembly/math.ts). Divisions and roots count as one. */
const EXP = 20;
const SIGMOID = EXP + 2;
const SOFTPLUS = 2 * EXP + 1;
const TANH = EXP + 4;

type CostRule = (node: Node) => Cost;

const none: CostRule = () => ({ row: 0 });
const perColumn =
  (count: number): CostRule =>
  ({ output }) => ({ row: count * output.columns });
/** What each value after the first takes to be added, in an epilogue, too. */
const added = ({ inputs, output }: Node) => (inputs.length - 1) * output.columns;
/** Of a number that is added to its segment's, times its weight where there are any. */
const taken = ({ weights }: Node) => (weights === undefined ? 1 : 2);
const product = ({ inputs, output }: Node) => 2 * inputs[0].columns * output.columns;
const linear: CostRule = (node) => ({ row: product(node) + added(node) });
const scaled: CostRule = (node) => ({ row: product(node) + node.output.columns + added(node) });

/** One row for each operation, as ops.ts defines it; a fused one takes what those that it stands for take. */
const COSTS: Readonly<Record<OpName, CostRule>> = {
  input: none,
  zeros: none,
  embedding: none,
  gaussian: perColumn(EXP + 3),
  linear,
  scaledLinear: scaled,
  /** As if no column were 0, since how many are depends on the numbers. */
  bandedLinear: (node) => (node.params.length > 2 ? scaled(node) : linear(node)),
  /** Scale and shift follow from the parameters alone. */
  batchNorm: perColumn(2),
  layerNorm: (node) => ({ row: 8 * node.output.columns + added(node) }),
  affine: (node) => ({ row: 2 * node.output.columns + added(node) }),
  gather: none,
  gatherSum: (node) => ({ row: added(node) }),
  concat: none,
  slice: none,
  sigmoid: perColumn(SIGMOID),
  softplus: perColumn(SOFTPLUS),
  shiftedSoftplus: perColumn(SOFTPLUS + 1),
  silu: perColumn(SIGMOID + 1),
  tanh: perColumn(TANH),
  exp: perColumn(EXP),
  logSoftmax: ({ output }) => ({ row: (EXP + 4) * output.columns + EXP }),
  hinge: perColumn(3),
  envelope: perColumn(2 * EXP + 10),
  add: perColumn(1),
  mul: perColumn(1),
  scaleRows: perColumn(1),
  ratio: perColumn(2),
  segmentSum: (node) => ({ row: 0, inner: taken(node) * node.output.columns }),
  segmentMean: (node) => ({ row: node.output.columns, inner: taken(node) * node.output.columns }),
  /** The product with the query, its exponential, and the weighted sum. */
  segmentAttention: ({ output }) => ({ row: output.columns, inner: 4 * output.columns + EXP + 2 }),
  gate: perColumn(SIGMOID + SOFTPLUS + 1),
  lstmCell: perColumn(2 * SIGMOID + TANH + 3),
  lstmOutput: perColumn(SIGMOID + TANH + 1),
  /** Three values of twice the columns are added up for each gate. */
  gatedSum: (node) => ({ row: 0, inner: (4 + SIGMOID + SOFTPLUS + 1 + taken(node)) * node.output.columns }),
  gatedMean: (node) => ({
    row: 2 * node.output.columns,
    inner: (node.inputs.length - 2 + SIGMOID + 1 + 2 * taken(node)) * node.output.columns,
  }),
};

/**
 * Floating-point operations of a run, a multiply-add being two; what only moves numbers counts nothing. They are added up
 * here once for each row of each axis, so that asking for a batch takes next to no time.
 * @returns operations by the number of rows of each axis
 */
export function programWork({ nodes }: Program): (sizes: Readonly<Record<Axis, number>>) => number {
  const perRow: Record<Axis, number> = { B: 0, N: 0, E: 0, T: 0, L: 0, C: 0 };
  for (const node of nodes) {
    const { row, inner = 0 } = COSTS[node.op](node);
    perRow[node.output.rows] += row + (node.activation === undefined ? 0 : COSTS[node.activation](node).row);
    if (node.over !== undefined) perRow[node.over] += inner;
  }
  const used = (Object.keys(perRow) as Axis[]).filter((axis) => perRow[axis] > 0);
  return (sizes) => used.reduce((work, axis) => work + perRow[axis] * sizes[axis], 0);
}

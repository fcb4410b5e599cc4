/** How each operation of a Program is written in ONNX. */
import type { OpName } from "../ops/ops.js";
import type { Axis, Node } from "../ops/program.js";
import type { OnnxGraph } from "./graph.js";
import { DATA_TYPE } from "./model-proto.js";
import { gathered, indexInput, segmentMax, segmentSum, segmentWeight, zeroColumn } from "./segments.js";

/** Writes an operation on tensors of these names, up to one that is `finish`ed. */
type Lowering = (g: OnnxGraph, node: Node, inputs: readonly string[]) => void;

/** ONNX has it under this name. */
const as =
  (op: string): Lowering =>
  (g, _, inputs) =>
    g.finish(op, inputs);

const affine: Lowering = (g, { params: [scale, shift] }, [x]) =>
  g.finish("Add", [g.add("Mul", [x, g.param(scale)]), g.param(shift)]);

/**
 * 1 / (1 + exp(-x)), whose relative error is small everywhere. ONNX Runtime's own Sigmoid has an absolute error of some
 * 6e-8, and ALIGNN divides by sums of gates that can be as small.
 */
const sigmoid: Lowering = (g, _, [x]) =>
  g.finish("Reciprocal", [g.add("Add", [g.add("Exp", [g.add("Neg", [x])]), g.scalar(1)])]);

/** x Wᵀ + b; a scale of the result's columns goes into W. In half precision where weights are. */
function linear(g: OnnxGraph, x: string, [weight, bias]: readonly string[], scale?: Float32Array): void {
  const { shape, data } = g.data(weight);
  const name = scale ? `${weight}.scaled` : weight;
  const scaled = () => (scale ? data.map((w, i) => w * scale[Math.floor(i / shape[1])]) : data);
  if (!g.half) {
    g.finish("Gemm", [x, g.made(name, shape, scaled), g.param(bias)], { transB: 1 });
    return;
  }
  const shift = g.data(bias);
  const halves = [g.halves(name, shape, scaled), g.halves(bias, shift.shape, () => shift.data)];
  const product = g.add("Gemm", [g.add("Cast", [x], { to: DATA_TYPE.f16 }), ...halves], { transB: 1 });
  g.finish("Cast", [product], { to: DATA_TYPE.f32 });
}

/** Operations by the name they have in a Program that EXPORT_PASSES (program-onnx.ts) leave. */
export const LOWERINGS: Partial<Record<OpName, Lowering>> = {
  input: (g, { index, output }) => {
    const { rows, columns } = output;
    const x = g.input({ name: index!, kind: "numbers", rows, columns });
    if (columns === 1) g.finish("Unsqueeze", [x, g.places(1)]);
    else g.finish("Identity", [x]);
  },
  // Only of crystals, whose count is told by their row starts alone.
  zeros: (g, { output }) =>
    g.finish("Mul", [zeroColumn(g, output.rows), g.floats(new Float32Array(output.columns), [1, output.columns])]),
  embedding: (g, { params: [table], index, output: { rows } }) =>
    g.finish("Gather", [g.param(table), indexInput(g, index!, rows)], { axis: 0 }),
  gaussian: (g, { params: [centers], numbers: { first, step, count, gamma } }, [x]) => {
    const at = centers ? g.param(centers) : g.floats(Float32Array.from({ length: count }, (_, k) => first + k * step));
    const away = g.add("Sub", [x, at]);
    g.finish("Exp", [g.add("Mul", [g.add("Mul", [away, away]), g.scalar(-gamma)])]);
  },
  linear: (g, { params }, [x]) => linear(g, x, params),
  scaledLinear: (g, { params: [weight, scale, shift] }, [x]) => linear(g, x, [weight, shift], g.data(scale).data),
  affine,
  layerNorm: (g, { params: [weight, bias], numbers: { eps } }, [x]) =>
    g.finish("LayerNormalization", [x, g.param(weight), g.param(bias)], { axis: -1, epsilon: { float: eps } }),
  gather: (g, { indices, output: { rows } }, [x]) =>
    g.finish("Gather", [x, indexInput(g, indices![0]!, rows)], { axis: 0 }),
  concat: (g, _, inputs) => g.finish("Concat", inputs, { axis: 1 }),
  slice: (g, { numbers: { first, columns } }, [x]) =>
    g.finish("Slice", [x, g.places(first), g.places(first + columns), g.places(1)]),
  sigmoid,
  softplus: as("Softplus"),
  shiftedSoftplus: (g, _, [x]) => g.finish("Sub", [g.add("Softplus", [x]), g.scalar(Math.LN2)]),
  silu: (g, _, [x]) => g.finish("Mul", [x, g.add("Sigmoid", [x])]),
  tanh: as("Tanh"),
  exp: as("Exp"),
  // ONNX Runtime's WebGPU provider leaves LogSoftmax to the CPU.
  logSoftmax: (g, _, [x]) => {
    const shifted = g.add("Sub", [x, g.add("ReduceMax", [x], { axes: [1], keepdims: 1 })]);
    g.finish("Sub", [
      shifted,
      g.add("Log", [g.add("ReduceSum", [g.add("Exp", [shifted]), g.places(1)], { keepdims: 1 })]),
    ]);
  },
  hinge: (g, { numbers: { factor, threshold } }, [x]) =>
    g.finish("Mul", [g.add("Relu", [g.add("Sub", [g.scalar(threshold), x])]), g.scalar(factor)]),
  // (1 - q)³ times the first p terms of 1 / (1 - q)³: the same polynomial, without its cancellation near the cutoff.
  envelope: (g, { numbers: { cutoff, exponent } }, [x]) => {
    const q = g.add("Div", [x, g.scalar(cutoff)]);
    const left = g.add("Sub", [g.scalar(1), q]);
    const cube = g.add("Mul", [g.add("Mul", [left, left]), left]);
    let series = g.scalar((exponent * (exponent + 1)) / 2);
    for (let k = exponent - 1; k > 0; k--)
      series = g.add("Add", [g.add("Mul", [series, q]), g.scalar((k * (k + 1)) / 2)]);
    g.finish("Where", [g.add("Less", [q, g.scalar(1)]), g.add("Mul", [cube, series]), g.scalar(0)]);
  },
  add: as("Add"),
  mul: as("Mul"),
  scaleRows: as("Mul"),
  ratio: (g, { numbers: { eps } }, [a, b]) => g.finish("Div", [a, g.add("Add", [b, g.scalar(eps)])]),
  segmentSum: (g, node, [x]) => g.finish("Identity", [segmentSum(g, x, segmentsOf(node))]),
  segmentMean: (g, node, [x]) => {
    const segments = segmentsOf(node);
    const count = segmentWeight(g, segments);
    const mean = g.add("Div", [segmentSum(g, x, segments), count]);
    g.finish("Where", [g.add("Greater", [count, g.scalar(0)]), mean, g.scalar(0)]);
  },
  // Exponentials of the scores above each segment's highest, so that the largest of them is 1.
  segmentAttention: (g, node, [x, query]) => {
    const segments = segmentsOf(node);
    const product = g.add("Mul", [x, gathered(g, query, segments)]);
    const scores = g.add("ReduceSum", [product, g.places(1)], { keepdims: 1 });
    const highest = gathered(g, segmentMax(g, scores, segments), segments);
    const attention = g.add("Exp", [g.add("Sub", [scores, highest])]);
    const sum = segmentSum(g, attention, segments);
    const answer = g.add("Div", [segmentSum(g, g.add("Mul", [x, attention]), segments), sum]);
    // Not where the sum is above 0, which NaN is not: an answer that is lost must not look like one.
    const filled = g.add("Greater", [segmentWeight(g, segments), g.scalar(0)]);
    g.finish("Where", [filled, answer, g.scalar(0)]);
  },
};

function segmentsOf({ starts, over, weights, output }: Node): {
  starts: string;
  over: Axis;
  rows: Axis;
  weights: string | undefined;
} {
  return { starts: starts!, over: over!, rows: output.rows, weights };
}

/** The Wasm kernel call of every operation. */
import { UnitcellError } from "../errors.js";
import type { KernelMemory, Kernels } from "../kernels.js";
import { MAX_GATHERED } from "../ops/epilogue.js";
import { SEGMENT_OF } from "../ops/gates.js";
import type { OpName } from "../ops/ops.js";
import { ACTIVATIONS, type Node, type Program, type Value } from "../ops/program.js";

/** Addresses and sizes of one run, as the kernels' rows below read them. */
export interface Run {
  readonly kernels: Kernels;
  address(value: Value): number;
  param(name: string): number;
  /** What prepare made of the node's parameters. */
  prepared(node: Node): number;
  /** Address of a batch input, 0 where the batch has none of that name. */
  input(name: string | undefined): number;
  rows(value: Value): number;
  /** All of memory, for rows to write down what kernels read there. */
  readonly words: Int32Array;
  /** Floats in a value. */
  count(value: Value): number;
}

type Row = (run: Run, node: Node) => void;

const gatherRow =
  (source: (run: Run, node: Node) => [address: number, index: string | undefined]): Row =>
  (run, node) => {
    const [address, index] = source(run, node);
    run.kernels.gatherForward(
      run.address(node.output),
      address,
      run.input(index),
      run.rows(node.output),
      node.output.columns,
    );
  };

const segmentRow =
  (kernel: "segmentSumForward" | "segmentMeanForward"): Row =>
  (run, node) =>
    run.kernels[kernel](
      run.address(node.output),
      run.address(node.inputs[0]),
      run.input(node.starts),
      run.input(node.weights),
      run.rows(node.output),
      node.output.columns,
    );

/** An activation's number in kernels, 0 for none. */
function activationCode({ activation }: Node): number {
  return activation === undefined ? 0 : ACTIVATIONS.indexOf(activation) + 1;
}

/** Address of the residual, 0 for none. */
function residualOf(run: Run, { inputs, residual }: Node): number {
  return residual ? run.address(inputs[inputs.length - 1]) : 0;
}

/** In 4-byte words: activation, residual, count, and two addresses for each gathered value; a multiple of 16 bytes. */
const EPILOGUE_WORDS = 4 * Math.ceil((3 + 2 * MAX_GATHERED) / 4);

function hasEpilogue({ inputs, activation }: Node): boolean {
  return inputs.length > 1 || activation !== undefined;
}

/** Write down what follows a linear, in front of its packed weights. */
function writeEpilogue(run: Run, node: Node): number {
  const { inputs, indices = [], residual } = node;
  const address = run.prepared(node) - 4 * EPILOGUE_WORDS;
  const gathered = inputs.length - (residual ? 2 : 1);
  let at = address / 4;
  run.words[at++] = activationCode(node);
  run.words[at++] = residualOf(run, node);
  run.words[at++] = gathered;
  for (let i = 1; i <= gathered; i++) {
    run.words[at++] = run.address(inputs[i]);
    run.words[at++] = run.input(indices[i]);
  }
  return address;
}

const linearRow: Row = (run, node) =>
  run.kernels.linearForward(
    run.address(node.output),
    run.address(node.inputs[0]),
    run.prepared(node),
    run.rows(node.output),
    node.output.columns,
    node.inputs[0].columns,
    hasEpilogue(node) ? writeEpilogue(run, node) : 0,
  );

type UnaryKernel = {
  [name in keyof Kernels]: Kernels[name] extends (out: number, x: number, n: number) => void
    ? Parameters<Kernels[name]>["length"] extends 3
      ? name
      : never
    : never;
}[keyof Kernels];

const unaryRow =
  (kernel: UnaryKernel): Row =>
  (run, { inputs: [x], output }) =>
    run.kernels[kernel](run.address(output), run.address(x), run.count(output));

const binaryRow =
  (kernel: "addForward" | "mulForward"): Row =>
  (run, { inputs: [a, b], output }) =>
    run.kernels[kernel](run.address(output), run.address(a), run.address(b), run.count(output));

/** Address of the i-th value read, 0 where there are only `count`. */
function valueAt(run: Run, { inputs }: Node, i: number, count = inputs.length): number {
  return i < count ? run.address(inputs[i]) : 0;
}

/** Address of its index, 0 where row r is read for row r. */
function indexAt(run: Run, { indices }: Node, i: number): number {
  return run.input(indices?.[i]);
}

/** Nothing to compute: the batch's own bytes are read in place. */
const IN_PLACE: Row = () => {};

/** One row per operation: the kernel call that computes it. batchNorm is lowered to affine beforehand. */
const ROWS: Readonly<Record<Exclude<OpName, "batchNorm">, Row>> = {
  input: IN_PLACE,
  embedding: gatherRow((run, { params, index }) => [run.param(params[0]), index]),
  gather: gatherRow((run, { inputs, indices }) => [run.address(inputs[0]), indices![0]]),
  gatherSum: (run, node) => {
    const count = node.inputs.length - (node.residual ? 1 : 0);
    run.kernels.gatherSumForward(
      run.address(node.output),
      valueAt(run, node, 0),
      indexAt(run, node, 0),
      valueAt(run, node, 1),
      indexAt(run, node, 1),
      valueAt(run, node, 2, count),
      indexAt(run, node, 2),
      activationCode(node),
      residualOf(run, node),
      run.rows(node.output),
      node.output.columns,
    );
  },
  gaussian: (run, node) =>
    run.kernels.gaussianForward(
      run.address(node.output),
      run.address(node.inputs[0]),
      run.prepared(node),
      node.numbers.gamma,
      run.rows(node.output),
      node.output.columns,
    ),
  linear: linearRow,
  scaledLinear: linearRow,
  bandedLinear: (run, node) =>
    run.kernels.bandedLinearForward(
      run.address(node.output),
      run.address(node.inputs[0]),
      run.prepared(node),
      run.rows(node.output),
      node.output.columns,
      node.inputs[0].columns,
    ),
  layerNorm: (run, node) =>
    run.kernels.layerNormForward(
      run.address(node.output),
      run.address(node.inputs[0]),
      run.param(node.params[0]),
      run.param(node.params[1]),
      node.numbers.eps,
      residualOf(run, node),
      activationCode(node),
      run.rows(node.output),
      node.output.columns,
    ),
  affine: (run, node) =>
    run.kernels.normActForward(
      run.address(node.output),
      run.address(node.inputs[0]),
      run.param(node.params[0]),
      run.param(node.params[1]),
      residualOf(run, node),
      activationCode(node),
      run.rows(node.output),
      node.output.columns,
    ),
  concat: (run, { inputs, output }) => {
    let column = 0;
    for (const x of inputs) {
      const to = run.address(output) + 4 * column;
      run.kernels.copyColumns(to, output.columns, run.address(x), x.columns, run.rows(output), x.columns);
      column += x.columns;
    }
  },
  slice: (run, { inputs: [x], output, numbers }) =>
    run.kernels.copyColumns(
      run.address(output),
      output.columns,
      run.address(x) + 4 * numbers.first,
      x.columns,
      run.rows(output),
      output.columns,
    ),
  zeros: (run, { output }) => run.kernels.zerosForward(run.address(output), run.count(output)),
  sigmoid: unaryRow("sigmoidForward"),
  softplus: unaryRow("softplusForward"),
  shiftedSoftplus: unaryRow("shiftedSoftplusForward"),
  silu: unaryRow("siluForward"),
  tanh: unaryRow("tanhForward"),
  exp: unaryRow("expForward"),
  hinge: (run, { inputs: [x], output, numbers }) =>
    run.kernels.hingeForward(run.address(output), run.address(x), numbers.factor, numbers.threshold, run.count(output)),
  envelope: (run, { inputs: [x], output, numbers }) =>
    run.kernels.envelopeForward(
      run.address(output),
      run.address(x),
      numbers.cutoff,
      numbers.exponent,
      run.count(output),
    ),
  logSoftmax: (run, { inputs: [x], output }) =>
    run.kernels.logSoftmaxForward(run.address(output), run.address(x), run.rows(output), output.columns),
  add: binaryRow("addForward"),
  mul: binaryRow("mulForward"),
  scaleRows: (run, { inputs: [x, a], output }) =>
    run.kernels.scaleRowsForward(run.address(output), run.address(x), run.address(a), run.rows(output), output.columns),
  ratio: (run, { inputs: [a, b], output, numbers }) =>
    run.kernels.ratioForward(run.address(output), run.address(a), run.address(b), numbers.eps, run.count(output)),
  segmentSum: segmentRow("segmentSumForward"),
  segmentMean: segmentRow("segmentMeanForward"),
  segmentAttention: (run, node) =>
    run.kernels.segmentAttentionForward(
      run.address(node.output),
      run.address(node.inputs[0]),
      run.address(node.inputs[1]),
      run.input(node.starts),
      run.input(node.weights),
      run.rows(node.output),
      node.output.columns,
    ),
  lstmCell: (run, { inputs: [gates, cell], output }) =>
    run.kernels.lstmCellForward(
      run.address(output),
      run.address(gates),
      run.address(cell),
      run.rows(output),
      output.columns,
    ),
  lstmOutput: (run, { inputs: [gates, cell], output }) =>
    run.kernels.lstmOutputForward(
      run.address(output),
      run.address(gates),
      run.address(cell),
      run.rows(output),
      output.columns,
    ),
  gatedSum: (run, node) => {
    const own = node.indices!.indexOf(SEGMENT_OF[node.starts!]);
    const a = own === 0 ? 1 : 0;
    const b = own === 2 ? 1 : 2;
    run.kernels.gatedSumForward(
      run.address(node.output),
      run.address(node.inputs[own]),
      valueAt(run, node, a),
      indexAt(run, node, a),
      valueAt(run, node, b),
      indexAt(run, node, b),
      run.input(node.starts),
      run.input(node.weights),
      run.rows(node.output),
      node.output.columns,
    );
  },
  gatedMean: (run, node) => {
    const terms = node.inputs.length - 1;
    run.kernels.gatedMeanForward(
      run.address(node.output),
      valueAt(run, node, terms),
      indexAt(run, node, terms),
      valueAt(run, node, 0),
      indexAt(run, node, 0),
      valueAt(run, node, 1, terms),
      terms > 1 ? indexAt(run, node, 1) : 0,
      valueAt(run, node, 2, terms),
      terms > 2 ? indexAt(run, node, 2) : 0,
      run.input(node.starts),
      run.input(node.weights),
      run.rows(node.output),
      node.output.columns,
      node.numbers.eps,
    );
  },
  gate: (run, { inputs: [x], output }) =>
    run.kernels.gateForward(run.address(output), run.address(x), run.rows(output), output.columns),
};

export function rowOf({ op }: Node): Row {
  if (op === "batchNorm") throw new UnitcellError("ARGUMENT", "wasm backend: passes must include lowerBatchNorm");
  return ROWS[op];
}

/** Put what a node's kernel reads besides values into memory, once a session; undefined where it reads parameters alone. */
export function prepare(memory: KernelMemory, program: Program, node: Node): number | undefined {
  if (node.op === "linear" || node.op === "scaledLinear" || node.op === "bandedLinear")
    return packLinear(memory, program, node);
  if (node.op === "gaussian") return memory.put(gaussianCenters(program, node));
  return undefined;
}

/** With room for an epilogue before it. A linear's bias is the shift of a scaled one whose scales are 1. */
function packLinear(memory: KernelMemory, program: Program, node: Node): number {
  const [weight, ...rest] = node.params.map((name) => program.params.get(name)!);
  const [O, K] = weight.shape;
  const shift = rest[rest.length - 1].data;
  const scale = rest.length === 2 ? rest[0].data : new Float32Array(O).fill(1);
  const packed = memory.allocate(4 * EPILOGUE_WORDS + memory.kernels.packedBytes(O, K)) + 4 * EPILOGUE_WORDS;
  const mark = memory.mark();
  memory.kernels.packWeight(packed, memory.put(weight.data), memory.put(scale), memory.put(shift), O, K);
  memory.release(mark);
  return packed;
}

/** In float64, and as many as the kernel reads. */
function gaussianCenters(program: Program, { output, params, numbers }: Node): Float64Array {
  const centers = new Float64Array(Math.ceil(output.columns / 4) * 4);
  if (params.length) centers.set(program.params.get(params[0])!.data);
  else for (let k = 0; k < output.columns; k++) centers[k] = numbers.first + k * numbers.step;
  return centers;
}

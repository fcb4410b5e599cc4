import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import { KernelMemory, type Kernels } from "../kernels.js";
import type { OpName } from "../ops/ops.js";
import { DEFAULT_PASSES, type Pass } from "../ops/passes.js";
import type { Node, Program, Value } from "../ops/program.js";
import { planArena } from "./arena.js";
import type { Backend, Session } from "./backend.js";

/**
 * Programs on the embedded Wasm SIMD kernels, in this thread, without any dependency.
 * @param options.passes rewritings applied to a program first, by default all there are; `lowerBatchNorm`, which the
 *   kernels need, is the least
 */
export function wasmBackend(options: { passes?: readonly Pass[] } = {}): Backend {
  const passes = options.passes ?? DEFAULT_PASSES;
  return {
    name: "wasm",
    createSession: async (program) => new WasmSession(passes.reduce((p, pass) => pass(p), program)),
  };
}

/** Addresses and sizes of one run, as the kernels' rows below read them. */
interface Run {
  readonly kernels: Kernels;
  address(value: Value): number;
  param(name: string): number;
  packed(node: Node): number;
  /** Address of the batch input that the node reads. */
  index(node: Node): number;
  rows(value: Value): number;
  /** Floats in a value. */
  count(value: Value): number;
}

type Row = (run: Run, node: Node) => void;

const gatherRow =
  (source: (run: Run, node: Node) => number): Row =>
  (run, node) =>
    run.kernels.gatherForward(
      run.address(node.output),
      source(run, node),
      run.index(node),
      run.rows(node.output),
      node.output.columns,
    );

const segmentRow =
  (kernel: "segmentSumForward" | "segmentMeanForward"): Row =>
  (run, node) =>
    run.kernels[kernel](
      run.address(node.output),
      run.address(node.inputs[0]),
      run.index(node),
      run.rows(node.output),
      node.output.columns,
    );

const linearRow: Row = (run, node) =>
  run.kernels.linearForward(
    run.address(node.output),
    run.address(node.inputs[0]),
    run.packed(node),
    run.rows(node.output),
    node.output.columns,
    node.inputs[0].columns,
  );

const unaryRow =
  (kernel: "sigmoidForward" | "softplusForward"): Row =>
  (run, { inputs: [x], output }) =>
    run.kernels[kernel](run.address(output), run.address(x), run.count(output));

const binaryRow =
  (kernel: "addForward" | "mulForward"): Row =>
  (run, { inputs: [a, b], output }) =>
    run.kernels[kernel](run.address(output), run.address(a), run.address(b), run.count(output));

/** One row per operation: the kernel call that computes it. batchNorm is lowered to affine beforehand. */
const ROWS: Readonly<Record<Exclude<OpName, "batchNorm">, Row>> = {
  embedding: gatherRow((run, node) => run.param(node.params[0])),
  gather: gatherRow((run, node) => run.address(node.inputs[0])),
  gatherAdd: (run, node) =>
    run.kernels.gatherAddForward(
      run.address(node.output),
      run.address(node.inputs[0]),
      run.address(node.inputs[1]),
      run.index(node),
      run.rows(node.output),
      node.output.columns,
    ),
  gaussian: (run, node) =>
    run.kernels.gaussianForward(
      run.address(node.output),
      run.index(node),
      node.numbers.first,
      node.numbers.step,
      node.numbers.step,
      run.rows(node.output),
      node.output.columns,
    ),
  linear: linearRow,
  scaledLinear: linearRow,
  affine: (run, { inputs: [x], output, params: [scale, shift] }) =>
    run.kernels.affineForward(
      run.address(output),
      run.address(x),
      run.param(scale),
      run.param(shift),
      run.rows(output),
      output.columns,
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
  sigmoid: unaryRow("sigmoidForward"),
  softplus: unaryRow("softplusForward"),
  logSoftmax: (run, { inputs: [x], output }) =>
    run.kernels.logSoftmaxForward(run.address(output), run.address(x), run.rows(output), output.columns),
  add: binaryRow("addForward"),
  mul: binaryRow("mulForward"),
  segmentSum: segmentRow("segmentSumForward"),
  segmentMean: segmentRow("segmentMeanForward"),
  gate: (run, { inputs: [x], output }) =>
    run.kernels.gateForward(run.address(output), run.address(x), run.rows(output), output.columns),
};

/** Memory is [tables | weights | batch inputs | arena]; weights are copied in once, the rest is laid anew each run. */
class WasmSession implements Session {
  readonly #program: Program;
  readonly #params = new Map<string, number>();
  readonly #packed = new Map<Node, number>();
  #memory: KernelMemory | undefined = new KernelMemory();

  constructor(program: Program) {
    this.#program = program;
    const memory = this.#open();
    for (const node of program.nodes)
      if (node.op === "linear" || node.op === "scaledLinear") this.#packed.set(node, pack(memory, program, node));
      else
        for (const name of node.params)
          if (!this.#params.has(name)) this.#params.set(name, memory.put(program.params.get(name)!.data));
  }

  async run(batch: Batch): Promise<Float32Array> {
    return this.#compute(batch, [this.#program.output])[0];
  }

  async values(batch: Batch, labels: readonly string[]): Promise<Map<string, Float32Array>> {
    const wanted = labels.map((label) => {
      const value = this.#program.labels.get(label);
      if (!value)
        throw new UnitcellError(
          "NOT_FOUND",
          `no value "${label}"; there are ${[...this.#program.labels.keys()].join(", ")}`,
        );
      return value;
    });
    const results = this.#compute(batch, wanted);
    return new Map(labels.map((label, i) => [label, results[i]]));
  }

  dispose(): void {
    this.#memory = undefined;
  }

  #open(): KernelMemory {
    if (!this.#memory) throw new UnitcellError("ARGUMENT", "session was disposed");
    return this.#memory;
  }

  #compute(batch: Batch, wanted: readonly Value[]): Float32Array[] {
    const memory = this.#open();
    const program = this.#program;
    const mark = memory.mark();
    try {
      checkInputs(program, batch);
      const plan = planArena(program, batch.sizes, new Set(wanted.map((value) => value.id)));
      const inputs = new Map(Array.from(batch.inputs, ([name, data]) => [name, memory.put(data)]));
      const arena = memory.allocate(plan.bytes);
      const run: Run = {
        kernels: memory.kernels,
        address: (value) => arena + plan.offsets[value.id],
        param: (name) => this.#params.get(name)!,
        packed: (node) => this.#packed.get(node)!,
        index: (node) => inputs.get(node.index!)!,
        rows: (value) => batch.sizes[value.rows],
        count: (value) => batch.sizes[value.rows] * value.columns,
      };
      for (const node of program.nodes) rowOf(node)(run, node);
      return wanted.map((value) => memory.f32(run.address(value), run.count(value)).slice());
    } finally {
      memory.release(mark);
    }
  }
}

function rowOf({ op }: Node): Row {
  if (op === "batchNorm") throw new UnitcellError("ARGUMENT", "wasm backend: passes must include lowerBatchNorm");
  return ROWS[op];
}

/** A linear's bias is the shift of a scaled one whose scales are 1. */
function pack(memory: KernelMemory, program: Program, node: Node): number {
  const [weight, ...rest] = node.params.map((name) => program.params.get(name)!);
  const [O, K] = weight.shape;
  const shift = rest[rest.length - 1].data;
  const scale = rest.length === 2 ? rest[0].data : new Float32Array(O).fill(1);
  const packed = memory.allocate(memory.kernels.packedBytes(O, K));
  const mark = memory.mark();
  memory.kernels.packWeight(packed, memory.put(weight.data), memory.put(scale), memory.put(shift), O, K);
  memory.release(mark);
  return packed;
}

/**
 * Kernels trust their inputs, so they are checked here: present, of their type, one per row, and indices inside what
 * they point into, row starts from 0 to its end.
 * @throws {UnitcellError} MISMATCH
 */
function checkInputs(program: Program, { sizes, inputs }: Batch): void {
  const checked = new Set<string>();
  for (const { op, output, index, inputs: values, params } of program.nodes) {
    if (index === undefined) continue;
    const data = inputs.get(index);
    const starts = op === "segmentSum" || op === "segmentMean";
    const expected = sizes[output.rows] + (starts ? 1 : 0);
    if (data?.length !== expected)
      throw new UnitcellError(
        "MISMATCH",
        `batch input "${index}" must have ${expected} entries, found ${data?.length}`,
      );
    const type = op === "gaussian" ? "Float32Array" : "Int32Array";
    const found = Object.prototype.toString.call(data).slice(8, -1);
    if (found !== type) throw new UnitcellError("MISMATCH", `batch input "${index}" must be ${type}, found ${found}`);
    if (op === "gaussian") {
      if (data.some(Number.isNaN)) throw new UnitcellError("MISMATCH", `batch input "${index}" holds NaN`);
      continue;
    }
    // An index points into the last value read, or into the table.
    const target = values.at(-1);
    const limit = target ? sizes[target.rows] : program.params.get(params[0])!.shape[0];
    const key = `${index} ${limit} ${starts}`;
    if (!checked.has(key)) checkRange(index, data, limit, starts);
    checked.add(key);
  }
}

/** Entries in [0, limit), or row starts that ascend from 0 to the limit. */
function checkRange(name: string, data: Float32Array | Int32Array, limit: number, starts: boolean): void {
  let least = 0;
  for (const at of data) {
    if (!(at >= least && (starts ? at <= limit : at < limit)))
      throw new UnitcellError("MISMATCH", `batch input "${name}" holds ${at}, outside ${least} to ${limit}`);
    if (starts) least = at;
  }
  if (starts && (data[0] !== 0 || least !== limit))
    throw new UnitcellError(
      "MISMATCH",
      `batch input "${name}" must go from 0 to ${limit}, found ${data[0]} to ${least}`,
    );
}

/**
 * The kernels by themselves, in both builds, beside the kernels that they are held against (bench/reference), ONNX Runtime's
 * matrix product and torch's functions; and what the machine's arithmetic and memory could do at most.
 */
import activationsBaseline from "../build/reference/activations-baseline.wasm";
import activationsRelaxed from "../build/reference/activations-relaxed.wasm";
import gemmBaseline from "../build/reference/gemm-baseline.wasm";
import gemmRelaxed from "../build/reference/gemm-relaxed.wasm";
import limits from "../build/reference/limits.wasm";
import { KernelMemory, type KernelVariant, kernelVariant } from "../src/kernels.js";
import { seededRandom } from "../src/random.js";
import { type Contender, type Context, measure, rowOf, type Step, time, timeCalls } from "./compare.js";
import { matmulModel } from "./matmul-onnx.js";
import { type OnnxRuntime, onnxRuntimes } from "./onnx.js";
import { figures, type Row, type SectionResult } from "./stats.js";

/** rows x outputs x columns. CGCNN's own: 1,000 atoms' edges, a wider network, one small crystal; then a few distinct rows. */
const SHAPES = [
  [64, 64, 64],
  [256, 256, 256],
  [12000, 128, 169],
  [12000, 256, 256],
  [30, 128, 169],
  ...[1, 2, 3, 4, 5, 6, 10].map((rows) => [rows, 256, 256] as const),
] as const;
/** Those that must reach LEAST of the reference's speed, in either build. */
const HELD = new Set(["256x256x256", "12000x128x169", "12000x256x256"]);
const LEAST = 0.95;
/** Activations must take at most so many times the reference's time. */
const MOST = 1.2;
/** Square products are chained in ONNX Runtime, so that its calls do not count. */
const CHAINED = 16;

/** Floats per elementwise call: in the first-level cache. Rows of 128 for the gate, which halves them. */
const COUNT = 4096;
/** Floats of the copy: beyond every cache. */
const COPY_COUNT = 2 ** 24;
/** So many times the rounds of other steps: the least disturbed ones are compared. */
const HELD_ROUNDS = 4;
const PEAK_LOOPS = 100_000;

/** The builds that this engine runs, the better first; asked for when main.ts has set the engine's flag. */
const builds = (): readonly KernelVariant[] => (kernelVariant() === "relaxed" ? ["relaxed", "baseline"] : ["baseline"]);
const REFERENCES = {
  gemm: { baseline: gemmBaseline, relaxed: gemmRelaxed },
  activations: { baseline: activationsBaseline, relaxed: activationsRelaxed },
};

/** Columns of the table: the better build is unitcell's own column. */
const columnOf = (build: KernelVariant) => `${build} build`;
const referenceOf = (build: KernelVariant) => `reference, ${build}`;

type Call = () => unknown;
type Exports = Record<string, (...args: number[]) => number>;

/** A reference's functions and its memory of so many floats, which begin at HEAP. */
function reference(name: keyof typeof REFERENCES, build: KernelVariant, floats: number) {
  const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * floats + HEAP) / 65536) + 1 });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(REFERENCES[name][build]), { env: { memory } });
  return { exports: instance.exports as Exports, floats: new Float32Array(memory.buffer, HEAP) };
}
const HEAP = 65536;

export async function kernels(context: Context): Promise<SectionResult> {
  const { runtimes, missing } = await onnxRuntimes();
  const rows: Row[] = [];
  const notes = missing.map((reason) => `no ${reason}`);
  const slow: string[] = [];
  const add = ({ row, ratios }: Held, held: boolean, least: number) => {
    rows.push(row);
    for (const [build, ratio] of Object.entries(ratios)) {
      const text = `${row.step}, ${row.size}, ${build} build: ${ratio.toFixed(2)} of its reference's speed`;
      notes.push(text);
      if (held && ratio < least) slow.push(`${text}, at least ${figures(least)}`);
    }
  };
  if (kernelVariant() === "relaxed") rows.push(await peak(context));
  for (const shape of SHAPES) add(await linear(context, runtimes, shape), HELD.has(shape.join("x")), LEAST);
  rows.push(...(await banded(context)));
  for (const name of ["exp", "sigmoid", "silu", "tanh", "softplus"] as const)
    add(await elementwise(context, name), true, 1 / MOST);
  rows.push(await gate(context), await copy(context));
  return { rows, notes, slow };
}

/** A line, and each build's speed over its reference's: of the fastest rounds, the least disturbed ones. */
interface Held {
  readonly row: Row;
  readonly ratios: Readonly<Record<string, number>>;
}

/**
 * Times both builds and both references, one round each in turn, and the peers apart from them: in caches that others have
 * just filled, a small product would show the machine's memory.
 */
async function held(
  context: Context,
  { python, peers, ...step }: Omit<Step, "ours" | "variants">,
  calls: Record<KernelVariant, Call>,
  references: Record<KernelVariant, Call>,
): Promise<Held> {
  const { ours, variants } = both(calls);
  const theirs = Object.fromEntries(builds().map((build) => [referenceOf(build), references[build]]));
  const rounds = HELD_ROUNDS * context.rounds;
  const timing = await time({ ...context, rounds }, { ...step, ours, variants: { ...variants, ...theirs } });
  const others = await time(context, { ...step, ours, python, ...(peers && { peers }) });
  const best = (samples: readonly number[]) => Math.min(...samples);
  const ratios = builds().map((build) => [
    build,
    best(timing.variants![referenceOf(build)]) / best(timing.variants![columnOf(build)] ?? timing.ours),
  ]);
  const { ours: samples, variants: columns } = timing;
  return { row: rowOf(step, { ...others, ours: samples, variants: columns! }), ratios: Object.fromEntries(ratios) };
}

/** Something for each build; those that the engine does not run are not made. */
function each<T>(make: (build: KernelVariant) => T): Record<KernelVariant, T> {
  return Object.fromEntries(builds().map((build) => [build, make(build)])) as Record<KernelVariant, T>;
}

/** The better build's call as unitcell's own, the other one beside it. */
function both(calls: Record<KernelVariant, Call>): Pick<Step, "ours" | "variants"> {
  const [first, ...rest] = builds();
  return { ours: calls[first], variants: Object.fromEntries(rest.map((build) => [columnOf(build), calls[build]])) };
}

function randomFloats(count: number, scale = 4): Float32Array {
  const random = seededRandom(1);
  return Float32Array.from({ length: count }, () => scale * (2 * random() - 1));
}

/** The limit of arithmetic, of either build (limits.ts). */
async function peak(context: Context): Promise<Row> {
  const { multiplyAdd } = new WebAssembly.Instance(new WebAssembly.Module(limits)).exports as Exports;
  return measure(context, {
    section: "kernels",
    step: "multiply-add in registers",
    size: "the limit",
    ours: () => multiplyAdd(PEAK_LOOPS, 1, 0.001),
    unit: { name: "GFLOP/s", of: (ms) => (96 * PEAK_LOOPS) / ms / 1e6 },
  });
}

type Shape = readonly [R: number, O: number, K: number];

/** A layer in a build's memory, and its input. */
function layer(build: KernelVariant, [R, O, K]: Shape, weights: Float32Array, x: Float32Array) {
  const memory = new KernelMemory(build);
  const { kernels } = memory;
  const [scale, shift] = [memory.put(new Float32Array(O).fill(1)), memory.put(new Float32Array(O))];
  const packed = memory.allocate(kernels.packedBytes(O, K));
  kernels.packWeight(packed, memory.put(weights), scale, shift, O, K);
  return { memory, kernels, packed, x: memory.put(x), out: memory.allocate(4 * R * O) };
}

async function linear(context: Context, runtimes: readonly OnnxRuntime[], shape: Shape): Promise<Held> {
  const [R, O, K] = shape;
  const [weights, values] = [randomFloats(O * K, 0.1), randomFloats(R * K)];
  const calls = each((build) => {
    const { kernels, out, x, packed } = layer(build, shape, weights, values);
    return () => kernels.linearForward(out, x, packed, R, O, K, 0);
  });
  const references = each((build) => {
    const panels = (O + 16) * K;
    const { exports, floats } = reference("gemm", build, R * K + O * K + panels + R * O + 64);
    floats.set(values);
    floats.set(weights, R * K);
    const [b, packed] = [R * K, R * K + O * K].map((at) => HEAP + 4 * at);
    const c = packed + 4 * panels;
    exports.packB(b, 1, K, K, O, packed);
    return () => exports.gemm(HEAP, packed, c, R, O, K, 4096);
  });
  const peers: Record<string, Contender> = {};
  for (const runtime of runtimes) peers[runtime.name] = await matmul(runtime, shape, weights, values);
  const step = {
    section: "kernels",
    step: "linearForward",
    size: shape.join("x"),
    python: { step: "linear", rows: R, outputs: O, columns: K },
    peers,
    unit: { name: "GFLOP/s", of: (ms: number) => (2 * R * O * K) / ms / 1e6 },
  };
  return held(context, step, calls, references);
}

/** One product in ONNX Runtime, of CHAINED ones where the shape lets them follow one another. */
async function matmul(
  { ort, provider }: OnnxRuntime,
  [rows, outputs, columns]: Shape,
  weights: Float32Array,
  values: Float32Array,
): Promise<Contender> {
  const times = outputs === columns ? CHAINED : 1;
  const session = await ort.InferenceSession.create(matmulModel(weights, { rows, outputs, columns, times }), {
    executionProviders: [provider],
    intraOpNumThreads: 1,
  });
  const x = new ort.Tensor("float32", values, [rows, columns]);
  // Never less than one whole chain; the time is of one product.
  return async (calls) => (await timeCalls(() => session.run({ x }), Math.ceil(calls / times), "wall")) / times;
}

/** Bond lengths expanded in Gaussians, most of which are 0: multiplied whole, and in sorted rows by their bands. */
async function banded(context: Context): Promise<Row[]> {
  const shape = [12000, 128, 41] as const;
  const [R, O, K] = shape;
  const lengths = Float32Array.from({ length: R }, (_, r) => 2 + (4 * r) / R); // 2 to 6 Å
  const make = (name: "linearForward" | "bandedLinearForward") =>
    each((build) => {
      const { memory, kernels, out, x, packed } = layer(build, shape, randomFloats(O * K), new Float32Array(R * K));
      const centers = memory.put(Float64Array.from({ length: K + 4 }, (_, k) => 0.2 * k));
      kernels.gaussianForward(x, memory.put(lengths), centers, 25, R, K);
      return () => kernels[name](out, x, packed, R, O, K, 0);
    });
  const rows: Row[] = [];
  for (const name of ["linearForward", "bandedLinearForward"] as const) {
    const calls = make(name);
    rows.push(
      await measure(context, {
        section: "kernels",
        step: `${name}, Gaussians of sorted lengths`,
        size: shape.join("x"),
        ...both(calls),
        python: { step: "linear", rows: R, outputs: O, columns: K },
        unit: { name: "GFLOP/s as written", of: (ms) => (2 * R * O * K) / ms / 1e6 },
      }),
    );
  }
  return rows;
}

async function elementwise(context: Context, name: "exp" | "sigmoid" | "silu" | "tanh" | "softplus"): Promise<Held> {
  const values = randomFloats(COUNT);
  const calls = each((build) => {
    const memory = new KernelMemory(build);
    const [x, out] = [memory.put(values), memory.allocate(4 * COUNT)];
    const kernel = memory.kernels[`${name}Forward`];
    return () => kernel(out, x, COUNT);
  });
  const references = each((build) => {
    const { exports, floats } = reference("activations", build, 2 * COUNT);
    floats.set(values);
    return () => exports[name](HEAP, HEAP + 4 * COUNT, COUNT);
  });
  const step = {
    section: "kernels",
    step: name,
    size: `${COUNT} floats out`,
    python: { step: "elementwise", name, count: COUNT },
    unit: { name: "ns/float", of: (ms: number) => (ms * 1e6) / COUNT },
  };
  return held(context, step, calls, references);
}

async function gate(context: Context): Promise<Row> {
  const calls = each((build) => {
    const memory = new KernelMemory(build);
    const [x, out] = [memory.put(randomFloats(COUNT)), memory.allocate(4 * COUNT)];
    return () => memory.kernels.gateForward(out, x, COUNT / 128, 64);
  });
  // The gate makes one number of two.
  const results = COUNT / 2;
  return measure(context, {
    section: "kernels",
    step: "gate",
    size: `${results} floats out`,
    ...both(calls),
    python: { step: "elementwise", name: "gate", count: COUNT },
    unit: { name: "ns/float", of: (ms) => (ms * 1e6) / results },
  });
}

async function copy(context: Context): Promise<Row> {
  const memory = new KernelMemory();
  const x = memory.put(randomFloats(COPY_COUNT));
  const out = memory.allocate(4 * COPY_COUNT);
  return measure(context, {
    section: "kernels",
    step: "copy",
    size: `${(4 * COPY_COUNT) / 2 ** 20} MiB`,
    ours: () => memory.kernels.copyColumns(out, COPY_COUNT, x, COPY_COUNT, 1, COPY_COUNT),
    python: { step: "elementwise", name: "copy", count: COPY_COUNT },
    unit: { name: "GB/s read", of: (ms) => (4 * COPY_COUNT) / ms / 1e6 },
  });
}

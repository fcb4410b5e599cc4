/** The kernels by themselves, next to torch's: matrix products, elementwise functions, and a copy for scale. */
import { KernelMemory } from "../src/kernels.js";
import { seededRandom } from "../src/random.js";
import { type Context, measure } from "./compare.js";
import type { Row, SectionResult } from "./stats.js";

/** rows x outputs x columns. The last three are CGCNN's own: 1,000 atoms' edges, a wider network, one small crystal. */
const SHAPES = [
  [64, 64, 64],
  [256, 256, 256],
  [12000, 128, 169],
  [12000, 256, 256],
  [30, 128, 169],
] as const;

/** Floats per elementwise call: in the first-level cache. Rows of 128 for the gate, which halves them. */
const COUNT = 4096;
/** Floats of the copy: beyond every cache. */
const COPY_COUNT = 2 ** 24;

export async function kernels(context: Context): Promise<SectionResult> {
  const rows: Row[] = [];
  for (const shape of SHAPES) rows.push(await linear(context, shape, "random"));
  rows.push(await linear(context, [12000, 128, 41], "Gaussians"));
  for (const name of ["sigmoid", "softplus", "gate"] as const) rows.push(await elementwise(context, name));
  rows.push(await copy(context));
  return { rows };
}

function randomFloats(count: number): Float32Array {
  const random = seededRandom(1);
  return Float32Array.from({ length: count }, () => 8 * random() - 4);
}

/** On random numbers, or on bond lengths expanded in Gaussians, most of which are next to nothing. */
async function linear(
  context: Context,
  [R, O, K]: readonly [number, number, number],
  input: "random" | "Gaussians",
): Promise<Row> {
  const memory = new KernelMemory();
  const [scale, shift] = [memory.put(new Float32Array(O).fill(1)), memory.put(new Float32Array(O))];
  const weight = memory.put(randomFloats(O * K));
  const packed = memory.allocate(memory.kernels.packedBytes(O, K));
  memory.kernels.packWeight(packed, weight, scale, shift, O, K);
  const x = memory.put(randomFloats(R * K));
  const out = memory.allocate(4 * R * O);
  if (input === "Gaussians") {
    const lengths = memory.put(randomFloats(R).map((value) => Math.abs(value) + 2)); // 2 to 6 Å
    const centers = memory.put(Float64Array.from({ length: K + 4 }, (_, k) => 0.2 * k));
    memory.kernels.gaussianForward(x, lengths, centers, 25, R, K);
  }
  return measure(context, {
    section: "kernels",
    step: `linearForward, ${input}`,
    size: `${R}x${O}x${K}`,
    ours: () => memory.kernels.linearForward(out, x, packed, R, O, K, 0),
    python: { step: "linear", rows: R, outputs: O, columns: K },
    unit: { name: "GFLOP/s", of: (ms) => (2 * R * O * K) / ms / 1e6 },
  });
}

async function elementwise(context: Context, name: "sigmoid" | "softplus" | "gate"): Promise<Row> {
  const memory = new KernelMemory();
  const x = memory.put(randomFloats(COUNT));
  const out = memory.allocate(4 * COUNT);
  const { sigmoidForward, softplusForward, gateForward } = memory.kernels;
  const calls = {
    sigmoid: () => sigmoidForward(out, x, COUNT),
    softplus: () => softplusForward(out, x, COUNT),
    gate: () => gateForward(out, x, COUNT / 128, 64),
  };
  // The gate makes one number of two.
  const results = name === "gate" ? COUNT / 2 : COUNT;
  return measure(context, {
    section: "kernels",
    step: name,
    size: `${results} floats out`,
    ours: calls[name],
    python: { step: "elementwise", name, count: COUNT },
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

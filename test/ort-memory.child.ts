/**
 * ort-memory.child.js RUNTIME: predictions and sessions in an onnxruntime, run with --expose-gc. Prints one line of JSON
 * (`Memory`): after a warm-up, after all predictions, and after opening and closing sessions again and again.
 */
import { ortBackend } from "../src/backends/ort.js";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { predict } from "../src/predict.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { type OnnxRuntime, ORT_OPTIONS, onnxRuntime } from "./onnx-runtimes.js";
import { randomAlignn } from "./random-models.js";

export interface Usage {
  /** Bytes of JavaScript's heap, of array buffers, of all WebAssembly memories, and of the process. */
  readonly heap: number;
  readonly buffers: number;
  readonly wasm: number;
  readonly process: number;
}

export interface Memory {
  readonly predictions: number;
  readonly cycles: number;
  readonly weights: number;
  readonly warm: Usage;
  readonly predicted: Usage;
  readonly cycled: readonly Usage[];
}

/** Until engines have compiled for good what they run: up to 50 MiB of onnxruntime-web's code come after the 200th. */
const WARM_UP = 500;
const PREDICTIONS = 1000;
const CYCLES = 30;
/** Cycles after which usage is noted. */
const NOTED = 10;

const memories: WebAssembly.Memory[] = [];
const { Memory } = WebAssembly;
WebAssembly.Memory = class extends Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    memories.push(this);
  }
};

async function usage(): Promise<Usage> {
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    globalThis.gc!();
  }
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  const wasm = memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  return { heap: heapUsed, buffers: arrayBuffers, wasm, process: rss };
}

const { ort, provider } = (await onnxRuntime(process.argv[2] as OnnxRuntime["name"]))!;
const options = { provider, sessionOptions: { ...ORT_OPTIONS } };
const structures = exampleStructures();
const models = await Promise.all(["cgcnn", "alignn", "megnet"].map((name) => exampleModel(`${name}_ionic_best.pt`)));

/** One crystal at a time, of all sizes and models in turn. */
async function predictMany(from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) {
    const [{ value }] = await predict(models[i % 3], [structures[i % structures.length]], {
      backend,
      lift: i % 2 === 0,
    });
    if (!Number.isFinite(value)) throw new Error(`prediction ${i} is ${value}`);
  }
}

const backend = ortBackend(ort, options);
await predictMany(0, WARM_UP);
const warm = await usage();
await predictMany(WARM_UP, WARM_UP + PREDICTIONS);
const predicted = await usage();

const large = randomAlignn({ hidden: 256, alignnLayers: 2, gcnLayers: 2 });
const [smallest] = structures.toSorted((a, b) => a.numbers.length - b.numbers.length);
const batch = collate([buildGraph(smallest, large.config.graph)]);
const cycled: Usage[] = [];
for (let i = 1; i <= CYCLES; i++) {
  const other = ortBackend(ort, options);
  const session = await other.createSession(large.program);
  await session.run(batch);
  await (i % 2 ? session : other).dispose();
  if (i % NOTED === 0) cycled.push(await usage());
}
const weights = [...large.program.params.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
const report: Memory = { predictions: PREDICTIONS, cycles: CYCLES, weights, warm, predicted, cycled };
console.log(JSON.stringify(report));
process.exit(0); // onnxruntime-node's threads may take their time

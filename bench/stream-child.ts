/** stream-child.js CHECKPOINT COUNT, run with --expose-gc: predict a stream of made-up crystals, then print a StreamReport. */
import { predictStream } from "../src/index.js";
import type { StreamPoint, StreamReport } from "./stream.js";
import { binaryCrystals, readModel } from "./structures.js";

const MB = 2 ** 20;
const { gc } = globalThis;
if (!gc) throw new Error("stream-child.js needs --expose-gc");

/** All memories that Wasm instances were given and nobody has dropped. */
let memories: WeakRef<WebAssembly.Memory>[] = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    memories.push(new WeakRef(this));
  }
};

/** What is held once the garbage is gone. */
function held(done: number): StreamPoint {
  gc!();
  memories = memories.filter((memory) => memory.deref());
  const wasm = memories.reduce((sum, memory) => sum + (memory.deref()?.buffer.byteLength ?? 0), 0);
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  return { done, RSS: rss / MB, heap: (heapUsed + arrayBuffers) / MB, Wasm: wasm / MB };
}

const [checkpoint, count] = [process.argv[2], Number(process.argv[3])];
const model = await readModel(checkpoint);
const points: StreamPoint[] = [];
let tenth: StreamPoint[] = [];
let [predicted, failed] = [0, 0];
const start = performance.now();
for await (const result of predictStream(model, binaryCrystals(count))) {
  if ("error" in result) failed++;
  else predicted++;
  const done = predicted + failed;
  if (done % (count / 100) === 0) tenth.push(held(done));
  if (done % (count / 10) === 0) {
    // A batch in work is held too: the least of ten looks has the least of one.
    const least = (kind: "RSS" | "heap" | "Wasm") => Math.min(...tenth.map((point) => point[kind]));
    points.push({ done, RSS: least("RSS"), heap: least("heap"), Wasm: least("Wasm") });
    tenth = [];
  }
}
const report: StreamReport = { seconds: (performance.now() - start) / 1000, predicted, failed, points };
console.log(JSON.stringify(report));

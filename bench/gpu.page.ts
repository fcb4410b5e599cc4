/** What bench/gpu.ts has done in a page: one network on WebGPU. */
import * as ort from "onnxruntime-web/webgpu";
import type { Session } from "../src/backends/backend.js";
import { buildGraph, loadModel, type Model, type Structure } from "../src/index.js";
import { type OrtModule, ortBackend } from "../src/ort.js";
import { runAll } from "./chunks.js";

ort.env.wasm.wasmPaths = { wasm: "/ort/ort-wasm-simd-threaded.asyncify.wasm" };
const backend = ortBackend(ort as unknown as OrtModule, { provider: "webgpu" });
let model: Model;
let session: Session;

export type GpuTasks = typeof tasks;

/** A structure as it passes into a page. */
export interface PlainCrystal {
  readonly lattice: readonly number[];
  readonly numbers: readonly number[];
  readonly fracCoords: readonly number[];
}

const tasks = {
  /** Load a checkpoint of these addresses. */
  async open(files: readonly string[]) {
    const bytes = await Promise.all(
      files.map(async (file) => [file.slice(file.lastIndexOf("/") + 1), await fetchBytes(file)] as const),
    );
    model = await loadModel(new Map(bytes));
    session = await backend.createSession(model.program);
  },
  /** First outputs of crystals, and ms from graphs to outputs. */
  async run(crystals: readonly PlainCrystal[]) {
    const graphs = crystals.map((crystal) => buildGraph(toStructure(crystal), model.config.graph));
    const start = performance.now();
    const outputs = await runAll(session, graphs);
    return { outputs, ms: performance.now() - start };
  },
  /** The GPU's name, once it was used. */
  device: () => backend.device,
};

async function fetchBytes(file: string): Promise<Uint8Array> {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

function toStructure({ lattice, numbers, fracCoords }: PlainCrystal): Structure {
  return {
    lattice: Float64Array.from(lattice),
    pbc: [true, true, true],
    numbers: Uint8Array.from(numbers),
    fracCoords: Float64Array.from(fracCoords),
  };
}

const call = (task: keyof GpuTasks, values: unknown[]) => (tasks[task] as (...values: unknown[]) => unknown)(...values);
Object.assign(globalThis, { call });

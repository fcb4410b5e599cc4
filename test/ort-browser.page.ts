/** What the ort-browser tests have done in a page, or in its worker: this file is bundled for both. */
import * as ort from "onnxruntime-web/webgpu";
import type { OrtModule } from "../src/backends/ort-module.js";
import { collate } from "../src/graphs/batch.js";
import type { AnyGraph } from "../src/graphs/lift.js";
import { embedStream, loadModel, type Model, parseStructures, predictStream, type Structure } from "../src/index.js";
import { decodeOutput, outputRow } from "../src/models/model.js";
import { encodeModel, type OnnxModel } from "../src/onnx/model-proto.js";
import { programOnnx } from "../src/onnx/program-onnx.js";
import { exportOnnx, type OrtBackend, ortBackend } from "../src/ort.js";
import { countGpu, type GpuCounts } from "./ort-browser-gpu.js";
import { scaled } from "./ort-browser-structures.js";

/** Addresses of a checkpoint's files, and of a torch-free one's normalizer. */
export interface Source {
  readonly files: readonly string[];
  readonly normalizer?: { readonly mean: number; readonly std: number };
}

/** Structures to predict: files, whole or as that many scaled ones. */
export interface Input {
  readonly files: readonly string[];
  readonly count?: number;
  /** Of a batch. */
  readonly maxAtoms?: number;
}

/** What became of a structure. */
export interface Outcome {
  readonly id: string | undefined;
  readonly error?: string;
  /** The value or values; of a classifier with more outputs than one all probabilities; of an embedding its vectors. */
  readonly numbers: readonly number[];
  readonly backend: string;
  readonly warnings: readonly string[];
}

/** Something to do to the GPU in the middle of a stream. */
export interface Disturbance {
  /**
   * kill: the GPU process ends, between two submits of a run, just before a run, while a session is created, or after a
   * record, when nothing runs. destroy: the device is destroyed, by others, in or before a run or after a record.
   */
  readonly how: `${"kill" | "destroy"}-${"in-run" | "before-run" | "in-create" | "after-record"}`;
  /** Which run, session or record: from 0 on. */
  readonly at: number;
}

declare const killGpu: () => Promise<void>;

const memories: WebAssembly.Memory[] = [];
WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
  construct(target, [descriptor]) {
    const memory = new target(descriptor);
    memories.push(memory);
    return memory;
  },
});

const gpu = countGpu();
ort.env.wasm.wasmPaths = { wasm: "/ort/ort-wasm-simd-threaded.asyncify.wasm" };
ort.env.wasm.numThreads = 1;
const isVerbose = location.search === "?verbose";
if (isVerbose) ort.env.logLevel = "verbose"; // only before the first session

/** Things that happened, in order: "create 0", "run 3", "kill after submit 2 of run 3". */
let events: string[] = [];
const numbers = { run: 0, create: 0 };
let disturbances: Disturbance[] = [];

/** The first of such disturbances due, which is then done with. */
function due(how: Disturbance["how"], at: number): boolean {
  const index = disturbances.findIndex((one) => one.how === how && one.at === at);
  if (index >= 0) disturbances.splice(index, 1);
  return index >= 0;
}

/** Does what is due at a place where this thread does not wait: it stands still until the process surely is dead. */
function disturbNow(place: "in-run" | "in-create", at: number): void {
  if (due(`destroy-${place}`, at)) {
    events.push(`destroy ${place} ${at}`);
    gpu.devices.at(-1)!.destroy();
  }
  if (!due(`kill-${place}`, at)) return;
  events.push(`kill ${place} ${at}`);
  void killGpu();
  for (const end = performance.now() + 400; performance.now() < end; );
}

async function disturb(place: "before-run" | "after-record", at: number): Promise<void> {
  const how = (["destroy", "kill"] as const).find((how) => due(`${how}-${place}`, at));
  if (!how) return;
  events.push(`${how} ${place} ${at}`);
  const device = gpu.devices.at(-1)!;
  if (how === "kill") await killGpu();
  else device.destroy();
  // Where nothing runs this thread is told in time; just before a run it is not.
  if (place === "after-record") await device.lost;
}

/** The module, with disturbances. */
const disturbed: OrtModule = {
  Tensor: ort.Tensor,
  InferenceSession: {
    async create(model, options) {
      const create = numbers.create++;
      events.push(`create ${create}`);
      gpu.onCreateBuffer = () => disturbNow("in-create", create);
      const session = await ort.InferenceSession.create(model, options).finally(() => {
        gpu.onCreateBuffer = undefined;
      });
      return {
        async run(feeds) {
          const run = numbers.run++;
          events.push(`run ${run}`);
          await disturb("before-run", run);
          let submits = 0;
          gpu.onSubmit = () => {
            if (++submits === 2) disturbNow("in-run", run);
          };
          try {
            return await session.run(feeds);
          } catch (error) {
            events.push(`run ${run} failed`);
            throw error;
          } finally {
            gpu.onSubmit = undefined;
          }
        },
        release: () => session.release(),
      };
    },
  },
};

const backends = new Map<string, OrtBackend>();

/** By name; each with sessions of its own. */
function backendCalled(name: string): OrtBackend {
  const found = backends.get(name) ?? ortBackend(disturbed, { provider: "webgpu" });
  backends.set(name, found);
  return found;
}

const models = new Map<string, Promise<Model>>();

function modelOf({ files, normalizer }: Source): Promise<Model> {
  const key = files.join();
  const found = models.get(key) ?? fetchModel(files, normalizer);
  models.set(key, found);
  return found;
}

async function fetchModel(files: readonly string[], normalizer: Source["normalizer"]): Promise<Model> {
  const all = await Promise.all(files.map(async (file) => [nameOf(file), await (await fetch(file)).blob()] as const));
  return loadModel(all.length === 1 ? all[0][1] : new Map(all), normalizer && { normalizer });
}

const nameOf = (path: string) => path.split("/").at(-1)!;

async function structuresOf({ files, count }: Input): Promise<Structure[]> {
  const texts = await Promise.all(files.map(async (file) => [nameOf(file), await (await fetch(file)).text()] as const));
  const cells = texts.map(([filename, text]) => parseStructures(text, { filename })[0]);
  return count === undefined ? cells : scaled(cells, count);
}

async function predictAll(model: Model, input: Input, backend: OrtBackend): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for await (const record of predictStream(model, await structuresOf(input), optionsFor(model, input, backend)))
    if ("error" in record)
      outcomes.push({ id: record.id, error: record.error.message, numbers: [], backend: "", warnings: [] });
    else {
      const { id, value, values, probabilities, backend, warnings } = record;
      const said = warnings.map(({ code, message }) => `${code}: ${message}`);
      outcomes.push({ id, numbers: probabilities ?? values ?? [value], backend, warnings: said });
      await disturb("after-record", outcomes.length - 1);
    }
  return outcomes;
}

async function embedAll(model: Model, input: Input, backend: OrtBackend): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for await (const record of embedStream(model, await structuresOf(input), optionsFor(model, input, backend))) {
    if ("error" in record) throw new Error(record.error.message);
    const { id, crystal, atoms, backend, warnings } = record;
    const said = warnings.map(({ code, message }) => `${code}: ${message}`);
    outcomes.push({ id, numbers: [...crystal, ...atoms], backend, warnings: said });
    await disturb("after-record", outcomes.length - 1);
  }
  return outcomes;
}

function optionsFor({ config }: Model, { maxAtoms }: Input, backend: OrtBackend) {
  const hasStates = config.type === "megnet" && config.stateTypes > 0;
  return { backend, ...(hasStates && { state: 0 }), ...(maxAtoms !== undefined && { maxAtoms }) };
}

const tasks = {
  async predict(source: Source, input: Input, name = "one") {
    const model = await modelOf(source);
    const backend = backendCalled(name);
    const began = performance.now();
    const outcomes = await predictAll(model, input, backend);
    return { outcomes, device: backend.device, ms: performance.now() - began };
  },

  /** The same predictions so many times over; whether they had the same bits each time. */
  async repeat(source: Source, input: Input, times: number, name = "one") {
    const model = await modelOf(source);
    const backend = backendCalled(name);
    const rounds = new Set<string>();
    for (let i = 0; i < times; i++) rounds.add(JSON.stringify(await predictAll(model, input, backend)));
    return rounds.size === 1;
  },

  /** Values of graphs as they are, each by itself. */
  async graphs(source: Source, graphs: Record<string, unknown>[]) {
    const model = await modelOf(source);
    const session = await backendCalled("one").createSession(model.program);
    const values: number[] = [];
    for (const plain of graphs) {
      const batch = collate([revived(plain)]);
      values.push(decodeOutput(model, outputRow(model, batch, await session.run(batch), 0)).value);
    }
    await session.dispose();
    return values;
  },

  /** Give the memory back. */
  async dispose(name = "one") {
    await backendCalled(name).dispose();
    models.clear();
  },

  /** So many streams of predictions or embeddings at once while the GPU is disturbed; events since the beginning of it. */
  async disturb(source: Source, input: Input, what: "predict" | "embed", plan: Disturbance[], count = 1) {
    const model = await modelOf(source);
    const backend = backendCalled("disturbed");
    events = [];
    numbers.run = 0;
    numbers.create = 0;
    disturbances = [...plan];
    const stream = what === "predict" ? predictAll : embedAll;
    const streams = await Promise.all(Array.from({ length: count }, () => stream(model, input, backend)));
    return { streams, events, left: disturbances.length, devices: gpu.devices.length };
  },

  /** Create a session of a model's graph, as exported, or with other outputs; its log goes to the console. */
  async place(source: Source, labels?: readonly string[]) {
    const model = await modelOf(source);
    const bytes = labels ? programOnnx(model.program, { outputs: labels }).bytes : exportOnnx(model);
    await createOnly(bytes);
  },

  placeGraph: (graph: OnnxModel["graph"]) =>
    createOnly(
      encodeModel({
        producer: "test",
        producerVersion: "",
        description: "",
        irVersion: 8,
        opset: 17,
        graph,
        metadata: new Map(),
      }),
    ),

  counts: async (): Promise<GpuCounts & { heap: number; devices: number; runs: number; creates: number }> => ({
    ...gpu.counts,
    heap: memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0),
    devices: gpu.devices.length,
    runs: numbers.run,
    creates: numbers.create,
  }),

  /** Bytes of a model's weights. */
  async weights(source: Source) {
    let bytes = 0;
    for (const { data } of (await modelOf(source)).program.params.values()) bytes += data.byteLength;
    return bytes;
  },
};

let device: GPUDevice | undefined;

async function createOnly(bytes: Uint8Array): Promise<void> {
  device ??= await (await navigator.gpu.requestAdapter())!.requestDevice();
  const executionProviders = [{ name: "webgpu", device }];
  const session = await ort.InferenceSession.create(bytes, { executionProviders, logSeverityLevel: 0 });
  await session.release();
}

/** Arrays stand for typed ones where a test sends a graph. */
function revived({ numbers, start, source, lengths, ...rest }: Record<string, unknown>): AnyGraph {
  return {
    ...rest,
    numbers: Uint8Array.from(numbers as number[]),
    start: Int32Array.from(start as number[]),
    source: Int32Array.from(source as number[]),
    lengths: Float64Array.from(lengths as number[]),
  } as AnyGraph;
}

export type Tasks = typeof tasks;

const call = (task: keyof Tasks, values: unknown[]) => (tasks[task] as (...values: unknown[]) => unknown)(...values);

if (typeof document === "object") {
  let worker: Worker | undefined;
  Object.assign(globalThis, {
    call,
    /** The same in the page's worker. */
    callWorker: (task: string, values: unknown[]) =>
      new Promise((resolve, reject) => {
        worker ??= new Worker("/page.js", { type: "module" });
        worker.onmessage = ({ data }) => ("error" in data ? reject(new Error(data.error)) : resolve(data.value));
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage([task, values]);
      }),
  });
} else
  addEventListener("message", async ({ data: [task, values] }) => {
    try {
      postMessage({ value: await call(task, values) });
    } catch (error) {
      postMessage({ error: String((error as Error).stack) });
    }
  });

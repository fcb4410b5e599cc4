/** What pool-browser.test.ts has done in a page: bundled with the library, the worker as a file beside it. */
import { loadModel, parseStructures, predict, type Structure } from "../src/index.js";
import type { ToWorker } from "../src/pool/messages.js";
import { createPool, type PoolOptions } from "../src/pool/pool.js";
import type { predictStream } from "../src/predict.js";
import type { FailedPrediction, Prediction } from "../src/prediction.js";

const checkpoint = await (await fetch("/checkpoint")).arrayBuffer();
const cif = await (await fetch("/structure.cif")).text();
const model = await loadModel(checkpoint);
const [cell] = parseStructures(cif, { format: "cif" });
const structures: Structure[] = Array.from({ length: 300 }, (_, i) => ({
  ...cell,
  id: `${i}`,
  lattice: cell.lattice.map((x) => x * (1 + 1e-4 * i)),
}));

const shown = (records: readonly (Prediction | FailedPrediction)[]) =>
  JSON.stringify(records.map((record) => ({ ...record, elapsedMs: 0 })));

async function collect(records: ReturnType<typeof predictStream>) {
  const all: (Prediction | FailedPrediction)[] = [];
  for await (const record of records) all.push(record);
  return all;
}

const workerOf = (path: string) => new Worker(path, { type: "module" });

async function withPool<T>(options: PoolOptions, use: (pool: Awaited<ReturnType<typeof createPool>>) => Promise<T>) {
  const pool = await createPool(options);
  try {
    return await use(pool);
  } finally {
    await pool.close();
  }
}

const tasks = {
  /** By the default worker, which is the file beside the page's script. */
  async predict() {
    const found = await withPool({}, async (pool) => ({
      workers: pool.workers,
      same: shown(await pool.predict(model, structures)) === shown(await predict(model, structures)),
      texts: (await pool.predict(model, [{ text: cif, format: "cif" }])).length,
    }));
    return { ...found, cores: navigator.hardwareConcurrency, isolated: crossOriginIsolated };
  },

  /** Whether the buffers that workers get are shared memory, and one. */
  async weights() {
    const buffers: ArrayBufferLike[] = [];
    const worker = () => {
      const made = workerOf("/pool-worker.js");
      const post = made.postMessage.bind(made) as (message: ToWorker) => void;
      made.postMessage = (message: ToWorker) => {
        if (message.type === "model")
          for (const { data } of message.model.program.params.values()) buffers.push(data.buffer);
        post(message);
      };
      return made;
    };
    await withPool({ workers: 2, worker }, (pool) => pool.predict(model, structures));
    return { sent: new Set(buffers).size, kind: buffers[0].constructor.name };
  },

  /** Workers that a page ends say nothing. */
  async terminate() {
    const workers: Worker[] = [];
    const worker = () => {
      workers.push(workerOf("/pool-worker.js"));
      return workers.at(-1)!;
    };
    const found: Prediction[] = [];
    await withPool({ workers: 2, worker }, async (pool) => {
      for await (const record of pool.predictStream(model, structures)) {
        found.push(record as Prediction);
        if (found.length === 10) for (const one of workers) one.terminate();
      }
    });
    return { made: workers.length, same: shown(found) === shown(await predict(model, structures)) };
  },

  /** A worker that throws, or closes itself, over one structure. */
  async end(how: string) {
    const worker = () => workerOf(`/strange-worker.js?${how}`);
    const records = await withPool({ workers: 2, worker }, (pool) => collect(pool.predictStream(model, structures)));
    const failed = records.flatMap((record) => ("error" in record ? [record] : []));
    return { count: records.length, failed: failed.map(({ id, error }) => [id, error.code, error.message] as const) };
  },

  async absent() {
    return createPool({ workers: 2, worker: () => workerOf("/absent.js") }).then(
      () => "started",
      (error) => `${error.code} ${error.message}`,
    );
  },
};

export type Tasks = typeof tasks;
Object.assign(globalThis, { call: (name: keyof Tasks, value: string) => tasks[name](value) });

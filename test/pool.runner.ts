/**
 * The built pool without a test runner, for pool-runtimes.test.ts to run in Deno, Bun and the newest Node, from the
 * repository root: prints what became of each kind of worker.
 */
import { readFileSync } from "node:fs";
import { argv, cwd, exit } from "node:process";
import type * as Library from "../src/index.js";
import type * as PoolLibrary from "../src/pool/pool.js";
import type { FailedPrediction, Prediction } from "../src/prediction.js";

const [kind] = argv.slice(2);
const dist = `file://${cwd()}/dist`;
const { loadModel, parseStructures, predict, ensemble } = (await import(`${dist}/index.js`)) as typeof Library;
const { createPool } = (await import(`${dist}/pool.js`)) as typeof PoolLibrary;

const [cgcnn, megnet] = await Promise.all(
  ["cgcnn", "megnet"].map((name) => loadModel(readFileSync(`examples/saved_models/${name}_ionic_best.pt`), { name })),
);
const text = readFileSync("examples/structures/SrTiO3-perovskite.cif", "utf8");
const [cell] = parseStructures(text, { format: "cif" });
const structures = Array.from({ length: 300 }, (_, i) => ({
  ...cell,
  id: `${i}`,
  lattice: cell.lattice.map((x) => x * (1 + 1e-4 * i)),
}));

const shown = (records: readonly (Prediction | FailedPrediction)[]) =>
  JSON.stringify(records.map((record) => ({ ...record, elapsedMs: 0 })));

/** By default what the pool itself starts, or the runtime's Web Workers. */
const worker = (path: string) => new Worker(path, { type: "module" });
const options = kind === "web" ? { workers: 2, worker: () => worker(`${dist}/pool-worker.js`) } : { workers: 2 };
const pool = await createPool(options);
const same: boolean[] = [];
for (const model of [cgcnn, megnet, ensemble([cgcnn, megnet])])
  same.push(shown(await pool.predict(model, structures)) === shown(await predict(model, structures)));
const texts = structures.map(({ id }) => ({ text, filename: `${id}.cif` }));
same.push((await pool.predict(cgcnn, texts)).every(({ id }, i) => id === `${i}`));
await pool.close();

/** A worker that ends over structure 17: by a process.exit, or by closing itself. */
const code = `
  import * as threads from "node:worker_threads";
  const port = threads.parentPort;
  const hear = (m) => {
    if (m.type === "predict" && m.items.some(({ id }) => id === "17")) ${kind === "web" ? "self.close()" : "process.exit(7)"};
  };
  if (port) port.on("message", hear);
  else addEventListener("message", ({ data }) => hear(data));
  await import("${dist}/pool-worker.js");`;
const url = `data:text/javascript,${encodeURIComponent(code)}`;
const strange = async () => {
  if (kind === "web") return () => worker(url);
  const threads = await import("node:worker_threads");
  return () => new threads.Worker(new URL(url));
};
const weak = await createPool({ workers: 2, worker: await strange() });
const records: (Prediction | FailedPrediction)[] = [];
for await (const record of weak.predictStream(cgcnn, structures)) records.push(record);
await weak.close();
const failed = records.flatMap((record) => ("error" in record ? [`${record.id} ${record.error.code}`] : []));
const others = structures.filter(({ id }) => id !== "17");
const rest = shown(records.filter(({ id }) => id !== "17")) === shown(await predict(cgcnn, others));
console.log(JSON.stringify({ same, count: records.length, failed, rest }));
exit(0);

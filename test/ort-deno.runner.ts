/** What ort-deno.test.ts has done in Deno: networks on WebGPU, with weights in both precisions. Prints one line of JSON. */
import * as ort from "onnxruntime-web/webgpu";
import { loadModel, parseStructures, predict } from "../src/index.js";
import { type OrtModule, ortBackend } from "../src/ort.js";

/** One network's predictions, by weights. */
export interface DenoRun {
  readonly device: string;
  readonly backends: readonly string[];
  readonly warnings: readonly string[];
  readonly values: Readonly<Record<"wasm" | "f32" | "f16", readonly number[]>>;
}

declare const Deno: {
  readonly args: readonly string[];
  readFileSync(path: string): Uint8Array;
  readTextFileSync(path: string): string;
  exit(code: number): never;
};

ort.env.wasm.numThreads = 1;
const [checkpoints, structures] = Deno.args.map((list) => list.split(","));
const model = await loadModel(
  checkpoints.length === 1
    ? Deno.readFileSync(checkpoints[0])
    : new Map(checkpoints.map((path) => [path.slice(path.lastIndexOf("/") + 1), Deno.readFileSync(path)])),
);
const crystals = structures.map((path) => parseStructures(Deno.readTextFileSync(path), { filename: path })[0]);
const values: Record<string, number[]> = { wasm: (await predict(model, crystals)).map(({ value }) => value) };
const backends = new Set<string>();
const warnings = new Set<string>();
let device = "";
for (const weights of ["f32", "f16"] as const) {
  const backend = ortBackend(ort as unknown as OrtModule, { provider: "webgpu", weights });
  const records = await predict(model, crystals, { backend });
  values[weights] = records.map(({ value }) => value);
  for (const record of records) {
    backends.add(record.backend);
    for (const { code, message } of record.warnings) if (code === "backend-failed") warnings.add(message);
  }
  device = backend.device ?? "none";
  await backend.dispose();
}
console.log(JSON.stringify({ device, backends: [...backends], warnings: [...warnings], values }));
Deno.exit(0);

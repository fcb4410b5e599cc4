/** The onnxruntime backend with a stand-in for WebGPU beside that for the runtime; in a process of its own, since it is global. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bucket } from "../src/backends/buckets.js";
import { ortBackend } from "../src/backends/ort.js";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { type Prediction, predict } from "../src/index.js";
import { loadModel } from "../src/load-model.js";
import { exampleStructures } from "./examples.js";
import { FakeOrt } from "./ort-fake.js";

class FakeDevice {
  readonly limits: Record<string, number>;
  readonly features: ReadonlySet<string>;
  destroyed = false;
  lose: (info: { reason: string; message: string }) => void = () => {};
  readonly lost = new Promise<{ reason: string; message: string }>((resolve) => {
    this.lose = resolve;
  });

  constructor(limits: Record<string, number>, features: readonly string[]) {
    this.limits = limits;
    this.features = new Set(features);
  }

  createBuffer(): object {
    return {};
  }

  destroy(): void {
    this.destroyed = true;
    this.lose({ reason: "destroyed", message: "Device was destroyed." });
  }
}

/** What the adapter has; `missing`: there is none. */
const gpu = { missing: false, buffer: 2 ** 28, features: ["subgroups"] as string[], devices: [] as FakeDevice[] };
const adapter = () => {
  const limits = { maxStorageBufferBindingSize: gpu.buffer, maxBufferSize: 2 * gpu.buffer };
  return {
    limits,
    features: new Set(gpu.features),
    info: { vendor: "acme", architecture: "", device: "", description: "" },
    requestDevice: async ({ requiredFeatures }: { requiredFeatures: string[] }) => {
      gpu.devices.push(new FakeDevice(limits, requiredFeatures));
      return gpu.devices.at(-1);
    },
  };
};
Object.defineProperty(globalThis, "navigator", {
  value: { gpu: { requestAdapter: async () => (gpu.missing ? null : adapter()) } },
});

const model = await loadModel(readFileSync("examples/saved_models/cgcnn_ionic_best.pt"));
const structures = exampleStructures();
const run = (backend: ReturnType<typeof ortBackend>): Promise<Prediction[]> => predict(model, structures, { backend });
const failures = (all: readonly Prediction[]) =>
  all.flatMap(({ warnings }) => warnings.filter(({ code }) => code === "backend-failed").map(({ message }) => message));

test.before.each(() => {
  Object.assign(gpu, { missing: false, buffer: 2 ** 28, features: ["subgroups"], devices: [] });
});

test("a GPU that is there is used: a device of our own, sizes of buckets, arrays again", async () => {
  const ort = new FakeOrt();
  const backend = ortBackend(ort);
  assert.is(backend.name, "ort-webgpu");
  assert.is(backend.device, undefined);
  const session = await backend.createSession(model.program);
  assert.is(gpu.devices.length, 0);
  const batches = [1, 2].map((i) => collate([buildGraph(structures[i], model.config.graph)]));
  for (const batch of [batches[0], batches[1], batches[0]]) assert.is((await session.run(batch)).length, batch.sizes.B);
  assert.match(backend.device!, /acme/);
  assert.is(gpu.devices.length, 1);
  assert.equal((ort.options[0].executionProviders as { name: string; device: unknown }[])[0].name, "webgpu");
  assert.is((ort.options[0].executionProviders as { device: unknown }[])[0].device, gpu.devices[0]);
  for (const feeds of ort.feeds) for (const { dims } of Object.values(feeds)) assert.is(dims[0], bucket(dims[0]));
  await backend.dispose();
  assert.ok(gpu.devices[0].destroyed);
  assert.is(ort.open.size, 0);
  await session.run(batches[0]);
  assert.is(gpu.devices.length, 2, "what runs later opens it anew");
});

test("a GPU that is lost: the reason is told, the batch runs on a fresh device", async () => {
  const ort = new FakeOrt({
    run: (count) => {
      if (count > 1) return;
      gpu.devices[0].lose({ reason: "unknown", message: "the driver was reset" });
      throw new Error("Failed to download data from buffer");
    },
  });
  const all = await run(ortBackend(ort));
  assert.is(failures(all).length, all.length);
  assert.match(failures(all)[0], /the GPU was lost: the driver was reset; the batch ran again on a fresh session$/);
  assert.is(gpu.devices.length, 2);
  assert.equal([...ort.open], [2]);
});

test("a GPU lost between batches is replaced before it is used", async () => {
  const ort = new FakeOrt();
  const backend = ortBackend(ort);
  await run(backend);
  gpu.devices[0].lose({ reason: "unknown", message: "unplugged" });
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(failures(await run(backend)), []);
  assert.is(gpu.devices.length, 2);
  assert.equal([...ort.open], [2]);
});

test("no adapter: the Wasm kernels compute, and say so", async () => {
  gpu.missing = true;
  const ort = new FakeOrt();
  const all = await run(ortBackend(ort));
  assert.ok(all.every(({ backend }) => backend.startsWith("wasm")));
  assert.match(failures(all)[0], /no GPU: WebGPU gives no adapter here.*computed by wasm/);
  assert.is(ort.creates, 0);
});

test("f16 weights on a GPU without shader-f16: told, computed by the Wasm kernels; with it, run", async () => {
  const all = await run(ortBackend(new FakeOrt(), { weights: "f16" }));
  assert.match(failures(all)[0], /shader-f16 is needed, which acme has not/);
  assert.ok(gpu.devices.every(({ destroyed }) => destroyed));
  gpu.features = ["shader-f16"];
  const half = await run(ortBackend(new FakeOrt(), { weights: "f16" }));
  assert.equal(failures(half), []);
  assert.is(half[0].backend, "ort-webgpu-f16");
});

test("a batch that the GPU has no buffers for: the Wasm kernels, this time", async () => {
  gpu.buffer = 2 ** 12;
  const ort = new FakeOrt();
  const backend = ortBackend(ort);
  const all = await run(backend);
  assert.match(failures(all)[0], /needs a buffer of \d+ MiB, acme has such of 0 MiB; computed by wasm/);
  assert.is(ort.runs, 0);
});

test.run();

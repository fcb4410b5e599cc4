/** The onnxruntime backend with a stand-in for WebGPU beside that for the runtime; in a process of its own, since it is global. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { findGpu } from "../src/backends/auto.js";
import { bucket } from "../src/backends/buckets.js";
import { ortBackend } from "../src/backends/ort.js";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { type Prediction, predict } from "../src/index.js";
import { loadModel } from "../src/load-model.js";
import { exampleStructures } from "./examples.js";
import { FakeOrt } from "./ort-fake.js";
import { throwsCode } from "./throws.js";

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
const gpu = {
  missing: false,
  /** It is given, and lost already. */
  isLost: false,
  /** It is there, and not given. */
  isRefused: false,
  hasInfo: true,
  buffer: 2 ** 28,
  features: ["subgroups"] as string[],
  devices: [] as FakeDevice[],
};
const adapter = () => {
  const limits = { maxStorageBufferBindingSize: gpu.buffer, maxBufferSize: 2 * gpu.buffer };
  return {
    limits,
    features: new Set(gpu.features),
    info: gpu.hasInfo ? { vendor: "acme", architecture: "", device: "", description: "" } : undefined,
    requestDevice: async ({ requiredFeatures }: { requiredFeatures: string[] }) => {
      if (gpu.isRefused) throw new DOMException("busy", "OperationError");
      gpu.devices.push(new FakeDevice(limits, requiredFeatures));
      if (gpu.isLost) gpu.devices.at(-1)!.lose({ reason: "unknown", message: "the adapter is stale" });
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
  const usual = { missing: false, isLost: false, isRefused: false, hasInfo: true };
  Object.assign(gpu, { ...usual, buffer: 2 ** 28, features: ["subgroups"], devices: [] });
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
  const [first, , third] = ort.feeds;
  assert.ok(
    Object.keys(first).some((name) => first[name].data === third[name].data),
    "padded arrays are used again",
  );
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
  gpu.buffer = 2 ** 6;
  const ort = new FakeOrt();
  const backend = ortBackend(ort);
  const all = await run(backend);
  assert.is(failures(all).length, all.length);
  assert.match(failures(all)[0], /needs a buffer of \d+ MiB, acme has such of 0 MiB; computed by wasm/);
  assert.is(ort.runs, 0);
});

test("a batch that the GPU has no buffers for runs in halves where those fit", async () => {
  const ort = new FakeOrt();
  await run(ortBackend(ort));
  const together = ort.runs;
  gpu.buffer = 2 ** 14;
  const smaller = new FakeOrt();
  const all = await run(ortBackend(smaller));
  assert.equal(failures(all), []);
  assert.ok(all.every(({ backend }) => backend === "ort-webgpu"));
  assert.ok(smaller.runs > together, `${smaller.runs} ${together}`);
});

test("a GPU that is lost as soon as it is given: the Wasm kernels, after two tries", async () => {
  gpu.isLost = true;
  const ort = new FakeOrt();
  const all = await run(ortBackend(ort));
  assert.match(failures(all)[0], /^the GPU was lost: the adapter is stale; and again: .*; computed by wasm/);
  assert.ok(gpu.devices.length <= 4, `${gpu.devices.length}`);
  assert.ok(gpu.devices.every(({ destroyed }) => destroyed));
});

test("a GPU that tells nothing of itself is used; one that is refused is told, by autoBackend, too", async () => {
  gpu.hasInfo = false;
  const backend = ortBackend(new FakeOrt());
  assert.equal(failures(await run(backend)), []);
  assert.is(backend.device, "unnamed GPU");
  gpu.isRefused = true;
  assert.match(failures(await run(ortBackend(new FakeOrt())))[0], /^the GPU cannot be opened: busy; and again/);
  await throwsCode(findGpu, "BACKEND", /^the GPU cannot be opened: busy$/);
  gpu.missing = true;
  assert.is(await findGpu(), undefined);
});

test.run();

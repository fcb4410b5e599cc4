/** What auto-browser.test.ts has done in a page. */
import type { OrtModule } from "../src/backends/ort-module.js";
import {
  type Backend,
  loadModel,
  type Model,
  parseStructures,
  predict,
  type Structure,
  wasmBackend,
} from "../src/index.js";
import { type AutoOptions, autoBackend } from "../src/ort.js";
import { randomAlignn } from "./random-models.js";

const ORT = "/ort/ort.webgpu.bundle.min.mjs";
let loads = 0;

async function ort(): Promise<OrtModule> {
  loads++;
  const module = await import(ORT);
  module.env.wasm.wasmPaths = { wasm: "/ort/ort-wasm-simd-threaded.asyncify.wasm" };
  module.env.wasm.numThreads = 1;
  return module;
}

const calibrations: AutoOptions["calibrations"] & object = {
  get: (name) => localStorage.getItem(name),
  set: (name, text) => localStorage.setItem(name, text),
};

const fetched = async (path: string) => (await fetch(path)).arrayBuffer();
const cgcnn = await loadModel(await fetched("/examples/saved_models/cgcnn_ionic_best.pt"));
const [cell] = parseStructures(await (await fetch("/examples/structures/SrTiO3-perovskite.cif")).text(), {
  format: "cif",
});

/** ALIGNN in its published size. */
const alignn = randomAlignn({
  hidden: 256,
  embedding: 64,
  edgeBasis: 80,
  angleBasis: 40,
  alignnLayers: 4,
  gcnLayers: 4,
});

/** 64 atoms on a grid, all displaced, so that none are alike. */
const heavy: Structure = {
  lattice: Float64Array.of(12, 0, 0, 0, 12, 0, 0, 0, 12),
  pbc: [true, true, true],
  numbers: Uint8Array.from({ length: 64 }, (_, i) => (i % 2 ? 11 : 17)),
  fracCoords: Float64Array.from({ length: 192 }, (_, i) => {
    const place = Math.floor(Math.floor(i / 3) / 4 ** (i % 3)) % 4;
    return (place + 0.1 * Math.sin(7 * i)) / 4;
  }),
};

async function record(model: Model, structure: Structure, backend: Backend) {
  const [{ value, backend: where, warnings }] = await predict(model, [structure], { backend });
  return { value, backend: where, warnings };
}

const tasks = {
  /** A light crystal, then a heavy one, and Wasm's records of both. */
  async auto() {
    const backend = autoBackend({ ort, calibrations });
    const light = await record(cgcnn, cell, backend);
    const loadsForLight = loads;
    const began = performance.now();
    const found = await record(alignn, heavy, backend);
    const ms = performance.now() - began;
    await backend.dispose();
    const onWasm = wasmBackend();
    const wasm = { light: await record(cgcnn, cell, onWasm), heavy: await record(alignn, heavy, onWasm) };
    return { light, loadsForLight, heavy: found, wasm, loads, kept: { ...localStorage }, ms };
  },

  async forced() {
    const onGpu = autoBackend({ ort, use: "webgpu" });
    const gpu = await record(cgcnn, cell, onGpu);
    const { device } = onGpu;
    await onGpu.dispose();
    return { gpu, device, wasm: await record(cgcnn, cell, autoBackend({ ort, use: "wasm" })), loads };
  },
};

export type Tasks = typeof tasks;
Object.assign(globalThis, { call: (name: keyof Tasks) => tasks[name]() });

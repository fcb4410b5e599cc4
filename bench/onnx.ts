/** ONNX Runtime beside unitcell: the same networks, exported with the same weights, on the same graphs. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { promisify } from "node:util";
import { collate } from "../src/graphs/batch.js";
import type { CrystalGraph } from "../src/graphs/graph.js";
import type { Model } from "../src/models/model.js";
import { ONE_THREAD, PYTHON } from "./native.js";
import { fromRuntimes } from "./runtimes.js";

/** What is used of onnxruntime-common's types. */
interface Ort {
  readonly env: { readonly versions: Readonly<Record<string, string>>; readonly wasm: { numThreads?: number } };
  readonly InferenceSession: { create(path: string | Uint8Array, options: object): Promise<OrtSession> };
  readonly Tensor: new (type: string, data: Float32Array | BigInt64Array, dims: readonly number[]) => object;
}

interface OrtSession {
  readonly inputNames: readonly string[];
  run(feeds: Readonly<Record<string, object>>): Promise<Readonly<Record<string, { data: Float32Array }>>>;
  release(): Promise<void>;
}

export interface OnnxRuntime {
  /** Its column's name. */
  readonly name: string;
  readonly description: string;
  readonly ort: Ort;
}

/** One thread, and every rewriting that the runtime knows. */
const OPTIONS = {
  executionProviders: ["cpu"],
  graphOptimizationLevel: "all",
  executionMode: "sequential",
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
};

/** Those that are installed, and why others are not. */
export async function onnxRuntimes(): Promise<{ runtimes: OnnxRuntime[]; missing: string[] }> {
  const runtimes: OnnxRuntime[] = [];
  const missing: string[] = [];
  for (const [name, of] of [
    ["onnxruntime-node", "native"],
    ["onnxruntime-web", "Wasm SIMD"],
  ]) {
    try {
      const loaded = await fromRuntimes<Ort & { default?: Ort }>(name);
      const ort = loaded.InferenceSession ? loaded : loaded.default!;
      if (name === "onnxruntime-web") ort.env.wasm.numThreads = 1;
      const version = Object.values(ort.env.versions).at(-1);
      runtimes.push({ name: `ORT ${of}`, description: `${name} ${version}, one thread, all optimisations`, ort });
    } catch (error) {
      missing.push(`${name}: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  return { runtimes, missing };
}

const SOURCES = ["bench/export_onnx.py", "bench/networks.py"];
const NETWORKS = ["alignn", "architectures", "cgcnn", "edge_graphs", "megnet"].map(
  (name) => `examples/train/${name}.py`,
);

/**
 * The checkpoint's network as an ONNX file under build/onnx, made once for each content of the checkpoint and of the code.
 * @throws {Error} when PyTorch cannot export it
 */
export async function exportOnnx(checkpoint: string): Promise<string> {
  const hash = createHash("sha256");
  for (const file of [checkpoint, ...SOURCES, ...NETWORKS]) hash.update(readFileSync(file));
  const path = `build/onnx/${hash.digest("hex").slice(0, 16)}.onnx`;
  if (existsSync(path)) return path;
  mkdirSync("build/onnx", { recursive: true });
  const unfinished = `${path}.${process.pid}`;
  await promisify(execFile)(PYTHON, ["bench/export_onnx.py", checkpoint, unfinished], { env: ONE_THREAD });
  renameSync(unfinished, path);
  return path;
}

/** An exported network in one runtime. */
export class OnnxNetwork {
  readonly #ort: Ort;
  readonly #session: OrtSession;

  private constructor(ort: Ort, session: OrtSession) {
    this.#ort = ort;
    this.#session = session;
  }

  static async open({ name, ort }: OnnxRuntime, path: string): Promise<OnnxNetwork> {
    const web = name === "ORT Wasm SIMD";
    const options = web ? { ...OPTIONS, executionProviders: ["wasm"] } : OPTIONS;
    return new OnnxNetwork(ort, await ort.InferenceSession.create(web ? readFileSync(path) : path, options));
  }

  /** A run on graphs, whose tensors are made here: only the run itself is what the returned function does. */
  prepare(model: Model, graphs: readonly CrystalGraph[]): () => Promise<Float32Array> {
    const tensors = tensorsOf(model, graphs);
    const feeds = Object.fromEntries(
      this.#session.inputNames.map((name) => {
        const { data, dims } = tensors[name]();
        const integer = data instanceof BigInt64Array;
        return [name, new this.#ort.Tensor(integer ? "int64" : "float32", data, dims)];
      }),
    );
    return async () => (await this.#session.run(feeds)).output.data;
  }

  close(): Promise<void> {
    return this.#session.release();
  }
}

interface Dense {
  readonly data: Float32Array | BigInt64Array;
  readonly dims: readonly number[];
}

/** Each input of bench/export_onnx.py's modules, in PyTorch's types. */
function tensorsOf(model: Model, graphs: readonly CrystalGraph[]): Readonly<Record<string, () => Dense>> {
  const { inputs, sizes } = collate(graphs);
  const counts = Float32Array.from(graphs, ({ numAtoms }) => numAtoms);
  const vector = (data: Dense["data"]): Dense => ({ data, dims: [data.length] });
  const integers = (name: string) => () => vector(BigInt64Array.from(inputs.get(name)!, BigInt));
  const floats = (name: string) => () => vector(inputs.get(name) as Float32Array);
  const { config } = model;
  return {
    numbers: integers("numbers"),
    source: integers("source"),
    receiver: integers("receiver"),
    lengths: floats("lengths"),
    cosines: floats("cosines"),
    line_source: integers("tripletSource"),
    line_receiver: integers("tripletReceiver"),
    atom_crystal: integers("atomCrystal"),
    edge_crystal: integers("edgeCrystal"),
    counts: () => vector(counts),
    // CGCNN's: element rows and Gaussians are ready, as PyTorch has them.
    crystal: integers("atomCrystal"),
    nbr_idx: () => ({ ...integers("source")(), dims: [sizes.N, sizes.E / sizes.N] }),
    atoms: () => {
      const rows = Array.from(inputs.get("numbers")!, (number) => model.elements.rows.get(number)!);
      return { data: Float32Array.from(rows.flat()), dims: [sizes.N, model.elements.columns] };
    },
    edges: () => {
      if (config.type !== "cgcnn") throw new Error("only CGCNN's network takes Gaussians");
      const { first, step, count } = config.basis;
      const data = new Float32Array(sizes.E * count);
      for (const [e, length] of inputs.get("lengths")!.entries())
        for (let k = 0; k < count; k++) data[e * count + k] = Math.exp(-(((length - first - k * step) / step) ** 2));
      return { data, dims: [sizes.N, sizes.E / sizes.N, count] };
    },
  };
}

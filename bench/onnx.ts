/** ONNX Runtime beside unitcell: the networks as unitcell exports them, on the same graphs. */
import { collate } from "../src/graphs/batch.js";
import type { CrystalGraph } from "../src/graphs/graph.js";
import { feedsOf, type OnnxInput } from "../src/onnx/inputs.js";
import { programOnnx } from "../src/onnx/program-onnx.js";
import type { Program } from "../src/ops/program.js";
import type { OrtInferenceSession, OrtModule } from "../src/ort.js";
import { fromRuntimes } from "./runtimes.js";

/** Beside what unitcell uses. */
type Ort = OrtModule & {
  readonly env: { readonly versions: Readonly<Record<string, string>>; readonly wasm: { numThreads?: number } };
};

export interface OnnxRuntime {
  /** Its column's name. */
  readonly name: string;
  readonly description: string;
  readonly ort: Ort;
  readonly provider: "cpu" | "wasm";
}

/** One thread, and every rewriting that the runtime knows. */
export const ONE_THREAD = {
  graphOptimizationLevel: "all",
  executionMode: "sequential",
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
};

/** Those that are installed, and why others are not. */
export async function onnxRuntimes(): Promise<{ runtimes: OnnxRuntime[]; missing: string[] }> {
  const runtimes: OnnxRuntime[] = [];
  const missing: string[] = [];
  for (const [name, of, provider] of [
    ["onnxruntime-node", "native", "cpu"],
    ["onnxruntime-web", "Wasm SIMD", "wasm"],
  ] as const) {
    try {
      const loaded = await fromRuntimes<Ort & { default?: Ort }>(name);
      const ort = loaded.InferenceSession ? loaded : loaded.default!;
      if (provider === "wasm") ort.env.wasm.numThreads = 1;
      const version = Object.values(ort.env.versions).at(-1);
      runtimes.push({
        name: `ORT ${of}`,
        description: `${name} ${version}, one thread, all optimisations`,
        ort,
        provider,
      });
    } catch (error) {
      missing.push(`${name}: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  return { runtimes, missing };
}

/** A network as exportOnnx writes it, in one runtime. */
export class OnnxNetwork {
  readonly #ort: Ort;
  readonly #session: OrtInferenceSession;
  readonly #inputs: readonly OnnxInput[];

  private constructor(ort: Ort, session: OrtInferenceSession, inputs: readonly OnnxInput[]) {
    this.#ort = ort;
    this.#session = session;
    this.#inputs = inputs;
  }

  static async open({ ort, provider }: OnnxRuntime, program: Program): Promise<OnnxNetwork> {
    const { bytes, inputs } = programOnnx(program);
    const options = { ...ONE_THREAD, executionProviders: [provider] };
    return new OnnxNetwork(ort, await ort.InferenceSession.create(bytes, options), inputs);
  }

  /** A run on graphs, whose tensors are made here: only the run itself is what the returned function does. */
  prepare(graphs: readonly CrystalGraph[]): () => Promise<Float32Array> {
    const { Tensor } = this.#ort;
    const feeds = Object.fromEntries(
      [...feedsOf(this.#inputs, collate(graphs))].map(([name, { type, data, dims }]) => [
        name,
        new Tensor(type === "f32" ? "float32" : "int32", data, dims),
      ]),
    );
    return async () => (await this.#session.run(feeds)).output.data as Float32Array;
  }

  close(): Promise<void> {
    return this.#session.release();
  }
}

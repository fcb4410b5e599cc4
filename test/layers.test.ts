/** Who may import whom. A folder or file may import what is listed for it, and itself. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";

const ALLOWED: Record<string, string[]> = {
  errors: [],
  random: [],
  "kernel-modules": [],
  kernels: ["errors", "kernel-modules"],
  bytes: ["errors"],
  tensor: ["errors"],
  config: [],
  // What few files need is of formats and checkpoint, and comes to them when one is met.
  "when-needed": ["errors", "rare"],
  rare: ["formats", "checkpoint"],
  formats: ["errors", "bytes", "tensor", "element-blocks", "when-needed"],
  "element-blocks": ["errors", "tensor"],
  "tensor-stats": ["errors", "tensor", "element-blocks"],
  sha256: ["errors"],
  "load-report": ["errors", "tensor"],
  stores: ["errors", "bytes", "sha256"],
  checkpoint: ["errors", "bytes", "tensor", "formats", "when-needed"],
  runs: ["errors", "bytes", "tensor", "formats", "checkpoint", "summary", "stores", "sha256"],
  structures: ["errors"],
  graphs: ["errors", "random", "config", "structures", "kernels"],
  ops: ["errors"],
  models: "errors config bytes tensor formats checkpoint load-report structures graphs ops".split(" "),
  backends: ["errors", "graphs", "kernels", "ops", "onnx", "version"],
  onnx: ["errors", "formats", "structures", "graphs", "ops", "models", "model-warnings", "version"],
  "load-model": ["errors", "bytes", "formats", "checkpoint", "load-report", "models", "sha256"],
  edge: ["errors", "kernels", "structures", "models", "ensemble", "predict", "prediction"],
  version: [],
  prediction: ["errors", "graphs"],
  "record-values": ["errors", "formats", "prediction", "prediction.schema.json"],
  "prediction-key": ["errors", "sha256", "structures", "graphs", "models", "ensemble", "prediction", "version"],
  "prediction-cache": ["errors", "bytes", "formats", "prediction", "record-values", "version"],
  ensemble: ["errors", "models", "prediction"],
  batches: ["errors", "structures", "graphs", "models", "backends", "prediction"],
  "model-warnings": ["structures", "graphs", "models", "prediction"],
  embed: ["errors", "batches", "structures", "graphs", "models", "model-warnings", "backends", "prediction"],
  "predict-unknown": ["errors", "batches", "structures", "prediction", "prediction-cache", "prediction-key"],
  predict: "errors batches structures graphs models backends ensemble prediction prediction-cache prediction-key"
    .split(" ")
    .concat("model-warnings", "predict-unknown"),
  pool: "errors kernels batches structures models ops ensemble predict prediction prediction-cache prediction-key predict-unknown".split(
    " ",
  ),
  sparsify: ["errors", "tensor", "element-blocks", "formats"],
  slim: ["errors", "tensor", "element-blocks", "formats", "checkpoint", "sparsify"],
  "prediction-change": ["errors", "structures", "models", "batches", "predict", "prediction"],
  "architecture-summary": ["errors", "tensor", "load-report", "models", "summary"],
  summary: ["errors", "bytes", "tensor", "formats", "checkpoint"],
  cli: "errors bytes tensor tensor-stats element-blocks formats stores checkpoint load-report summary sha256"
    .split(" ")
    .concat("structures graphs models batches predict embed prediction prediction-cache ensemble".split(" "))
    .concat("model-warnings architecture-summary sparsify slim prediction-change runs pool onnx".split(" ")),
  // The page writes trees, sizes and tables as the command does; nothing imports the page.
  demo: "errors bytes tensor tensor-stats element-blocks formats checkpoint summary architecture-summary load-model"
    .split(" ")
    .concat("models structures predict prediction embed ensemble runs stores sha256 cli".split(" ")),
};

/** Packages by layer. fflate is the one that users install; the others are bundled. */
const PACKAGES: Record<string, string[]> = {
  formats: ["fflate/browser"],
  "kernel-modules": ["fflate/browser"],
  onnx: ["@bufbuild/protobuf/wire"],
  cli: ["asciichart", "d3-scale"],
  demo: ["3dmol", "uplot"],
};

/** Asks the process for Node's modules, and imports no more than their types. */
const NODE_TYPES = "src/pool/node.ts";

/** Not what comments quote. */
const IMPORT = /^(?! *\/?\*).*?(?:from |import |import\()"([^"]+)"/gm;

/** "src/graphs/ties.ts" belongs to "graphs", "src/predict.ts" to "predict". */
const layerOf = (file: string) => file.split("/")[1].replace(/\.ts$/, "");

const files = readdirSync("src", { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && !entry.name.endsWith(".d.ts"))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name));

for (const file of files) {
  const layer = layerOf(file);
  if (["index", "checkpoints", "reader", "ort"].includes(layer)) continue;
  test(`${file} imports only what its layer may`, () => {
    assert.ok(layer in ALLOWED, `${layer} is no layer`);
    for (const [, specifier] of readFileSync(file, "utf8").matchAll(IMPORT)) {
      if (specifier.startsWith("node:"))
        assert.ok(["cli", "stores"].includes(layer) || file === NODE_TYPES, `${specifier} outside the CLI and stores`);
      else if (!specifier.startsWith("."))
        assert.ok(PACKAGES[layer]?.includes(specifier), `${layer} must not import the package ${specifier}`);
      else if (specifier.endsWith(".deflate")) assert.is(layer, "kernel-modules");
      else {
        const target = layerOf(normalize(join(dirname(file), specifier.replace(/\.js$/, ".ts"))));
        assert.ok(target === layer || ALLOWED[layer].includes(target), `${layer} must not import ${target}`);
      }
    }
  });
}

test.run();

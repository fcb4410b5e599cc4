/** The package as other tools see it: publint and attw on the tarball, and what a bundler makes of its entries. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bundled } from "../bench/bundle-size.js";
import { global, ops, zip } from "./build-files.js";

const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const folder = mkdtempSync(join(tmpdir(), "unitcell-entries-"));
test.after(() => rmSync(folder, { recursive: true }));

const npm = process.env.npm_execpath;
const runNpm = (...args: string[]) =>
  execFileSync(npm ? process.execPath : "npm", npm ? [npm, ...args] : args, { encoding: "utf8" });
const tarball = join(
  folder,
  runNpm("pack", "--silent", "--ignore-scripts", "--pack-destination", folder).trim().split("\n").at(-1)!,
);

const runTool = (script: string, ...args: string[]) =>
  execFileSync(process.execPath, [resolve("node_modules", script), ...args], { encoding: "utf8" });

test("publint finds nothing", () => {
  assert.match(runTool("publint/src/cli.js", tarball, "--strict"), /All good/);
});

test("attw: every entry has types that fit, for ES modules", () => {
  // It ends with 1 where it finds a problem. CommonJS is not offered.
  const table = runTool("@arethetypeswrong/cli/dist/index.js", tarball, "--profile", "esm-only", "--format", "ascii");
  for (const entry of ["checkpoints", "reader", "edge", "fs", "ort", "pool", "pool-worker", "bundle", "unitcell.wasm"])
    assert.match(table, new RegExp(`"unitcell/${entry}"`));
});

test("a bundler takes what is used: no network, no parser, no Wasm comes with a reader of checkpoints", async () => {
  const { inputs } = await bundled('export { loadTorch, loadCheckpoint } from "unitcell/reader"');
  for (const name of inputs) assert.not.match(name, /kernels|models|graphs|structures|ops\/|backends|cgcnn|pool/);
  assert.ok(inputs.some((name) => name.endsWith("torch-zip.js")));
});

test("a network comes when it is met", async () => {
  const { inputs, later } = await bundled('export { loadModel, predict } from "unitcell"');
  for (const network of ["cgcnn", "alignn", "megnet"]) {
    const file = `models/${network}.js`;
    assert.not.ok(
      inputs.some((name) => name.endsWith(file)),
      `${file} is loaded at once`,
    );
    assert.ok(
      later.some((name) => name.endsWith(file)),
      `${file} is not there`,
    );
  }
});

test("a part that is gone is an error of ours, and the names found before it are told", async () => {
  const copy = join(folder, "gone");
  cpSync("dist/modules", join(copy, "dist/modules"), { recursive: true });
  for (const file of ["package.json", "dist/kernels.js"]) cpSync(file, join(copy, file));
  symlinkSync(resolve("node_modules"), join(copy, "node_modules"));
  rmSync(join(copy, "dist/modules/rare.js"));
  const { loadTorch } = await import(`file://${copy}/dist/modules/reader.js`);
  // The copy has a class of errors of its own.
  const failure = async (input: Uint8Array) => loadTorch(input).then(assert.unreachable, String);
  assert.match(
    await failure(new TextEncoder().encode("no checkpoint")),
    /UnitcellError: a part of unitcell could not be/,
  );
  const hostile = ops("PROTO", [2], global("os", "system"), "EMPTY_SET", "STOP");
  const file = zip([
    { name: "a/data.pkl", data: Uint8Array.from(hostile) },
    { name: "a/version", data: Uint8Array.of(0x33) },
  ]);
  assert.match(await failure(file), /names code that is not plain data: os\.system; nothing was run/);
});

test("the pool's worker for bundlers is one file: Vite's classic workers load no parts", () =>
  assert.not.match(readFileSync("dist/modules/pool/pool-worker.js", "utf8"), /\bimport\(/));

test("the bundle imports nothing, and has all that unitcell has", async () => {
  const bundle = await import(`file://${resolve("dist/unitcell.js")}`);
  const library = await import(`file://${resolve("dist/index.js")}`);
  assert.equal(Object.keys(bundle).sort(), Object.keys(library).sort());
  const { imports } = await bundled(`export * from ${JSON.stringify(resolve("dist/unitcell.js"))}`);
  assert.equal(imports, []);
});

for (const [entry, { node, default: module }] of Object.entries<Record<string, string>>(manifest.exports))
  if (node && entry !== "./pool-worker")
    test(`${entry}: the modules for bundlers export the same`, async () => {
      const [library, modules] = await Promise.all([node, module].map((file) => import(`file://${resolve(file)}`)));
      assert.equal(Object.keys(modules).sort(), Object.keys(library).sort());
    });

test.run();

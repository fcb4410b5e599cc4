/** What an application ships that imports the manager alone: no Wasm, no networks, no onnxruntime. */
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import { test } from "uvu";
import * as assert from "uvu/assert";

/** Bundles a line of code as an application would, from the built package. */
async function bundle(code: string): Promise<{ inputs: string[]; text: string }> {
  const { outputFiles, metafile } = await esbuild.build({
    stdin: { contents: code, resolveDir: process.cwd(), loader: "js" },
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    metafile: true,
    platform: "browser",
    logLevel: "silent",
  });
  const [output] = Object.values(metafile.outputs);
  const inputs = Object.entries(output.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  return { inputs: inputs.map(([name]) => name), text: outputFiles[0].text };
}

/** Whatever runs Wasm, and the embedded kernels. */
const WASM = /WebAssembly/;
const KERNELS = /kernels/;

const rows: [name: string, code: string][] = [
  ["unitcell/checkpoints", `export { CheckpointManager, memoryStore } from "unitcell/checkpoints";`],
  ["unitcell/checkpoints, everything", `export * from "unitcell/checkpoints";`],
  ["the same names from unitcell", `export { CheckpointManager, memoryStore } from "unitcell";`],
];
for (const [name, code] of rows)
  test(`${name}: no Wasm, no onnxruntime, no Node`, async () => {
    const { inputs, text } = await bundle(code);
    const bytes = text.length;
    console.log(`${name}: ${bytes} bytes minified, ${gzipSync(text, { level: 9 }).length} gzip`);
    assert.ok(/_epoch/.test(text), "the manager is in it");
    assert.not.match(text, WASM);
    assert.not.match(text, /onnxruntime/);
    assert.not.match(text, /(from|import)\s*\(?["']node:/);
    for (const input of inputs) {
      assert.not.match(input, /onnxruntime/);
      assert.not.match(input, KERNELS);
    }
  });

test("the bundle of everything does hold the Wasm: the patterns find it", async () => {
  const { inputs, text } = await bundle(`export * from "unitcell";`);
  assert.match(text, WASM);
  assert.ok(inputs.some((input) => KERNELS.test(input)));
});

test.run();

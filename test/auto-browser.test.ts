/** autoBackend in Chromium with WebGPU on its software adapter, which is a GPU to everybody but slower than Wasm. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Tasks } from "./auto-browser.page.js";
import { findOrtBrowser, type OrtBrowsers, type OrtPage, startOrtBrowsers } from "./ort-browser.js";
import { inFull } from "./scope.js";

function testAuto(path: string): void {
  let browsers: OrtBrowsers<Tasks>;
  let tab: OrtPage<Tasks>;
  test.before(async () => {
    browsers = await startOrtBrowsers<Tasks>(path, { entry: "test/auto-browser.page.ts" });
    tab = await browsers.open();
  });
  test.after(async () => {
    await browsers?.stop();
  });

  /** In a page that was just opened. */
  async function run<Name extends keyof Tasks>(name: Name): Promise<Awaited<ReturnType<Tasks[Name]>>> {
    await tab.page.reload();
    await tab.page.waitForFunction("globalThis.call");
    return tab.window(name, ...([] as unknown as Parameters<Tasks[Name]>));
  }

  test("measured at the first heavy crystal, and kept: the next page does not load onnxruntime", async () => {
    const { kept, ...found } = await run("auto");
    assert.equal([found.loadsForLight, found.loads], [0, 1]);
    const [[name, text], ...others] = Object.entries(kept);
    assert.match(name, /^unitcell-calibration-.*swiftshader.*\.json$/i);
    assert.is(others.length, 0);
    const { wasmRate, gpuRate, nodeMs } = JSON.parse(text as string);
    console.log(
      `  ${name}: Wasm ${(wasmRate / 1e6).toFixed(1)} GFLOP/s, GPU ${(gpuRate / 1e6).toFixed(2)}, ` +
        `${nodeMs.toFixed(2)} ms an operation`,
    );
    assert.ok(wasmRate > gpuRate);

    const next = await run("auto");
    const seconds = [found, next].map(({ ms }) => (ms / 1000).toFixed(1));
    console.log(`  the heavy crystal: ${seconds[0]} s with measuring, ${seconds[1]} s without`);
    assert.is(next.loads, 0);
    assert.equal(next.kept, kept);
    for (const { light, heavy, wasm } of [found, next]) {
      assert.equal({ light, heavy }, wasm);
      assert.match(heavy.backend, /^wasm/);
    }
  });

  test("forced: on the GPU, and on Wasm", async () => {
    const { gpu, wasm, device, loads } = await run("forced");
    assert.is(loads, 1);
    assert.match(device!, /swiftshader/i);
    assert.is(gpu.backend, "ort-webgpu");
    assert.match(wasm.backend, /^wasm/);
    assert.ok(Math.abs(gpu.value - wasm.value) <= 1e-4, `${gpu.value} and ${wasm.value}`);
    assert.equal(gpu.warnings, wasm.warnings);
  });
}

const executablePath = findOrtBrowser();
if (executablePath && inFull("autoBackend in a browser")) testAuto(executablePath);

test.run();

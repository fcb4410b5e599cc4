/** autoBackend in Chromium with WebGPU on its software adapter, which is a GPU to everybody but slower than Wasm. */
import { readFileSync } from "node:fs";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Tasks } from "./auto-browser.page.js";
import { launchChromium } from "./chromium.js";
import { findOrtBrowser } from "./ort-browser.js";
import { inFull } from "./ort-scope.js";
import { startServer, type WebServer } from "./web-server.js";

const ORT = "build/runtimes/node_modules/onnxruntime-web/dist";

function testAuto(executablePath: string): void {
  let browser: Browser;
  let server: WebServer;
  let page: Page;
  const files = new Map<string, [type: string, body: string | Uint8Array]>([
    ["/", ["text/html", '<!doctype html><script type="module" src="/page.js"></script>']],
    ["/checkpoint", ["application/octet-stream", readFileSync("examples/saved_models/cgcnn_ionic_best.pt")]],
    ["/structure.cif", ["text/plain", readFileSync("examples/structures/SrTiO3-perovskite.cif")]],
  ]);
  for (const [name, type] of [
    ["ort.webgpu.bundle.min.mjs", "text/javascript"],
    ["ort-wasm-simd-threaded.asyncify.wasm", "application/wasm"],
  ])
    files.set(`/ort/${name}`, [type, readFileSync(`${ORT}/${name}`)]);

  test.before(async () => {
    const { outputFiles } = await build({
      bundle: true,
      format: "esm",
      target: "es2022",
      write: false,
      loader: { ".wasm": "binary" },
      entryPoints: ["test/auto-browser.page.ts"],
    });
    files.set("/page.js", ["text/javascript", outputFiles[0].contents]);
    browser = await launchChromium(executablePath, ["--enable-unsafe-webgpu"]);
    server = await startServer((request, response) => {
      const [type, body] = files.get(request.url!) ?? [];
      response.writeHead(body === undefined ? 404 : 200, { "Content-Type": type ?? "text/plain" });
      response.end(body);
    });
    page = await browser.newPage();
  });
  test.after(async () => {
    await browser?.close();
    server?.stop();
  });

  async function run<Name extends keyof Tasks>(name: Name): Promise<Awaited<ReturnType<Tasks[Name]>>> {
    await page.goto(server.origin);
    await page.waitForFunction("globalThis.call");
    return page.evaluate((name) => (globalThis as unknown as { call(name: string): never }).call(name), name);
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

/** That predictions on WebGPU leave memory where it was: JavaScript's, onnxruntime's and the GPU's. */
import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { findOrtBrowser, type OrtBrowsers, type OrtPage, startOrtBrowsers } from "./ort-browser.js";
import type { Source } from "./ort-browser.page.js";
import { inFull } from "./scope.js";

const SOURCE: Source = { files: ["/examples/saved_models/cgcnn_ionic_best.pt"] };

/** 13 crystals, each a run of its own. */
const FILES = readdirSync("examples/structures").map((name) => `/examples/structures/${name}`);
const ALONE = { files: FILES, maxAtoms: 1 };

const PREDICTIONS = 1000;
const CYCLES = 20;

/** Rounds after which V8 has compiled nearly all that it will: until then its heap grows by some 0.6 MB. */
const WARM_UP = 30;

/** What it still compiles later. A single batch's tensors kept each time would be ten times as much. */
const JS_SLACK = 2 ** 19;

function testMemory(path: string): void {
  let browsers: OrtBrowsers;
  let page: OrtPage;
  test.before(async () => {
    browsers = await startOrtBrowsers(path);
    page = await browsers.open();
  });
  test.after(async () => {
    await browsers?.stop();
  });

  /** Counts, and bytes of JavaScript's heap after a collection. */
  async function look() {
    const session = await page.page.context().newCDPSession(page.page);
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    await session.detach();
    return { ...(await page.window("counts")), js: usedSize };
  }

  test(`${PREDICTIONS} predictions of one session leave memory where it was, and weights on the GPU`, async () => {
    const weights = await page.window("weights", SOURCE);
    await page.window("repeat", SOURCE, ALONE, WARM_UP);
    const before = await look();
    assert.ok(before.uploaded >= weights, `${before.uploaded} bytes went to the GPU, of them ${weights} of weights`);
    const rounds = Math.ceil(PREDICTIONS / FILES.length);
    assert.is(await page.window("repeat", SOURCE, ALONE, rounds), true, "the same bits each time");
    const after = await look();
    const runs = after.runs - before.runs;
    const perRun = (after.uploaded - before.uploaded) / runs;
    console.log(
      `  ${runs} runs: JavaScript ${before.js} to ${after.js} bytes, onnxruntime ${before.heap} to ${after.heap}, ` +
        `GPU ${before.bytes} in ${before.buffers} buffers to ${after.bytes} in ${after.buffers}, ` +
        `${before.pipelines} pipelines to ${after.pipelines}, uploaded ${perRun} bytes a run, weights ${weights}`,
    );
    assert.is(runs, rounds * FILES.length);
    assert.is(after.heap, before.heap, "onnxruntime's memory");
    assert.equal([after.bytes, after.buffers], [before.bytes, before.buffers], "the GPU's buffers");
    assert.is(after.pipelines, before.pipelines, "shaders, once sizes have been seen");
    assert.equal([after.devices, after.creates], [1, 1]);
    assert.ok(after.js <= before.js + JS_SLACK, `JavaScript's heap: ${before.js} to ${after.js} bytes`);
    assert.ok(perRun < weights / 10, `${perRun} bytes uploaded in a run, weights have ${weights}`);
  });

  test(`dispose gives all back, ${CYCLES} times`, async () => {
    const input = { files: FILES };
    await page.window("dispose");
    let first: Awaited<ReturnType<typeof look>> | undefined;
    let middle = 0;
    for (let i = 0; i < CYCLES; i++) {
      await page.window("predict", SOURCE, input);
      const held = await look();
      assert.ok(held.bytes > (await page.window("weights", SOURCE)), `${held.bytes} bytes on the GPU`);
      await page.window("dispose");
      const left = await look();
      first ??= left;
      assert.equal([left.bytes, left.buffers], [0, 0]);
      assert.equal([left.leftBytes, left.leftBuffers], [0, 0], "buffers when the device was destroyed");
      assert.is(left.heap, first.heap, "onnxruntime's memory");
      assert.is(left.devices, i + 2);
      // Until then V8 still compiles.
      if (i === CYCLES / 2) middle = left.js;
      if (i < CYCLES - 1) continue;
      console.log(
        `  ${CYCLES} cycles: JavaScript ${first.js}, ${middle}, ${left.js} bytes at first, midway and last, ` +
          `onnxruntime ${left.heap}`,
      );
      assert.ok(left.js <= middle + JS_SLACK, `JavaScript's heap: ${middle} to ${left.js} bytes`);
    }
  });
}

const executablePath = findOrtBrowser();
if (executablePath && inFull("1,000 predictions on WebGPU")) testMemory(executablePath);

test.run();

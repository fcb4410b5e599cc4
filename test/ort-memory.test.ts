/** A thousand predictions, and sessions opened and closed, leave the memory of an onnxruntime where it was. */
import { execFileSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { onnxRuntimes } from "./onnx-runtimes.js";
import type { Memory, Usage } from "./ort-memory.child.js";
import { inFull } from "./scope.js";

const CHILD = "build/test/ort-memory.child.js";
const MIB = 2 ** 20;

/** JavaScript's own: caches of compiled code, and what the collector leaves for later. */
const HEAP_MIB = 4;
/**
 * The whole process after 1,000 predictions: pages that allocators keep. Leaked inputs and outputs would be some 60 MiB.
 * After sessions: half of what the weights would be of those that were not closed.
 */
const PROCESS_MIB = 32;

const mib = (bytes: number) => (bytes / MIB).toFixed(1);
const show = ({ heap, buffers, wasm, process }: Usage) =>
  `heap ${mib(heap)}, buffers ${mib(buffers)}, wasm ${mib(wasm)}, process ${mib(process)} MiB`;

for (const { name } of inFull("memory of onnxruntimes") ? await onnxRuntimes() : [])
  test(`${name}: 1,000 predictions and 30 sessions leave memory where it was`, () => {
    const output = execFileSync(process.execPath, ["--expose-gc", CHILD, name], {
      encoding: "utf8",
      timeout: 300_000,
      env: { ...process.env, MALLOC_ARENA_MAX: "1" }, // else glibc keeps pages for each thread
    });
    const { predictions, cycles, weights, warm, predicted, cycled } = JSON.parse(
      output.trim().split("\n").at(-1)!,
    ) as Memory;
    assert.is(predictions, 1000);
    assert.is(cycles, 30);
    console.log(`  ${name}: ${show(warm)}; after 1,000 predictions ${show(predicted)}`);
    for (const usage of cycled) console.log(`    sessions of ${mib(weights)} MiB: ${show(usage)}`);
    const last = cycled.at(-1)!;
    const between = cycles - cycles / cycled.length;
    for (const [before, after, most] of [
      [warm, predicted, PROCESS_MIB * MIB],
      [cycled[0], last, (between * weights) / 2],
    ] as const) {
      assert.is(after.wasm, before.wasm, "WebAssembly memory");
      assert.ok(after.heap - before.heap < HEAP_MIB * MIB, `heap: ${show(before)}; ${show(after)}`);
      assert.ok(after.buffers - before.buffers < HEAP_MIB * MIB, `buffers: ${show(before)}; ${show(after)}`);
      assert.ok(after.process - before.process < most, `process: ${show(before)}; ${show(after)}`);
    }
    if (name === "onnxruntime-web") assert.ok(warm.wasm > MIB, "its memory was seen");
  });

test.run();

/** Wasm memory of a large prediction, in a thread of its own: every memory there counts, none can pass the whole budget. */
import { once } from "node:events";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { predict } from "../src/predict.js";
import { haveFixtures } from "./fixtures.js";
import { ALIGNN_TOLERANCE, alignnGoldens, alignnModel, alignnStructures } from "./goldens-alignn.js";

const BUDGET = 128 * 2 ** 20;
const PAGE = 65536;
const ID = "cod-1000000";

interface Answer {
  readonly value: number;
  readonly memories: number;
  readonly bytes: number;
}

/** The thread's part: predict with every Wasm memory limited to the budget. */
async function predictInBudget(): Promise<Answer> {
  const memories: WebAssembly.Memory[] = [];
  const Memory = WebAssembly.Memory;
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super({ ...descriptor, maximum: BUDGET / PAGE });
      memories.push(this);
    }
  };
  const [{ value }] = await predict(await alignnModel("alignn_default"), [alignnStructures().get(ID)!]);
  const bytes = memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  return { value, memories: memories.length, bytes };
}

if (!isMainThread) parentPort!.postMessage(await predictInBudget());
else if (haveFixtures("alignn"))
  test(`ALIGNN's default on ${ID} (140 atoms, 24,424 pairs of bonds) fits in 128 MiB`, async () => {
    const golden = alignnGoldens().get("alignn_default")!.predictions[ID];
    assert.is(golden.line_edges, 24424);
    const [{ value, memories, bytes }] = (await once(new Worker(new URL(import.meta.url)), "message")) as [Answer];
    console.log(`  ${memories} memories, ${(bytes / 2 ** 20).toFixed(0)} MiB`);
    assert.ok(memories > 0 && bytes <= BUDGET, `${bytes} bytes`);
    assert.ok(Math.abs(value - (golden.f64 as number)) <= ALIGNN_TOLERANCE);
  });

if (isMainThread) test.run();

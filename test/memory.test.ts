/** Wasm memory of a large prediction: every memory of the process counted, none can be larger than the whole budget. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { predict } from "../src/predict.js";
import { haveFixtures } from "./fixtures.js";
import { ALIGNN_TOLERANCE, alignnGoldens, alignnModel, alignnStructures } from "./goldens-alignn.js";

const BUDGET = 256 * 2 ** 20;
const PAGE = 65536;

const memories: WebAssembly.Memory[] = [];
const Memory = WebAssembly.Memory;
WebAssembly.Memory = class extends Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super({ ...descriptor, maximum: BUDGET / PAGE });
    memories.push(this);
  }
};

if (haveFixtures("alignn"))
  test("ALIGNN's default on cod-1000000 (140 atoms, 24,424 pairs of bonds) fits in 256 MiB", async () => {
    const model = await alignnModel("alignn_default");
    const golden = alignnGoldens().get("alignn_default")!.predictions["cod-1000000"];
    assert.is(golden.line_edges, 24424);
    const [{ value }] = await predict(model, [alignnStructures().get("cod-1000000")!]);
    const bytes = memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
    console.log(`  ${memories.length} memories, ${(bytes / 2 ** 20).toFixed(0)} MiB`);
    assert.ok(memories.length > 0 && bytes <= BUDGET, `${bytes} bytes`);
    assert.ok(Math.abs(value - (golden.f64 as number)) <= ALIGNN_TOLERANCE);
  });

test.run();

/** That nothing runs on a GPU after a failure until it is known whether it was lost: such a run never returns. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Engine, runOn } from "../src/backends/ort-host.js";
import { loadModel } from "../src/load-model.js";
import { programOnnx } from "../src/onnx/program-onnx.js";
import { FakeOrt } from "./ort-fake.js";
import { throwsCode } from "./throws.js";

const { program } = await loadModel(readFileSync("examples/saved_models/cgcnn_ionic_best.pt"));

/** A GPU that says that it is lost 20 ms after what failed on it, as Chromium's may. */
function engineOf(ort: FakeOrt, lost: Promise<string>): Engine {
  const gpu = { device: {} as GPUDevice, description: "", lost, destroy: () => {} };
  const engine: Engine = { ort, provider: "webgpu", gpu, sessions: new Map(), options: {} };
  lost.then((reason) => {
    engine.broken ??= `the GPU was lost: ${reason}`;
  });
  return engine;
}

for (const what of ["run", "create"] as const)
  test(`a ${what} that fails because the GPU is lost: what waits for its turn does not begin`, async () => {
    let lose: (reason: string) => void;
    const lost = new Promise<string>((resolve) => {
      lose = resolve;
    });
    const ort = new FakeOrt({
      [what]: () => {
        setTimeout(() => lose("unplugged"), 20);
        throw new Error("mapAsync failed");
      },
    });
    const engine = engineOf(ort, lost);
    const keys = what === "run" ? [engine, engine] : [{}, {}];
    const runs = keys.map((key) =>
      runOn(engine, key, { model: () => programOnnx(program).bytes, feeds: () => ({}), read: () => 1 }),
    );
    for (const run of runs) await throwsCode(() => run, "BACKEND", /^the GPU was lost: unplugged$/);
    assert.equal([ort.creates, ort.runs], what === "run" ? [1, 1] : [1, 0]);
  });

test.run();

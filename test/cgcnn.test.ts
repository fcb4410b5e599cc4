/** The three published networks on upstream's own graphs, against upstream's float64 numbers. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { decodeOutput, outputRow } from "../src/models/model.js";
import { lowerBatchNorm } from "../src/ops/fold-norms.js";
import { DEFAULT_PASSES } from "../src/ops/passes.js";
import { fixtureJson, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, goldens, publishedModel, storedBatch, TOLERANCE } from "./goldens.js";

interface Trace {
  checkpoints: Record<string, Record<"float32" | "float64", Record<string, { shape: number[]; data: number[] }>>>;
}

if (haveFixtures("cgcnn")) {
  for (const name of CHECKPOINTS)
    test(`${name}: stored graphs agree with float64 within ${TOLERANCE}`, async () => {
      const model = await publishedModel(`${name}.pth.tar`);
      const session = await wasmBackend().createSession(model.program);
      const expected = goldens(name);
      const ids = [...expected.keys()];
      const batch = storedBatch(ids);
      const outputs = await session.run(batch);
      let worst = { id: "", error: 0 };
      for (const [b, id] of ids.entries()) {
        const { value } = decodeOutput(model, outputRow(model, batch, outputs, b));
        const error = Math.abs(value - expected.get(id)!.f64);
        if (!(error <= worst.error)) worst = { id, error };
      }
      console.log(`  ${name}: ${ids.length} structures, largest error ${worst.error.toExponential(2)} (${worst.id})`);
      assert.ok(worst.error <= TOLERANCE, `${worst.id}: ${worst.error}`);
      assert.is(ids.length, 54);
    });

  for (const id of ["proto-cu-prim", "cod-1507756"])
    test(`intermediate values of ${id} agree with upstream's float64 trace`, async () => {
      const { checkpoints } = fixtureJson<Trace>(`cgcnn/trace-${id}.json`);
      const batch = storedBatch([id]);
      for (const [name, { float64 }] of Object.entries(checkpoints)) {
        const model = await publishedModel(`${name}.pth.tar`);
        for (const passes of [undefined, [lowerBatchNorm]]) {
          const session = await wasmBackend(passes && { passes }).createSession(model.program);
          // What is inside of a fused operation has no value: nothing of an edge has, or of a linear before its activation.
          const { labels: left } = (passes ?? DEFAULT_PASSES).reduce((p, pass) => pass(p), model.program);
          const labels = Object.keys(float64).filter((key) => left.has(key));
          const outputs = Object.keys(float64).filter((key) => /out$|pooled$|output$/.test(key));
          assert.ok(outputs.length > 4 && outputs.every((key) => left.has(key)), `${outputs}`);
          assert.ok(!passes || labels.length === Object.keys(float64).length - 1, "all but the prediction");
          const values = await session.values(batch, labels);
          let worst = 0;
          for (const label of labels) {
            const expected = float64[label].data;
            const found = values.get(label)!;
            assert.is(found.length, expected.length, label);
            // float32 relative to the layer's own size.
            const scale = Math.max(1, ...expected.map(Math.abs));
            for (const [i, x] of expected.entries()) {
              const error = Math.abs(found[i] - x) / scale;
              assert.ok(error <= TOLERANCE, `${name} ${label}[${i}]: ${found[i]}, expected ${x}`);
              worst = Math.max(worst, error);
            }
          }
          console.log(
            `  ${id}, ${name}, ${passes ? "plain" : "all"} passes: ${labels.length} values, worst ${worst.toExponential(2)}`,
          );
        }
      }
    });

  test("a state dict re-saved as zip gives the same bits as the published legacy file", async () => {
    const name = "formation-energy-per-atom";
    const legacy = await publishedModel(`${name}.pth.tar`);
    const normalizer = legacy.normalizer!;
    const batch = storedBatch([...goldens(name).keys()]);
    const run = async (model: typeof legacy) => (await wasmBackend().createSession(model.program)).run(batch);
    const expected = await run(legacy);
    for (const file of [`${name}.full.zip.pt`, `${name}.zip.pt`]) {
      const model = await publishedModel(file, { normalizer });
      assert.equal(await run(model), expected, file);
      assert.equal(model.normalizer, normalizer);
    }
  });
}

test.run();

/** ALIGNN's 17 checkpoints against upstream's float64 numbers. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { collate } from "../src/graphs/batch.js";
import { outputRow } from "../src/models/model.js";
import { haveFixtures } from "./fixtures.js";
import { ALIGNN_TOLERANCE, alignnGoldens, alignnGraphs, alignnModel } from "./goldens-alignn.js";

const GRAPHS: Readonly<Record<string, string>> = {
  "variants/radius_graph": "radius5",
  "variants/no_canonize_nn8": "none",
};

/** Largest error relative to max(1, |value|). */
function errorOf(found: ArrayLike<number>, golden: number | number[] | number[][]): number {
  const expected = [golden].flat(2);
  assert.is(found.length, expected.length);
  return Math.max(...expected.map((x, i) => Math.abs(found[i] - x) / Math.max(1, Math.abs(x))));
}

if (haveFixtures("alignn")) {
  const goldens = alignnGoldens();
  assert.is(goldens.size, 17);
  for (const [name, { kind, predictions }] of goldens)
    test(`${name} on stored graphs: within ${ALIGNN_TOLERANCE} of float64`, async () => {
      const model = await alignnModel(name);
      const session = await wasmBackend().createSession(model.program);
      const graphs = alignnGraphs(GRAPHS[name] ?? "knn");
      let worst = { id: "", error: 0 };
      for (const [id, graph] of graphs) {
        const batch = collate([model.config.type === "alignn" && model.config.extraFeatures ? graph : graph]);
        const output = outputRow(model, batch, await session.run(batch), 0);
        const error = errorOf(output, predictions[id].f64);
        if (!(error <= worst.error)) worst = { id, error };
      }
      console.log(
        `  ${name} (${kind}): ${graphs.size} graphs, largest error ${worst.error.toExponential(2)} ${worst.id}`,
      );
      assert.ok(worst.error <= ALIGNN_TOLERANCE, `${worst.id}: ${worst.error}`);
    });
}

test.run();

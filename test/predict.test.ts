/** From structure file to prediction, against the published networks' goldens. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { predict } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";
import { fixtureNames, fixtureText, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, type Golden, goldens, publishedModel, TOLERANCE } from "./goldens.js";

/** First structure of every shared file: what upstream reads. */
function sharedStructures(): Structure[] {
  return fixtureNames("structures")
    .filter((name) => /\.(cif|vasp|extxyz)$/.test(name))
    .map((filename) => parseStructures(fixtureText(`structures/${filename}`), { filename })[0]);
}

/** Distance from the closed interval. */
const outside = (x: number, min: number, max: number) => Math.max(min - x, x - max, 0);

if (haveFixtures("cgcnn")) {
  const structures = sharedStructures();

  for (const name of CHECKPOINTS)
    test(`${name}: every file's prediction lies in the range of tie choices, within ${TOLERANCE}`, async () => {
      const model = await publishedModel(`${name}.pth.tar`);
      const expected = goldens(name);
      const predictions = await predict(model, structures, { tieRange: true });
      assert.is(predictions.length, 54);
      let worst: { id: string; error: number } = { id: "", error: 0 };
      for (const { id, value } of predictions) {
        const { tie_min, tie_max } = expected.get(id!)!;
        const error = outside(value, tie_min, tie_max);
        if (!(error <= worst.error)) worst = { id: id!, error };
      }
      console.log(`  ${name}: 54 files, largest distance from the range ${worst.error.toExponential(2)} (${worst.id})`);
      assert.ok(worst.error <= TOLERANCE, `${worst.id}: ${worst.error}`);
      checkTies(predictions, expected);
    });

  /** Where upstream tried every choice, our exhaustive range is its range; without a tie there is none. */
  function checkTies(predictions: Prediction[], expected: Map<string, Golden>) {
    let compared = 0;
    for (const { id, value, tie, warnings } of predictions) {
      const golden = expected.get(id!)!;
      assert.is(
        tie !== undefined,
        warnings.some((warning) => warning.code === "neighbor-tie"),
        id,
      );
      if (tie === undefined) continue;
      assert.ok(tie.min <= value + TOLERANCE && value <= tie.max + TOLERANCE, id);
      if (!tie.exhaustive || !golden.tie_range_method?.startsWith("exhaustive")) continue;
      compared++;
      assert.ok(Math.abs(tie.min - golden.tie_min) <= TOLERANCE, `${id}: least ${tie.min}, expected ${golden.tie_min}`);
      assert.ok(Math.abs(tie.max - golden.tie_max) <= TOLERANCE, `${id}: most ${tie.max}, expected ${golden.tie_max}`);
    }
    console.log(`  tie ranges equal to upstream's exhaustive ones: ${compared}`);
    assert.ok(compared > 0);
  }
}

test.run();

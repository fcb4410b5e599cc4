/** From structure file to prediction, against the goldens of all three architectures. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { predict, predictStream } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";
import { fixtureNames, fixtureText, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, type Golden, goldens, publishedModel, TOLERANCE } from "./goldens.js";
import { ALIGNN_TOLERANCE, alignnGoldens, alignnModel } from "./goldens-alignn.js";
import { megnetGoldens, megnetModel } from "./goldens-megnet.js";

/** First structure of every shared file: what upstream reads. */
function sharedStructures(): Structure[] {
  return fixtureNames("structures")
    .filter((name) => /\.(cif|vasp|extxyz)$/.test(name))
    .map((filename) => parseStructures(fixtureText(`structures/${filename}`), { filename })[0]);
}

/** Distance from the closed interval. */
const outside = (x: number, min: number, max: number) => Math.max(min - x, x - max, 0);

const structures = haveFixtures("structures") ? sharedStructures() : [];

if (haveFixtures("cgcnn")) {
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

if (haveFixtures("megnet"))
  test(`MEGNet: every file within ${TOLERANCE} of float64, crystals without bonds refused`, async () => {
    const model = await megnetModel();
    const golden = new Map(megnetGoldens().map((one) => [one.id, one]));
    let worst = { id: "", error: 0 };
    let refused = 0;
    for await (const record of predictStream(model, structures)) {
      const { nan, f64 } = golden.get(record.id!)!;
      assert.is("error" in record, nan, record.id);
      if ("error" in record) {
        assert.is(record.error.code, "UNSUPPORTED");
        assert.match(record.error.message, /no two atoms within 4 Å/);
        refused++;
        continue;
      }
      const error = Math.abs(record.value - f64);
      if (!(error <= worst.error)) worst = { id: record.id!, error };
    }
    console.log(
      `  MEGNet: 54 files, ${refused} without bonds, largest error ${worst.error.toExponential(2)} (${worst.id})`,
    );
    assert.ok(worst.error <= TOLERANCE, `${worst.id}: ${worst.error}`);
    assert.is(refused, 2);
  });

if (haveFixtures("alignn")) {
  const all = alignnGoldens();
  assert.is(all.size, 17);
  for (const [name, { predictions }] of all)
    test(`ALIGNN ${name}: every file within ${ALIGNN_TOLERANCE} of float64, relative to max(1, |value|)`, async () => {
      const model = await alignnModel(name);
      const { type, task } = model.config;
      assert.is(type, "alignn");
      let worst = { id: "", error: 0 };
      for (const { id, value, values, probabilities } of await predict(model, structures)) {
        const golden = [predictions[id!].f64].flat(2);
        // The golden of a classifier is its log-probabilities, or the probability of class 1.
        const logs = probabilities?.map(Math.log);
        const ours = task === "classification" ? (golden.length === 1 ? [value] : logs!) : (values ?? [value]);
        assert.is(ours.length, golden.length);
        const error = Math.max(...golden.map((x, i) => Math.abs(ours[i] - x) / Math.max(1, Math.abs(x))));
        if (!(error <= worst.error)) worst = { id: id!, error };
      }
      console.log(`  ALIGNN ${name}: 54 files, largest error ${worst.error.toExponential(2)} (${worst.id})`);
      assert.ok(worst.error <= ALIGNN_TOLERANCE, `${worst.id}: ${worst.error}`);
    });
}

test.run();

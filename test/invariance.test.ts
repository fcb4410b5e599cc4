/** Physics: however the same crystal is written down, the prediction stays. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import type { Structure } from "../src/structures/structure.js";
import { crystal, permuted, rebased, rotated, shifted, supercell, unimodular } from "./crystals.js";
import { exampleModel } from "./examples.js";
import { haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, publishedModel } from "./goldens.js";

const TOLERANCE = 1e-5;
const RUNS = 300;

const models: [name: string, model: Model][] = [["example", await exampleModel()]];
if (haveFixtures("cgcnn")) for (const name of CHECKPOINTS) models.push([name, await publishedModel(`${name}.pth.tar`)]);

const angle = fc.double({ min: 0, max: 6, noNaN: true });
const fraction = fc.double({ min: -2, max: 2, noNaN: true });

const REWRITINGS: [name: string, rewritten: fc.Arbitrary<(structure: Structure) => Structure>][] = [
  [
    "permuting atoms",
    fc.array(fc.nat(), { minLength: 8, maxLength: 8 }).map((keys) => (s) => {
      const order = Array.from(s.numbers.keys()).sort((a, b) => keys[a] - keys[b] || a - b);
      return permuted(s, order);
    }),
  ],
  ["moving the origin", fc.tuple(fraction, fraction, fraction).map((by) => (s) => shifted(s, by))],
  ["rotating the lattice", fc.tuple(angle, angle, angle).map((angles) => (s) => rotated(s, angles))],
  ["another basis of the lattice", unimodular.map((m) => (s) => rebased(s, m))],
  ["a 2x2x2 supercell", fc.constant((s) => supercell(s, 2))],
];

for (const [what, rewriting] of REWRITINGS)
  test(`${what} leaves every prediction unchanged within ${TOLERANCE}`, async () => {
    let worst = 0;
    let tied = 0;
    await fc.assert(
      fc.asyncProperty(crystal, rewriting, async (structure, rewrite) => {
        for (const [name, model] of models) {
          const [a, b] = await predict(model, [structure, rewrite(structure)]);
          const difference = Math.abs(a.value - b.value);
          worst = Math.max(worst, difference);
          if (a.warnings.some(({ code }) => code === "neighbor-tie")) tied++;
          assert.ok(difference <= TOLERANCE, `${name}: ${a.value} and ${b.value}`);
          assert.equal(
            a.warnings.map((warning) => warning.code),
            b.warnings.map((warning) => warning.code),
          );
        }
      }),
      { numRuns: RUNS, seed: 20240501 },
    );
    console.log(
      `  ${what}: ${RUNS} crystals x ${models.length} models (${tied} with ties that matter), ` +
        `largest difference ${worst.toExponential(2)}`,
    );
    assert.ok(tied > 0);
  });

test("the tests can fail: a cell strained by 1 % changes the prediction", async () => {
  let changed = 0;
  await fc.assert(
    fc.asyncProperty(crystal, async (structure) => {
      const strained = { ...structure, lattice: structure.lattice.map((x) => 1.01 * x) };
      const [a, b] = await predict(models[0][1], [structure, strained]);
      if (Math.abs(a.value - b.value) > TOLERANCE) changed++;
    }),
    { numRuns: 50, seed: 20240501 },
  );
  assert.ok(changed >= 49, `${changed} of 50`);
});

test.run();

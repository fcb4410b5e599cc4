/**
 * Every checkpoint against its goldens on WebGPU, in headless Chromium on its software adapter, which does some 0.6 GFLOP/s:
 * a part of them, or with UNITCELL_TESTS=full (npm run test:full) all.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fixtureNames, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, goldens, publishedModel, storedGraph } from "./goldens.js";
import { alignnGoldens } from "./goldens-alignn.js";
import { megnetGoldens } from "./goldens-megnet.js";
import { findOrtBrowser, type OrtBrowsers, type OrtPage, startOrtBrowsers } from "./ort-browser.js";
import type { Outcome, Source } from "./ort-browser.page.js";
import { inFull, isFull } from "./scope.js";

/** |ours - upstream's float64|, of ALIGNN relative to max(1, |value|). */
const WEBGPU_TOLERANCE = 1e-4;

const executablePath = findOrtBrowser();
const isThere = ["cgcnn", "alignn", "megnet", "structures"].map(haveFixtures).every(Boolean);

/** Of each kind of file, of one atom and of many, with and without ties, bonds and symmetry. */
const SOME = [
  "cod-1507756.cif",
  "jvasp-676.vasp",
  "proto-cu-prim.cif",
  "proto-lifepo4.cif",
  "tricky-isolated-atom.cif",
];

const fixture = (path: string) => `/fixtures/${path}`;

function structureFiles(): string[] {
  const all = fixtureNames("structures").filter((name) => /\.(cif|vasp|extxyz)$/.test(name));
  assert.is(all.length, 54);
  const some = all.filter((name) => isFull || SOME.includes(name));
  if (!isFull) assert.is(some.length, SOME.length);
  return some.map((name) => fixture(`structures/${name}`));
}

/** A record's distance from what is right. */
type ErrorOf = (outcome: Outcome) => number;

function testGoldens(path: string): void {
  const all = structureFiles();
  let browsers: OrtBrowsers;
  let page: OrtPage;
  test.before(async () => {
    browsers = await startOrtBrowsers(path);
    page = await browsers.open();
  });
  test.after(async () => {
    await browsers?.stop();
  });

  const withAll = (name: string, source: Source, errorOf: ErrorOf, place: "window" | "worker" = "window") =>
    test(`${name}, in a ${place}: ${all.length} structures within ${WEBGPU_TOLERANCE} of the goldens`, async () => {
      const { outcomes, device, ms } = await page[place]("predict", source, { files: all });
      assert.is(outcomes.length, all.length);
      let worst = { id: "", error: 0 };
      for (const outcome of outcomes) {
        const error = errorOf(outcome);
        if (!(error <= worst.error)) worst = { id: outcome.id!, error };
        if (outcome.error !== undefined) continue;
        assert.is(outcome.backend, "ort-webgpu");
        const failed = outcome.warnings.filter((warning) => warning.startsWith("backend-failed"));
        assert.equal(failed, [], outcome.id);
      }
      console.log(
        `  ${name} in a ${place} on ${device}: ${all.length} structures, largest error ${worst.error.toExponential(2)} (${worst.id}), ` +
          `${(ms / 1000).toFixed(1)} s`,
      );
      assert.ok(worst.error <= WEBGPU_TOLERANCE, `${worst.id}: ${worst.error}`);
    });

  for (const name of isFull ? CHECKPOINTS : CHECKPOINTS.slice(0, 1)) {
    const expected = goldens(name);
    const inTies: ErrorOf = ({ id, numbers: found }) => {
      const { tie_min, tie_max } = expected.get(id!)!;
      const value = found.at(-1)!;
      return Math.max(tie_min - value, value - tie_max, 0);
    };
    const source = { files: [fixture(`cgcnn/${name}.pth.tar`)] };
    withAll(name, source, inTies);
    if (!isFull) continue;
    if (name === CHECKPOINTS[0]) withAll(name, source, inTies, "worker");

    test(`${name}: upstream's own graphs, not lifted, within ${WEBGPU_TOLERANCE} on WebGPU`, async () => {
      const ids = [...expected.keys()];
      const graphs = ids.map((id) => {
        const { numbers, start, source, lengths, ...rest } = storedGraph(id);
        return { ...rest, numbers: [...numbers], start: [...start], source: [...source], lengths: [...lengths] };
      });
      const values = await page.window("graphs", source, graphs);
      const worst = Math.max(...ids.map((id, i) => Math.abs(values[i] - expected.get(id)!.f64)));
      console.log(`  ${name}: ${ids.length} stored graphs, largest error ${worst.toExponential(2)}`);
      assert.ok(worst <= WEBGPU_TOLERANCE, `${worst}`);
    });

    if (name === "formation-energy-per-atom")
      for (const file of [`${name}.full.zip.pt`, `${name}.zip.pt`])
        test(`${file} gives the bits of the published legacy file on WebGPU`, async () => {
          const { normalizer } = await publishedModel(`${name}.pth.tar`);
          const numbersOf = async (source: Source) => {
            const { outcomes } = await page.window("predict", source, { files: all });
            return outcomes.map(({ id, numbers: found }) => [id, found]);
          };
          const legacy = await numbersOf(source);
          assert.equal(await numbersOf({ files: [fixture(`cgcnn/${file}`)], normalizer: normalizer! }), legacy);
        });
  }

  const megnet = new Map(megnetGoldens().map((one) => [one.id, one]));
  const megnetFiles = ["state.pt", "model.pt", "model.json"].map((name) => fixture(`megnet/${name}`));
  withAll("MEGNet", { files: megnetFiles }, ({ id, error, numbers: [value] }) => {
    const { nan, f64 } = megnet.get(id!)!;
    assert.is(error !== undefined, nan, `${id}: ${error}`);
    return nan ? 0 : Math.abs(value - f64);
  });

  const some = ["alignn_small_extra_classification"];
  const alignn = [...alignnGoldens()];
  assert.is(alignn.length, 17);
  for (const [name, { predictions }] of alignn.filter(([name]) => isFull || some.includes(name))) {
    const source = { files: ["best_model.pt", "config.json"].map((file) => fixture(`alignn/${name}/${file}`)) };
    const isClassifier = name.includes("classification");
    const inGoldens: ErrorOf = ({ id, error, numbers: found }) => {
      assert.is(error, undefined, id);
      const golden = [predictions[id!].f64].flat(2);
      // The golden of a classifier is its log-probabilities, or the probability of class 1.
      const ours = !isClassifier ? found : golden.length === 1 ? [found.at(-1)!] : found.map(Math.log);
      assert.is(ours.length, golden.length);
      return Math.max(...golden.map((x, i) => Math.abs(ours[i] - x) / Math.max(1, Math.abs(x))));
    };
    withAll(`ALIGNN ${name}`, source, inGoldens);
  }
}

if (executablePath && isThere) {
  inFull("most checkpoints and structures on WebGPU");
  testGoldens(executablePath);
}

test.run();

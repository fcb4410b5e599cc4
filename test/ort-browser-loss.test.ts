/**
 * The GPU process is killed, and devices are destroyed, at every stage of predictions in headless Chromium: none is lost,
 * none is wrong, and records say what happened. Chromium survives two such kills; each test has a browser of its own.
 */
import { readdirSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { embed, loadModel, parseStructures, predict, type Structure } from "../src/index.js";
import { findOrtBrowser, type OrtBrowsers, startOrtBrowsers } from "./ort-browser.js";
import type { Disturbance, Outcome, Source } from "./ort-browser.page.js";
import { scaled } from "./ort-browser-structures.js";

const CHECKPOINT = "examples/saved_models/cgcnn_ionic_best.pt";
const SOURCE: Source = { files: [`/${CHECKPOINT}`] };
const FILES = readdirSync("examples/structures").map((name) => `examples/structures/${name}`);
const INPUT = { files: FILES.map((file) => `/${file}`), count: 60, maxAtoms: 200 };

/** Relative to max(1, |value|). */
const TOLERANCE = 1e-4;

function structures(): Structure[] {
  const cells = FILES.map((file) => parseStructures(readFileSync(file, "utf8"), { filename: file })[0]);
  return scaled(cells, INPUT.count);
}

/** What the Wasm kernels make of them, which other tests compare with PyTorch. */
async function expected(what: "predict" | "embed"): Promise<number[][]> {
  const model = await loadModel(new Uint8Array(readFileSync(CHECKPOINT)));
  if (what === "predict") return (await predict(model, structures())).map(({ value }) => [value]);
  return (await embed(model, structures())).map(({ crystal, atoms }) => [...crystal, ...atoms]);
}

/** What a record says of where it is from: the backend, and what went wrong. */
const said = ({ backend, warnings }: Outcome) =>
  [backend, ...warnings.filter((warning) => warning.startsWith("backend-failed"))].join(" | ");

/** Runs of equal words, with their lengths: "a, a, b" as [2, "a"], [1, "b"]. */
function grouped(words: readonly string[]): [count: number, word: string][] {
  const groups: [number, string][] = [];
  for (const word of words)
    if (groups.at(-1)?.[1] === word) groups.at(-1)![0]++;
    else groups.push([1, word]);
  return groups;
}

/** A line for each group of records alike: whose they are. */
interface Row {
  readonly name: string;
  readonly what?: "predict" | "embed";
  readonly plan: readonly Disturbance[];
  readonly groups: readonly RegExp[];
}

const FINE = /^ort-webgpu$/;
const LOST = /^ort-webgpu \| backend-failed: the GPU was lost: .+; the batch ran again on a fresh session$/;
const GIVEN_UP = /^wasm \| backend-failed: the GPU was lost: .+; and again: .+; computed by wasm$/;

const ROWS: readonly Row[] = [
  { name: "a kill in the middle of a batch", plan: [{ how: "kill-in-run", at: 1 }], groups: [FINE, LOST, FINE] },
  {
    name: "a kill in the middle of a batch, and of its second try",
    plan: [
      { how: "kill-in-run", at: 1 },
      { how: "kill-in-run", at: 2 },
    ],
    groups: [FINE, GIVEN_UP],
  },
  { name: "a kill between batches", plan: [{ how: "kill-after-record", at: 20 }], groups: [FINE] },
  { name: "a kill just before a batch", plan: [{ how: "kill-before-run", at: 1 }], groups: [FINE, LOST, FINE] },
  { name: "a kill while weights are uploaded", plan: [{ how: "kill-in-create", at: 0 }], groups: [LOST, FINE] },
  { name: "a device destroyed in a batch", plan: [{ how: "destroy-in-run", at: 1 }], groups: [FINE, LOST, FINE] },
  { name: "a device destroyed between batches", plan: [{ how: "destroy-after-record", at: 20 }], groups: [FINE] },
  {
    name: "one destroyed just before a batch",
    plan: [{ how: "destroy-before-run", at: 1 }],
    groups: [FINE, LOST, FINE],
  },
  {
    name: "one destroyed while weights are uploaded",
    plan: [{ how: "destroy-in-create", at: 0 }],
    groups: [LOST, FINE],
  },
  {
    name: "a kill in the middle of a batch",
    what: "embed",
    plan: [{ how: "kill-in-run", at: 1 }],
    groups: [FINE, LOST, FINE],
  },
];

function testLoss(path: string): void {
  let browsers: OrtBrowsers;
  test.before(async () => {
    browsers = await startOrtBrowsers(path);
  });
  test.after(async () => {
    await browsers?.stop();
  });

  for (const { name, what = "predict", plan, groups } of ROWS)
    test(`${what}, ${name}: every record is there, in order and right`, async () => {
      const page = await browsers.open();
      const { outcomes, events, left, devices } = await page.window("disturb", SOURCE, INPUT, what, [...plan]);
      console.log(`  ${events.join("\n  ")}\n  ${devices} devices; ${JSON.stringify(grouped(outcomes.map(said)))}`);
      console.log(page.log.slice(0, 20).join("\n"));
      await browsers.close(page);
      assert.is(left, 0, "all that was planned was done");
      const ids = structures().map(({ id }) => id);
      assert.equal(
        outcomes.map(({ id }) => id),
        ids,
      );
      for (const [i, numbers] of (await expected(what)).entries()) {
        const found = outcomes[i].numbers;
        assert.is(found.length, numbers.length, ids[i]);
        for (const [k, x] of numbers.entries()) {
          const error = Math.abs(found[k] - x) / Math.max(1, Math.abs(x));
          assert.ok(error <= TOLERANCE, `${ids[i]}[${k}]: ${found[k]}, expected ${x}`);
        }
      }
      const found = grouped(outcomes.map(said));
      assert.is(found.length, groups.length, `${JSON.stringify(found)}`);
      for (const [i, [, word]] of found.entries()) assert.match(word, groups[i]);
    });
}

const executablePath = findOrtBrowser();
if (executablePath) testLoss(executablePath);

test.run();

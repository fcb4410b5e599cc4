/** Files that real PyTorch writes from random values, read here: equal to the bit. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { stateDicts, torchValues } from "./arbitrary-values.js";
import { describeValue, difference, type Json, sortSets } from "./describe-value.js";
import { type PyTorch, pytorch1, pytorch2 } from "./interop.js";

const VALUES = 200;
const SEED = 20251005;

const folder = mkdtempSync(join(tmpdir(), "unitcell-interop-"));
test.after(() => rmSync(folder, { recursive: true }));

/** Values that torch builds from our files, saves itself, and describes as it reads its own files back. */
async function compare(torch: PyTorch, values: readonly Parameters<typeof saveTorch>[0][]): Promise<void> {
  const theirs = join(folder, torch.version);
  mkdirSync(theirs, { recursive: true });
  const names = values.map((_, i) => `${i}.pt`);
  for (const [i, value] of values.entries()) writeFileSync(join(folder, names[i]), saveTorch(value));
  const failures = torch.run<(string | null)[]>("resave", theirs, ...names.map((name) => join(folder, name)));
  const files = names.map((name) => join(theirs, name));
  const expected = torch.run<{ full: Json }[]>("describe", "full", ...files);
  for (const [i, file] of files.entries()) {
    assert.is(failures[i], null);
    const found = describeValue(await loadTorch(readFileSync(file)));
    assert.is(difference(sortSets(found), sortSets(expected[i].full)), undefined, `value ${i}`);
  }
  console.log(`  torch ${torch.version}: ${values.length} files read equal`);
}

const torch2 = pytorch2();
const torch1 = pytorch1();

if (torch2)
  test("random values saved by PyTorch 2", () =>
    compare(torch2, fc.sample(torchValues(), { seed: SEED, numRuns: VALUES })));
if (torch1)
  test("random state dicts saved by PyTorch 1.13", () =>
    compare(torch1, fc.sample(stateDicts(), { seed: SEED, numRuns: VALUES })));

test.run();

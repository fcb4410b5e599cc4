/** Files written here, read by real PyTorch: equal to the bit, and equal to the byte with what torch itself writes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc, { type Arbitrary } from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { stateDicts, torchValues } from "./arbitrary-values.js";
import { describeValue, difference, type Json, sortSets } from "./describe-value.js";
import { type PyTorch, pytorch1, pytorch2 } from "./interop.js";
import { FULL_MODE_ROWS, SAVE_ROWS } from "./save-rows.js";

const VALUES = 200;
const STATE_DICTS = 50;
const SEED = 20240229;

const torch2 = pytorch2();
const torch1 = pytorch1();
const folder = mkdtempSync(join(tmpdir(), "unitcell-interop-"));
test.after(() => rmSync(folder, { recursive: true }));

/** Writes each value to a file, has torch load them all in each mode, and compares the descriptions. */
function compare(torch: PyTorch, modes: string, values: readonly TorchValue[]): void {
  const files = values.map((value, i) => {
    const file = join(folder, `${i}.pt`);
    writeFileSync(file, saveTorch(value));
    return file;
  });
  const found = torch.run<Record<string, Json>[]>("describe", modes, ...files);
  for (const [i, value] of values.entries()) {
    const expected = sortSets(describeValue(value));
    for (const mode of modes.split(","))
      assert.is(difference(sortSets(found[i][mode]), expected), undefined, `value ${i}, ${mode}`);
  }
  console.log(`  torch ${torch.version}: ${values.length} values equal in modes ${modes}`);
}

function sample<T>(arbitrary: Arbitrary<T>, numRuns: number): T[] {
  return fc.sample(arbitrary, { seed: SEED, numRuns });
}

if (torch2) {
  test("random values: PyTorch 2 reads them equal to the bit, weights_only", () =>
    compare(torch2, "weights_only,mmap,debug,offsets", sample(torchValues(), VALUES)));

  test("state dicts: PyTorch 2, weights_only", () =>
    compare(torch2, "weights_only,mmap,debug,offsets", sample(stateDicts(), STATE_DICTS)));
}

if (torch1) {
  test("random values: PyTorch 1.13 reads those it has types for", () => {
    const values = sample(torchValues(), 4 * VALUES).filter((value) => isOld(describeValue(value)));
    assert.ok(values.length >= VALUES / 2, `only ${values.length}`);
    compare(torch1, "full", values.slice(0, VALUES));
  });

  test("state dicts: PyTorch 1.13, weights_only", () =>
    compare(torch1, "full,weights_only", sample(stateDicts(), STATE_DICTS)));
}

for (const torch of [torch1, torch2])
  if (torch)
    test(`values for full mode: torch ${torch.version}`, () => {
      const args = FULL_MODE_ROWS.flatMap(([value, check], i) => {
        const file = join(folder, `full-${i}.pt`);
        writeFileSync(file, saveTorch(value as TorchValue));
        return [file, check];
      });
      const found = torch.run<(boolean | string)[]>("check", ...args);
      for (const [i, [, check]] of FULL_MODE_ROWS.entries()) assert.is(found[i], true, check);
    });

if (torch2)
  test("a checkpoint with optimizer state, read and written, goes on as if it had not stopped", async () => {
    const [theirs, ours] = ["theirs.pt", "ours.pt"].map((name) => join(folder, name));
    const uninterrupted = torch2.run<string[]>("train", theirs);
    const checkpoint = await loadTorch(readFileSync(theirs));
    writeFileSync(ours, saveTorch(checkpoint));
    assert.equal(torch2.run("resume", ours), uninterrupted);
    assert.is(
      difference(
        ...([theirs, ours].map((file) =>
          sortSets(torch2.run<{ weights_only: Json }[]>("describe", "weights_only", file)[0].weights_only),
        ) as [Json, Json]),
      ),
      undefined,
    );
  });

if (torch2)
  test("the same values give the same bytes as torch.save", () => {
    const found = torch2.run<{ pickle: string; file: string }[]>(
      "pickles",
      ...SAVE_ROWS.map(([expression]) => expression),
    );
    for (const [i, [expression, value]] of SAVE_ROWS.entries()) {
      const ours = Buffer.from(saveTorch(value as TorchValue));
      const start = ours.indexOf("data.pkl") + 8;
      const theirs = Buffer.from(found[i].file, "hex");
      const pickle = Buffer.from(found[i].pickle, "hex");
      const at = start + 4 + ours.readUInt16LE(start + 2);
      assert.is(ours.subarray(at, at + pickle.length).toString("latin1"), pickle.toString("latin1"), expression);
      for (const file of [ours, theirs]) maskId(file);
      assert.ok(ours.equals(theirs), expression);
    }
    console.log(`  torch ${torch2.version}: ${SAVE_ROWS.length} files equal to the byte`);
  });

/** The first half of the serialization id is a hash of the C++ library's; with it goes the record's CRC, in two places. */
function maskId(file: Buffer): void {
  const name = "archive/.data/serialization_id";
  const local = file.indexOf(name);
  const payload = local + name.length + file.readUInt16LE(local - 2);
  file.fill(0, payload, payload + 20);
  file.fill(0, payload + 40 + 4, payload + 40 + 8);
  const central = file.lastIndexOf(name) - 46;
  file.fill(0, central + 16, central + 20);
}

/** False for what 1.13 has no type or call for, or drops: new dtypes, lazy bits, tensors' attributes, sparse. */
function isOld(json: Json): boolean {
  if (Array.isArray(json)) return json.every(isOld);
  if (typeof json !== "object" || json === null) return true;
  const isNew =
    (json.k === "tensor" && (json.conj || json.neg || json.attrs)) ||
    json.k === "sparse" ||
    (json.k === "storage" && json.dtype === "torch.uint8") ||
    ((json.k === "dtype" || json.k === "tensor") &&
      /uint(16|32|64)|float8|float4|complex32/.test(String(json.dtype ?? json.v)));
  return !isNew && Object.values(json).every(isOld);
}

test.run();

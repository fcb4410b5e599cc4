import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, FileBytes, type Input } from "../src/bytes.js";
import type { ErrorCode } from "../src/errors.js";
import { saveSafetensors } from "../src/formats/safetensors-save.js";
import { loadShards, parseShardIndex } from "../src/formats/shards.js";
import type { Tensor } from "../src/tensor.js";
import { fixtureBytes, fixturesRoot, haveFixtures } from "./fixtures.js";
import { loadSafetensors } from "./load-safetensors.js";
import { throwsCode } from "./throws.js";

const parse = (text: string) => parseShardIndex(new TextEncoder().encode(text));
const map = (...entries: [name: string, file: string][]) =>
  `{"weight_map":{${entries.map((pair) => pair.map((s) => JSON.stringify(s)).join(":")).join()}}}`;

const scalar = (value: number): Tensor => ({ dtype: "u8", shape: [], data: Uint8Array.of(value) });
const files = new Map<string, Uint8Array>([
  [
    "one",
    saveSafetensors(
      new Map([
        ["a", scalar(1)],
        ["10", scalar(2)],
      ]),
    ),
  ],
  [
    "two",
    saveSafetensors(
      new Map([
        ["__proto__", scalar(3)],
        ["2", scalar(4)],
      ]),
    ),
  ],
  ["broken", Uint8Array.of(1, 2, 3)],
]);
const open = async (file: string): Promise<Input> => {
  const bytes = files.get(file);
  if (!bytes) throw new Error(`ENOENT ${file}`);
  return bytes;
};
const load = async (input: Input) => {
  const file = new FileBytes(input);
  return loadSafetensors(await file.read(0, file.size)).tensors;
};
const all: [string, string][] = [
  ["2", "two"],
  ["a", "one"],
  ["__proto__", "two"],
  ["10", "one"],
];

test("shards: one Map in the order of the index", async () => {
  const opened: string[] = [];
  const watched = (file: string) => {
    opened.push(file);
    return open(file);
  };
  const tensors = await loadShards(parse(map(...all)), watched, load);
  assert.equal(
    [...tensors].map(([name, { data }]) => [name, data[0]]),
    [
      ["2", 4],
      ["a", 1],
      ["__proto__", 3],
      ["10", 2],
    ],
  );
  assert.equal(opened, ["two", "one"]);
});

test("shards: an index of nothing", async () => assert.is((await loadShards(parse(map()), open, load)).size, 0));

const totals: [text: string, expected: number | undefined][] = [
  ['"metadata":{"total_size":240},', 240],
  ['"metadata":{"total_size":2.5e9,"more":[{}]},', 2.5e9],
  ['"metadata":{"total_size":"240"},', undefined],
  ['"metadata":{},"other":1,', undefined],
  ['"metadata":null,', undefined],
  ["", undefined],
];
for (const [text, expected] of totals)
  test(`shards: total size in {${text}...}`, () => assert.is(parse(`{${text}"weight_map":{}}`).totalSize, expected));

const wrong: [name: string, entries: [string, string][], code: ErrorCode, message: RegExp][] = [
  ["a missing shard", [...all, ["b", "three"]], "NOT_FOUND", /shard "three"/],
  ["a broken shard", [["b", "broken"]], "CORRUPT", /8 more bytes/],
  ["a tensor that its shard lacks", [...all, ["b", "one"]], "MISMATCH", /"b" in shard "one", which lacks it/],
  [
    "a tensor that the index lacks",
    all.slice(0, 3),
    "MISMATCH",
    /shard "one" holds tensor "10", which the index does not list/,
  ],
  ["a tensor in another shard", [...all.slice(0, 3), ["10", "two"]], "MISMATCH", /"10", which the index puts in "two"/],
];
for (const [name, entries, code, message] of wrong)
  test(`shards: ${name}`, () => throwsCode(() => loadShards(parse(map(...entries)), open, load), code, message));

for (const file of [
  "",
  ".",
  "..",
  "../x",
  "a/b",
  "/x",
  "a\\b",
  "\\\\host\\x",
  "C:x",
  "C:\\x",
  "a\0",
  "a\n",
  ".. ",
  "...",
  " ",
])
  test(`shards: file name ${JSON.stringify(file)} is refused`, () =>
    throwsCode(() => parse(map(["w", file])), "CORRUPT", /no plain file name/));
for (const file of ["model-00001-of-00002.safetensors", "..a", "a..b", ".hidden", "a b", "é", "__proto__"])
  test(`shards: file name ${JSON.stringify(file)} is taken`, () =>
    assert.is(parse(map(["w", file])).weightMap.get("w"), file));

const broken: [name: string, text: string, message: RegExp][] = [
  ["no JSON", "weights", /expected "{"/],
  ["an array", "[]", /expected "{"/],
  ["no weight_map", "{}", /no "weight_map"/],
  ["a weight_map that is no object", '{"weight_map":[]}', /expected "{"/],
  ["a file that is no text", '{"weight_map":{"a":1}}', /expected """/],
  ["a name twice", '{"weight_map":{"a":"x","a":"y"}}', /"a" twice/],
  ["two maps", '{"weight_map":{},"weight_map":{}}', /twice/],
  ["something after", '{"weight_map":{}} x', /nothing more/],
];
for (const [name, text, message] of broken)
  test(`shard index: ${name}`, () => throwsCode(() => parse(text), "CORRUPT", message));

test("shard index: the limit", () =>
  throwsCode(
    () => parseShardIndex(new Uint8Array(11), { ...DEFAULT_LIMITS, headerBytes: 10 }),
    "LIMIT",
    /the limit is 10/,
  ));

if (haveFixtures("torch/sharded"))
  test("shards: the index of the corpus, its shards found beside it", async () => {
    const index = parseShardIndex(fixtureBytes("torch/sharded/pytorch_model.bin.index.json"));
    assert.is(index.totalSize, 240);
    assert.equal([...index.weightMap.keys()], ["wte.weight", "h.0.w", "h.1.w", "ln.weight"]);
    // The names stand for what a reader of torch files finds in each.
    const sizes = await loadShards(
      index,
      (file) => readFile(join(fixturesRoot, "torch/sharded", file)),
      async (_, file) => new Map([...index.weightMap].filter(([, f]) => f === file)),
    );
    assert.equal(sizes, index.weightMap);
  });

test.run();

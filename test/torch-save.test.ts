/** saveTorch and writeTorch: what is in the file, what is shared, what is streamed. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, FileBytes } from "../src/bytes.js";
import { loadTorch, openTorch } from "../src/formats/torch.js";
import { saveTorch, type WriteOptions, writeTorch } from "../src/formats/torch-save.js";
import { rowMajorStrides, Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import { OrderedDict, type TorchValue } from "../src/formats/values.js";
import { openZip } from "../src/formats/zip.js";
import type { DType, Tensor } from "../src/tensor.js";
import { throwsCode } from "./throws.js";

function floats(...values: number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

function over(storage: Storage, shape: readonly number[], strides = rowMajorStrides(shape), offset = 0): TorchTensor {
  return TorchTensor.over(storage, { dtype: storage.dtype ?? "u8", shape, strides, offset });
}

async function written(value: TorchValue, options?: WriteOptions): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  await writeTorch(value, (bytes) => void parts.push(bytes.slice()), options);
  return Buffer.concat(parts);
}

async function recordNames(file: Uint8Array): Promise<string[]> {
  const { entries } = await openZip(new FileBytes(file), { limits: DEFAULT_LIMITS, checkCrc: true });
  return [...entries.keys()].map((name) => name.slice("archive/".length));
}

test("torch's records, in torch's order", async () => {
  const tensors = Array.from({ length: 12 }, (_, i) => ({ dtype: "f32", shape: [1], data: floats(i) }) as const);
  assert.equal(await recordNames(saveTorch(tensors)), [
    ...["data.pkl", ".format_version", ".storage_alignment", "byteorder"],
    ...tensors.map((_, i) => `data/${i}`),
    ...["version", ".data/serialization_id"],
  ]);
});

test("equal values, equal bytes; another byte, another id", async () => {
  const save = (last: number) =>
    saveTorch(new Map([["w", { dtype: "f32" as DType, shape: [2], data: floats(1, last) }]]));
  assert.equal(save(2), save(2));
  const id = (file: Uint8Array) => /\d{40}/.exec(Buffer.from(file).toString("latin1"))![0];
  assert.is(id(save(2)).slice(0, 20), id(save(3)).slice(0, 20));
  assert.is.not(id(save(2)), id(save(3)));
});

test("a hand-made state dict", async () => {
  const dict = new OrderedDict([
    ["weight", { dtype: "f32", shape: [2, 2], data: floats(1, 2, 3, 4) }],
    ["bias", { dtype: "i64", shape: [], data: Uint8Array.of(5, 0, 0, 0, 0, 0, 0, 0) }],
  ]);
  dict.attributes = new Map([["_metadata", new OrderedDict([["", new Map([["version", 2]])]])]]);
  const read = (await loadTorch(saveTorch(dict))) as OrderedDict;
  assert.instance(read, OrderedDict);
  assert.equal([...read.keys()], ["weight", "bias"]);
  const [weight, bias] = [...read.values()] as TorchTensor[];
  assert.equal([weight.shape, weight.strides, [...weight.data]], [[2, 2], [2, 1], [...floats(1, 2, 3, 4)]]);
  assert.equal([bias.dtype, bias.shape, bias.data[0]], ["i64", [], 5]);
  assert.equal(read.attributes, dict.attributes);
});

test("hand-made tensors over the same bytes share a storage; equal bytes do not", async () => {
  const data = floats(1, 2, 3, 4);
  const tied = { dtype: "f32", shape: [4], data } as const;
  const values: Tensor[] = [
    tied,
    tied,
    { dtype: "f32", shape: [2, 2], data: new Uint8Array(data.buffer) },
    { dtype: "f32", shape: [4], data: data.slice() },
    { dtype: "i32", shape: [4], data },
    { dtype: "f32", shape: [2], data: data.subarray(0, 8) },
  ];
  const read = (await loadTorch(saveTorch(values))) as TorchTensor[];
  assert.is(read[0], read[1]);
  assert.is(read[0].storage, read[2].storage);
  assert.is(new Set(read.map(({ storage }) => storage)).size, 4);
});

test("views keep their whole storage, expanded ones too", async () => {
  const storage = new Storage("9", "f32", 6, "cuda:0", floats(0, 1, 2, 3, 4, 5));
  const views = [over(storage, [2], [1], 4), over(storage, [1000, 2], [0, 1], 1), over(storage, [3, 2], [1, 3])];
  const file = saveTorch(views);
  assert.is((await recordNames(file)).filter((name) => name.startsWith("data/")).length, 1);
  const read = (await loadTorch(file)) as TorchTensor[];
  assert.equal(
    read.map(({ shape, strides, offset }) => [shape, strides, offset]),
    views.map(({ shape, strides, offset }) => [shape, strides, offset]),
  );
  assert.equal(read[0].storage!.bytes, storage.bytes);
  assert.is(read[0].storage!.location, "cpu");
});

test("streamed, the file is the same", async () => {
  const value = [
    over(new Storage("0", "u8", 20 * 2 ** 20, "cpu", new Uint8Array(20 * 2 ** 20).fill(3)), [5]),
    "x",
    1.5,
  ];
  const sizes: number[] = [];
  await writeTorch(value, async (bytes) => void sizes.push(bytes.length));
  assert.ok(Math.max(...sizes) <= 8 * 2 ** 20, `a chunk of ${Math.max(...sizes)} bytes`);
  assert.ok(Buffer.from(saveTorch(value)).equals(await written(value)));
});

test("storages that are not in memory are streamed from where they are", async () => {
  const source = saveTorch([
    { dtype: "f32", shape: [3], data: floats(1, 2, 3) },
    { dtype: "u8", shape: [0], data: new Uint8Array(0) },
  ]);
  const lazy = await openTorch(source);
  const asked: string[] = [];
  const readStorage = async function* (storage: Storage): AsyncIterable<Uint8Array> {
    asked.push(storage.key);
    if (storage.byteLength === 0) return;
    yield floats(1);
    yield floats(2, 3);
  };
  assert.equal(await written(lazy.root, { readStorage }), Buffer.from(source));
  assert.equal(asked, ["0", "1"]);
});

const refused: [name: string, value: unknown, message: RegExp][] = [
  [
    "a storage that is not loaded",
    new Map([["w", over(new Storage("7", "f32", 1), [1])]]),
    /value\["w"\]: .*storage "7" are not loaded/,
  ],
  [
    "a storage of the wrong size",
    over(new Storage("7", "f32", 2, "cpu", floats(1)), [2]),
    /should have 8 bytes, it has 4/,
  ],
];
for (const [name, value, message] of refused)
  test(`refused: ${name}`, async () => {
    await throwsCode(() => saveTorch(value as TorchValue), "ARGUMENT", message);
    await throwsCode(() => written(value as TorchValue), "ARGUMENT", message);
  });

test("a stream of the wrong size: MISMATCH", async () => {
  const value = over(new Storage("0", "f32", 2), [2]);
  const give = (bytes: Uint8Array) =>
    written(value, {
      readStorage: async function* () {
        yield bytes;
      },
    });
  await throwsCode(() => give(floats(1)), "MISMATCH", /"archive\/data\/0" should have 8 bytes, it was given 4/);
  await throwsCode(() => give(floats(1, 2, 3)), "MISMATCH", /should have 8 bytes, it was given 12/);
});

test("an error of the sink reaches the caller", async () => {
  const full = async () => {
    throw new Error("disk full");
  };
  let message = "";
  await writeTorch([1], full).catch((error: Error) => (message = error.message));
  assert.is(message, "disk full");
});

test.run();

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ErrorCode } from "../src/errors.js";
import { SAFETENSORS_DTYPES } from "../src/formats/safetensors.js";
import { SHARED_KEY, saveSafetensors, writeSafetensors } from "../src/formats/safetensors-save.js";
import { Storage, TorchTensor, type View } from "../src/formats/torch-tensors.js";
import { SparseTensor } from "../src/formats/values.js";
import { DTYPE_BYTES, type DType, type Tensor, TORCH_DTYPES } from "../src/tensor.js";
import library from "./fixtures/safetensors.json" with { type: "json" };
import { fixtureBytes, haveFixtures } from "./fixtures.js";
import { loadSafetensors } from "./load-safetensors.js";
import { throwsCode } from "./throws.js";

const DTYPES = new Map(Object.entries(TORCH_DTYPES).map(([dtype, name]) => [name, dtype as DType]));
DTYPES.set("float4_e2m1fn_x2", "f4_e2m1fn_x2");

const tensor = (dtype: DType, shape: number[], data: Iterable<number>): Tensor => ({
  dtype,
  shape,
  data: Uint8Array.from(data),
});
const view = (storage: Storage, of: Partial<View>) =>
  TorchTensor.over(storage, { dtype: "u8", shape: [4], strides: [1], offset: 0, ...of });
const loaded = (bytes: number) =>
  new Storage(
    "0",
    "u8",
    bytes,
    "cpu",
    Uint8Array.from({ length: bytes }, (_, i) => i),
  );

interface LibraryCase {
  metadata: Record<string, string> | null;
  tensors: [name: string, dtype: string, shape: number[], hex: string][];
  file: string;
}

for (const [name, written] of Object.entries(library as unknown as Record<string, LibraryCase>))
  test(`safetensors: bytes as the library writes them: ${name}`, async () => {
    const tensors = new Map(
      written.tensors.map(([key, dtype, shape, hex]) => [
        key,
        tensor(DTYPES.get(dtype)!, shape, Buffer.from(hex, "hex")),
      ]),
    );
    const metadata = written.metadata ? new Map(Object.entries(written.metadata)) : undefined;
    const file = saveSafetensors(tensors, metadata);
    assert.is(Buffer.from(file).toString("hex"), written.file);
    const pieces: Uint8Array[] = [];
    await writeSafetensors(tensors, (piece) => void pieces.push(piece), metadata && { metadata });
    assert.is(Buffer.concat(pieces).toString("hex"), written.file);
    const read = loadSafetensors(file);
    for (const [key, { dtype, shape, data }] of tensors) {
      const back = read.tensors.get(key)!;
      assert.equal([back.dtype, back.shape, [...back.data]], [dtype, shape, [...data]]);
    }
    assert.equal(read.metadata, metadata);
  });

test("safetensors: what is written is read, whatever the names, dtypes, shapes and metadata", () => {
  const text = fc.string({ unit: "grapheme" });
  const dtypes = fc.constantFrom(...SAFETENSORS_DTYPES.values());
  const arbitrary = fc
    .record({ dtype: dtypes, shape: fc.array(fc.nat(3), { minLength: 1, maxLength: 3 }), seed: fc.nat(255) })
    .map(({ dtype, shape, seed }) => {
      const bytes = shape.reduce((a, b) => a * b, DTYPE_BYTES[dtype]);
      return tensor(
        dtype,
        shape,
        Uint8Array.from({ length: bytes }, (_, i) => i * 31 + seed),
      );
    });
  const names = fc.uniqueArray(
    fc.tuple(
      text.filter((t) => t !== "__metadata__"),
      arbitrary,
    ),
    { selector: ([name]) => name, maxLength: 8 },
  );
  fc.assert(
    fc.property(names, fc.array(fc.tuple(text, text)), (entries, metadata) => {
      const file = saveSafetensors(new Map(entries), new Map(metadata));
      assert.is(new DataView(file.buffer).getUint32(0, true) % 8, 0);
      const read = loadSafetensors(file);
      assert.equal([...read.metadata!], [...new Map(metadata)]);
      assert.is(read.tensors.size, entries.length);
      for (const [name, { dtype, shape, data }] of entries) {
        const back = read.tensors.get(name)!;
        assert.equal([back.dtype, back.shape, [...back.data]], [dtype, shape, [...data]]);
      }
      // Neither the order of the caller's map nor a trip through a file changes a byte.
      assert.equal(saveSafetensors(new Map([...entries].reverse()), new Map(metadata)), file);
      assert.equal(saveSafetensors(read.tensors, read.metadata), file);
    }),
    { numRuns: 200 },
  );
});

const big = loaded(16);
const lazy = new Storage("1", "u8", 16);
const buffer = new Uint8Array(16);
const same = tensor("u8", [2], [1, 2]);
const shared: [name: string, tensors: [string, Tensor][], expected: [string, string][]][] = [
  [
    "nothing shared",
    [
      ["a", tensor("u8", [1], [1])],
      ["b", tensor("u8", [1], [1])],
    ],
    [],
  ],
  [
    "one tensor twice",
    [
      ["b", same],
      ["a", same],
    ],
    [["a", "b"]],
  ],
  [
    "two views of one storage",
    [
      ["a", view(big, {})],
      ["b", view(big, { offset: 3 })],
    ],
    [["b", "a"]],
  ],
  [
    "neighbours in one storage",
    [
      ["a", view(big, {})],
      ["b", view(big, { offset: 4 })],
    ],
    [],
  ],
  [
    "a chain of overlaps",
    [
      ["c", view(big, { offset: 6 })],
      ["a", view(big, {})],
      ["b", view(big, { offset: 3 })],
    ],
    [
      ["a", "c"],
      ["b", "c"],
    ],
  ],
  [
    "a view inside a longer one",
    [
      ["a", view(big, { shape: [16] })],
      ["b", view(big, { offset: 1 })],
      ["c", view(big, { offset: 9 })],
    ],
    [
      ["b", "a"],
      ["c", "a"],
    ],
  ],
  [
    "empty views",
    [
      ["a", view(big, {})],
      ["b", view(big, { shape: [0], offset: 1 })],
    ],
    [],
  ],
  [
    "two pieces of one buffer",
    [
      ["a", { dtype: "u8", shape: [8], data: buffer.subarray(0, 8) }],
      ["b", { dtype: "u8", shape: [8], data: buffer.subarray(8) }],
    ],
    [],
  ],
  [
    "the same piece of one buffer",
    [
      ["a", { dtype: "u8", shape: [8], data: buffer.subarray(4, 12) }],
      ["b", { dtype: "i8", shape: [2, 4], data: buffer.subarray(4, 12) }],
    ],
    [["b", "a"]],
  ],
  [
    "a view and the bytes of its storage",
    [
      ["a", view(big, {})],
      ["b", { dtype: "u8", shape: [16], data: big.bytes! }],
    ],
    [["b", "a"]],
  ],
  [
    "names that objects sort or swallow",
    [
      ["__proto__", same],
      ["2", same],
      ["1", same],
    ],
    [
      ["2", "__proto__"],
      ["1", "__proto__"],
    ],
  ],
];
for (const [name, tensors, expected] of shared)
  test(`safetensors: shared memory is copied and recorded: ${name}`, () => {
    const map = new Map(tensors);
    const read = loadSafetensors(saveSafetensors(map, new Map([["format", "pt"]])));
    const json = `{${expected.map(([alias, first]) => `"${alias}":"${first}"`).join()}}`;
    assert.equal([...read.metadata!], [["format", "pt"], ...(expected.length ? [[SHARED_KEY, json]] : [])]);
    for (const [key, { data }] of map) assert.equal([...read.tensors.get(key)!.data], [...data]);
  });

test("safetensors: strided, expanded and conjugated views are written dense", () => {
  const transposed = view(big, { shape: [2, 3], strides: [1, 2] });
  const expanded = view(big, { shape: [3], strides: [0], offset: 7 });
  const conjugate = TorchTensor.over(
    new Storage("2", "c64", 1, "cpu", new Uint8Array(new Float32Array([1, 2]).buffer)),
    { dtype: "c64", shape: [1], strides: [1], offset: 0 },
  );
  conjugate.conj = true;
  const { tensors } = loadSafetensors(
    saveSafetensors(
      new Map([
        ["t", transposed],
        ["e", expanded],
        ["c", conjugate],
      ]),
    ),
  );
  assert.equal([...tensors.get("t")!.data], [0, 2, 4, 1, 3, 5]);
  assert.equal([...tensors.get("e")!.data], [7, 7, 7]);
  assert.equal([...new Float32Array(tensors.get("c")!.data.slice().buffer)], [1, -2]);
});

test("safetensors: storages that are not loaded are read one by one, in file order", async () => {
  const tensors = new Map([
    ["b", view(lazy, {})],
    ["a", view(lazy, { offset: 2 })],
  ]);
  const pieces: Uint8Array[] = [];
  const asked: string[] = [];
  await writeSafetensors(tensors, async (piece) => void pieces.push(piece), {
    readTensor: async (_, name) => {
      asked.push(name);
      return new Uint8Array(4).fill(name.charCodeAt(0));
    },
  });
  const read = loadSafetensors(Buffer.concat(pieces));
  assert.equal(asked, ["a", "b"]);
  assert.is(read.metadata!.get(SHARED_KEY), '{"a":"b"}');
  assert.equal([...read.tensors.get("a")!.data], [97, 97, 97, 97]);
  await throwsCode(() => writeSafetensors(tensors, () => {}), "ARGUMENT", /not loaded/);
  await throwsCode(
    () => writeSafetensors(tensors, () => {}, { readTensor: () => new Uint8Array(3) }),
    "MISMATCH",
    /"a".*needs 4 bytes, found 3/,
  );
});

const anything = (value: unknown) => value as Tensor;
const refused: [name: string, tensors: [string, Tensor][], code: ErrorCode, message: RegExp][] = [
  [
    "a sparse tensor",
    [["w", anything(new SparseTensor("sparse_coo", new Map(), [2]))]],
    "UNSUPPORTED",
    /"w": it is sparse_coo/,
  ],
  [
    "a tensor on the meta device",
    [["w", TorchTensor.over(undefined, { dtype: "f32", shape: [1], strides: [1], offset: 0 })]],
    "UNSUPPORTED",
    /"w".*meta/,
  ],
  ...(["c128", "c32", "qi8", "qu8", "qi32", "qu4x2", "qu2x4"] as const).map(
    (dtype): [string, [string, Tensor][], ErrorCode, RegExp] => [
      dtype,
      [["w", tensor(dtype, [0], [])]],
      "UNSUPPORTED",
      new RegExp(`"w".*no ${TORCH_DTYPES[dtype]}`),
    ],
  ),
  ["a packed scalar", [["w", tensor("f4_e2m1fn_x2", [], [1])]], "UNSUPPORTED", /packed scalar/],
  ["the name of the metadata", [["__metadata__", same]], "ARGUMENT", /__metadata__/],
  ["a lone surrogate", [["\ud800", same]], "ARGUMENT", /surrogate/],
  ["too few bytes", [["w", tensor("f32", [2], [1, 2, 3, 4])]], "MISMATCH", /"w".*needs 8 bytes, found 4/],
  ["a negative size", [["w", tensor("u8", [-1], [])]], "ARGUMENT", /size -1/],
  ["a number", [["w", anything(1)]], "ARGUMENT", /"w" is no tensor/],
  ["a tensor without data", [["w", anything({ dtype: "u8", shape: [1] })]], "ARGUMENT", /no tensor/],
  ["more than memory", [["w", view(lazy, { shape: [2 ** 31], strides: [0] })]], "LIMIT", /in memory/],
];
for (const [name, tensors, code, message] of refused)
  test(`safetensors does not write ${name}`, () => throwsCode(() => saveSafetensors(new Map(tensors)), code, message));

if (haveFixtures("torch/torch2"))
  test("safetensors: the library's own file of the corpus, read and written, is the same file", () => {
    const file = fixtureBytes("torch/torch2/library.safetensors");
    const { tensors, metadata } = loadSafetensors(file);
    assert.equal(saveSafetensors(tensors, metadata), file);
  });

test.run();

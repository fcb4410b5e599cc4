/** Small files of our own in every container, and hand-made ones; the shared corpus is in corpus.test.ts. */
import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FileBytes } from "../src/bytes.js";
import { isUnitcellError } from "../src/errors.js";
import { loadTorch, openTorch } from "../src/formats/torch.js";
import { gather, rowMajorStrides, type Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import {
  isFloatAt,
  NumpyArray,
  NumpyScalar,
  type OrderedDict,
  PythonObject,
  TorchConstant,
  type TorchValue,
} from "../src/formats/values.js";
import type { DType, Tensor } from "../src/tensor.js";
import { call, global, int, ops, storage, str, tensor, torchZip, tuple, u64, utf8, zip } from "./build-files.js";
import { canonical, describeValue } from "./tagged.js";
import { throwsCode } from "./throws.js";

/** expected.json: tensors as { dtype, shape, hex }, dicts as { dict: pairs }, see make-torch.py. */
const expected: Record<string, unknown> = JSON.parse(readFileSync("test/fixtures/torch/expected.json", "utf8"));

function ownFixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(`test/fixtures/torch/${name}`));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** A loaded value in the JSON of make-torch.py. */
function describe(value: TorchValue): unknown {
  if (value instanceof Map) return { dict: [...value].map(([key, item]) => [describe(key), describe(item)]) };
  if (Array.isArray(value) || value instanceof Set) return [...value].map(describe);
  if (value instanceof PythonObject) return describe(value.state!);
  if (value instanceof TorchConstant) return String(value);
  if (value instanceof NumpyScalar) return value.value;
  if (value instanceof NumpyArray) return describeArray(value);
  if (value instanceof Uint8Array) return { bytes: hex(value) };
  if (typeof value === "bigint") return { int: String(value) };
  if (typeof value !== "object" || value === null) return value;
  const { dtype, shape, data } = value as Tensor;
  return { dtype, shape: [...shape], hex: hex(data) };
}

/** In row-major order, as make-torch.py writes it. */
function describeArray({ dtype, shape, fortran, bytes }: NumpyArray): unknown {
  const type = dtype.code.replace(/\d/, (size) => String(8 * Number(size))) as DType;
  const strides = rowMajorStrides([...shape].reverse()).reverse();
  const view = { dtype: type, shape, strides: fortran ? strides : rowMajorStrides(shape), offset: 0 };
  return { dtype: type, shape, hex: hex(gather(bytes, view)) };
}

for (const name of Object.keys(expected))
  for (const container of ["zip", "legacy", "deflated"])
    test(`loadTorch: ${name}.${container}.pt`, async () =>
      assert.equal(describe(await loadTorch(ownFixture(`${name}.${container}.pt`))), expected[name]));

for (const container of ["zip", "legacy", "deflated"])
  test(`loadTorch: ${container}: tied tensors share one storage, an object saved twice is one object`, async () => {
    const views = (await loadTorch(ownFixture(`views.${container}.pt`))) as Map<string, TorchTensor>;
    const [block, empty] = [views.get("block")!, views.get("empty")!];
    for (const name of ["tied", "tied_view", "transposed", "column", "offset", "every_third", "expanded"])
      assert.ok(views.get(name)!.storage === block.storage, name);
    assert.ok(empty.storage !== block.storage);
    assert.ok(views.get("tied") === block);
    assert.ok(views.get("tied_view") !== block);
    assert.ok(views.get("tied_view")!.data.buffer === block.data.buffer);
  });

test("loadTorch: aligned zip tensors are views of the input", async () => {
  const bytes = ownFixture("views.zip.pt");
  const views = (await loadTorch(bytes)) as Map<TorchValue, TorchValue>;
  assert.is((views.get("block") as Tensor).data.buffer, bytes.buffer);
});

test("loadTorch: a Blob gives what its bytes give", async () => {
  const bytes = ownFixture("dtypes.zip.pt");
  const blob = new Blob([bytes as Uint8Array<ArrayBuffer>]);
  assert.equal(canonical(describeValue(await loadTorch(blob))), canonical(describeValue(await loadTorch(bytes))));
});

const pair = tensor(storage("Float", "0", 2), 0, [2], [1]);
const little = new Uint8Array(Float32Array.of(1.5, -2).buffer);
const big = Uint8Array.of(0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0);

test("loadTorch: big-endian records are swapped", async () => {
  const file = torchZip(pair, { 0: big }, [{ name: "archive/byteorder", data: utf8("big") }]);
  // A Buffer's slice is a view: swapping in it would change the file, and the second load would swap back.
  for (const input of [file, Buffer.from(file), Buffer.from(file), new Blob([file as Uint8Array<ArrayBuffer>])])
    for (let times = 0; times < 2; times++) assert.equal([...((await loadTorch(input)) as Tensor).data], [...little]);
});

test("loadTorch: shape, stride and size are not confused", async () => {
  const block = new Uint8Array(Int16Array.of(0, 1, 2, 3, 4, 5).buffer);
  const file = torchZip(tensor(storage("Short", "0", 6), 1, [2, 2], [1, 3]), { 0: block });
  const { data, shape } = (await loadTorch(file)) as Tensor;
  assert.equal(shape, [2, 2]);
  assert.equal([...new Int16Array(data.slice().buffer)], [1, 4, 2, 5]);
});

test("loadTorch: a nested Map keeps integer and string keys apart", async () => {
  const file = torchZip(ops("EMPTY_DICT", "MARK", "BININT1", [0], str("int"), str("0"), str("text"), "SETITEMS"));
  assert.equal(
    await loadTorch(file),
    new Map<TorchValue, TorchValue>([
      [0, "int"],
      ["0", "text"],
    ]),
  );
});

test("loadTorch: numpy scalars in a Buffer are the numbers they are in its bytes", async () => {
  const buffer = Buffer.from(ownFixture("containers.zip.pt"));
  const before = Buffer.from(buffer);
  const value = (await loadTorch(buffer)) as Map<string, NumpyScalar>;
  assert.equal([value.get("np_float")!.value, value.get("np_int")!.value], [0.25, -3]);
  assert.is(Buffer.compare(buffer, before), 0);
});

const one = ops("BINFLOAT", [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
const listOf = (...items: number[][]) => ops("MARK", ...items, "LIST");

test("loadTorch: whole floats keep their type when an OrderedDict or a set is made from a list", async () => {
  const pairs = listOf(listOf(str("float"), one), listOf(str("int"), int(1)));
  const dict = (await loadTorch(torchZip(call(global("collections", "OrderedDict"), pairs)))) as OrderedDict;
  assert.equal([...dict], [
    ["float", 1],
    ["int", 1],
  ] as [TorchValue, TorchValue][]);
  assert.equal([isFloatAt(dict, "float"), isFloatAt(dict, "int")], [true, false]);
  const set = (await loadTorch(torchZip(call(global("__builtin__", "set"), listOf(one, int(2)))))) as Set<TorchValue>;
  assert.equal([isFloatAt(set, 1), isFloatAt(set, 2)], [true, false]);
});

test("openTorch: formats, names and facts", async () => {
  const file = await openTorch(torchZip(ops(pair, global("a", "f"), "TUPLE2"), { 0: little }), {
    unknownClasses: "inert",
  });
  assert.is(file.format, "torch");
  assert.equal(file.globals, [
    "torch._utils._rebuild_tensor_v2",
    "torch.FloatStorage",
    "collections.OrderedDict",
    "a.f",
  ]);
  assert.equal(file.unknownGlobals, ["a.f"]);
  assert.equal(
    [...file.info],
    [
      ["root", "archive"],
      ["version", 3],
      ["byteorder", "little"],
    ],
  );
  assert.is(file.storages.length, 1);
  assert.is((await openTorch(ownFixture("views.legacy.pt"))).format, "torch-legacy");
  assert.is((await openTorch(Uint8Array.from(ops("PROTO", [2], "NONE", "STOP")))).format, "pickle");
  const script = torchZip(tuple(), {}, [{ name: "archive/constants.pkl", data: ops("EMPTY_TUPLE", "STOP") }]);
  assert.is((await openTorch(script)).format, "torchscript");
});

test("openTorch: a tensor has no data before it is loaded", async () => {
  const file = await openTorch(torchZip(pair, { 0: little }));
  const root = file.root as TorchTensor;
  await throwsCode(() => root.data, "ARGUMENT", /storage "0" are not loaded/);
  assert.equal([...(await file.read(root))], [...little]);
  await throwsCode(() => root.data, "ARGUMENT");
  await file.load([root]);
  assert.equal([...root.data], [...little]);
});

for (const wrong of [{ dtype: "f32", shape: [0], data: new Uint8Array(0) }, new TorchTensor()] as Tensor[])
  test(`openTorch: load and read of ${wrong.constructor.name} that is no tensor of the file are ARGUMENT`, async () => {
    const file = await openTorch(torchZip(pair, { 0: little }));
    await throwsCode(() => file.load([wrong]), "ARGUMENT");
    await throwsCode(() => file.read(wrong), "ARGUMENT");
  });

test("openTorch: tensors and storages of another file are ARGUMENT, and so is what is no part of a storage", async () => {
  const [file, other] = await Promise.all([0, 1].map(() => openTorch(torchZip(pair, { 0: little }))));
  await throwsCode(() => file.load([other.root as TorchTensor]), "ARGUMENT", /of another file/);
  await throwsCode(() => file.read(other.root as TorchTensor), "ARGUMENT", /of another file/);
  await throwsCode(() => file.readStorage(other.storages[0], 0, 1), "ARGUMENT", /of another file/);
  const [storage] = file.storages;
  for (const [start, end] of [
    [-1, 1],
    [2, 1],
    [0, storage.byteLength + 1],
    [Number.NaN, 1],
  ])
    await throwsCode(() => file.readStorage(storage, start, end), "ARGUMENT", /a part of the/);
});

test("openTorch: two loads at once give one storage", async () => {
  const file = await openTorch(new Blob([Uint8Array.from(torchZip(pair, { 0: little }))]));
  const first = file.load().then(() => file.storages[0].bytes);
  await Promise.all([first, file.load()]);
  assert.is(file.storages[0].bytes, await first);
});

for (const limits of [{ zipEntries: Number.NaN }, { pickleOps: -1 }, { zipEntry: 5 }, { tensorRank: "9" }])
  test(`openTorch: the limits ${JSON.stringify(limits)} are ARGUMENT`, () =>
    throwsCode(() => openTorch(torchZip(pair, { 0: little }), { limits: limits as never }), "ARGUMENT"));

test("openTorch: an undefined limit is the default", () =>
  throwsCode(
    () => openTorch(new Uint8Array(0), { limits: { zipEntries: undefined } as never }),
    "CORRUPT",
    /an empty file/,
  ));

test("loadTorch: arrays of another realm and over shared memory", async () => {
  const bytes = torchZip(pair, { 0: little });
  const foreign = runInNewContext("(length) => new Uint8Array(length)")(bytes.length) as Uint8Array;
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  for (const copy of [foreign, shared]) {
    copy.set(bytes);
    assert.equal([...((await loadTorch(copy)) as TorchTensor).data], [...little]);
  }
});

test("loadTorch: an error of a source stays its own", async () => {
  const broken = { size: 100, slice: () => ({ arrayBuffer: () => Promise.reject(new Error("no network")) }) };
  const error = await loadTorch(broken).catch((thrown) => thrown);
  assert.is(error.message, "no network");
});

test("loadTorch: more than the runtime has arrays for is BACKEND", () => {
  const source = {
    size: 2 ** 45,
    slice: (start: number, end: number) => ({ arrayBuffer: async () => new ArrayBuffer(end - start) }),
  };
  return throwsCode(
    () => new FileBytes(source).read(0, 2 ** 44),
    "BACKEND",
    /cannot hold 17592186044416 bytes in one array/,
  );
});

for (const input of ["model.pt", null, undefined, 7, {}])
  test(`loadTorch: ${String(input)} is ARGUMENT`, () => throwsCode(() => loadTorch(input as never), "ARGUMENT"));

const zeros = new Array<number>(100).fill(0);
/** The header block of a tar with one empty file. */
function tarOf(name: string): number[] {
  const block = new Uint8Array(512);
  block.set(utf8(name));
  block.set(utf8("00000000000"), 124);
  block.set(utf8("        "), 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(utf8(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  return [...block];
}

const others: [name: string, bytes: number[], hint: string][] = [
  ["a git-lfs pointer", utf8("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"), "git-lfs-pointer"],
  ["a web page", utf8("\n<!DOCTYPE html><html></html>"), "html"],
  ["a JSON error", utf8('{"error":"not found"}'), "json"],
  ["gzip", [0x1f, 0x8b, 8, 0, 0, 0], "gzip"],
  ["HDF5", [0x89, ...utf8("HDF\r\n")], "hdf5"],
  ["a text that is not ASCII", utf8("\ufeffZugriff verweigert — bitte anmelden"), "text"],
  ["a web page with a byte order mark", utf8("\ufeff\n <html>"), "html"],
  ["a numpy array", [0x93, ...utf8("NUMPY\u0001")], "npy"],
  ["a zip of checkpoints", [...zip([{ name: "models/a.pt", data: [1] }])], "zip"],
  ["a file torch.save did not finish", [...zip([{ name: "a/version", data: utf8("3\n") }])], "unfinished"],
  ["a tar of checkpoints", tarOf("model.pt"), "tar"],
];

const cut: [name: string, bytes: Uint8Array, message: RegExp][] = [
  ["a zip", ownFixture("views.zip.pt").subarray(0, 900), /no end-of-directory record in 900 bytes.* a download that/],
  [
    "a legacy stream in its pickles",
    ownFixture("views.legacy.pt").subarray(0, 100),
    /the data ends at 100.* a download/,
  ],
  [
    "a legacy stream in its storages",
    ownFixture("views.legacy.pt").subarray(0, -8),
    /expected a file of \d+ bytes.* a download/,
  ],
  ["a bare pickle", Uint8Array.from(ops("PROTO", [2], "BINFLOAT", [0])), /8 more bytes.* a download that stopped/],
  [
    "a safetensors header",
    Uint8Array.from([...u64(100), ...utf8('{"a":')]),
    /header of 100 bytes.* a download that stopped/,
  ],
  [
    "a zip preallocated with zeros",
    Uint8Array.from([...ownFixture("views.zip.pt").subarray(0, 900), ...zeros]),
    /ends in zeros/,
  ],
];
for (const [name, bytes, message] of cut)
  test(`loadTorch: ${name} cut short says so`, () =>
    throwsCode(() => loadTorch(bytes), "CORRUPT", {
      message,
      check: (error) => assert.is(error.detail.hint, "truncated"),
    }));

for (const [name, bytes, hint] of others)
  test(`loadTorch: ${name} is UNSUPPORTED and says what it is`, () =>
    throwsCode(() => loadTorch(Uint8Array.from(bytes)), "UNSUPPORTED", {
      check: (error) => assert.is(error.detail.hint, hint),
    }));

for (const [name, bytes] of [
  ["empty", []],
  ["all zeros", new Array(64).fill(0)],
] as [string, number[]][])
  test(`loadTorch: ${name} is CORRUPT`, () => throwsCode(() => loadTorch(Uint8Array.from(bytes)), "CORRUPT"));

for (const container of ["zip", "legacy", "deflated"])
  test(`loadTorch: ${container} cut after any number of bytes is refused`, async () => {
    const whole = ownFixture(`views.${container}.pt`);
    for (let size = 0; size < whole.length; size += 7)
      await loadTorch(whole.subarray(0, size)).then(
        () => assert.unreachable(`loaded from ${size} of ${whole.length} bytes`),
        (error) => assert.ok(isUnitcellError(error), `${size} bytes: ${error.stack}`),
      );
  });

test("loadTorch: a legacy slice of a storage, saved as a value, has its bytes", async () => {
  const magic = ops("PROTO", [2], "LONG1", [10], [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]);
  const id = tuple(
    str("storage"),
    global("torch", "ShortStorage"),
    str("7"),
    str("cpu"),
    int(4),
    tuple(str("8"), int(1), int(2)),
  );
  const keys = ops("EMPTY_LIST", str("7"), "APPEND");
  const pickles = [magic, int(1001), ops("EMPTY_DICT"), ops(id, "BINPERSID"), keys];
  const data = [4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0];
  const file = Uint8Array.from([...pickles.flatMap((pickle) => ops(pickle, "STOP")), ...data]);
  const slice = (await loadTorch(file)) as Storage;
  assert.equal([slice.key, slice.numel, [...slice.bytes!]], ["8", 2, [2, 0, 3, 0]]);
});

test.run();

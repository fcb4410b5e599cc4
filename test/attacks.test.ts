/** One hostile input per cap and per refusal; the shared corpus of bad files is in bad-files.test.ts. */

import { readFileSync } from "node:fs";
import { deflateSync } from "fflate";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ByteReader, DEFAULT_LIMITS, FileBytes, type Limits } from "../src/bytes.js";
import { loadCheckpoint } from "../src/checkpoint.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { NamesFound, type PickleContext, readPickle } from "../src/formats/pickle.js";
import { RARE_OPCODES } from "../src/formats/rare-opcodes.js";
import { saveSafetensors } from "../src/formats/safetensors-save.js";
import { loadTorch, openTorch } from "../src/formats/torch.js";
import type { TorchTensor } from "../src/formats/torch-tensors.js";
import { PythonObject } from "../src/formats/values.js";
import { openZip } from "../src/formats/zip.js";
import {
  call,
  global,
  int,
  long,
  ops,
  type Size,
  storage,
  str,
  tensor,
  torchZip,
  tuple,
  u32,
  u64,
  utf8,
  type ZipPart,
  zip,
} from "./build-files.js";
import { throwsCode } from "./throws.js";

const text = utf8("hello hello hello");
const deflated = { name: "a/x", data: text, raw: deflateSync(Uint8Array.from(text)), method: 8 };
const named = (name: string): ZipPart[] => [
  { name: "a/x", data: text },
  { name, data: [] },
];

/** Opens and reads everything. */
async function readZip(bytes: Uint8Array): Promise<void> {
  const archive = await openZip(new FileBytes(bytes), { limits: DEFAULT_LIMITS, checkCrc: true });
  await archive.read([...archive.entries.values()]);
}

const zips: [name: string, bytes: Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["no end record", Uint8Array.from(text), "CORRUPT", /no end-of-directory record/],
  ["the last byte is missing", zip(named("a/y")).slice(0, -1), "CORRUPT", /no end-of-directory record/],
  ["two end records fit", zip([], { comment: [...zip([])] }), "CORRUPT", /two end records/],
  ["more entries than there are", zip(named("a/y"), { count: 3 }), "CORRUPT", /no directory entry|more bytes/],
  ["fewer entries than there are", zip(named("a/y"), { count: 1 }), "CORRUPT", /follow the last/],
  ["zipEntries", zip([], { zip64: true, count: DEFAULT_LIMITS.zipEntries + 1 }), "LIMIT", /100001 entries/],
  ["2^53 entries", zip([], { zip64: true, count: 2 ** 53 }), "CORRUPT", /beyond any file/],
  ["the directory starts elsewhere", zip(named("a/y"), { offset: 3 }), "CORRUPT", /should end at byte/],
  ["zipNameBytes", zip(named(`a/${"y".repeat(DEFAULT_LIMITS.zipNameBytes)}`)), "LIMIT", /1026 bytes/],
  ["encrypted", zip([{ name: "a/x", data: text, flags: 1 }]), "UNSUPPORTED", /encrypted/],
  ["method 93", zip([{ name: "a/x", data: text, method: 93 }]), "UNSUPPORTED", /method 93/],
  ["stored with two sizes", zip([{ name: "a/x", data: text, size: 5 }]), "CORRUPT", /sizes 17 and 5 differ/],
  ["duplicate names", zip(named("a/x")), "CORRUPT", /two entries are named/],
  ["names that differ in case", zip(named("a/X")), "CORRUPT", /two entries are named/],
  ["a local header with another name", zip([{ name: "a/x", data: text, localName: "a/y" }]), "CORRUPT", /disagrees/],
  [
    "two entries over one local record",
    zip([
      { name: "a/x", data: text },
      { name: "a/y", data: text, localName: "a/x", header: 0 },
    ]),
    "CORRUPT",
    /past the next record/,
  ],
  ["an offset past the end", zip([{ name: "a/x", data: text, header: 2 ** 31 }]), "CORRUPT", /past the next record/],
  [
    "a wrong CRC",
    zip([{ name: "a/x", data: text, crc: 1 }]),
    "CORRUPT",
    /CRC-32 [0-9a-f]{8}, the directory says 00000001/,
  ],
  ["not a deflate stream", zip([{ ...deflated, raw: [0xff, 0xff] }]), "CORRUPT", /not a valid deflate/],
  [
    "a deflate stream cut short",
    zip([{ ...deflated, raw: deflated.raw.subarray(0, 5) }]),
    "CORRUPT",
    /deflate|inflates/,
  ],
  ["inflates to more than declared", zip([{ ...deflated, size: 5 }]), "CORRUPT", /inflates beyond its 5 bytes/],
  ["inflates to less than declared", zip([{ ...deflated, size: 18 }]), "CORRUPT", /inflates to 17 bytes, expected 18/],
  ["declares 1 GB", zip([{ ...deflated, size: 2 ** 30 }]), "LIMIT", /inflated size to 1073741824/],
  ...["../x", "/x", "a//x", "a/./x", "a/../x", "a\\x", "C:/x", "a/\0x", ""].map(
    (name): [string, Uint8Array, ErrorCode, RegExp] => [
      `the name ${JSON.stringify(name)}`,
      zip(named(name)),
      "CORRUPT",
      /plain relative path/,
    ],
  ),
];
for (const [name, bytes, code, message] of zips)
  test(`zip attack: ${name}`, () => throwsCode(() => readZip(bytes), code, message));

test("zip attack: overlapping entries", () => {
  // The second local record, byte for byte, is the content of the first entry.
  const inner = zip([{ name: "a/y", data: text }]).subarray(0, 30 + 3 + text.length);
  const header = 30 + 3;
  const outer = zip([
    { name: "a/x", data: inner },
    { name: "a/y", data: text, header },
  ]);
  return throwsCode(() => readZip(outer), "CORRUPT", /past the next record/);
});

const plain: PickleContext = {
  rareOpcodes: RARE_OPCODES,
  classes: new Map(),
  constants: new Map(),
  isInert: () => false,
  limits: DEFAULT_LIMITS,
};
const readOps = (bytes: Uint8Array | number[]) =>
  readPickle(new ByteReader(Uint8Array.from(bytes)), plain, new NamesFound());

const pickles: [name: string, bytes: number[], code: ErrorCode, message: RegExp][] = [
  ["empty", [], "CORRUPT", /more bytes/],
  ["no STOP", ops("NONE"), "CORRUPT", /more bytes/],
  ["only STOP", ops("STOP"), "CORRUPT", /stack is empty/],
  ["STOP right after MARK", ops("NONE", "MARK", "STOP"), "CORRUPT", /stack is empty/],
  ["an unknown opcode", [0xff], "CORRUPT", /no opcode 0xff/],
  ["protocol 6", ops("PROTO", [6]), "UNSUPPORTED", /protocol 6/],
  ["a frame past the end", ops("FRAME", u64(2 ** 40)), "CORRUPT", /frame of 1099511627776/],
  ["TUPLE2 of one value", ops("NONE", "TUPLE2"), "CORRUPT", /stack is empty/],
  ["TUPLE1 across a mark", ops("NONE", "MARK", "TUPLE1"), "CORRUPT", /stack is empty/],
  ["APPENDS without MARK", ops("EMPTY_LIST", "APPENDS"), "CORRUPT", /needs a MARK/],
  ["APPEND to a tuple", ops("EMPTY_TUPLE", "NONE", "APPEND"), "CORRUPT", /append to a tuple/],
  ["SETITEM on a list", ops("EMPTY_LIST", "NONE", "NONE", "SETITEM"), "CORRUPT", /items of a list/],
  ["a list as key", ops("EMPTY_DICT", "EMPTY_LIST", "NONE", "SETITEM"), "CORRUPT", /a list cannot be a key/],
  ["an odd SETITEMS", ops("EMPTY_DICT", "MARK", "NONE", "SETITEMS"), "CORRUPT", /key has no value/],
  ["REDUCE of a string", ops(str("x"), "EMPTY_TUPLE", "REDUCE"), "CORRUPT", /a string cannot be called/],
  ["BUILD on a dict", ops("EMPTY_DICT", "EMPTY_DICT", "BUILD"), "CORRUPT", /takes no state/],
  ["a memo entry never stored", ops("BINGET", [3]), "CORRUPT", /memo entry 3/],
  ["OBJ without a class", ops("MARK", "OBJ"), "CORRUPT", /without a class/],
  ["a persistent id", ops("PERSID", utf8("1\n")), "CORRUPT", /persistent id/],
  ["EXT1", ops("EXT1", [1]), "UNSAFE", /extension number/],
  ["EXT2", ops("EXT2", [1, 0]), "UNSAFE", /extension number/],
  ["EXT4", ops("EXT4", u32(1)), "UNSAFE", /extension number/],
  ["NEXT_BUFFER", ops("NEXT_BUFFER"), "CORRUPT", /buffers outside/],
  ["READONLY_BUFFER", ops("NONE", "READONLY_BUFFER"), "CORRUPT", /buffers outside/],
  ["BINUNICODE of 4 GB", ops("BINUNICODE", u32(-1)), "CORRUPT", /4294967295 more bytes/],
  ["BINUNICODE8 of 2^63", ops("BINUNICODE8", u64(2n ** 63n)), "CORRUPT", /beyond any file/],
  ["BINBYTES8 of 2^40", ops("BINBYTES8", u64(2 ** 40)), "CORRUPT", /more bytes/],
  ["BINSTRING of negative length", ops("BINSTRING", u32(-1)), "CORRUPT", /-1 more bytes/],
  ["LONG4 of negative length", ops("LONG4", u32(-5)), "CORRUPT", /length -5/],
  ["LONG4 of 2 GB", ops("LONG4", u32(2 ** 31 - 1)), "CORRUPT", /more bytes/],
  [
    "integerBytes",
    ops("LONG4", u32(DEFAULT_LIMITS.integerBytes + 1), new Array(DEFAULT_LIMITS.integerBytes + 1).fill(1)),
    "LIMIT",
    /2049 bytes/,
  ],
  ["as many digits", ops("LONG", utf8(`${"9".repeat(200_000)}L\n`)), "LIMIT", /200000 digits/],
  ["digits that are none", ops("INT", utf8("1x\n")), "CORRUPT", /not an integer/],
  ["a float of many digits that is none", ops("FLOAT", utf8(`${"1".repeat(1_000_000)}x\n`)), "CORRUPT", /not a float/],
  ["a float that is none", ops("FLOAT", utf8("1.2.3\n")), "CORRUPT", /not a float/],
  ["STRING without quotes", ops("STRING", utf8("abc\n")), "CORRUPT", /quotes/],
  ["STRING with a broken escape", ops("STRING", utf8("'\\x4'\n")), "CORRUPT", /escape/],
  ["invalid UTF-8", ops("BINUNICODE", u32(1), [0xff]), "CORRUPT", /not UTF-8/],
];
for (const [name, bytes, code, message] of pickles)
  test(`pickle attack: ${name}`, () => throwsCode(() => readOps(bytes), code, message));

test("pickle attack: pickleOps", () => {
  const bytes = new Uint8Array(DEFAULT_LIMITS.pickleOps + 2);
  const [none, pop] = ops("NONE", "POP");
  for (let i = 0; i < bytes.length; i += 2) bytes.set([none, pop], i);
  return throwsCode(
    () => readPickle(new ByteReader(bytes), plain, new NamesFound()),
    "LIMIT",
    /more than 5000000 opcodes/,
  );
});

for (const opcode of ["EMPTY_LIST", "MARK"])
  test(`pickle attack: pickleStack of ${opcode}`, () =>
    throwsCode(
      () => readOps(new Uint8Array(DEFAULT_LIMITS.pickleStack + 1).fill(ops(opcode)[0])),
      "LIMIT",
      /more than 500000 values/,
    ));

test("pickle attack: 400 000 nested tuples load without recursion", async () => {
  const nested = new Uint8Array(400_000).fill(ops("TUPLE1")[0]);
  assert.ok(Array.isArray(await loadTorch(torchZip([...ops("NONE"), ...nested]))));
});

const od = call(global("collections", "OrderedDict"));
const floats = (count: number) => new Uint8Array(4 * count);
const two = storage("Float", "0", 2);
const view = (offset: Size, shape: Size[], strides: Size[]) =>
  torchZip(tensor(two, offset, shape, strides), { 0: floats(2) });
const pid = (...fields: number[][]) => torchZip(ops(tuple(...fields), "BINPERSID"), { 0: floats(2) });
const float = global("torch", "FloatStorage");
const rank = new Array<number>(DEFAULT_LIMITS.tensorRank + 1).fill(1);
const encode = (...args: number[][]) => torchZip(call(global("_codecs", "encode"), ...args));

const nan = ops("BINFLOAT", [0x7f, 0xf8, 0, 0, 0, 0, 0, 0]);
const numpyArray = call(global("numpy._core.multiarray", "_reconstruct"), global("numpy", "ndarray"), tuple(int(0)));

const files: [name: string, bytes: Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["one element past the end", view(1, [2], [1]), "CORRUPT", /needs 12 bytes, storage "0" has 8/],
  ["strides that reach past the end", view(0, [2], [2]), "CORRUPT", /needs 12 bytes/],
  ["an offset of 2^63", view(2n ** 63n, [1], [1]), "CORRUPT", /as tensor offset, found 9223372036854775808/],
  ["a stride of 2^62", view(0, [5], [2n ** 62n]), "CORRUPT", /as stride/],
  ["a negative size", view(0, [-1], [1]), "CORRUPT", /as size, found -1/],
  ["a negative stride", view(1, [2], [-1]), "CORRUPT", /as stride, found -1/],
  ["two sizes, one stride", view(0, [1, 1], [1]), "CORRUPT", /2 sizes and 1 strides/],
  ["tensorRank", view(0, rank, rank), "LIMIT", /65 dimensions/],
  ["2^36 elements from one float", view(0, [2 ** 18, 2 ** 18], [0, 0]), "LIMIT", /274877906944 bytes/],
  ["2^66 elements from one float", view(0, [2n ** 33n, 2n ** 33n], [0, 0]), "LIMIT", /dense copies/],
  [
    "a record shorter than its storage",
    torchZip(two, { 0: floats(1) }),
    "CORRUPT",
    /has 4 bytes, the pickle describes 8/,
  ],
  ["a record longer than its storage", torchZip(two, { 0: floats(3) }), "CORRUPT", /has 12 bytes/],
  [
    "NaN as two keys",
    torchZip(ops("EMPTY_DICT", nan, int(1), "SETITEM", nan, int(2), "SETITEM")),
    "UNSUPPORTED",
    /NaN is in a dict or set twice/,
  ],
  [
    "a numpy array of a dtype that is an object",
    torchZip(
      ops(
        numpyArray,
        tuple(int(1), tuple(int(1)), call(global("collections", "Counter")), ops("NEWFALSE"), str("x")),
        "BUILD",
      ),
    ),
    "CORRUPT",
    /an object of collections.Counter as dtype/,
  ],
  [
    "a name that would move the cursor",
    torchZip(storage("Float", "\u001b[2J\u202e", 2)),
    "CORRUPT",
    /^record "data\/\\u\{1b\}\[2J\\u\{202e\}" is missing$/,
  ],
  ["no record", torchZip(two), "CORRUPT", /record "data\/0" is missing/],
  [
    "a storage of 2^62 elements",
    torchZip(storage("Float", "0", 2n ** 62n), { 0: floats(2) }),
    "CORRUPT",
    /as storage size/,
  ],
  ["a key that climbs", torchZip(storage("Float", "../data.pkl", 2)), "CORRUPT", /missing/],
  [
    "one storage, two classes",
    torchZip(ops(two, storage("Double", "0", 2), "TUPLE2"), { 0: floats(2) }),
    "CORRUPT",
    /described twice/,
  ],
  ["an id of three fields", pid(str("storage"), float, str("0")), "CORRUPT", /persistent id/],
  ["an id tagged module", pid(str("module"), float, str("0"), str("cpu"), int(2)), "CORRUPT", /persistent id/],
  [
    "an id without a class",
    pid(str("storage"), str("torch.FloatStorage"), str("0"), str("cpu"), int(2)),
    "CORRUPT",
    /no storage class/,
  ],
  [
    "a storage class that torch does not have",
    torchZip(storage("Quaternion", "0", 1), { 0: floats(2) }),
    "UNSAFE",
    /torch\.QuaternionStorage/,
  ],
  ["a look-alike storage", torchZip(global("posix", "systemStorage")), "UNSAFE", /posix\.systemStorage/],
  [
    "OrderedDict of a number",
    torchZip(call(global("collections", "OrderedDict"), int(5))),
    "CORRUPT",
    /made from a number/,
  ],
  [
    "a bytearray of 2^31 zeros",
    torchZip(call(global("builtins", "bytearray"), int(2 ** 31 - 1))),
    "CORRUPT",
    /text and an encoding/,
  ],
  ["another codec", encode(str("x"), str("rot13")), "UNSAFE", /only latin1/],
  ["a character latin1 lacks", encode(str("Ω"), str("latin1")), "CORRUPT", /does not fit/],
  [
    "SETITEM on a tensor",
    torchZip(ops(tensor(two, 0, [2], [1]), str("dtype"), od, "SETITEM"), { 0: floats(2) }),
    "CORRUPT",
    /items of a tensor/,
  ],
  [
    "BUILD on a tensor",
    torchZip(ops(tensor(two, 0, [2], [1]), "EMPTY_DICT", "BUILD"), { 0: floats(2) }),
    "CORRUPT",
    /takes no state/,
  ],
  ["bytes after STOP in data.pkl", torchZip(ops("NONE", "STOP", "NONE")), "CORRUPT", /follow the pickle/],
  [
    "two root folders",
    torchZip(ops("NONE"), {}, [{ name: "other/data.pkl", data: [] }]),
    "CORRUPT",
    /outside the root/,
  ],
  [
    "version 11",
    zip([
      { name: "a/data.pkl", data: ops("NONE", "STOP") },
      { name: "a/version", data: utf8("11") },
    ]),
    "UNSUPPORTED",
    /version "11"/,
  ],
  ["no version", zip([{ name: "a/data.pkl", data: ops("NONE", "STOP") }]), "CORRUPT", /"version" is missing/],
  [
    "byte order middle",
    torchZip(ops("NONE"), {}, [{ name: "archive/byteorder", data: utf8("middle") }]),
    "UNSUPPORTED",
    /byte order/,
  ],
];
for (const [name, bytes, code, message] of files)
  test(`torch attack: ${name}`, () => throwsCode(() => loadTorch(bytes), code, message));

/** A list in a list, 100,000 levels deep: whatever turns it into text by recursion overflows the stack. */
const levels = 100_000;
const deep = ops(
  new Array(levels).fill(ops("EMPTY_LIST")[0]) as number[],
  new Array(levels - 1).fill(ops("APPEND")[0]) as number[],
);
const magic = ops("PROTO", [2], "LONG1", [10], [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19], "STOP");
const legacy = (protocol: number[], root: number[]) =>
  Uint8Array.from([
    ...magic,
    ...[protocol, ops("EMPTY_DICT"), root, ops("EMPTY_LIST")].flatMap((pickle) => ops(pickle, "STOP")),
  ]);
const storageView = (key: number[]) =>
  ops(tuple(str("storage"), float, str("0"), str("cpu"), int(2), tuple(key, int(0), int(1))), "BINPERSID");

/** A tar of these members, as torch wrote it before 0.1.10. */
function tar(members: Readonly<Record<string, number[]>>): Uint8Array {
  const blocks = Object.entries(members).map(([name, data]) => {
    const block = new Uint8Array(512 + 512 * Math.ceil(data.length / 512));
    const size = data.length.toString(8).padStart(11, "0");
    block.set(utf8(name));
    block.set(utf8(size), 124);
    block.set(utf8("        "), 148);
    const sum = block.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    block.set(utf8(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
    block.set(data, 512);
    return [...block];
  });
  return Uint8Array.from([...blocks.flat(), ...new Array<number>(1024).fill(0)]);
}

const nested: [name: string, bytes: Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["torch.device", torchZip(call(global("torch", "device"), str("cuda"), deep)), "CORRUPT", /names no device/],
  ["torch.device's type", torchZip(call(global("torch", "device"), deep, int(0))), "CORRUPT", /names no device/],
  ["a storage key", pid(str("storage"), float, deep, str("cpu"), int(2)), "CORRUPT", /storage key is a list/],
  ["a legacy protocol", legacy(deep, ops("NONE")), "UNSUPPORTED", /protocol a list/],
  ["the key of a storage view", legacy(int(1001), storageView(deep)), "CORRUPT", /key of a storage view is a list/],
  [
    "a storage's location in a tar",
    tar({ storages: ops(int(1), "STOP", tuple(str("0"), deep, float), "STOP") }),
    "CORRUPT",
    /location is a list/,
  ],
];
for (const [name, bytes, code, message] of nested)
  test(`torch attack: 100 000 nested lists as ${name}`, () => throwsCode(() => loadTorch(bytes), code, message));

const conj = (type: string, bit: string) =>
  call(
    global("torch._utils", "_rebuild_tensor_v2"),
    storage(type, "0", 2),
    int(0),
    tuple(int(1)),
    tuple(int(1)),
    ops("NEWFALSE"),
    od,
    ops("EMPTY_DICT", str(bit), "NEWTRUE", "SETITEM"),
  );
for (const [type, bit, bytes] of [
  ["Float", "conj", 8],
  ["Long", "neg", 16],
  ["ComplexHalf", "conj", 0],
] as const)
  test(`torch attack: the ${bit} bit on a ${type} tensor, asked for twice`, async () => {
    if (bytes === 0) return throwsCode(() => loadTorch(torchZip(conj(type, bit))), "UNSAFE");
    const tensor = (await loadTorch(torchZip(conj(type, bit), { 0: new Uint8Array(bytes) }))) as TorchTensor;
    for (let i = 0; i < 2; i++) await throwsCode(() => tensor.data, "UNSUPPORTED", /lazily/);
  });

test("torch attack: many tensors over one unaligned storage share one copy", async () => {
  const bytes = torchZip(ops(tensor(two, 0, [2], [1]), tensor(two, 1, [1], [1]), "TUPLE2"), {
    0: [1, 2, 3, 4, 5, 6, 7, 8],
  });
  for (let shift = 0; shift < 4; shift++) {
    const moved = new Uint8Array(bytes.length + 4);
    moved.set(bytes, shift);
    const tensors = (await loadTorch(moved.subarray(shift, shift + bytes.length))) as TorchTensor[];
    const [a, b] = tensors.map(({ data }) => data);
    assert.is(a.buffer, b.buffer);
    assert.equal([...a, ...b], [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8]);
  }
});

test("torch attack: conjugates count as copies", async () => {
  const many = ops(
    ...new Array<number[]>(10).fill(conj("ComplexDouble", "conj")),
    ...new Array<string>(9).fill("TUPLE2"),
  );
  const bytes = torchZip(many, { 0: new Uint8Array(32) });
  const limits = { copyFloorBytes: 0, copyRatio: 5 };
  assert.ok(await loadTorch(bytes, { limits }));
  await throwsCode(() => loadTorch(bytes, { limits: { ...limits, copyRatio: 4 } }), "LIMIT", /would take 144 bytes/);
});

const exec = (opcodes: number[]) => torchZip(ops("NONE"), {}, [{ name: "archive/constants.pkl", data: opcodes }]);
const scanned: [name: string, bytes: Uint8Array, code: ErrorCode | undefined][] = [
  ["a name", exec(ops(global("os", "system"), "STOP")), "UNSAFE"],
  ["a name in its second pickle", exec(ops("NONE", "STOP", global("os", "system"), "STOP")), "UNSAFE"],
  ["a name before it breaks", exec(ops(global("os", "system"), "APPENDS")), "UNSAFE"],
  [
    "a name after a tensor of its own",
    exec(ops(tensor(storage("Float", "7", 2), 0, [2], [1]), global("os", "system"), "STOP")),
    "UNSAFE",
  ],
  ["an extension code", exec(ops("EXT1", [1], "STOP")), "UNSAFE"],
  ["only a broken pickle", exec(ops("APPENDS")), undefined],
  ["more than pickleOps opcodes in all", exec(new Array<number[]>(60).fill(ops("NONE", "STOP")).flat()), "LIMIT"],
];
for (const [name, bytes, code] of scanned)
  test(`torch attack: another record holds ${name}`, async () => {
    const limits: Partial<Limits> = { pickleOps: 100 };
    if (code) await throwsCode(() => loadTorch(bytes, { limits }), code);
    else assert.is(await loadTorch(bytes, { limits }), null);
  });

test("torch attack: a dotted name is not the plain one of the same letters", async () => {
  const names = ops(global("torch._utils", "_rebuild_tensor"), global("torch", "_utils._rebuild_tensor"), "TUPLE2");
  await throwsCode(() => loadTorch(torchZip(names)), "UNSAFE", /torch\._utils\._rebuild_tensor/);
  const made = await loadTorch(torchZip(call(global("torch", "Size.numel"))), { unknownClasses: "inert" });
  assert.instance(made, PythonObject);
});

test("torch attack: errors name the entry and the byte", () =>
  throwsCode(() => loadTorch(torchZip(ops("NONE", "POP", "POP"))), "CORRUPT", {
    message: /^archive\/data\.pkl: malformed pickle: the stack is empty \(before byte 5\)$/,
    check: ({ detail }) => assert.equal(detail, { name: "archive/data.pkl", offset: 5 }),
  }));

test("torch attack: a file that names code and is damaged says both", () =>
  throwsCode(() => loadTorch(torchZip(ops(global("os", "system"), two))), "UNSAFE", {
    message: /os\.system; nothing was run, and it cannot be read: record "data\/0" is missing$/,
    check: ({ detail }) => assert.equal(detail.globals, ["os.system"]),
  }));

test("torch attack: __proto__ as a key changes no prototype", async () => {
  const file = torchZip(
    ops("EMPTY_DICT", str("__proto__"), ops("EMPTY_DICT", str("polluted"), int(1), "SETITEM"), "SETITEM"),
  );
  assert.instance(((await loadTorch(file)) as Map<string, unknown>).get("__proto__"), Map);
  assert.is(({} as Record<string, unknown>).polluted, undefined);
});

const zeros = new Uint8Array(20 * 2 ** 20);
const packed = deflateSync(zeros);
const deflatedZeros = torchZip(storage("Byte", "0", zeros.length), {}, [
  { name: "archive/data/0", data: zeros, raw: packed, method: 8 },
]);
const expanded = (bytes: number) => torchZip(tensor(storage("Byte", "0", 1), 0, [bytes], [0]), { 0: [1] });
const longNumber = (size: number) => torchZip(ops("LONG4", u32(size), new Array<number>(size).fill(1)));
const emptyTar = tar({
  storages: ops(int(0), "STOP", "EMPTY_LIST", "STOP"),
  tensors: ops(int(0), "STOP"),
  pickle: ops("NONE", "STOP"),
});

/** So many bytearrays of one text of 100 characters: 4240 bytes copied by a pickle of 390. */
const copies = (count: number) =>
  ops(
    ...[global("builtins", "bytearray"), "BINPUT", [0], str("x".repeat(100)), str("latin1"), "TUPLE2", "BINPUT", [1]],
    ...new Array<(string | number[])[]>(count).fill(["BINGET", [0], "BINGET", [1], "REDUCE", "POP"]).flat(),
    "NONE",
  );

/** Per limit: a file that needs `least` of it; most need more than the default allows. */
const caps: [name: keyof Limits, bytes: Uint8Array, least: number, others?: Partial<Limits>][] = [
  ["zipEntries", torchZip(ops("NONE")), 2],
  ["zipNameBytes", torchZip(ops("NONE"), {}, [{ name: `archive/${"x".repeat(2000)}`, data: [] }]), 2008],
  ["inflateFloorBytes", deflatedZeros, zeros.length, { inflateRatio: 1 }],
  ["inflateRatio", deflatedZeros, Math.ceil(zeros.length / deflatedZeros.length), { inflateFloorBytes: 0 }],
  ["pickleBytes", torchZip(str("x".repeat(92))), 100],
  ["pickleOps", torchZip(ops("NONE", "POP", "NONE")), 5],
  ["pickleCopyRatio", torchZip(copies(40)), 12],
  [
    "wideKeys",
    torchZip(ops("EMPTY_DICT", ...[1, 2, 3].flatMap((i) => [long(BigInt(i) << 60n), int(i), "SETITEM"]))),
    3,
  ],
  ["pickleStack", torchZip(ops("MARK", new Array<number>(600_000).fill(ops("NONE")[0]), "TUPLE")), 600_000],
  ["integerBytes", longNumber(4000), 4000],
  ["tensorRank", torchZip(tensor(two, 0, new Array(70).fill(1), new Array(70).fill(1)), { 0: floats(2) }), 70],
  ["copyFloorBytes", expanded(70 * 2 ** 20), 70 * 2 ** 20, { copyRatio: 0 }],
  ["copyRatio", expanded(1000), 1000, { copyFloorBytes: 0 }],
  ["wholeFileBytes", emptyTar, emptyTar.length],
  ["headerBytes", Uint8Array.from([...u64(8), ...utf8("{}      ")]), 8],
  [
    "headerEntries",
    saveSafetensors(
      new Map(["a", "b", "c"].map((name) => [name, { dtype: "u8", shape: [0], data: new Uint8Array(0) }])),
    ),
    3,
  ],
];
for (const [name, bytes, least, others] of caps)
  test(`limits: ${name} of ${least} loads the file, one less does not`, async () => {
    assert.is.not(await loadTorch(bytes, { limits: { ...others, [name]: least } }), undefined);
    await throwsCode(() => loadTorch(bytes, { limits: { ...others, [name]: least - 1 } }), "LIMIT");
  });

test("limits: settingsBytes of 8 reads the settings beside a file, one less does not", async () => {
  const files = new Map([
    [
      "a.pt",
      torchZip(ops("EMPTY_DICT", str("w"), tensor(storage("Float", "0", 1), 0, [1], [1]), "SETITEM"), {
        0: [0, 0, 0, 0],
      }),
    ],
    ["config.json", Uint8Array.from(utf8('{"a": 1}'))],
  ]);
  assert.is((await loadCheckpoint(files, { limits: { settingsBytes: 8 } })).args!.get("a"), 1);
  await throwsCode(() => loadCheckpoint(files, { limits: { settingsBytes: 7 } }), "LIMIT");
});

test("limits: every one has a row", () =>
  assert.equal([...caps.map(([name]) => name), "settingsBytes"].sort(), Object.keys(DEFAULT_LIMITS).sort()));

test("limits: parts of a deflated storage can be read any number of times", async () => {
  const file = await openTorch(deflatedZeros, { limits: { inflateFloorBytes: zeros.length } });
  for (let i = 0; i < 3; i++) assert.is((await file.readStorage(file.storages[0], 5, 9)).length, 4);
});

test("attack: deflated records that are never read count too, so that no description is bounded by them", () =>
  throwsCode(() => openTorch(deflatedZeros), "LIMIT", /inflated size to 20971520/));

/** Every byte of every own fixture, one at a time, set to a few values an attacker would try. */
const flips = [0x00, 0x28, 0x52, 0x62, 0x80, 0xff];
for (const name of ["views", "containers"])
  for (const container of ["zip", "legacy", "deflated"])
    test(`torch attack: no byte of ${name}.${container}.pt makes anything but a typed error`, async () => {
      const bytes = new Uint8Array(readFileSync(`test/fixtures/torch/${name}.${container}.pt`));
      for (const [at, original] of bytes.entries()) {
        bytes[at] = flips[at % flips.length];
        await loadTorch(bytes).catch((error) => assert.ok(isUnitcellError(error), `byte ${at}: ${error.stack}`));
        bytes[at] = original;
      }
    });

test.run();

/** One hostile input per cap and per refusal; the shared corpus of bad files is in bad-files.test.ts. */
import { readFileSync } from "node:fs";
import { deflateSync } from "fflate";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  ByteReader,
  MAX_INTEGER_BYTES,
  MAX_PICKLE_OPS,
  MAX_PICKLE_STACK,
  MAX_TENSOR_RANK,
  MAX_ZIP_ENTRIES,
  MAX_ZIP_NAME_BYTES,
} from "../src/bytes.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { type PickleContext, readPickle } from "../src/formats/pickle.js";
import { loadTorch } from "../src/formats/torch.js";
import { openZip } from "../src/formats/zip.js";
import {
  call,
  global,
  int,
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
  const archive = await openZip(bytes);
  for (const entry of archive.entries.values()) archive.read(entry);
}

const zips: [name: string, bytes: Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["no end record", Uint8Array.from(text), "CORRUPT", /no end-of-directory record/],
  ["the last byte is missing", zip(named("a/y")).slice(0, -1), "CORRUPT", /no end-of-directory record/],
  ["two end records fit", zip([], { comment: [...zip([])] }), "CORRUPT", /two end records/],
  ["more entries than there are", zip(named("a/y"), { count: 3 }), "CORRUPT", /no directory entry|more bytes/],
  ["fewer entries than there are", zip(named("a/y"), { count: 1 }), "CORRUPT", /follow the last/],
  ["MAX_ZIP_ENTRIES", zip([], { zip64: true, count: MAX_ZIP_ENTRIES + 1 }), "LIMIT", /100001 entries/],
  ["2^53 entries", zip([], { zip64: true, count: 2 ** 53 }), "CORRUPT", /beyond any file/],
  ["the directory starts elsewhere", zip(named("a/y"), { offset: 3 }), "CORRUPT", /directory should end/],
  ["MAX_ZIP_NAME_BYTES", zip(named(`a/${"y".repeat(MAX_ZIP_NAME_BYTES)}`)), "LIMIT", /1026 bytes/],
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
    /disagrees/,
  ],
  ["an offset past the end", zip([{ name: "a/x", data: text, header: 2 ** 31 }]), "CORRUPT", /more bytes/],
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

const plain: PickleContext = { globals: new Map() };
const readOps = (bytes: Uint8Array | number[]) => readPickle(new ByteReader(Uint8Array.from(bytes)), plain);

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
    "MAX_INTEGER_BYTES",
    ops("LONG4", u32(MAX_INTEGER_BYTES + 1), new Array(MAX_INTEGER_BYTES + 1).fill(1)),
    "LIMIT",
    /2049 bytes/,
  ],
  ["as many digits", ops("LONG", utf8(`${"9".repeat(200_000)}L\n`)), "LIMIT", /200000 digits/],
  ["digits that are none", ops("INT", utf8("1x\n")), "CORRUPT", /not an integer/],
  ["a float that is none", ops("FLOAT", utf8("1.2.3\n")), "CORRUPT", /not a float/],
  ["STRING without quotes", ops("STRING", utf8("abc\n")), "CORRUPT", /quotes/],
  ["STRING with a broken escape", ops("STRING", utf8("'\\x4'\n")), "CORRUPT", /escape/],
  ["invalid UTF-8", ops("BINUNICODE", u32(1), [0xff]), "CORRUPT", /not UTF-8/],
];
for (const [name, bytes, code, message] of pickles)
  test(`pickle attack: ${name}`, () => throwsCode(() => readOps(bytes), code, message));

test("pickle attack: MAX_PICKLE_OPS", () => {
  const bytes = new Uint8Array(MAX_PICKLE_OPS + 2);
  const [none, pop] = ops("NONE", "POP");
  for (let i = 0; i < bytes.length; i += 2) bytes.set([none, pop], i);
  return throwsCode(() => readPickle(new ByteReader(bytes), plain), "LIMIT", /more than 10000000 opcodes/);
});

for (const opcode of ["EMPTY_LIST", "MARK"])
  test(`pickle attack: MAX_PICKLE_STACK of ${opcode}`, () =>
    throwsCode(
      () => readOps(new Uint8Array(MAX_PICKLE_STACK + 1).fill(ops(opcode)[0])),
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
const rank = new Array<number>(MAX_TENSOR_RANK + 1).fill(1);
const encode = (...args: number[][]) => torchZip(call(global("_codecs", "encode"), ...args));

const files: [name: string, bytes: Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["one element past the end", view(1, [2], [1]), "CORRUPT", /needs 12 bytes, storage "0" has 8/],
  ["strides that reach past the end", view(0, [2], [2]), "CORRUPT", /needs 12 bytes/],
  ["an offset of 2^63", view(2n ** 63n, [1], [1]), "CORRUPT", /as offset, found 9223372036854775808/],
  ["a stride of 2^62", view(0, [5], [2n ** 62n]), "CORRUPT", /as stride/],
  ["a negative size", view(0, [-1], [1]), "CORRUPT", /as size, found -1/],
  ["a negative stride", view(1, [2], [-1]), "CORRUPT", /as stride, found -1/],
  ["two sizes, one stride", view(0, [1, 1], [1]), "CORRUPT", /2 sizes and 1 strides/],
  ["MAX_TENSOR_RANK", view(0, rank, rank), "LIMIT", /65 dimensions/],
  ["2^36 elements from one float", view(0, [2 ** 18, 2 ** 18], [0, 0]), "LIMIT", /274877906944 bytes/],
  ["2^66 elements from one float", view(0, [2n ** 33n, 2n ** 33n], [0, 0]), "LIMIT", /copying tensors/],
  [
    "a record shorter than its storage",
    torchZip(two, { 0: floats(1) }),
    "CORRUPT",
    /has 4 bytes, the pickle describes 8/,
  ],
  ["a record longer than its storage", torchZip(two, { 0: floats(3) }), "CORRUPT", /has 12 bytes/],
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
    "a complex storage",
    torchZip(storage("ComplexFloat", "0", 1), { 0: floats(2) }),
    "UNSUPPORTED",
    /ComplexFloatStorage/,
  ],
  ["a storage as a value", torchZip(two, { 0: floats(2) }), "UNSUPPORTED", /as a value/],
  ["a look-alike storage", torchZip(global("posix", "systemStorage")), "UNSAFE", /posix\.systemStorage/],
  [
    "OrderedDict of a number",
    torchZip(call(global("collections", "OrderedDict"), int(5))),
    "CORRUPT",
    /holds no items/,
  ],
  [
    "a bytearray of 2^31 zeros",
    torchZip(call(global("builtins", "bytearray"), int(2 ** 31 - 1))),
    "CORRUPT",
    /arguments/,
  ],
  ["another codec", encode(str("x"), str("rot13")), "UNSAFE", /only latin1/],
  ["a character latin1 lacks", encode(str("Ω"), str("latin1")), "CORRUPT", /does not fit/],
  [
    "SETITEM on a tensor",
    torchZip(ops(tensor(two, 0, [2], [1]), str("dtype"), od, "SETITEM"), { 0: floats(2) }),
    "CORRUPT",
    /items of an object/,
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

test("torch attack: __proto__ as a key changes no prototype", async () => {
  const file = torchZip(
    ops("EMPTY_DICT", str("__proto__"), ops("EMPTY_DICT", str("polluted"), int(1), "SETITEM"), "SETITEM"),
  );
  assert.instance(((await loadTorch(file)) as Map<string, unknown>).get("__proto__"), Map);
  assert.is(({} as Record<string, unknown>).polluted, undefined);
});

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

import { test } from "uvu";
import * as assert from "uvu/assert";
import { ByteReader, type ByteSource, FileBytes, type Range } from "../src/bytes.js";
import { throwsCode } from "./throws.js";

const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9);

const reads: [name: string, read: (r: ByteReader) => unknown, expected: unknown, used: number][] = [
  ["u8", (r) => r.u8(), 1, 1],
  ["u16 is little-endian", (r) => r.u16(), 0x0201, 2],
  ["u32 is little-endian", (r) => r.u32(), 0x04030201, 4],
  ["i32", (r) => r.i32(), 0x04030201, 4],
  ["f64, big-endian", (r) => r.f64(false), new DataView(bytes.buffer).getFloat64(0), 8],
  ["f64, little-endian", (r) => r.f64(), new DataView(bytes.buffer).getFloat64(0, true), 8],
  ["take is a view", (r) => r.take(3).buffer === bytes.buffer, true, 3],
];
for (const [name, read, expected, used] of reads)
  test(`ByteReader: ${name}`, () => {
    const reader = new ByteReader(bytes);
    assert.is(read(reader), expected);
    assert.is(reader.offset, used);
  });

const refused: [name: string, data: number[], read: (r: ByteReader) => unknown, message: RegExp][] = [
  ["u32 past the end", [1, 2, 3], (r) => r.u32(), /expected 4 more bytes at byte 0, the data ends at 3/],
  ["take past the end", [1], (r) => r.take(2), /expected 2 more bytes/],
  ["take of a negative count", [1], (r) => r.take(-1), /expected -1 more bytes/],
  ["u64 of 2^63", [0, 0, 0, 0, 0, 0, 0, 128], (r) => r.u64(), /9223372036854775808/],
  ["line without end", [65], (r) => r.line(), /has no end/],
];
for (const [name, data, read, message] of refused)
  test(`ByteReader: ${name} is CORRUPT`, () =>
    throwsCode(() => read(new ByteReader(Uint8Array.from(data))), "CORRUPT", message));

const readWhole = (input: ConstructorParameters<typeof FileBytes>[0]) => {
  const file = new FileBytes(input);
  return file.read(0, file.size);
};

test("FileBytes: bytes and buffers are read as views, a Blob is copied and counted", async () => {
  assert.is((await readWhole(bytes)).buffer, bytes.buffer);
  assert.is((await readWhole(bytes.buffer)).buffer, bytes.buffer);
  const file = new FileBytes(new Blob([bytes]));
  assert.equal([...(await file.read(2, 5))], [3, 4, 5]);
  assert.is(file.bytesRead, 3);
});

test("FileBytes: a Node Buffer is read as plain bytes, whose slice is a copy", async () => {
  const buffer = Buffer.from(bytes);
  for (const input of [buffer, { size: 9, slice: () => assert.unreachable() as never, read: () => buffer }]) {
    const read = await readWhole(input);
    assert.is(Object.getPrototypeOf(read), Uint8Array.prototype);
    assert.equal([...read], [...bytes]);
  }
});

test("FileBytes: a source that lies about its size", () =>
  throwsCode(
    () => readWhole({ size: 3, slice: () => new Blob(["ab"]) }),
    "MISMATCH",
    /expected 3 bytes at 0, the source gave 2/,
  ));

const outside: Range[] = [
  { start: 0, end: 10 },
  { start: 10, end: 10 },
  { start: -1, end: 1 },
  { start: 2, end: 1 },
  { start: Number.NaN, end: 1 },
];
for (const { start, end } of outside)
  test(`FileBytes: bytes ${start} to ${end} of 9 are CORRUPT, and nothing is asked for`, async () => {
    await throwsCode(() => new FileBytes(bytes).read(start, end), "CORRUPT");
    const source = { size: 9, slice: () => assert.unreachable() as never };
    await throwsCode(() => new FileBytes(source).read(start, end), "CORRUPT");
  });

test("FileBytes: neighbouring ranges come in one aligned request", async () => {
  const data = Uint8Array.from({ length: 400_000 }, (_, i) => i % 251);
  const requests: [number, number][] = [];
  const source: ByteSource = {
    size: data.length,
    slice: (start, end) => {
      requests.push([start, end]);
      return new Blob([data.subarray(start, end)]);
    },
  };
  const ranges: Range[] = [
    { start: 300_001, end: 300_010 },
    { start: 500, end: 600 },
    { start: 100, end: 400 },
    { start: 300, end: 700 },
    { start: 7, end: 7 },
  ];
  const found: Uint8Array[] = [];
  await new FileBytes(source).readRanges(ranges, (i, part) => {
    found[i] = part;
  });
  for (const [i, { start, end }] of ranges.entries())
    assert.is(Buffer.compare(found[i], data.subarray(start, end)), 0, `${start} to ${end}`);
  assert.equal(
    requests.sort(([a], [b]) => a - b),
    [
      [0, 700],
      [300_001 - (300_001 % 64), 300_010],
    ],
  );
});

test("FileBytes: a small input is fetched whole, a large one is not", async () => {
  for (const [size, fetched] of [
    [2 ** 20, 2 ** 20],
    [2 ** 20 + 1, 0],
  ]) {
    const file = new FileBytes(new Blob([new Uint8Array(size)]));
    await file.fetchSmall();
    assert.is(file.bytesRead, fetched);
    assert.is(file.memory !== undefined, fetched > 0);
  }
});

test("FileBytes: an error while one piece is taken ends the reading", async () => {
  const source = new Blob([new Uint8Array(64 * 2 ** 20)]);
  const file = new FileBytes(source);
  const ranges = Array.from({ length: 16 }, (_, i) => ({ start: i * 4 * 2 ** 20, end: (i + 1) * 4 * 2 ** 20 }));
  await file
    .readRanges(ranges, () => assert.unreachable("refused"))
    .then(
      () => assert.unreachable("the error is lost"),
      (error) => assert.match(error.message, "refused"),
    );
  assert.ok(file.bytesRead < source.size);
});

for (const wrong of ["model.pt", null, undefined, 7, {}, { size: -1, slice() {} }, { size: 5 }])
  test(`FileBytes: ${wrong === null ? "null" : JSON.stringify(wrong)} is ARGUMENT`, () =>
    throwsCode(() => new FileBytes(wrong as never), "ARGUMENT"));

test.run();

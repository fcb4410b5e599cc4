import { test } from "uvu";
import * as assert from "uvu/assert";
import { ByteReader, MAX_FILE_BYTES, readAll } from "../src/bytes.js";
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

test("readAll takes bytes as they are, buffers as views, and reads a Blob", async () => {
  assert.is(await readAll(bytes), bytes);
  assert.is((await readAll(bytes.buffer)).buffer, bytes.buffer);
  assert.equal(await readAll(new Blob([bytes])), bytes);
});

test("readAll: a source that lies about its size", () =>
  throwsCode(
    () => readAll({ size: 3, slice: () => new Blob(["ab"]) }),
    "MISMATCH",
    /expected 3 bytes, the source gave 2/,
  ));

test("readAll: above MAX_FILE_BYTES nothing is read", () =>
  throwsCode(() => readAll({ size: MAX_FILE_BYTES + 1, slice: () => assert.unreachable() as never }), "LIMIT"));

for (const wrong of ["model.pt", null, undefined, 7])
  test(`readAll: ${String(wrong)} is ARGUMENT`, () => throwsCode(() => readAll(wrong as never), "ARGUMENT"));

test.run();

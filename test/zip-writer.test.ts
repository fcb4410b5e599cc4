/** Archives as PyTorchFileWriter lays them out, in one array and streamed, beyond 4 GiB too. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, FileBytes } from "../src/bytes.js";
import { crc32 } from "../src/formats/crc32.js";
import { openZip } from "../src/formats/zip.js";
import { type ZipRecord, zipBytes, zipStream } from "../src/formats/zip-writer.js";
import { fixtureJson, haveFixtures } from "./fixtures.js";
import { throwsCode } from "./throws.js";

type Stored = ZipRecord<Iterable<Uint8Array>>;

function record(name: string, ...pieces: Uint8Array[]): Stored {
  return { name, size: pieces.reduce((sum, { length }) => sum + length, 0), pieces: () => pieces };
}

const text = (value: string) => new TextEncoder().encode(value);
const RECORDS = [
  record("a/data.pkl", text("pickle")),
  record("a/data/0", new Uint8Array(100).fill(7), new Uint8Array(1), text("end")),
  record("a/data/1"),
  record("a/Å", text("x".repeat(64))),
];

async function streamed(records: Parameters<typeof zipStream>[0]): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  await zipStream(records, async (bytes) => {
    parts.push(bytes);
  });
  return Buffer.concat(parts);
}

test("the strict reader reads what was written", async () => {
  const bytes = zipBytes(RECORDS);
  const archive = await openZip(new FileBytes(bytes), { limits: DEFAULT_LIMITS, checkCrc: true });
  assert.equal([...archive.entries.keys()], ["a/data.pkl", "a/data/0", "a/data/1", "a/Å"]);
  const view = new DataView(bytes.buffer);
  for (const { name, size, pieces } of RECORDS) {
    const entry = archive.entries.get(name)!;
    const content = Buffer.concat([...pieces([])]);
    const header = entry.header;
    const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    assert.is(start % 64, 0, `${name} is aligned`);
    assert.is(view.getUint16(header + 6, true), size === 0 ? 0x0800 : 0x0808);
    assert.equal(Buffer.from(bytes.subarray(start, start + size)), content);
    assert.is(entry.crc, crc32(content));
    if (size > 0) assert.is(view.getUint32(start + size, true), 0x08074b50, "descriptor");
  }
});

test("streamed, the bytes are the same", async () => {
  assert.equal(await streamed(RECORDS), Buffer.from(zipBytes(RECORDS)));
  assert.equal(zipBytes(RECORDS), zipBytes(RECORDS));
});

test("many small records reach the sink joined, a large piece as it is", async () => {
  const large = new Uint8Array(2 ** 20);
  const records = [...Array.from({ length: 1000 }, (_, i) => record(`a/${i}`, text("x"))), record("a/large", large)];
  const parts: Uint8Array[] = [];
  await zipStream(records, (bytes) => {
    parts.push(bytes);
  });
  assert.ok(parts.length < 10, `${parts.length} writes`);
  assert.ok(parts.includes(large));
});

test("a record is told the CRCs of those before it", () => {
  const seen: number[][] = [];
  const pieces = (crcs: readonly number[]) => {
    seen.push([...crcs]);
    return [text("x")];
  };
  zipBytes([...RECORDS.slice(0, 3), { name: "a/x", size: 1, pieces }]);
  assert.equal(seen, [RECORDS.slice(0, 3).map(({ pieces }) => crc32(Buffer.concat([...pieces([])])))]);
});

for (const [name, given] of [
  ["fewer", 3],
  ["more", 5],
] as const) {
  const wrong = { name: "a/x", size: 4, pieces: () => [new Uint8Array(given)] };
  test(`${name} bytes than named: MISMATCH`, async () => {
    await throwsCode(() => zipBytes([wrong]), "MISMATCH", /"a\/x" should have 4 bytes, it was given/);
    await throwsCode(() => streamed([wrong]), "MISMATCH", /"a\/x" should have 4 bytes, it was given/);
  });
}

test("a file too large for one array: BACKEND", () =>
  throwsCode(() => zipBytes([{ name: "a/x", size: 2 ** 52, pieces: () => [] }]), "BACKEND", /write it as a stream/));

/** Keeps a file's first and last bytes. */
class Ends {
  size = 0;
  private readonly kept = 4096;
  private head: Uint8Array = new Uint8Array(0);
  private tail: Uint8Array = new Uint8Array(0);

  add(bytes: Uint8Array): void {
    if (this.head.length < this.kept) this.head = Buffer.concat([this.head, bytes.subarray(0, this.kept)]);
    this.tail = Buffer.concat([this.tail, bytes.subarray(-this.kept)]).subarray(-this.kept);
    this.size += bytes.length;
  }

  /** Bytes at an offset near either end. */
  at(offset: number, length: number): Buffer {
    const tailStart = this.size - this.tail.length;
    const [kept, start] = offset >= tailStart ? [this.tail, offset - tailStart] : [this.head, offset];
    return Buffer.from(kept.subarray(start, start + length));
  }
}

/** torch 2.13's archive of 4.3 GB, made with skip_data: its storages have a CRC of 0. */
if (haveFixtures("torch"))
  test("4 GiB and more: torch's own zip64 layout", async () => {
    const torch = fixtureJson<{ size: number; segments: [offset: number, hex: string][] }>(
      "torch/torch2/zip64_big.json",
    );
    const [head, tail] = torch.segments.map(([start, hex]) => ({ start, bytes: Buffer.from(hex, "hex") }));
    const zeros = (size: number) => ({ size, pieces: () => zeroPieces(size) });
    const digits = /\d{40}/.exec(tail.bytes.toString("latin1"))![0];
    const records = [
      record("big/data.pkl", head.bytes.subarray(64, 64 + 0x140)),
      record("big/.format_version", text("1")),
      record("big/.storage_alignment", text("64")),
      record("big/byteorder", text("little")),
      { name: "big/data/0", ...zeros(12) },
      { name: "big/data/1", ...zeros(0x10000001c) },
      { name: "big/data/2", ...zeros(40) },
      record("big/version", text("3\n")),
      record("big/.data/serialization_id", text(digits)),
    ];
    const ends = new Ends();
    await zipStream(records, (bytes) => ends.add(bytes));
    assert.is(ends.size, torch.size);
    const [ourHead, ourTail] = [head, tail].map(({ start, bytes }) => ends.at(start, bytes.length));
    for (const file of [ourHead, ourTail]) maskCrcs(file);
    for (const { bytes } of [head, tail]) maskCrcs(bytes);
    assert.ok(ourHead.equals(head.bytes), "head");
    assert.ok(ourTail.equals(tail.bytes), "tail");
  });

/** Zeroes the CRCs in descriptors and directory entries. */
function maskCrcs(bytes: Buffer): void {
  for (let at = bytes.indexOf("PK"); at >= 0; at = bytes.indexOf("PK", at + 1)) {
    const signature = bytes.readUInt16LE(at + 2);
    if (signature === 0x0807) bytes.fill(0, at + 4, at + 8);
    if (signature === 0x0201) bytes.fill(0, at + 16, at + 20);
  }
}

function* zeroPieces(size: number): Iterable<Uint8Array> {
  const piece = new Uint8Array(8 * 2 ** 20);
  for (let at = 0; at < size; at += piece.length) yield piece.subarray(0, Math.min(piece.length, size - at));
}

test.run();

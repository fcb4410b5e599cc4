import { deflateSync } from "fflate";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, FileBytes, type Input } from "../src/bytes.js";
import { crc32 } from "../src/formats/crc32.js";
import { openZip, type ZipArchive } from "../src/formats/zip.js";
import { utf8, zip } from "./build-files.js";
import { throwsCode } from "./throws.js";

const open = (input: Input, checkCrc = true) => openZip(new FileBytes(input), { limits: DEFAULT_LIMITS, checkCrc });

async function readOne(archive: ZipArchive, name: string): Promise<Uint8Array> {
  return (await archive.read([archive.entries.get(name)!]))[0];
}

const text = utf8("hello hello hello");
const packed = deflateSync(Uint8Array.from(text));

const crcs: [text: string, expected: number][] = [
  ["", 0],
  ["a", 0xe8b7be43],
  ["123456789", 0xcbf43926],
  ["The quick brown fox jumps over the lazy dog", 0x414fa339],
];
for (const [input, expected] of crcs)
  test(`crc32 of ${JSON.stringify(input)}`, () => assert.is(crc32(Uint8Array.from(utf8(input))), expected));

const good: [name: string, archive: Uint8Array][] = [
  ["stored", zip([{ name: "a/x", data: text }])],
  ["deflated", zip([{ name: "a/x", data: text, raw: packed, method: 8 }])],
  ["zip64 sizes and offset", zip([{ name: "a/x", data: text, zip64: true }])],
  ["a zip64 end record", zip([{ name: "a/x", data: text }], { zip64: true })],
  ["a CRC of zero is one that was not computed", zip([{ name: "a/x", data: text, crc: 0 }])],
  ["an archive comment", zip([{ name: "a/x", data: text }], { comment: utf8("made by hand") })],
  [
    "a comment with an end-record signature",
    zip([{ name: "a/x", data: text }], { comment: utf8("PK\x05\x06 and twenty-two more bytes") }),
  ],
  [
    "directory entries",
    zip([
      { name: "a/", data: [] },
      { name: "a/x", data: text },
    ]),
  ],
  [
    "a name outside ASCII",
    zip([
      { name: "a/x", data: text },
      { name: "a/Å", data: [] },
    ]),
  ],
  [
    "an empty deflated entry beside it",
    zip([
      { name: "a/x", data: text },
      { name: "a/y", data: [], raw: [3, 0], method: 8 },
    ]),
  ],
];
for (const [name, archive] of good)
  test(`zip: ${name}`, async () => {
    for (const input of [archive, new Blob([archive as Uint8Array<ArrayBuffer>])]) {
      const opened = await open(input);
      assert.equal([...(await readOne(opened, "a/x"))], text);
      const entries = [...opened.entries.values()];
      const found = await opened.read(entries);
      assert.equal(
        found.map(({ length }) => length),
        entries.map(({ size }) => size),
      );
    }
  });

test("zip: a stored entry is a view of the file", async () => {
  const archive = zip([{ name: "a/x", data: text }]);
  assert.is((await readOne(await open(archive), "a/x")).buffer, archive.buffer);
});

test("zip: a part of a stored entry; a deflated one has no parts", async () => {
  const archive = zip([
    { name: "a/x", data: text },
    { name: "a/y", data: text, raw: packed, method: 8 },
  ]);
  for (const input of [archive, new Blob([archive as Uint8Array<ArrayBuffer>])]) {
    const opened = await open(input);
    assert.equal([...(await opened.readRange(opened.entries.get("a/x")!, 6, 9))!], text.slice(6, 9));
    assert.is(await opened.readRange(opened.entries.get("a/y")!, 6, 9), undefined);
  }
});

test("zip: a wrong CRC is read when it is not to be compared", async () => {
  const archive = zip([{ name: "a/x", data: text, crc: 1 }]);
  await throwsCode(async () => readOne(await open(archive), "a/x"), "CORRUPT", /CRC-32/);
  assert.equal([...(await readOne(await open(archive, false), "a/x"))], text);
});

test("zip: 300 kB deflated in many steps come back", async () => {
  const data = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i * 2654435761) >>> 24);
  const opened = await open(zip([{ name: "a/x", data, raw: deflateSync(data), method: 8 }]));
  assert.is(Buffer.compare(await readOne(opened, "a/x"), data), 0);
});

test.run();

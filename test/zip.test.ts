import { deflateSync } from "fflate";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crc32 } from "../src/formats/crc32.js";
import { openZip } from "../src/formats/zip.js";
import { utf8, zip } from "./build-files.js";

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
    const opened = await openZip(archive);
    assert.equal([...opened.read(opened.entries.get("a/x")!)], text);
    for (const entry of opened.entries.values()) assert.is(opened.read(entry).length, entry.size);
  });

test("zip: a stored entry is a view of the file", async () => {
  const archive = zip([{ name: "a/x", data: text }]);
  const opened = await openZip(archive);
  assert.is(opened.read(opened.entries.get("a/x")!).buffer, archive.buffer);
});

test("zip: 300 kB deflated in many steps come back", async () => {
  const data = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i * 2654435761) >>> 24);
  const opened = await openZip(zip([{ name: "a/x", data, raw: deflateSync(data), method: 8 }]));
  assert.equal(opened.read(opened.entries.get("a/x")!), data);
});

test.run();

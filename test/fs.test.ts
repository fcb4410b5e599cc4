/** Files: ranges of an open one in every size class, and new ones that appear whole or not at all. */
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fileSink, fileSource } from "../src/stores/fs.js";
import { throwsCode } from "./throws.js";

const folder = mkdtempSync(join(tmpdir(), "unitcell-fs-"));
const at = (name: string) => join(folder, name);
/** Longer than two pieces of the thread pool. */
const content = Uint8Array.from({ length: 9 * 2 ** 20 + 123 }, (_, i) => (i * 2654435761) >>> 24);
const file = at("content");
writeFileSync(file, content);

const MIB = 2 ** 20;
const ranges: [name: string, start: number, end: number][] = [
  ["nothing", 5, 5],
  ["one byte", 7, 8],
  ["a kilobyte", 1000, 2000],
  ["just what is read at once", 1, MIB],
  ["just what the pool reads", 1, MIB + 1],
  ["several pieces", 3, content.length - 2],
  ["everything", 0, content.length],
];
for (const [name, start, end] of ranges)
  test(`fileSource: ${name}`, async () => {
    const source = fileSource(file);
    assert.is(source.size, content.length);
    const bytes = await source.read(start, end);
    assert.is(bytes.byteOffset, 0);
    assert.is(bytes.buffer.byteLength, end - start);
    assert.is(Buffer.compare(bytes, content.subarray(start, end)), 0);
    const sliced = new Uint8Array(await source.slice(start, end).arrayBuffer());
    assert.is(Buffer.compare(sliced, bytes), 0);
    source.close();
    source.close();
  });

test("fileSource: a file that has become shorter", async () => {
  for (const size of [1000, 3 * MIB]) {
    const path = at("shrinks");
    writeFileSync(path, content.subarray(0, size));
    const source = fileSource(path);
    truncateSync(path, size - 10);
    const message = new RegExp(`expected ${size} bytes in .*shrinks, it now ends at ${size - 10}`);
    await throwsCode(() => source.read(1, size), "MISMATCH", message);
    source.close();
  }
});

test("fileSource: a file that grew keeps the size it had", async () => {
  const path = at("grows");
  writeFileSync(path, "abc");
  const source = fileSource(path);
  appendFileSync(path, "def");
  assert.is(source.size, 3);
  assert.equal([...(await source.read(0, source.size))], [97, 98, 99]);
  source.close();
});

test("fileSource: refusals", async () => {
  await throwsCode(() => fileSource(at("missing")), "NOT_FOUND", /missing/);
  await throwsCode(() => fileSource(folder), "ARGUMENT", /folder/);
  await throwsCode(() => fileSource("/dev/null"), "ARGUMENT", /device/);
  for (const length of [10, 2 * MIB]) {
    const source = fileSource(file);
    source.close();
    await throwsCode(() => source.read(0, length), "CORRUPT", /cannot read .*EBADF/);
  }
});

const parts = () => readdirSync(folder).filter((name) => name.endsWith(".part"));

for (const durable of [true, false])
  test(`fileSink: the file has its name only when it is complete${durable ? "" : ", not waiting for the disk"}`, async () => {
    const path = at("written");
    const sink = fileSink(path, { durable });
    for (let start = 0; start < content.length; start += 2 * MIB + 1)
      sink.write(content.subarray(start, start + 2 * MIB + 1));
    sink.write(new Uint8Array(0));
    assert.not(existsSync(path));
    assert.is(parts().length, 1);
    await sink.close();
    sink.abort();
    assert.is(Buffer.compare(readFileSync(path), content), 0);
    assert.equal(parts(), []);
    rmSync(path);
  });

test("fileSink: the former file stays until the new one is complete, and for good after abort", () => {
  const path = at("kept");
  writeFileSync(path, "before");
  const sink = fileSink(path);
  sink.write(Uint8Array.of(1, 2, 3));
  assert.is(readFileSync(path, "utf8"), "before");
  sink.abort();
  sink.abort();
  assert.is(readFileSync(path, "utf8"), "before");
  assert.equal(parts(), []);
});

test("fileSink: two at once, the last to close wins", async () => {
  const [first, second] = [fileSink(at("twice")), fileSink(at("twice"))];
  first.write(Uint8Array.of(49));
  second.write(Uint8Array.of(50));
  await second.close();
  await first.close();
  assert.is(readFileSync(at("twice"), "utf8"), "1");
});

test("fileSink: a symbolic link keeps pointing, its target is replaced", async () => {
  writeFileSync(at("target"), "old");
  symlinkSync("target", at("link"));
  const sink = fileSink(at("link"));
  const { write } = sink; // as a writer gets it
  write(Uint8Array.from(Buffer.from("new")));
  await sink.close();
  assert.ok(lstatSync(at("link")).isSymbolicLink());
  assert.is(readFileSync(at("target"), "utf8"), "new");
});

test("fileSink: refusals", async () => {
  await throwsCode(() => fileSink(at("missing/file")), "NOT_FOUND", /missing/);
  await throwsCode(() => fileSink(folder), "ARGUMENT", /folder/);
  await throwsCode(() => fileSink("/dev/null"), "ARGUMENT", /device/);
  const sink = fileSink(at("finished"));
  await sink.close();
  await throwsCode(() => sink.write(Uint8Array.of(1)), "ARGUMENT", /finished/);
  await throwsCode(() => sink.close(), "ARGUMENT", /finished/);
});

test("fileSink: a rename that fails leaves something to abort", async () => {
  const path = at("taken");
  const sink = fileSink(path);
  mkdirSync(path);
  await throwsCode(() => sink.close(), "BACKEND", /cannot write .*taken/);
  assert.is(parts().length, 1);
  sink.abort();
  assert.equal(parts(), []);
});

test.after(() => rmSync(folder, { recursive: true }));
test.run();

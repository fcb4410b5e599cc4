/** httpStore, download and copyFile: bad lines, servers that change their mind, and indices by strangers. */
import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ErrorCode } from "../src/errors.js";
import { httpSource } from "../src/stores/http.js";
import { httpStore } from "../src/stores/http-store.js";
import { readFile, type Store } from "../src/stores/store.js";
import { copyFile, download, type Progress } from "../src/stores/transfer.js";
import { readContract } from "./store.contract.js";
import { throwsCode } from "./throws.js";
import { type Handler, sendRange, startServer, type WebServer } from "./web-server.js";

const servers: WebServer[] = [];
test.after(() => {
  for (const server of servers) server.stop();
});

async function serve(handler: Handler): Promise<WebServer> {
  const server = await startServer(handler);
  servers.push(server);
  return server;
}

/** A folder of files, by their paths. */
const serveFiles = (files: Record<string, Uint8Array | string>) =>
  serve((request, response) => {
    const name = decodeURIComponent(request.url!.slice(1));
    const file = Object.hasOwn(files, name) ? files[name] : undefined;
    if (file === undefined) response.writeHead(404).end();
    else sendRange(request, response, typeof file === "string" ? Buffer.from(file) : file);
  });

const bytesOf = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) % 251);
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const FILE = bytesOf(100_000);
const DATE = "2024-01-01T00:00:00Z";
const entryOf = (key: string, bytes: Uint8Array, more: object = {}) => ({
  key,
  size: bytes.byteLength,
  modified: DATE,
  ...more,
});
const indexOf = (...files: unknown[]) => JSON.stringify({ files });

/** A store that keeps one thing: what was put. */
function recorder(): { store: Store; files: Map<string, Uint8Array> } {
  const files = new Map<string, Uint8Array>();
  const store = {
    put: async (key: string, content: Uint8Array, { ifAbsent = false } = {}) =>
      (!ifAbsent || !files.has(key)) && Boolean(files.set(key, content)),
  };
  return { store: store as unknown as Store, files };
}

const served = async (files: ReadonlyMap<string, Uint8Array>) => {
  const index = indexOf(...[...files].map(([key, bytes]) => entryOf(key, bytes)));
  return httpStore((await serveFiles({ ...Object.fromEntries(files), "index.json": index })).origin);
};
for (const { name, run } of readContract("http", served)) test(name, run);

// Positions about the ends of the file and of the network's pieces, and some in between.
const CUTS = [0, 1, 2, 1000, 16_383, 16_384, 16_385, 50_000, 65_535, 65_536, 65_537, 99_998, 99_999];
for (const cutAfter of CUTS)
  test(`a line that breaks after ${cutAfter} bytes, three times: the rest is asked for, and nothing twice`, async () => {
    let broken = 0;
    const server = await serve((request, response) => {
      const [first, last] = request.headers.range!.match(/\d+/g)!.map(Number);
      const breaks = last > 0 && broken < 3 && last - first + 1 > cutAfter;
      if (breaks) broken++;
      sendRange(request, response, FILE, breaks ? { cutAfter } : {});
    });
    const source = await httpSource(`${server.origin}/a.pt`);
    assert.equal(await source.read(0, FILE.length), FILE);
    const asked = server.requests.slice(1).map(({ headers }) => Number(headers.range!.match(/\d+/)![0]));
    for (const [i, first] of asked.entries()) assert.ok(i === 0 || first >= asked[i - 1], `${asked}`);
    // A cut is seen where the bytes in front of it had arrived; some systems drop those with the connection.
    if (cutAfter === 0) assert.equal(asked, [0, 0, 0, 0]);
    assert.ok(asked.length > 1);
  });

test("the opening request's one byte may be lost", async () => {
  const server = await serve((request, response, count) =>
    sendRange(request, response, FILE, count === 0 ? { cutAfter: 0 } : {}),
  );
  assert.is((await httpSource(`${server.origin}/a.pt`)).size, FILE.length);
});

test("a line that always breaks after some bytes ends with the file; one that brings none is given up", async () => {
  const slow = await serve((request, response) => sendRange(request, response, FILE, { cutAfter: 20_000 }));
  assert.equal(await download(await httpSource(`${slow.origin}/a.pt`)), FILE);
  const dead = await serve((request, response, count) => {
    const first = Number(request.headers.range!.match(/\d+/)![0]);
    if (count === 0) sendRange(request, response, FILE);
    else sendRange(request, response, FILE, { cutAfter: Math.max(0, 30_000 - first) });
  });
  const source = await httpSource(`${dead.origin}/a.pt`);
  await throwsCode(() => source.read(0, FILE.length), "BACKEND", /30000 of 100000 bytes came; 4 tries brought no more/);
});

test("an answer without a length that ends early is a cut too", async () => {
  const server = await serve((request, response, count) => {
    if (count !== 1) return sendRange(request, response, FILE);
    const headers = { "Content-Range": "bytes 0-99999/100000", ETag: '"one"', Connection: "close" };
    response.useChunkedEncodingByDefault = false;
    response.writeHead(206, headers).end(FILE.subarray(0, 70_000));
  });
  const source = await httpSource(`${server.origin}/a.pt`);
  assert.equal(await source.read(0, FILE.length), FILE);
  assert.is(server.requests[2].headers.range, "bytes=70000-99999");
});

test("a file that is another one when the line is back", async () => {
  const server = await serve((request, response, count) =>
    sendRange(request, response, FILE, count === 0 ? {} : count === 1 ? { cutAfter: 500 } : { etag: '"two"' }),
  );
  const source = await httpSource(`${server.origin}/a.pt`);
  await throwsCode(() => source.read(0, FILE.length), "MISMATCH", /has changed.*ETag was "one", and is "two"/);
});

test("an abort ends the tries", async () => {
  const abort = new AbortController();
  const server = await serve((request, response, count) => {
    sendRange(request, response, FILE, count === 0 ? {} : { cutAfter: 0 });
    if (count === 2) abort.abort();
  });
  const source = await httpSource(`${server.origin}/a.pt`, { signal: abort.signal });
  await throwsCode(() => source.read(0, 100), "BACKEND");
  assert.is(server.requests.length, 3);
});

/** Asserts that events begin at `first`, never go back, and end complete. */
function checkProgress(events: readonly Progress[], total: number, first: number): void {
  assert.is(events[0].loaded, first);
  for (const [i, event] of events.entries()) {
    assert.is(event.total, total);
    if (i > 0) assert.ok(event.loaded >= events[i - 1].loaded);
  }
  assert.is(events.at(-1)!.loaded, total);
}

test("progress: of a download by its pieces, of a store's file by what arrives", async () => {
  const large = bytesOf(9_000_001);
  const server = await serve((request, response, count) => {
    if (request.url !== "/a%20b.pt") response.writeHead(404).end();
    else sendRange(request, response, large, count % 3 === 1 ? { cutAfter: 100_000 } : {});
  });
  const arrived: Progress[] = [];
  const store = httpStore(server.origin, { onProgress: (progress) => arrived.push(progress) });
  const events: Progress[] = [];
  const bytes = await download(store, "a b.pt", { onProgress: (progress) => events.push(progress) });
  assert.ok(Buffer.from(bytes).equals(large));
  checkProgress(events, large.length, 0);
  assert.equal(
    events.map(({ key, url }) => [key, url]),
    events.map(() => ["a b.pt", undefined]),
  );
  assert.is(events.length, 4);
  checkProgress(arrived, large.length, arrived[0].loaded);
  assert.equal([arrived[0].key, arrived[0].url], ["a b.pt", `${server.origin}/a%20b.pt`]);
  assert.ok(arrived.length > events.length);
});

test("progress: a server without ranges, an empty file, a source by its address", async () => {
  const plain = await serve(
    (_request, response) => void response.writeHead(200, { "Content-Length": 1000 }).end(FILE.subarray(0, 1000)),
  );
  const events: Progress[] = [];
  const onProgress = (progress: Progress) => events.push(progress);
  const source = await httpSource(`${plain.origin}/a.pt`, { onProgress });
  checkProgress(events, 1000, events[0].loaded);
  events.length = 0;
  assert.equal(await download(source, { onProgress }), FILE.subarray(0, 1000));
  checkProgress(events, 1000, 0);
  assert.is(events[0].url, `${plain.origin}/a.pt`);
  events.length = 0;
  assert.is((await download(new Blob([]), { onProgress })).byteLength, 0);
  assert.equal(events, [{ loaded: 0, total: 0 }]);
});

test("a chunked answer without ranges reports once it is whole", async () => {
  const server = await serve((_request, response) => {
    response.writeHead(200);
    response.write(FILE.subarray(0, 10));
    response.end(FILE.subarray(10, 1000));
  });
  const events: Progress[] = [];
  await httpSource(`${server.origin}/a.pt`, { onProgress: (progress) => events.push(progress) });
  assert.equal(events, [{ url: `${server.origin}/a.pt`, loaded: 1000, total: 1000 }]);
});

test("a download: hashes, sizes, keys and a stop", async () => {
  const right = hashOf(FILE);
  const server = await serveFiles({ "a.pt": FILE });
  const store = httpStore(server.origin);
  assert.equal(await download(store, "a.pt", { sha256: right.toUpperCase() }), FILE);
  const wrong = "0".repeat(64);
  await throwsCode(() => download(store, "a.pt", { sha256: wrong }), "MISMATCH", {
    message: new RegExp(`a.pt: expected the SHA-256 ${wrong}.*has ${right}`),
  });
  await throwsCode(() => download(store, "a.pt", { sha256: "abc" }), "ARGUMENT", /64 hex digits/);
  await throwsCode(() => download(store, "b.pt"), "NOT_FOUND", /b\.pt/);
  await throwsCode(() => download(store, "../a.pt"), "ARGUMENT");
  await throwsCode(() => download(store, "a.pt", { limits: { wholeFileBytes: 99_999 } }), "LIMIT", /100000 bytes/);
  const never = { size: 10, slice: () => ({ arrayBuffer: () => new Promise<ArrayBuffer>(() => {}) }) };
  for (const source of [never, new Blob([FILE])])
    await throwsCode(() => download(source, { signal: AbortSignal.abort() }), "BACKEND", /aborted/);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 10);
  await throwsCode(() => download(never, { signal: abort.signal }), "BACKEND", /aborted/);
  const short = { size: 10, slice: () => ({ arrayBuffer: async () => new ArrayBuffer(9) }) };
  await throwsCode(() => download(short), "MISMATCH", /expected 10 bytes at 0, the source gave 9/);
});

test("the index's hash is checked, and a copy is written only when it is right", async () => {
  const sha256 = hashOf(FILE);
  const files = {
    "good.pt": FILE,
    "bad.pt": FILE.subarray(1),
    "unknown.pt": FILE,
    "index.json": indexOf(entryOf("good.pt", FILE, { sha256 }), entryOf("bad.pt", FILE, { sha256 })),
  };
  const store = httpStore((await serveFiles(files)).origin);
  const { store: to, files: written } = recorder();
  assert.is(await copyFile(store, "good.pt", to), true);
  assert.is(await copyFile(store, "good.pt", to, { ifAbsent: true }), false);
  assert.is(await copyFile(store, "unknown.pt", to, { as: "models/u.pt" }), true);
  await throwsCode(() => copyFile(store, "bad.pt", to), "MISMATCH", new RegExp(sha256));
  assert.equal([...written.keys()], ["good.pt", "models/u.pt"]);
  assert.equal(written.get("good.pt"), FILE);
});

test("a store: keys as paths, a query that is kept, folders, files that are not there", async () => {
  const asked: string[] = [];
  const names = ["a b.pt", "ä/ü.pt", "50%.pt", "a+b.pt", "a#b.pt", "a?b.pt", "(1)'*!.pt", ".hidden/a.pt"];
  const server = await serve((request, response) => {
    const { pathname, search } = new URL(request.url!, "http://host");
    asked.push(search);
    const name = decodeURIComponent(pathname).replace("/models/", "");
    if (name === "list.json") sendRange(request, response, Buffer.from(indexOf(...names.map((n) => entryOf(n, FILE)))));
    else if (names.includes(name)) sendRange(request, response, Buffer.from(name));
    else response.writeHead(name === "gone.pt" ? 410 : 404).end();
  });
  const store = httpStore(`${server.origin}/models?token=1#top`, { index: "list.json" });
  for (const name of names) assert.is(new TextDecoder().decode(await readFile(store, name)), name);
  assert.equal([await store.get("gone.pt"), await store.get("none.pt")], [undefined, undefined]);
  assert.ok(asked.every((search) => search === "?token=1"));
  const list = async (folder?: string) => {
    const keys: string[] = [];
    for await (const { key } of store.list(folder)) keys.push(key);
    return keys;
  };
  assert.equal(await list(), names.slice(0, -1));
  assert.equal([await list("ä"), await list(".hidden"), await list("a")], [["ä/ü.pt"], [".hidden/a.pt"], []]);
  for await (const entry of store.list("ä"))
    assert.equal([entry.size, entry.modified, entry.sha256], [FILE.length, new Date(DATE), undefined]);
  await throwsCode(() => store.get("\ud800.pt"), "ARGUMENT");
  await throwsCode(() => store.get("../secret.pt"), "ARGUMENT");
  for (const url of ["file:///a", "models", "http://[", "javascript:1"])
    await throwsCode(() => httpStore(url), "ARGUMENT");
});

const entry = (change: object) => indexOf({ ...entryOf("a.pt", FILE), ...change });
const INDICES: [what: string, index: string | Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["no JSON", "<html>", "CORRUPT", /is no JSON/],
  ["nothing", "", "CORRUPT", /is no JSON/],
  ["no UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "CORRUPT", /is no JSON/],
  ["deep nesting", "[".repeat(1_000_000), "CORRUPT", /is no JSON/],
  ["a list", "[]", "CORRUPT", /has no list "files"/],
  ["null", "null", "CORRUPT", /has no list "files"/],
  ["files that are no list", '{"files":{"length":1}}', "CORRUPT", /has no list "files"/],
  ["files of the prototype", '{"__proto__":{"files":[]}}', "CORRUPT", /has no list "files"/],
  ["null in the list", indexOf(null), "CORRUPT", /file 0: expected an object, found null/],
  ["no key", entry({ key: undefined }), "CORRUPT", /expected a key.*found nothing/],
  ["a key that leaves the folder", entry({ key: "../../etc/passwd" }), "CORRUPT", /expected a key.*passwd/],
  ["a key that starts at the root", entry({ key: "/etc/passwd" }), "CORRUPT", /expected a key/],
  ["a key that is a number", entry({ key: 1 }), "CORRUPT", /expected a key.*found 1/],
  ["a key that nests deeply", `{"files":[{"key":${"[".repeat(1e5)}${"]".repeat(1e5)}}]}`, "CORRUPT", /found a list or/],
  ["a key of a million characters", entry({ key: "a".repeat(1_000_000) }), "CORRUPT", /expected a key.{1,200}$/],
  ["a negative size", entry({ size: -1 }), "CORRUPT", /expected a size.*found -1/],
  ["half a byte", entry({ size: 0.5 }), "CORRUPT", /expected a size/],
  ["a size beyond numbers", '{"files":[{"key":"a","size":1e999,"modified":""}]}', "CORRUPT", /expected a size/],
  ["a size as text", entry({ size: "1" }), "CORRUPT", /expected a size.*"1"/],
  ["no date", entry({ modified: undefined }), "CORRUPT", /expected a date.*found nothing/],
  ["a date in words", entry({ modified: "Mon, 01 Jan 2024 00:00:00 GMT" }), "CORRUPT", /expected a date/],
  ["a 13th month", entry({ modified: "2024-13-01T00:00:00Z" }), "CORRUPT", /expected a date/],
  ["a short hash", entry({ sha256: "abc" }), "CORRUPT", /expected a SHA-256.*"abc"/],
  ["a hash that is null", entry({ sha256: null }), "CORRUPT", /expected a SHA-256.*null/],
  ["a file twice", indexOf(entryOf("a", FILE), entryOf("a", FILE)), "CORRUPT", /names a twice/],
  ["too much", " ".repeat(16 * 2 ** 20 + 1), "LIMIT", /16777217 bytes, more than 16777216/],
];
for (const [what, index, code, message] of INDICES)
  test(`an index of ${what} is ${code}`, async () => {
    const store = httpStore((await serveFiles({ "index.json": index, "a.pt": FILE })).origin);
    const all = async () => {
      for await (const _ of store.list()) assert.unreachable();
    };
    await throwsCode(all, code, message);
    await throwsCode(() => download(store, "a.pt"), code, message);
    // What needs no index works.
    assert.is((await store.get("a.pt"))?.size, FILE.length);
  });

test("an index that is not there, is refused, or comes whole and too long", async () => {
  const all = async (server: WebServer) => {
    for await (const _ of httpStore(server.origin).list()) assert.unreachable();
  };
  await throwsCode(async () => all(await serveFiles({})), "NOT_FOUND", /index\.json.*404/);
  const refused = await serve((_request, response) => void response.writeHead(403).end());
  await throwsCode(() => all(refused), "BACKEND", /403/);
  await throwsCode(() => httpStore(refused.origin).hashOf("a.pt"), "BACKEND", /403/);
  const endless = await serve((_request, response) => {
    response.writeHead(200);
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(2 ** 20, " ")));
    };
    response.on("drain", more);
    more();
  });
  await throwsCode(() => all(endless), "LIMIT", /more than 16777216/);
});

test.run();

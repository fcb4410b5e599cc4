/** httpSource against real servers: what well-behaved ones do, and what the others do. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ErrorCode } from "../src/errors.js";
import { openTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { httpSource } from "../src/stores/http.js";
import { inspectCheckpoint } from "../src/summary.js";
import type { Tensor } from "../src/tensor.js";
import { throwsCode } from "./throws.js";

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

const servers: Server[] = [];
test.after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** Starts a server; `count` is the number of earlier requests. */
async function serve(handler: Handler): Promise<{ url: string; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    handler(request, response, requests.length);
    requests.push(request);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.pt`, requests };
}

const FILE = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

/** A range as a good server sends it; `change` alters its headers. */
function sendRange(
  request: IncomingMessage,
  response: ServerResponse,
  file: Uint8Array = FILE,
  change: object = {},
): void {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")!.map(Number);
  if (first >= file.length) {
    response.writeHead(416, { "Content-Range": `bytes */${file.length}` }).end();
    return;
  }
  const end = Math.min(last + 1, file.length);
  response
    .writeHead(206, {
      "Content-Range": `bytes ${first}-${end - 1}/${file.length}`,
      "Content-Length": end - first,
      ETag: '"one"',
      "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
      ...change,
    })
    .end(file.subarray(first, end));
}

test("ranges: only what is asked for, with the caller's headers", async () => {
  const { url, requests } = await serve((request, response) => sendRange(request, response));
  const source = await httpSource(url, { headers: { Authorization: "Bearer token" } });
  assert.equal([source.size, source.ranges], [1000, true]);
  assert.equal(await source.read(100, 110), FILE.slice(100, 110));
  assert.equal(new Uint8Array(await source.slice(990, 1000).arrayBuffer()), FILE.slice(990));
  assert.is((await source.read(5, 5)).byteLength, 0);
  assert.equal(
    requests.map(({ headers }) => [headers.range, headers.authorization, headers["accept-encoding"]]),
    ["bytes=0-0", "bytes=100-109", "bytes=990-999"].map((range) => [range, "Bearer token", "identity"]),
  );
});

test("an empty file, with and without ranges", async () => {
  const ranged = await serve((request, response) => sendRange(request, response, new Uint8Array(0)));
  assert.is((await httpSource(ranged.url)).size, 0);
  const plain = await serve((_request, response) => void response.writeHead(200).end());
  assert.is((await httpSource(plain.url)).size, 0);
});

test("a server without ranges: the file is read once, when it is small enough", async () => {
  for (const headers of [{ "Content-Length": 1000 }, { "Transfer-Encoding": "chunked" }]) {
    const { url, requests } = await serve((_request, response) => void response.writeHead(200, headers).end(FILE));
    const source = await httpSource(url);
    assert.equal([source.size, source.ranges], [1000, false]);
    assert.equal(await source.read(100, 110), FILE.slice(100, 110));
    assert.is(requests.length, 1);
    await throwsCode(
      () => httpSource(url, { wholeFileBytes: 999 }),
      "UNSUPPORTED",
      /no ranges.*too large to read whole/,
    );
  }
});

const OPENING: [what: string, handler: Handler, code: ErrorCode, message: RegExp][] = [
  ["404", (_q, response) => void response.writeHead(404).end("no"), "NOT_FOUND", /answers 404 Not Found$/],
  ["410", (_q, response) => void response.writeHead(410).end(), "NOT_FOUND", /answers 410/],
  ["403", (_q, response) => void response.writeHead(403).end(), "BACKEND", /answers 403 Forbidden$/],
  ["500", (_q, response) => void response.writeHead(500).end(), "BACKEND", /answers 500/],
  ["no content", (_q, response) => void response.writeHead(204).end(), "BACKEND", /answers 204/],
  ["a connection that is closed", (request) => void request.socket.destroy(), "BACKEND", /cannot be reached: /],
  [
    "a part without Content-Range",
    (_q, response) => void response.writeHead(206, { "Content-Length": 1 }).end("x"),
    "UNSUPPORTED",
    /Content-Range absent/,
  ],
  [
    "a size that is not told",
    (_q, response) => void response.writeHead(206, { "Content-Range": "bytes 0-0/*" }).end("x"),
    "UNSUPPORTED",
    /bytes 0-0\/\*/,
  ],
  [
    "a compressed part",
    (request, response) => sendRange(request, response, FILE, { "Content-Encoding": "gzip" }),
    "UNSUPPORTED",
    /compressed by gzip/,
  ],
  [
    "more bytes than asked for",
    (_q, response) => void response.writeHead(206, { "Content-Range": "bytes 0-0/1000" }).end("xyz"),
    "MISMATCH",
    /expected 1 bytes, the server sent at least 3/,
  ],
  [
    "a whole file that is cut",
    (_q, response) => {
      response.writeHead(200, { "Content-Length": 1000 });
      response.write(FILE.subarray(0, 10), () => response.destroy());
    },
    "BACKEND",
    /broke off/,
  ],
];
for (const [what, handler, code, message] of OPENING)
  test(`opening: ${what} is ${code}`, async () => {
    const { url } = await serve(handler);
    await throwsCode(() => httpSource(url), code, message);
  });

/** What the second request gets, after a good first one. */
const READING: [what: string, handler: Handler, code: ErrorCode, message: RegExp][] = [
  ["another ETag", (q, r) => sendRange(q, r, FILE, { ETag: '"two"' }), "MISMATCH", /has changed.*ETag was "one"/],
  ["another date", (q, r) => sendRange(q, r, FILE, { "Last-Modified": "x" }), "MISMATCH", /has changed.*date was/],
  ["another size", (q, r) => sendRange(q, r, FILE.subarray(0, 500)), "MISMATCH", /had 1000 bytes, and has 500/],
  ["a file that has become too short", (q, r) => sendRange(q, r, FILE.subarray(0, 50)), "MISMATCH", /are gone/],
  ["the whole file", (_q, r) => void r.writeHead(200).end(FILE), "MISMATCH", /now sends the whole file/],
  [
    "another range",
    (q, r) => sendRange(q, r, FILE, { "Content-Range": "bytes 0-9/1000" }),
    "MISMATCH",
    /asked for bytes 100 to 109, the server sent 0 to 9/,
  ],
  [
    "a cut body",
    (q, r) => {
      const first = Number(/\d+/.exec(q.headers.range!)![0]);
      r.writeHead(206, {
        "Content-Range": `bytes ${first}-109/1000`,
        "Content-Length": 110 - first,
        ETag: '"one"',
        "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
      });
      // No byte beyond the fifth ever comes.
      r.flushHeaders();
      r.write(FILE.subarray(first, 105), () => r.destroy());
    },
    "BACKEND",
    /broke off.*5 of 10 bytes came; 4 tries brought no more/,
  ],
  [
    "a server that is gone",
    (q) => void q.socket.destroy(),
    "BACKEND",
    /cannot be reached.*0 of 10 bytes came; 4 tries brought no more/,
  ],
  ["a file that is gone", (_q, r) => void r.writeHead(404).end(), "NOT_FOUND", /answers 404/],
];
for (const [what, handler, code, message] of READING)
  test(`reading: ${what} is ${code}`, async () => {
    const { url } = await serve((request, response, count) =>
      count === 0 ? sendRange(request, response) : handler(request, response, count),
    );
    const source = await httpSource(url);
    await throwsCode(() => source.read(100, 110), code, message);
  });

test("a weak ETag names the same content as the strong one", async () => {
  const { url } = await serve((request, response, count) =>
    sendRange(request, response, FILE, count === 0 ? { ETag: 'W/"one"' } : {}),
  );
  assert.is((await (await httpSource(url)).read(0, 10)).byteLength, 10);
});

test("addresses of other kinds, and a stop signal", async () => {
  for (const url of ["file:///etc/hosts", "data:,x", "model.pt"]) await throwsCode(() => httpSource(url), "ARGUMENT");
  const { url } = await serve((request, response) => sendRange(request, response));
  const abort = new AbortController();
  const source = await httpSource(new URL(url), { signal: abort.signal });
  abort.abort();
  await throwsCode(() => source.read(0, 10), "BACKEND", /abort/);
});

test("a fetch of the caller's", async () => {
  const asked: unknown[] = [];
  const answer = async (url: unknown, options: RequestInit) => {
    asked.push([url, (options.headers as Record<string, string>).Range]);
    return new Response(FILE.slice(0, 1), { status: 206, headers: { "Content-Range": "bytes 0-0/1000" } });
  };
  const source = await httpSource("https://example.org/a.pt", { fetch: answer as unknown as typeof fetch });
  assert.is(source.size, 1000);
  assert.equal(asked, [["https://example.org/a.pt", "bytes=0-0"]]);
});

test("a checkpoint of 8 MB is inspected, and one tensor read, for a fraction of it", async () => {
  const state = new Map<TorchValue, TorchValue>();
  for (let i = 0; i < 8; i++)
    state.set(`layer${i}.weight`, { dtype: "f32", shape: [512, 512], data: new Uint8Array(2 ** 20).fill(i) } as Tensor);
  const bytes = saveTorch(state);
  const { url, requests } = await serve((request, response) => sendRange(request, response, bytes));
  const source = await httpSource(url);
  const summary = await inspectCheckpoint(source);
  assert.is(summary.parameters, 8 * 512 * 512);
  assert.ok(summary.bytesRead < 200_000, `${summary.bytesRead}`);
  const file = await openTorch(source);
  const data = await file.read((file.root as Map<TorchValue, TorchValue>).get("layer5.weight") as Tensor);
  assert.equal([data.byteLength, data[0], data.at(-1)], [2 ** 20, 5, 5]);
  assert.ok(file.bytesRead < 2 ** 20 + 200_000, `${file.bytesRead}`);
  assert.ok(requests.length < 15, `${requests.length}`);
});

test.run();

/** s3Store against a real server, and against answers that no good server gives. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import type { ErrorCode } from "../src/errors.js";
import { type S3Client, s3Store } from "../src/stores/s3.js";
import { parseXml } from "../src/stores/s3-xml.js";
import { type ReadStore, readFile, type Store } from "../src/stores/store.js";
import { BUCKET, clientOf, S3RVER, type S3Server, startS3 } from "./start-s3.js";
import { storeContract } from "./store.contract.js";
import { throwsCode } from "./throws.js";

const client = clientOf("S3RVER");

async function keysOf(store: ReadStore, folder?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) keys.push(key);
  return keys.sort();
}

const text = (words: string) => new TextEncoder().encode(words);

if (existsSync(S3RVER)) testServer();
else console.log(`skipped: no S3 server at ${S3RVER} (.ci/run installs one)`);

function testServer(): void {
  const folder = mkdtempSync(join(tmpdir(), "unitcell-s3-"));
  let server: S3Server;
  let count = 0;
  /** An empty store: a prefix that none had before. */
  const makeStore = (): Store => s3Store(`${server.url}/store ${++count}/a+b`, { client });

  test.before(async () => {
    server = await startS3(folder);
  });
  test.after(() => {
    server?.process.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const { name, run } of storeContract("s3", makeStore, { versionsOfContents: true })) test(name, run);

  test("the whole bucket, and what is in it that is no file of ours", async () => {
    const whole = s3Store(server.url, { client });
    const store = s3Store(`${server.url}/top/`, { client, bucket: BUCKET });
    await store.put("a.pt", text("a"));
    assert.is(new TextDecoder().decode(await readFile(whole, "top/a.pt")), "a");
    for (const name of ["top/marker/", "topmost.pt"])
      assert.ok((await client.fetch(`${server.url}/${name}`, { method: "PUT", body: "x" })).ok);
    assert.equal(await keysOf(store), ["a.pt"]);
    assert.equal(await keysOf(whole, "top"), ["top/a.pt"]);
    assert.ok((await keysOf(whole)).includes("topmost.pt"));
  });

  test("more than a page of files", async () => {
    let pages = 0;
    const fetch = (url: string, init?: RequestInit) => {
      const lists = url.includes("list-type=2");
      if (lists) pages++;
      return client.fetch(lists ? `${url}&max-keys=50` : url, init);
    };
    const store = s3Store(`${server.url}/pages`, { client: { fetch } });
    const names = Array.from({ length: 170 }, (_, i) => `run ${i % 3}/${i}+.pt`).sort();
    await Promise.all(names.map((name) => store.put(name, text(name))));
    assert.equal(await keysOf(store), names);
    assert.is(pages, 4);
    assert.is((await keysOf(store, "run 1")).length, 57);
  });

  test("a checkpoint is loaded from a bucket, in parts", async () => {
    const store = makeStore();
    const bytes = readFileSync("examples/saved_models/cgcnn_ionic_best.pt");
    await store.put("cgcnn.pt", bytes);
    const loaded = await loadCheckpoint((await store.get("cgcnn.pt"))!);
    const expected = await loadCheckpoint(bytes);
    assert.equal([...loaded.stateDict.keys()], [...expected.stateDict.keys()]);
    for (const [name, tensor] of expected.stateDict) assert.equal(loaded.stateDict.get(name)!.data, tensor.data, name);
  });

  test("a wrong secret, and a bucket that is not there", async () => {
    const refused = s3Store(server.url, { client: clientOf("wrong") });
    const absent = s3Store(server.url.replace(BUCKET, "nobody"), { client });
    const calls: ((store: Store) => Promise<unknown>)[] = [
      (store) => store.get("a.pt"),
      (store) => store.put("a.pt", text("a")),
      (store) => store.put("a.pt", text("a"), { ifAbsent: true }),
      (store) => store.move("a.pt", "b.pt"),
      (store) => store.delete("a.pt"),
      (store) => keysOf(store),
    ];
    for (const call of calls) {
      await throwsCode(() => call(refused), "BACKEND", /answers 403 SignatureDoesNotMatch: Check your key & method/);
      await throwsCode(() => call(absent), "BACKEND", /answers 404 NoSuchBucket: The specified bucket/);
    }
  });
}

/** A client that is given an answer for each request, and what was asked. */
function answering(...answers: (Response | Error)[]): { client: S3Client; asked: [method: string, url: string][] } {
  const asked: [string, string][] = [];
  const fetch = async (url: string, init?: RequestInit) => {
    asked.push([init?.method ?? "GET", url]);
    const answer = answers.shift();
    if (answer instanceof Response) return answer;
    throw answer ?? new Error("no more answers");
  };
  return { client: { fetch }, asked };
}

const HOST = "https://s3.example.org/models";

test("addresses of buckets", async () => {
  const rows: [url: string, bucket: string | undefined, asked: string][] = [
    ["https://s3.example.org/models", undefined, "https://s3.example.org/models/k"],
    ["https://s3.example.org/models/", undefined, "https://s3.example.org/models/k"],
    ["https://s3.example.org/models/a%20b/c/", undefined, "https://s3.example.org/models/a%20b/c/k"],
    ["https://models.example.org/runs", "models", "https://models.example.org/runs/k"],
    ["https://models.example.org/runs", "runs", "https://models.example.org/runs/k"],
    ["https://models.s3.eu-west-1.amazonaws.com", undefined, "https://models.s3.eu-west-1.amazonaws.com/k"],
    ["https://my.own.s3.amazonaws.com/a", undefined, "https://my.own.s3.amazonaws.com/a/k"],
    ["https://s3.eu-west-1.amazonaws.com/models", undefined, "https://s3.eu-west-1.amazonaws.com/models/k"],
  ];
  for (const [url, bucket, expected] of rows) {
    const { client, asked } = answering(
      new Response("<CopyObjectResult/>"),
      new Response(null, { status: 204 }),
      new Response("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
    );
    const store = s3Store(new URL(url), { client, ...(bucket !== undefined && { bucket }) });
    await store.move("j", "k");
    assert.equal(asked[0], ["PUT", expected]);
    assert.equal(asked[1], ["DELETE", expected.replace(/k$/, "j")]);
    assert.equal(await keysOf(store), []);
  }
  const bad: [url: string, bucket?: string][] = [
    ["https://s3.example.org"],
    ["https://s3.example.org/models", "runs"],
    ["s3://models"],
    ["https://s3.example.org/models?x=1"],
    ["https://s3.example.org/models/%5C"],
    ["https://s3.example.org/models/50%"],
  ];
  for (const [url, bucket] of bad)
    await throwsCode(
      () => s3Store(url, { client: answering().client, ...(bucket !== undefined && { bucket }) }),
      "ARGUMENT",
    );
});

test("the copy's source names the bucket in either style", async () => {
  for (const url of [`${HOST}/a b`, "https://models.s3.amazonaws.com/a b"]) {
    const sources: unknown[] = [];
    const fetch = async (_url: string, init?: RequestInit) => {
      sources.push((init?.headers as Record<string, string> | undefined)?.["x-amz-copy-source"]);
      return new Response("<CopyObjectResult/>");
    };
    await s3Store(url, { client: { fetch } }).move("c+d#.pt", "e");
    assert.is(sources[0], "/models/a%20b/c%2Bd%23.pt");
  }
});

test("a file goes with its hash, so that the service refuses what arrives damaged", async () => {
  const sent: RequestInit[] = [];
  const fetch = async (_url: string, init: RequestInit = {}) => {
    sent.push(init);
    return new Response(null);
  };
  await s3Store(HOST, { client: { fetch } }).put("a", text("abc"));
  assert.equal(sent[0].headers, {
    "x-amz-content-sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  });
});

test("ifAbsent: 412 and 409 are false, and only where it was asked for", async () => {
  for (const status of [412, 409]) {
    const conflict = () => new Response("<Error><Code>Conflict</Code></Error>", { status });
    assert.is(await s3Store(HOST, answering(conflict())).put("a", text("a"), { ifAbsent: true }), false);
    await throwsCode(() => s3Store(HOST, answering(conflict())).put("a", text("a")), "BACKEND", /Conflict/);
  }
});

const FAILURES: [what: string, answer: Response | Error, message: RegExp][] = [
  [
    "no network",
    new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") }),
    /cannot be reached: ECONNREFUSED/,
  ],
  ["a proxy's page", new Response("<html><br>busy", { status: 503 }), /answers 503 <html><br>busy/],
  ["nothing at all", new Response(null, { status: 500 }), /answers 500$/],
  [
    "an error in a success",
    new Response("<Error><Code>InternalError</Code><Message>Try &quot;again&quot;</Message></Error>"),
    /answers 200 InternalError: Try "again"/,
  ],
];
for (const [what, answer, message] of FAILURES)
  test(`a copy that ends in ${what} deletes nothing`, async () => {
    const { client, asked } = answering(answer);
    await throwsCode(() => s3Store(HOST, { client }).move("a", "b"), "BACKEND", message);
    assert.is(asked.length, 1);
  });

const item = (key: string, change: Record<string, string> = {}) =>
  `<Contents>${Object.entries({
    Key: key,
    Size: "1",
    LastModified: "2024-01-01T00:00:00.000Z",
    ETag: "&quot;e&quot;",
    ...change,
  })
    .filter(([, value]) => value !== "-")
    .map(([name, value]) => `<${name}>${value}</${name}>`)
    .join("")}</Contents>`;
const listing = (inside: string, truncated = "false") =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>${truncated}</IsTruncated>${inside}</ListBucketResult>`;
const URL_ENCODED = "<EncodingType>url</EncodingType>";

test("listings: encoded names and plain ones, entities, spaces between elements", async () => {
  const rows: [xml: string, keys: string[]][] = [
    [listing(URL_ENCODED + item("a+b%2Bc%25/%C3%A4.pt")), ["a b+c%/ä.pt"]],
    [listing(item("a+b%2B&amp;&lt;&#228;&#xE4;.pt")), ["a+b%2B&<ää.pt"]],
    [listing(`\n  ${item("a").replaceAll("><", ">\n  <")}\n`), ["a"]],
    [listing("<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes><Name/><Prefix></Prefix>"), []],
  ];
  for (const [xml, keys] of rows) assert.equal(await keysOf(s3Store(HOST, answering(new Response(xml)))), keys);
  for await (const entry of s3Store(HOST, answering(new Response(listing(item("a"))))).list())
    assert.equal(entry, { key: "a", size: 1, modified: new Date("2024-01-01"), version: "e" });
});

const token = (name: string) => `<NextContinuationToken>${name}</NextContinuationToken>`;

test("pages: tokens with odd characters are handed back, and a server that goes in circles is found", async () => {
  const page = (key: string, next: string) => new Response(listing(item(key) + token(next), "true"));
  const { client, asked } = answering(page("a", "1+/= &amp;"), new Response(listing(item("b"))));
  assert.equal(await keysOf(s3Store(HOST, { client })), ["a", "b"]);
  assert.is(new URL(asked[1][1]).searchParams.get("continuation-token"), "1+/= &");
  const circle = answering(page("a", "1"), page("b", "1"));
  await throwsCode(() => keysOf(s3Store(HOST, circle)), "CORRUPT", /same page/);
});

const LISTINGS: [what: string, xml: string, code: ErrorCode, message: RegExp][] = [
  ["nothing", "", "CORRUPT", /no element/],
  ["a page in HTML", "<!DOCTYPE html><html>", "CORRUPT", /"<!DOCTYPE html>/],
  ["another document", "<Other/>", "CORRUPT", /expected a <ListBucketResult>, found a <Other>/],
  ["no end", listing(item("a")).slice(0, -5), "CORRUPT", /found/],
  ["no word of its end", "<ListBucketResult></ListBucketResult>", "CORRUPT", /IsTruncated.*nothing/],
  ["a next page without a token", listing("", "true"), "CORRUPT", /NextContinuationToken/],
  ["two tokens", listing(token("1") + token("2"), "true"), "CORRUPT", /expected one <NextContinuationToken>.*2/],
  ["another encoding", listing("<EncodingType>base64</EncodingType>"), "CORRUPT", /EncodingType/],
  ["no name", listing(item("-")), "CORRUPT", /Key.*nothing/],
  ["two names", listing(item("a</Key><Key>b")), "CORRUPT", /expected one <Key> in <Contents>, found 2/],
  ["a broken encoding", listing(URL_ENCODED + item("%E4")), "CORRUPT", /Key.*URL encoding.*%E4/],
  ["a negative size", listing(item("a", { Size: "-1" })), "CORRUPT", /Size.*-1/],
  ["a size beyond numbers", listing(item("a", { Size: "9".repeat(400) })), "CORRUPT", /Size/],
  ["no date", listing(item("a", { LastModified: "-" })), "CORRUPT", /LastModified.*nothing/],
  ["a date in words", listing(item("a", { LastModified: "Mon, 01 Jan 2024 00:00:00 GMT" })), "CORRUPT", /LastModified/],
  ["no ETag", listing(item("a", { ETag: "-" })), "CORRUPT", /ETag/],
  ["an entity of a document type", `<!DOCTYPE a [<!ENTITY x "y">]>${listing(item("&x;"))}`, "CORRUPT", /DOCTYPE/],
  ["an entity that is none", listing(item("&x;")), "CORRUPT", /bare &/],
  ["a character that is none", listing(item("&#x110000;")), "CORRUPT", /bare &/],
  ["a comment", listing("<!-- -->"), "CORRUPT", /<!--/],
  ["a section", listing(item("<![CDATA[a]]>")), "CORRUPT", /CDATA/],
  ["a second root", `${listing("")}<a/>`, "CORRUPT", /second root/],
  ["elements that cross", "<a><b></a></b>", "CORRUPT", /the end of <a>/],
  ["words between elements", listing("words"), "CORRUPT", /text between/],
  ["deep nesting", "<a>".repeat(100_000), "LIMIT", /16 levels/],
  ["too much", `<a>${" ".repeat(16 * 2 ** 20)}</a>`, "LIMIT", /16777216 bytes/],
];
for (const [what, xml, code, message] of LISTINGS)
  test(`a listing of ${what} is ${code}`, () =>
    throwsCode(() => keysOf(s3Store(HOST, answering(new Response(xml)))), code, message));

test("a listing of other folders than the one asked for, and keys that are none", async () => {
  const other = answering(new Response(listing(item("a/b.pt"))));
  await throwsCode(() => keysOf(s3Store(HOST, other), "c"), "CORRUPT", /begin with c\/, found a\/b.pt/);
  const odd = answering(
    new Response(listing(["../a", "/b", "c/", "d\\e", ".hidden/f", "g"].map((k) => item(k)).join(""))),
  );
  assert.equal(await keysOf(s3Store(HOST, odd)), ["g"]);
});

test("XML that takes a slow reader long does not take this one long", () => {
  const start = performance.now();
  for (const xml of [
    `<a ${" ".repeat(1_000_000)}`,
    `<a${' b="c"'.repeat(200_000)}`,
    `<a${"a".repeat(1_000_000)}`,
    `<a>${"&".repeat(1_000_000)}`,
    `<a>${"&#0".repeat(300_000)}`,
    `<a>${"<b/>".repeat(200_000)}`,
    `<?xml ${" ".repeat(1_000_000)}`,
    " ".repeat(1_000_000),
  ])
    assert.throws(() => parseXml(xml), /found/);
  assert.ok(performance.now() - start < 3000, `${performance.now() - start} ms`);
});

test.run();

/**
 * An S3 server for tests: s3rver, with what it lacks of the protocol. Its own process, since it needs
 * --openssl-legacy-provider; it prints its port, and ends when its standard input does.
 *   node --openssl-legacy-provider test/s3-server.cjs PACKAGE FOLDER BUCKET
 */
const { createHash, createHmac } = require("node:crypto");
const { resolve } = require("node:path");

const [folder, directory, bucket] = process.argv.slice(2);
const S3rver = require(resolve(folder));
const server = new S3rver({
  directory,
  configureBuckets: [{ name: bucket }],
  address: "127.0.0.1",
  port: 0,
  silent: true,
});
const { store, middleware } = server;
const pathOf = (ctx) => decodeURIComponent(ctx.path);

// One request at a time: s3rver writes over a file that others read and removes folders that others fill; S3 shows whole
// objects only.
let last = Promise.resolve();
middleware.unshift(async (ctx, next) => {
  const before = last;
  last = new Promise((done) => ctx.res.once("close", done));
  await before;
  await next();
});

// Signatures of version 4, which s3rver reads and does not check.
const encode = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
function isSigned({ req, headers }) {
  const form = /^AWS4-HMAC-SHA256 Credential=S3RVER\/([^,]*), ?SignedHeaders=([^,]*), ?Signature=([0-9a-f]{64})$/;
  const [, scope, names, signature] = form.exec(headers.authorization) ?? [];
  if (!scope) return false;
  const [path, query = ""] = req.url.split("?");
  const pairs = query
    .split("&")
    .filter(Boolean)
    .map((pair) => pair.split("=").map((part) => encode(decodeURIComponent(part))));
  const request = [
    req.method,
    path
      .split("/")
      .map((part) => encode(decodeURIComponent(part)))
      .join("/"),
    pairs
      .map((pair) => pair.join("="))
      .sort()
      .join("&"),
    ...names.split(";").map((name) => `${name}:${headers[name]}`),
    "",
    names,
    headers["x-amz-content-sha256"],
  ].join("\n");
  const hash = createHash("sha256").update(request).digest("hex");
  const key = scope.split("/").reduce(hmac, "AWS4S3RVER");
  return hmac(key, ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hash].join("\n")).toString("hex") === signature;
}
middleware.splice(1, 0, (ctx, next) => {
  if (isSigned(ctx)) return next();
  ctx.status = 403;
  ctx.type = "application/xml";
  ctx.body = "<Error><Code>SignatureDoesNotMatch</Code><Message>Check your key &amp; method.</Message></Error>";
});

// If-None-Match: * on PUT.
middleware.splice(2, 0, async (ctx, next) => {
  const [, name, ...key] = pathOf(ctx).split("/");
  const conditional = ctx.method === "PUT" && ctx.get("if-none-match") === "*";
  if (!conditional || !(await store.existsObject(name, key.join("/")))) return next();
  ctx.status = 412;
  ctx.type = "application/xml";
  ctx.body = "<Error><Code>PreconditionFailed</Code><Message>There is one.</Message></Error>";
});

// A range of an empty object: s3rver promises a byte and sends none.
middleware.splice(3, 0, async (ctx, next) => {
  const [, name, ...key] = pathOf(ctx).split("/");
  const metadata = ctx.get("range") && (await store.getMetadata(name, key.join("/")).catch(() => undefined));
  if (!metadata || Number(metadata["content-length"]) > 0) return next();
  ctx.status = 416;
  ctx.set("Content-Range", "bytes */0");
  ctx.type = "application/xml";
  ctx.body = "<Error><Code>InvalidRange</Code><Message>There is nothing.</Message></Error>";
});

// "bytes=0-0" is one byte, not all; the end that s3rver takes for none is 0.
const getObject = store.getObject.bind(store);
store.getObject = (name, key, options) => getObject(name, key, options?.end === 0 ? { ...options, end: "0" } : options);

// encoding-type=url in listings, as forms encode; inside of what turns bodies into XML.
const routes = middleware.pop();
middleware.push(async (ctx, next) => {
  await routes(ctx, next);
  const listing = ctx.body?.ListBucketResult;
  if (!listing || ctx.query["encoding-type"] !== "url") return;
  listing.EncodingType = "url";
  for (const object of listing.Contents)
    object.Key = encodeURIComponent(object.Key).replaceAll("%20", "+").replaceAll("%2F", "/");
});

// The source of a copy is encoded like any path; decodeURI, used for nothing else there, leaves some characters.
globalThis.decodeURI = decodeURIComponent;

server.run().then(({ port }) => process.stdout.write(`${port}\n`));
process.stdin.resume().on("end", () => process.exit());

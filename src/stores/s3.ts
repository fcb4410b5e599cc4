/** A bucket of S3, or of a service that speaks its language. Requests are signed by the caller's client. */
import { isUnitcellError, UnitcellError } from "../errors.js";
import { sha256 } from "../sha256.js";
import { encodeKey } from "./http.js";
import { openIfThere } from "./http-store.js";
import { parsePage, type S3Object } from "./s3-listing.js";
import { bodyText, childText, parseXml } from "./s3-xml.js";
import { checkKey, collect, isKey, isListed, type Store } from "./store.js";

/** Signs requests and sends them, as an AwsClient of aws4fetch does. */
export interface S3Client {
  fetch(input: string, init?: RequestInit): Promise<Response>;
}

/** Who signs requests, and which bucket. */
export interface S3Options {
  readonly client: S3Client;
  /**
   * The bucket's name, where the address does not tell: in "https://models.example.org/runs" the bucket may be "models" of
   * the host, or "runs". Default: the host's first part at amazonaws.com, else the path's.
   */
  readonly bucket?: string;
}

/**
 * A store over a bucket: "https://HOST/BUCKET/PREFIX" or "https://BUCKET.HOST/PREFIX", the prefix being any folder or none.
 *
 * - `put` is one request and so atomic. Its `ifAbsent` is `If-None-Match: *`, for the service to check: S3 does since 2024; a
 *   service that ignores the header overwrites. The client's retries are its own: one that sends a request again whose
 *   answer was lost may report false for a file that it wrote itself.
 * - `move` is a copy and a deletion: after a crash in between, the file has both names. S3 copies up to 5 GB so.
 * - `version` is the ETag: equal contents have equal ones.
 * - Objects whose names are no keys (checkKey), such as folder markers, are not listed.
 * - There is no `liveness`: writers are on other machines.
 *
 * It stands on strong consistency: what was written is what the next request sees, as S3 promises since December 2020.
 * Tested against s3rver 3.7.1 with its gaps filled (test/s3-server.cjs), not against Amazon's service.
 * @throws {UnitcellError} ARGUMENT for an address without a bucket; methods: BACKEND with the service's code and message
 */
export function s3Store(url: string | URL, options: S3Options): Store {
  const bucket = new Bucket(url, options);

  const get = async (key: string) => openIfThere(bucket.addressOf(checkKey(key)), { fetch: bucket.fetchFile });

  return {
    get,

    async *list(folder = "") {
      if (folder !== "") checkKey(folder);
      for await (const { name, size, modified, etag } of bucket.list(folder === "" ? "" : `${folder}/`)) {
        const key = name.slice(bucket.prefix.length);
        if (isKey(key) && isListed(key, folder)) yield { key, size, modified, version: etag };
      }
    },

    async put(key, content, { ifAbsent = false } = {}) {
      checkKey(key);
      const body = (await collect(content)) as Uint8Array<ArrayBuffer>;
      // With its hash in the signature, a body that arrives damaged is refused.
      const headers = { "x-amz-content-sha256": await sha256(body), ...(ifAbsent && { "If-None-Match": "*" }) };
      const response = await bucket.ask(bucket.addressOf(key), { method: "PUT", headers, body });
      // 409: another writer of the same name was faster by less than the service could tell.
      const exists = ifAbsent && (response.status === 412 || response.status === 409);
      if (!response.ok && !exists) throw await failure(response, `cannot write ${key}`);
      await response.body?.cancel();
      return !exists;
    },

    async move(from, to) {
      checkKey(from);
      checkKey(to);
      if (from === to) {
        if (!(await get(from))) throw missing(from);
        return;
      }
      await bucket.copy(from, to);
      await bucket.delete(from);
    },

    async delete(key) {
      await bucket.delete(checkKey(key));
    },
  };
}

/** Where a bucket is, and its requests. */
class Bucket {
  /** Ends with "/" unless it is empty. */
  readonly prefix: string;
  private readonly name: string;
  /** The address of the bucket, with a "/" at its end. */
  private readonly root: string;
  private readonly client: S3Client;

  /** @throws {UnitcellError} ARGUMENT */
  constructor(url: string | URL, { client, bucket }: S3Options) {
    const address = parseAddress(url);
    const parts = address.pathname.split("/").filter((part) => part !== "");
    const ofHost = bucketOfHost(address.hostname, bucket);
    const name = ofHost ?? parts.shift();
    if (!name || (bucket !== undefined && name !== bucket))
      throw new UnitcellError(
        "ARGUMENT",
        `expected the address of a bucket${bucket ? ` ${bucket}` : ""}, found ${url}`,
      );
    this.client = client;
    this.name = name;
    this.root = `${address.origin}/${ofHost ? "" : `${name}/`}`;
    this.prefix = parts.map((part) => `${decodeURIComponent(part)}/`).join("");
    if (this.prefix !== "") checkKey(this.prefix.slice(0, -1));
  }

  addressOf(key: string): string {
    return this.root + encodeKey(this.prefix + key);
  }

  async ask(address: string, init: RequestInit): Promise<Response> {
    try {
      return await this.client.fetch(address, init);
    } catch (cause) {
      const reason = (cause as Error)?.cause ?? cause;
      const text = reason instanceof Error ? reason.message : String(reason);
      throw new UnitcellError("BACKEND", `${address} cannot be reached: ${text}`, { url: address }, { cause });
    }
  }

  /** `fetch` for httpSource: it knows what to make of these answers, and of others the service says more than a status. */
  readonly fetchFile = async (input: unknown, init?: RequestInit): Promise<Response> => {
    const address = String(input);
    // Failures of the network are httpSource's to try again.
    const response = await this.client.fetch(address, init);
    if (response.ok || response.status === 416) return response;
    const error = await failure(response, `cannot read ${address}`);
    // A bucket that is not there answers 404 as well.
    if (isUnitcellError(error, "NOT_FOUND")) return new Response(null, { status: 404, statusText: "Not Found" });
    throw error;
  };

  /** Objects whose names begin with the bucket's prefix and this. */
  async *list(folder: string): AsyncGenerator<S3Object> {
    const prefix = this.prefix + folder;
    for (let token: string | undefined, first = true; first || token !== undefined; first = false) {
      const query = Object.entries({
        "list-type": "2",
        "encoding-type": "url",
        ...(prefix !== "" && { prefix }),
        ...(token !== undefined && { "continuation-token": token }),
      });
      const search = query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
      const response = await this.ask(`${this.root}?${search}`, {});
      if (!response.ok) throw await failure(response, `cannot list ${this.root}`);
      const page = parsePage(await bodyText(response));
      for (const object of page.objects) {
        if (!object.name.startsWith(prefix))
          throw new UnitcellError("CORRUPT", `asked for names that begin with ${prefix}, found ${object.name}`);
        yield object;
      }
      if (page.next !== undefined && page.next === token)
        throw new UnitcellError("CORRUPT", `${this.root} lists the same page again and again`);
      token = page.next;
    }
  }

  /** @throws {UnitcellError} NOT_FOUND */
  async copy(from: string, to: string): Promise<void> {
    const headers = { "x-amz-copy-source": `/${encodeKey(`${this.name}/${this.prefix}${from}`)}` };
    const response = await this.ask(this.addressOf(to), { method: "PUT", headers });
    const what = `cannot copy ${from} to ${to}`;
    if (!response.ok) throw await failure(response, what, from);
    // A copy that fails after it began is an error in an answer of 200.
    const body = await bodyText(response);
    if (parseXml(body).name !== "CopyObjectResult") throw serverError(response.status, body, what);
  }

  async delete(key: string): Promise<void> {
    const response = await this.ask(this.addressOf(key), { method: "DELETE" });
    const error = response.ok ? undefined : await failure(response, `cannot delete ${key}`);
    if (error && error.code !== "NOT_FOUND") throw error;
    await response.body?.cancel();
  }
}

function parseAddress(url: string | URL): URL {
  const text = String(url);
  if (/^https?:\/\//i.test(text) && URL.canParse(text)) {
    const address = new URL(text);
    if (address.search === "" && /^(%[\da-f]{2}|[^%])*$/i.test(address.pathname)) return address;
  }
  throw new UnitcellError("ARGUMENT", `expected the http(s) address of a bucket, found ${text.slice(0, 100)}`);
}

/** "models" of models.s3.eu-west-1.amazonaws.com, or of a host that begins with the name that was given. */
function bucketOfHost(host: string, bucket: string | undefined): string | undefined {
  if (bucket !== undefined) return host.startsWith(`${bucket}.`) ? bucket : undefined;
  return /^(.+)\.s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?$/.exec(host)?.[1];
}

const missing = (key: string) => new UnitcellError("NOT_FOUND", `no file ${key} in the bucket`, { key });

/** What an answer other than success says: NOT_FOUND for an object that is not there, else BACKEND. */
async function failure(response: Response, what: string, key?: string): Promise<UnitcellError> {
  const body = await bodyText(response).catch(() => "");
  const error = serverError(response.status, body, what);
  return response.status === 404 && error.detail.serverCode !== "NoSuchBucket"
    ? missing(key ?? what.replace(/^cannot \w+ /, ""))
    : error;
}

/** The service's own code and message; proxies in front of it may answer in HTML. */
function serverError(status: number, body: string, what: string): UnitcellError {
  let said = "";
  let serverCode: string | undefined;
  try {
    const root = parseXml(body);
    if (root.name === "Error") serverCode = childText(root, "Code");
    said = [serverCode, childText(root, "Message")].filter(Boolean).join(": ");
  } catch {
    said = body.slice(0, 200);
  }
  const message = `${what}: the server answers ${status} ${said}`.trimEnd();
  return new UnitcellError("BACKEND", message, { status, serverCode });
}

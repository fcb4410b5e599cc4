/** Files of a web server, read by range: what is looked at is fetched, and nothing else. */
import { type ByteSource, DEFAULT_LIMITS, type Range } from "../bytes.js";
import { isUnitcellError, reworded, UnitcellError } from "../errors.js";
import type { Progress } from "./transfer.js";

/**
 * Waits, in milliseconds, before a read that was cut off is tried again. As soon as a byte comes the count starts anew, so
 * a read is given up when this many tries in a row, and the first, brought nothing.
 */
const RETRY_WAITS_MS = [50, 200, 800];

/** How requests are made, for `httpSource` and `httpStore`. */
export interface HttpOptions {
  /** In place of the runtime's own. */
  readonly fetch?: typeof fetch;
  /** Sent with every request, such as Authorization. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends requests on their way, and refuses later ones. */
  readonly signal?: AbortSignal;
  /** A server without ranges: the largest file that is read whole instead. Default: Limits.wholeFileBytes. */
  readonly wholeFileBytes?: number;
  /** Called as bytes arrive: `loaded` is what has come of this file since it was opened, over all reads. */
  readonly onProgress?: (progress: Progress) => void;
}

/** A file on a web server, read by range. Made by `httpSource`. */
export interface HttpSource extends ByteSource {
  readonly url: string;
  /** false: the server has no ranges, and the file is in memory. */
  readonly ranges: boolean;
  /** In memory of their own. */
  read(start: number, end: number): Promise<Uint8Array>;
}

/** What must stay the same from one answer to the next. */
interface Version {
  readonly size: number;
  readonly etag: string | null;
  readonly modified: string | null;
}

/**
 * Open a file by its address. One request asks for its first byte, which tells its size and whether the server has
 * ranges; from a server that has none the file is read whole, once. A read that is cut off goes on from where it stopped,
 * if the file is still the same.
 * @throws {UnitcellError} NOT_FOUND for 404 and 410, BACKEND for other failures of server or network, UNSUPPORTED for a
 *   server without ranges when the file is too large to read whole, ARGUMENT for an address that is not http(s)
 */
export async function httpSource(url: string | URL, options: HttpOptions = {}): Promise<HttpSource> {
  const address = String(url);
  if (!/^https?:\/\//i.test(address))
    throw new UnitcellError("ARGUMENT", `expected an http or https address, found ${address.slice(0, 100)}`);
  const client = new Client(address, options);
  const response = await client.get(0, 1);
  if (response.status === 206) {
    const { total } = contentRange(response, address);
    // What was asked for stands in the headers; that the byte itself does not come is no loss.
    await client.body(response, 1).catch((error) => {
      if (!isCutOff(error)) throw error;
    });
    const version = { size: total, etag: etagOf(response), modified: response.headers.get("last-modified") };
    let loaded = 0;
    const took = (bytes: number) => {
      loaded += bytes;
      options.onProgress?.({ url: address, loaded, total });
    };
    return source(address, true, total, (start, end) => readRange(client, version, { start, end }, took));
  }
  // Of a file with any bytes there is a first one.
  if (response.status === 416) {
    discard(response);
    return source(address, true, 0, async () => new Uint8Array(0));
  }
  const bytes = await readWhole(client, response, options);
  return source(address, false, bytes.byteLength, async (start, end) => bytes.slice(start, end));
}

function source(url: string, ranges: boolean, size: number, read: HttpSource["read"]): HttpSource {
  const slice = (start: number, end: number) => ({
    arrayBuffer: async () => (await read(start, end)).buffer as ArrayBuffer,
  });
  return { url, ranges, size, read, slice };
}

/**
 * Bytes of a file that must still be the one that was opened, over as many requests as that takes.
 * @param took told of the bytes that arrive, and how many
 */
async function readRange(
  client: Client,
  version: Version,
  { start, end }: Range,
  took: (bytes: number) => void,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - start);
  let at = 0;
  for (let idle = 0; at < bytes.byteLength; ) {
    const before = at;
    try {
      const response = await client.get(start + at, end);
      checkSame(client.address, version, response, { start: start + at, end });
      for await (const piece of client.pieces(response)) {
        if (at + piece.byteLength > bytes.byteLength)
          throw client.wrongLength(bytes.byteLength - before, `at least ${at + piece.byteLength - before}`);
        bytes.set(piece, at);
        at += piece.byteLength;
        took(piece.byteLength);
      }
      // Where the answer's end is the connection's end, a cut looks like this.
      if (at < bytes.byteLength) throw client.cutOff("broke off in the middle of an answer", "it ended early");
    } catch (error) {
      if (!isCutOff(error) || client.stopped) throw error;
      idle = at > before ? 0 : idle + 1;
      if (idle > RETRY_WAITS_MS.length)
        throw reworded(
          error,
          `${error.message} (${at} of ${bytes.byteLength} bytes came; ${idle} tries brought no more)`,
        );
      if (idle > 0) await new Promise((resolve) => setTimeout(resolve, RETRY_WAITS_MS[idle - 1]));
    }
  }
  return bytes;
}

/** @throws {UnitcellError} MISMATCH where an answer is of another file than the one that was opened, or of another range */
function checkSame(address: string, version: Version, response: Response, { start, end }: Range): void {
  const changed = (what: string) => {
    discard(response);
    return new UnitcellError("MISMATCH", `${address} has changed while it was read: ${what}`, { url: address });
  };
  if (response.status === 200) throw changed("the server now sends the whole file");
  if (response.status === 416) throw changed(`bytes ${start} to ${end} are gone, it had ${version.size}`);
  const etag = etagOf(response);
  const modified = response.headers.get("last-modified");
  if (etag !== version.etag) throw changed(`its ETag was ${version.etag}, and is ${etag}`);
  if (modified !== version.modified) throw changed(`its date was ${version.modified}, and is ${modified}`);
  const range = contentRange(response, address);
  if (range.total !== version.size) throw changed(`it had ${version.size} bytes, and has ${range.total}`);
  if (range.first === start && range.last === end - 1) return;
  discard(response);
  throw new UnitcellError(
    "MISMATCH",
    `${address}: asked for bytes ${start} to ${end - 1}, the server sent ${range.first} to ${range.last}`,
    { url: address, start, end, ...range },
  );
}

/** The body of an answer to a request for a range that is the whole file. */
async function readWhole(client: Client, response: Response, options: HttpOptions): Promise<Uint8Array> {
  const limit = options.wholeFileBytes ?? DEFAULT_LIMITS.wholeFileBytes;
  const stated = response.headers.get("content-length");
  const size = stated !== null && /^\d+$/.test(stated) && !encoding(response) ? Number(stated) : undefined;
  const tooLarge = (found: number | string) => {
    discard(response);
    return new UnitcellError(
      "UNSUPPORTED",
      `${client.address}: the server has no ranges, and the file of ${found} bytes is too large to read whole (${limit})`,
      { url: client.address, size: found, limit },
    );
  };
  if (size !== undefined) {
    if (size > limit) throw tooLarge(size);
    return client.body(response, size, (loaded) => {
      options.onProgress?.({ url: client.address, loaded, total: size });
    });
  }
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const piece of client.pieces(response)) {
    total += piece.byteLength;
    if (total > limit) throw tooLarge(`over ${limit}`);
    pieces.push(piece);
  }
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  options.onProgress?.({ url: client.address, loaded: total, total });
  return bytes;
}

/** Requests for one address, with failures of server and network as UnitcellErrors. */
class Client {
  readonly address: string;
  private readonly options: HttpOptions;

  constructor(address: string, options: HttpOptions) {
    this.address = address;
    this.options = options;
  }

  /** Whether the caller has asked for an end. */
  get stopped(): boolean {
    return this.options.signal?.aborted ?? false;
  }

  /** An answer with status 200, 206 or 416. What the caller's own fetch throws as a UnitcellError is passed on. */
  async get(start: number, end: number): Promise<Response> {
    const { fetch: ask = globalThis.fetch, headers, signal } = this.options;
    // With a Range, fetch itself asks for no compression: ranges count bytes of the file, not of a transfer.
    const request = { headers: { ...headers, Range: `bytes=${start}-${end - 1}` } };
    let response: Response;
    try {
      response = await ask(this.address, { ...request, ...(signal && { signal }) });
    } catch (cause) {
      throw cause instanceof UnitcellError ? cause : this.cutOff("cannot be reached", cause);
    }
    const { status, statusText } = response;
    if (status === 200 || status === 206 || status === 416) return response;
    discard(response);
    const missing = status === 404 || status === 410;
    throw new UnitcellError(
      missing ? "NOT_FOUND" : "BACKEND",
      `${this.address}: the server answers ${status} ${statusText}`.trimEnd(),
      { url: this.address, status },
    );
  }

  /** A body of exactly so many bytes. */
  async body(response: Response, size: number, took?: (loaded: number) => void): Promise<Uint8Array> {
    const bytes = new Uint8Array(size);
    let at = 0;
    for await (const piece of this.pieces(response)) {
      if (at + piece.byteLength > size) throw this.wrongLength(size, `at least ${at + piece.byteLength}`);
      bytes.set(piece, at);
      at += piece.byteLength;
      took?.(at);
    }
    if (at !== size) throw this.wrongLength(size, at);
    return bytes;
  }

  async *pieces(response: Response): AsyncGenerator<Uint8Array> {
    const reader = response.body?.getReader();
    if (!reader) return;
    let done = false;
    try {
      for (;;) {
        const next = await reader.read();
        done = next.done;
        if (next.done) return;
        yield next.value;
      }
    } catch (cause) {
      done = true;
      throw cause instanceof UnitcellError ? cause : this.cutOff("broke off in the middle of an answer", cause);
    } finally {
      if (!done) await reader.cancel().catch(() => {});
    }
  }

  /** The network's failures, unlike the server's: trying again may help. */
  cutOff(what: string, cause: unknown): UnitcellError {
    // fetch says only "fetch failed"; what failed is inside.
    const reason = (cause as Error)?.cause ?? cause;
    const text = reason instanceof Error ? reason.message : String(reason);
    return new UnitcellError(
      "BACKEND",
      `${this.address} ${what}: ${text}`,
      { url: this.address, cutOff: true },
      { cause },
    );
  }

  wrongLength(expected: number, found: number | string): UnitcellError {
    return new UnitcellError("MISMATCH", `${this.address}: expected ${expected} bytes, the server sent ${found}`, {
      url: this.address,
      expected,
      found,
    });
  }
}

function isCutOff(error: unknown): error is UnitcellError {
  return isUnitcellError(error, "BACKEND") && error.detail.cutOff === true;
}

/** "bytes 0-99/1234" of a 206 answer. */
function contentRange(response: Response, address: string): { first: number; last: number; total: number } {
  const text = response.headers.get("content-range");
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i.exec(text ?? "");
  if (!match || encoding(response)) {
    discard(response);
    const found = encoding(response) ? `compressed by ${encoding(response)}` : `with Content-Range ${text ?? "absent"}`;
    throw new UnitcellError(
      "UNSUPPORTED",
      `${address}: a part of the file came ${found} (a page may see Content-Range of another origin only if that exposes it)`,
      { url: address },
    );
  }
  return { first: Number(match[1]), last: Number(match[2]), total: Number(match[3]) };
}

/** Ends the transfer of an answer that is of no use. */
function discard(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/** How the transfer was compressed, if it was. */
function encoding(response: Response): string | undefined {
  const found = response.headers.get("content-encoding");
  return found && found !== "identity" ? found : undefined;
}

/** A key as the path of an address, with nothing in it that a server, proxy or signature could read in another way. */
export function encodeKey(key: string): string {
  const escaped = (char: string) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  return key
    .split("/")
    .map((part) => encodeURIComponent(part).replace(/[!'()*]/g, escaped))
    .join("/");
}

/** Proxies may mark an ETag as weak on some answers; it still names the same content. */
function etagOf(response: Response): string | null {
  return response.headers.get("etag")?.replace(/^W\//, "") ?? null;
}

/** A folder of a web server, for reading: what it holds stands in an index beside the files. */
import { isUnitcellError, UnitcellError } from "../errors.js";
import { encodeKey, type HttpOptions, type HttpSource, httpSource } from "./http.js";
import { checkKey, isListed, type StoreEntry, type StoreSource } from "./store.js";
import type { HashedStore, Progress } from "./transfer.js";

/** As for `httpSource`, and the name of the index. */
export interface HttpStoreOptions extends Omit<HttpOptions, "onProgress"> {
  /** The index's name below the address. */
  readonly index?: string;
  /** As HttpOptions.onProgress, of each file by its key. */
  readonly onProgress?: (progress: Progress) => void;
}

/** What an index says of a file. */
export interface IndexEntry extends StoreEntry {
  /** In hex. */
  readonly sha256?: string;
}

/** A store on a web server, read-only; its list is the index's. Made by `httpStore`. */
export interface HttpStore extends HashedStore {
  list(folder?: string): AsyncIterable<IndexEntry>;
}

/** An index, of files by the thousand: an entry takes about 150 bytes. */
const MOST_INDEX_BYTES = 16 * 2 ** 20;
/** Dates as ISO 8601 has them, in UTC; Date.parse would take much else, each runtime in its own way. */
const ISO_DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

/**
 * Files below an http(s) address, fetched by range. `get` needs no index; `list` and `hashOf` read it anew each time:
 *   {"files": [{"key": "runs/a_best.pt", "size": 4711, "modified": "2024-01-01T00:00:00Z", "sha256": "..."}]}
 * where `sha256` may be absent.
 * @throws {UnitcellError} ARGUMENT for an address that is not http(s). `list`: NOT_FOUND without an index, CORRUPT for one
 *   that is not as above, LIMIT for one above 16 MiB. `get`: as httpSource, save that a file that is not there is undefined
 */
export function httpStore(url: string | URL, options: HttpStoreOptions = {}): HttpStore {
  const { index = "index.json", onProgress, ...http } = options;
  const addressOf = addresses(url);
  const readIndex = () => fetchIndex(addressOf(index), http);
  return {
    async get(key) {
      const address = addressOf(checkKey(key));
      const report = onProgress && (({ loaded, total }: Progress) => onProgress({ key, url: address, loaded, total }));
      return openIfThere(address, report ? { ...http, onProgress: report } : http);
    },
    async *list(folder = "") {
      if (folder !== "") checkKey(folder);
      for (const entry of await readIndex()) if (isListed(entry.key, folder)) yield entry;
    },
    async hashOf(key) {
      try {
        return (await readIndex()).find((entry) => entry.key === key)?.sha256;
      } catch (error) {
        // A folder without an index promises nothing; an index that cannot be read might.
        if (isUnitcellError(error, "NOT_FOUND")) return undefined;
        throw error;
      }
    },
  };
}

/** From names below an address to addresses. A query is kept: it may be what admits the reader. */
function addresses(url: string | URL): (key: string) => string {
  const text = String(url);
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text))
    throw new UnitcellError("ARGUMENT", `expected an http or https address, found ${text.slice(0, 100)}`);
  const base = new URL(text);
  base.hash = "";
  const folder = base.pathname.replace(/\/*$/, "/");
  return (key) => {
    const address = new URL(base);
    address.pathname = folder + encodeKey(key);
    return address.href;
  };
}

/** A file by its address; undefined where there is none. That it goes later is a change like another: MISMATCH. */
export async function openIfThere(address: string, options: HttpOptions): Promise<StoreSource | undefined> {
  let source: HttpSource;
  try {
    source = await httpSource(address, options);
  } catch (error) {
    if (isUnitcellError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
  const read = (start: number, end: number) =>
    source.read(start, end).catch((cause) => {
      if (!isUnitcellError(cause, "NOT_FOUND")) throw cause;
      const message = `${address} has changed while it was read: it is gone`;
      throw new UnitcellError("MISMATCH", message, { url: address }, { cause });
    });
  const slice = (start: number, end: number) => ({
    arrayBuffer: async () => (await read(start, end)).buffer as ArrayBuffer,
  });
  return { size: source.size, read, slice };
}

async function fetchIndex(address: string, options: HttpOptions): Promise<IndexEntry[]> {
  const tooLarge = (size: unknown) =>
    new UnitcellError("LIMIT", `the index ${address} has ${size} bytes, more than ${MOST_INDEX_BYTES}`, {
      url: address,
      limit: MOST_INDEX_BYTES,
    });
  let bytes: Uint8Array;
  try {
    const source = await httpSource(address, { ...options, wholeFileBytes: MOST_INDEX_BYTES });
    if (source.size > MOST_INDEX_BYTES) throw tooLarge(source.size);
    bytes = await source.read(0, source.size);
  } catch (error) {
    // httpSource's word for what it will not read whole.
    if (isUnitcellError(error, "UNSUPPORTED") && error.detail.limit === MOST_INDEX_BYTES)
      throw tooLarge(error.detail.size);
    throw error;
  }
  return parseIndex(bytes, address);
}

function parseIndex(bytes: Uint8Array, address: string): IndexEntry[] {
  let index: unknown;
  try {
    index = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    const message = `the index ${address} is no JSON: ${(cause as Error).message}`;
    throw new UnitcellError("CORRUPT", message, { url: address }, { cause });
  }
  const files = isObject(index) ? index.files : undefined;
  if (!Array.isArray(files))
    throw new UnitcellError("CORRUPT", `the index ${address} has no list "files"`, { url: address });
  const seen = new Set<string>();
  return files.map((file, i) => {
    const entry = indexEntry(file, `the index ${address}, file ${i}`);
    if (seen.has(entry.key)) throw new UnitcellError("CORRUPT", `the index ${address} names ${entry.key} twice`);
    seen.add(entry.key);
    return entry;
  });
}

function indexEntry(file: unknown, place: string): IndexEntry {
  if (!isObject(file)) throw wrong(place, "an object", file);
  const { size, modified, sha256 } = file;
  const key = indexKey(file.key, place);
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw wrong(place, "a size in bytes", size);
  const date = new Date(typeof modified === "string" && ISO_DATE.test(modified) ? modified : Number.NaN);
  if (Number.isNaN(date.getTime())) throw wrong(place, 'a date as "2024-01-01T00:00:00Z"', modified);
  if (sha256 !== undefined && !(typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256)))
    throw wrong(place, "a SHA-256 of 64 small hex digits", sha256);
  const entry = { key, size: size as number, modified: date, version: sha256 ?? `${size} ${date.toISOString()}` };
  return sha256 === undefined ? entry : { ...entry, sha256 };
}

function indexKey(key: unknown, place: string): string {
  try {
    return checkKey(key as string);
  } catch {
    throw wrong(place, 'a key as "folder/name.pt"', key);
  }
}

function wrong(place: string, expected: string, found: unknown): UnitcellError {
  // What nests is not shown: it may do so too deeply for that.
  const shown = typeof found === "object" && found ? "a list or object" : (JSON.stringify(found) ?? "nothing");
  return new UnitcellError("CORRUPT", `${place}: expected ${expected}, found ${shown.slice(0, 100)}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

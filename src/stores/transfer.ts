/** Files fetched whole, and what is known of them checked before anyone gets them. */
import { type ByteSource, type Limits, limitsOf } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { sha256 as hash } from "../sha256.js";
import type { PutOptions, ReadStore, Store } from "./store.js";

/** How far a transfer has come, in bytes. */
export interface Progress {
  /** The file's name in its store, where it was asked for by that. */
  readonly key?: string;
  /** Its address, where that is known. */
  readonly url?: string;
  readonly loaded: number;
  readonly total: number;
}

/** The hash a file must have, who is told of its progress, what ends the transfer. */
export interface DownloadOptions {
  /** The hash that the file must have, in hex. Default: what the store's index says of it, if that says anything. */
  readonly sha256?: string;
  /** Called with `loaded` 0 at first, more with every piece, and `total` last. */
  readonly onProgress?: (progress: Progress) => void;
  /** Ends the transfer. */
  readonly signal?: AbortSignal;
  /** `wholeFileBytes` bounds the file. */
  readonly limits?: Partial<Limits>;
}

/** A store that may know a file's hash without reading it, as an index of downloads does. */
export interface HashedStore extends ReadStore {
  /** SHA-256 in hex; undefined where it is not known. */
  hashOf(key: string): Promise<string | undefined>;
}

/** One request each; large enough that a request's delay is little of it, small enough that progress is seen. */
const PIECE_BYTES = 4 * 2 ** 20;
/** Pieces on their way at once. */
const CONCURRENT_PIECES = 4;

/**
 * A whole file in memory, its hash checked where one is known.
 * @throws {UnitcellError} NOT_FOUND for a key that is not there, MISMATCH for another hash, LIMIT for a file above
 *   `wholeFileBytes`, BACKEND after `signal`, and what the source throws
 */
export function download(source: ByteSource & { url?: string }, options?: DownloadOptions): Promise<Uint8Array>;
export function download(store: ReadStore, key: string, options?: DownloadOptions): Promise<Uint8Array>;
export async function download(
  from: (ByteSource & { url?: string }) | ReadStore,
  key?: string | DownloadOptions,
  options: DownloadOptions = {},
): Promise<Uint8Array> {
  if (typeof key !== "string") {
    const { url } = from as { url?: string };
    return fetchWhole(from as ByteSource, url === undefined ? {} : { url }, key ?? {});
  }
  const store = from as ReadStore & Partial<HashedStore>;
  const source = await store.get(key);
  if (!source) throw new UnitcellError("NOT_FOUND", `no file ${key} in the store`, { key });
  try {
    const sha256 = options.sha256 ?? (await store.hashOf?.(key));
    return await fetchWhole(source, { key }, sha256 === undefined ? options : { ...options, sha256 });
  } finally {
    source.close?.();
  }
}

/** As for `download` and for a store's `put`. */
export interface CopyOptions extends DownloadOptions, PutOptions {
  /** Its name in the other store. Default: the same. */
  readonly as?: string;
}

/**
 * Copy a file into another store. It is written there only when it has come whole and its hash, where one is known, is right.
 * @returns false where `ifAbsent` was asked for and there is a file
 * @throws {UnitcellError} as `download` and the store's `put` do
 */
export async function copyFile(
  from: ReadStore,
  key: string,
  to: Store,
  { as = key, ifAbsent = false, ...options }: CopyOptions = {},
): Promise<boolean> {
  return to.put(as, await download(from, key, options), { ifAbsent });
}

type Name = { readonly key: string } | { readonly url?: string };

async function fetchWhole(source: ByteSource, name: Name, options: DownloadOptions): Promise<Uint8Array> {
  const { sha256, onProgress, signal } = options;
  const { wholeFileBytes: limit } = limitsOf(options.limits);
  const text = "key" in name ? name.key : (name.url ?? "the file");
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256))
    throw new UnitcellError("ARGUMENT", `expected a SHA-256 of 64 hex digits, found ${JSON.stringify(sha256)}`);
  if (source.size > limit)
    throw new UnitcellError("LIMIT", `${text} has ${source.size} bytes, more than wholeFileBytes (${limit})`, {
      size: source.size,
      limit,
    });
  const report = (loaded: number) => onProgress?.({ ...name, loaded, total: source.size });
  const bytes = await orStopped(fetchPieces(source, report, signal), text, signal);
  if (sha256 === undefined) return bytes;
  const found = await hash(bytes);
  if (found === sha256.toLowerCase()) return bytes;
  const message = `${text}: expected the SHA-256 ${sha256.toLowerCase()}, the file that came has ${found}`;
  throw new UnitcellError("MISMATCH", message, { expected: sha256, found });
}

async function fetchPieces(
  source: ByteSource,
  report: (loaded: number) => void,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(source.size);
  let next = 0;
  let loaded = 0;
  report(0);
  const worker = async () => {
    while (next < bytes.byteLength && !signal?.aborted) {
      const start = next;
      const end = Math.min(start + PIECE_BYTES, bytes.byteLength);
      next = end;
      const piece = source.read
        ? await source.read(start, end)
        : new Uint8Array(await source.slice(start, end).arrayBuffer());
      if (piece.byteLength !== end - start)
        throw new UnitcellError(
          "MISMATCH",
          `expected ${end - start} bytes at ${start}, the source gave ${piece.byteLength}`,
        );
      bytes.set(piece, start);
      loaded += piece.byteLength;
      if (!signal?.aborted) report(loaded);
    }
  };
  // After an error the others end with the piece they are at.
  const stop = (error: unknown) => {
    next = bytes.byteLength;
    throw error;
  };
  await Promise.all(Array.from({ length: CONCURRENT_PIECES }, () => worker().catch(stop)));
  return bytes;
}

/** What is fetched, unless the caller stops first: a request that hangs must not keep them waiting. */
async function orStopped<T>(work: Promise<T>, name: string, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () =>
      reject(new UnitcellError("BACKEND", `the transfer of ${name} was aborted`, {}, { cause: signal.reason }));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
  });
  // Whichever comes second has no one waiting for it.
  work.catch(() => {});
  try {
    return await Promise.race([stopped, work]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/**
 * A store: named files, wherever they lie. Checkpoints, their JSON and unitcell's own notes are all files of one.
 * The contract every store keeps is test/store.contract.ts.
 */
import type { ByteSource, Sink } from "../bytes.js";
import { UnitcellError } from "../errors.js";

/** One file, as a listing shows it. */
export interface StoreEntry {
  /** Its name: folders and file joined by "/", as "cgcnn_mp_best.pt" or "runs/a/best_model.pt". */
  readonly key: string;
  readonly size: number;
  /** By the store's clock, which may be wrong: nothing but display and `keepYoungerThan` stands on it. */
  readonly modified: Date;
  /** Another one for other contents: the number of a write, an ETag, time and inode of a file. */
  readonly version: string;
}

/** A file that was found. Its contents stay those of that moment where the store can do that (files, memory). */
export interface StoreSource extends ByteSource {
  /** Gives back what it holds (a file descriptor). */
  close?(): void;
}

/** Files by key, to be read: keys are "/"-separated names. `httpStore` is no more than this. */
export interface ReadStore {
  /** A file by its key; undefined where there is none. */
  get(key: string): Promise<StoreSource | undefined>;
  /**
   * The files in a folder and in all below it ("" is everything), in no order. What is in folders whose names begin with a
   * dot is listed only where `folder` names them; unfinished files never are.
   */
  list(folder?: string): AsyncIterable<StoreEntry>;
}

/** The bytes of a file: at once, or written piece by piece. */
export type Content = Uint8Array | ((sink: Sink) => Promise<void>);

/** Whether a change must survive a power failure. */
export interface ChangeOptions {
  /** false: it may be undone by a power failure, which a lock's ticket need not survive. Default: true. */
  readonly durable?: boolean;
}

/** Whether a file may replace another, and must survive a power failure. */
export interface PutOptions extends ChangeOptions {
  /** Only where there is no file of that name yet; the check and the writing are one step. */
  readonly ifAbsent?: boolean;
}

/** Files by key, to be read and written. All stores keep these promises, whatever they stand on. */
export interface Store extends ReadStore {
  /**
   * Write a file whole, over another of that name. Readers find the former file or the new one, also after a crash in the
   * middle, and once this has returned the new one survives a power failure (as far as the host lets it).
   * @returns false where `ifAbsent` was asked for and there is a file
   * @throws {UnitcellError} BACKEND when the disk is full, may not be written or fails: the former file is then still there
   */
  put(key: string, content: Content, options?: PutOptions): Promise<boolean>;
  /** Give a file another name, over another file of that name. @throws {UnitcellError} NOT_FOUND */
  move(from: string, to: string, options?: ChangeOptions): Promise<void>;
  /** Remove a file; one that is not there is no error. */
  delete(key: string, options?: ChangeOptions): Promise<void>;
  /** Remove unfinished files of writers that died; how many. Files that are still written to stay. */
  clean?(): Promise<number>;
  /** Who writes, for locks; a store that cannot tell leaves it out. */
  readonly liveness?: Liveness;
}

/** Whether another writer still lives, without waiting for a sign of it. */
export interface Liveness {
  /** A name for this writer that tells it from all others, those before a restart included. */
  readonly self: string;
  /** undefined: this store cannot know (the writer is on another machine). */
  isAlive(writer: string): Promise<boolean | undefined>;
}

/** Longest key; file systems stop at 255 bytes for a name. */
const MOST_KEY_CHARS = 1024;

/**
 * The key itself, if it can be one everywhere.
 * @throws {UnitcellError} ARGUMENT for an empty one, and for empty parts, "." and "..", backslashes, control characters and
 *   halves of surrogate pairs, which become other characters in file names and addresses
 */
export function checkKey(key: string): string {
  const parts = typeof key === "string" ? key.split("/") : [""];
  const isPlain = parts.every((part) => part !== "" && part !== "." && part !== "..");
  if (isPlain && key.length <= MOST_KEY_CHARS && !/[\\\p{Cc}\p{Cs}]/u.test(key)) return key;
  throw new UnitcellError("ARGUMENT", `expected a key as "folder/name.pt", found ${JSON.stringify(key)}`, { key });
}

/** Whether a name can be a key, as `checkKey`; of the names of others. */
export function isKey(name: string): boolean {
  try {
    return checkKey(name) === name;
  } catch {
    return false;
  }
}

/** What ReadStore.list promises of folders, for stores that know keys only. */
export function isListed(key: string, folder: string): boolean {
  const inside = folder === "" ? key : key.startsWith(`${folder}/`) ? key.slice(folder.length + 1) : undefined;
  return (
    inside !== undefined &&
    !inside
      .split("/")
      .slice(0, -1)
      .some((part) => part.startsWith("."))
  );
}

/** The bytes of a file in one array, for stores that write nothing else. */
export async function collect(content: Content): Promise<Uint8Array> {
  if (typeof content !== "function") return content;
  const pieces: Uint8Array[] = [];
  let size = 0;
  await content((piece) => {
    pieces.push(new Uint8Array(piece)); // a Buffer's slice would be a view
    size += piece.byteLength;
  });
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}

/**
 * Change many files, and wait for the disk only with the last of each folder: that makes the others last too.
 * @param change one of them
 */
export async function changeMany(
  keys: readonly string[],
  change: (key: string, options: ChangeOptions) => Promise<void>,
): Promise<void> {
  const last = new Map(keys.map((key) => [key.slice(0, key.lastIndexOf("/") + 1), key]));
  const lasts = new Set(last.values());
  for (const key of keys) await change(key, { durable: lasts.has(key) });
}

/** Whether there is a file of that name. */
export async function isThere(store: ReadStore, key: string): Promise<boolean> {
  const source = await store.get(key);
  source?.close?.();
  return source !== undefined;
}

/** Descriptions beside checkpoints, and notes: a history of 10,000 epochs with ten columns has some 3 MB. */
const MOST_FILE_BYTES = 16 * 2 ** 20;

/** A description or note whole; undefined where there is none. @throws {UnitcellError} LIMIT above 16 MiB */
export async function readFile(store: ReadStore, key: string): Promise<Uint8Array | undefined> {
  const source = await store.get(key);
  if (!source) return undefined;
  try {
    if (source.size > MOST_FILE_BYTES)
      throw new UnitcellError(
        "LIMIT",
        `${key} has ${source.size} bytes, the limit for its kind is ${MOST_FILE_BYTES}`,
        {
          key,
          size: source.size,
          limit: MOST_FILE_BYTES,
        },
      );
    return new Uint8Array(await source.slice(0, source.size).arrayBuffer());
  } finally {
    source.close?.();
  }
}

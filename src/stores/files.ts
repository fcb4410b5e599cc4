/** Single files of Node, Deno and Bun: ranges of an open one, and a new one that takes its name only when it is complete. */
import { Buffer } from "node:buffer";
import {
  closeSync,
  fstatSync,
  fsync,
  openSync,
  read,
  readSync,
  realpathSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { link, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { platform } from "node:process";
import type { ByteSource } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { beginPart, endPart } from "./parts.js";
import type { PutOptions } from "./store.js";

/** Shorter reads are done at once: a trip through the thread pool takes longer than copying so much from the disk cache. */
const SYNC_BYTES = 2 ** 20;
/** Longer reads are split, and the pool's threads share the cost of touching new memory, which exceeds that of copying. */
const PIECE_BYTES = 4 * 2 ** 20;
/** The most that one call writes; Node takes lengths below 2^31 only. */
const WRITE_BYTES = 2 ** 30;
/** In place of a file descriptor: reading or writing fails with EBADF. */
const CLOSED = 2 ** 31 - 1;

/** One file that cannot be read is as good as corrupt; a store must not take for that what may pass. */
type DiskError = "CORRUPT" | "BACKEND";

/** Open a file for reading. @throws {UnitcellError} NOT_FOUND, ARGUMENT for a folder or device, CORRUPT otherwise */
export function fileSource(path: string): FileSource {
  try {
    return openFile(path, "CORRUPT");
  } catch (error) {
    throw failure(path, error, "CORRUPT", "read");
  }
}

/** @param whenFailing what a disk that fails later throws. @throws the system's errors, and ARGUMENT for a folder or device */
export function openFile(path: string, whenFailing: DiskError): FileSource {
  // Before it is opened: a named pipe would wait for its other end.
  if (!statSync(path).isFile()) throw notAFile(path);
  const fd = openSync(path, "r");
  try {
    return new FileSource(path, fd, fstatSync(fd).size, whenFailing);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** An open file that is read by range, until `close`. */
class FileSource implements ByteSource {
  readonly path: string;
  readonly size: number;
  private readonly whenFailing: DiskError;
  private fd: number;

  constructor(path: string, fd: number, size: number, whenFailing: DiskError) {
    this.path = path;
    this.fd = fd;
    this.size = size;
    this.whenFailing = whenFailing;
  }

  /**
   * Bytes `start` to `end`, in memory of their own.
   * @throws {UnitcellError} CORRUPT when the disk fails (of a store: BACKEND), MISMATCH when the file has become shorter
   */
  read(start: number, end: number): Uint8Array | Promise<Uint8Array> {
    // Not zeroed: every byte is read over, or the read fails.
    const bytes = new Uint8Array(Buffer.allocUnsafeSlow(end - start).buffer);
    return bytes.length < SYNC_BYTES ? this.readNow(bytes, start) : this.readPieces(bytes, start);
  }

  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> } {
    return { arrayBuffer: async () => (await this.read(start, end)).buffer as ArrayBuffer };
  }

  /** Does nothing the second time. @throws {UnitcellError} BACKEND when the disk fails */
  close(): void {
    const { fd } = this;
    this.fd = CLOSED;
    try {
      if (fd !== CLOSED) closeSync(fd);
    } catch (error) {
      throw failure(this.path, error, "BACKEND", "close");
    }
  }

  private readNow(bytes: Uint8Array, start: number): Uint8Array {
    for (let at = 0; at < bytes.length; ) {
      try {
        const count = readSync(this.fd, bytes, at, bytes.length - at, start + at);
        if (count === 0) throw this.shorter(start + bytes.length, start + at);
        at += count;
      } catch (error) {
        throw this.failed(error);
      }
    }
    return bytes;
  }

  private async readPieces(bytes: Uint8Array, start: number): Promise<Uint8Array> {
    const pieces: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; at += PIECE_BYTES)
      pieces.push(this.readPiece(bytes.subarray(at, at + PIECE_BYTES), start + at));
    await Promise.all(pieces);
    return bytes;
  }

  private async readPiece(bytes: Uint8Array, start: number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const count = await new Promise<number>((resolve, reject) =>
        read(this.fd, bytes, at, bytes.length - at, start + at, (error, count) =>
          error ? reject(this.failed(error)) : resolve(count),
        ),
      );
      if (count === 0) throw this.shorter(start + bytes.length, start + at);
      at += count;
    }
  }

  private failed(error: unknown): UnitcellError {
    return failure(this.path, error, this.whenFailing, "read");
  }

  private shorter(expected: number, found: number): UnitcellError {
    const message = `expected ${expected} bytes in ${this.path}, it now ends at ${found} (it had ${this.size})`;
    return new UnitcellError("MISMATCH", message, { expected, found, size: this.size });
  }
}

/** Whether a file must survive a power failure. */
export interface SinkOptions {
  /** false: do not wait for the disk, so that a power failure may lose the file (but a crash of the program may not). */
  readonly durable?: boolean;
}

/**
 * Begin a file. It is written beside its final name, as "NAME.RANDOM.part", and gets its name in `close`: whoever looks
 * finds the former file or the whole new one. After an error, or instead of `close`, call `abort`.
 * @throws {UnitcellError} NOT_FOUND without the folder, ARGUMENT for a folder or device, BACKEND for other failures
 */
export function fileSink(path: string, { durable = true }: SinkOptions = {}): FileSink {
  let part = "";
  try {
    const target = replaceable(path);
    part = beginPart(target);
    return new FileSink(target, part, openSync(part, "wx"), durable);
  } catch (error) {
    endPart(part);
    throw failure(path, error, "BACKEND", "write");
  }
}

/** A file that is being written; it has its name only when `close` has returned. */
class FileSink {
  /** Where the file will be: the target, where a symbolic link was given. */
  readonly path: string;
  private readonly part: string;
  private readonly durable: boolean;
  private fd: number;
  private size = 0;
  private state: "open" | "closing" | "ended" = "open";

  constructor(path: string, part: string, fd: number, durable: boolean) {
    this.path = path;
    this.part = part;
    this.fd = fd;
    this.durable = durable;
  }

  /** Append. A function of its own, to be handed on. @throws {UnitcellError} BACKEND when the disk is full or fails */
  readonly write = (bytes: Uint8Array): void => {
    this.checkOpen();
    try {
      for (let at = 0; at < bytes.length; ) {
        const count = writeSync(this.fd, bytes, at, Math.min(WRITE_BYTES, bytes.length - at), this.size);
        at += count;
        this.size += count;
      }
    } catch (error) {
      throw failure(this.path, error, "BACKEND", "write");
    }
  };

  /**
   * Finish the file and give it its name; waits for the disk, if durable, while the program goes on.
   * @returns false where `ifAbsent` was asked for and there is a file: that one stays, of this one nothing is left
   * @throws {UnitcellError} BACKEND when the disk is full or fails. It may have its name then, if what failed is to make
   *   the name last.
   */
  async close({ ifAbsent = false }: PutOptions = {}): Promise<boolean> {
    this.checkOpen();
    this.state = "closing";
    try {
      if (this.durable) await flushed(this.fd);
      this.release();
      if (ifAbsent) await link(this.part, this.path);
      else await rename(this.part, this.path);
    } catch (error) {
      this.state = "open";
      if (!ifAbsent || codeOf(error) !== "EEXIST") throw failure(this.path, error, "BACKEND", "write");
      this.abort();
      return false;
    }
    this.end(ifAbsent);
    try {
      if (this.durable) await syncFolder(dirname(this.path));
    } catch (error) {
      throw failure(this.path, error, "BACKEND", "write");
    }
    return true;
  }

  /** Give up: nothing is left of what was written. Does nothing after `close`. */
  abort(): void {
    if (this.state !== "open") return;
    try {
      this.release();
    } catch {
      // It is an error before this one that people want to read.
    }
    this.end(true);
  }

  private release(): void {
    const { fd } = this;
    this.fd = CLOSED;
    if (fd !== CLOSED) closeSync(fd);
  }

  private end(remove: boolean): void {
    this.state = "ended";
    endPart(this.part);
    try {
      if (remove) unlinkSync(this.part);
    } catch {
      // Left for `clean` of the store: the file itself is as it should be.
    }
  }

  private checkOpen(): void {
    if (this.state !== "open")
      throw new UnitcellError("ARGUMENT", `${this.path} is finished; nothing more can be written`);
  }
}

export type { FileSink, FileSource };

/** The path itself, or what it links to: renaming over a link, device or folder would destroy that. */
function replaceable(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return path;
  if (!stats.isFile()) throw notAFile(path);
  return realpathSync(path);
}

/** Make names in a folder last: a file's own flush does not. @throws the system's errors */
export async function syncFolder(path: string): Promise<void> {
  let fd = CLOSED;
  try {
    fd = openSync(path, "r");
    await flushed(fd);
  } catch (error) {
    // Windows opens no folders, and needs no flush of them.
    if (platform !== "win32" || !["EISDIR", "EPERM", "EINVAL", "EACCES"].includes(codeOf(error) ?? "")) throw error;
  } finally {
    if (fd !== CLOSED) closeSync(fd);
  }
}

const flushed = (fd: number) =>
  new Promise<void>((resolve, reject) => fsync(fd, (error) => (error ? reject(error) : resolve())));

export const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

/** There is no such file: a folder of its path is missing or is a file. */
export const isAbsent = (error: unknown) => ["ENOENT", "ENOTDIR"].includes(codeOf(error) ?? "");

export const notAFile = (path: string) =>
  new UnitcellError("ARGUMENT", `${path} is a folder or device, not a file`, { path });

/** An error of the system with the path, under our codes; those that have one stay as they are. */
export function failure(path: string, cause: unknown, otherwise: DiskError, verb: string): UnitcellError {
  if (cause instanceof UnitcellError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const detail = { path, cause: code };
  if (code === "ENOENT") return new UnitcellError("NOT_FOUND", `no file or folder ${path}`, detail, { cause });
  const kind = code === "ENAMETOOLONG" || code === "ENOTDIR" ? "ARGUMENT" : otherwise;
  return new UnitcellError(kind, `cannot ${verb} ${path}: ${message}`, detail, { cause });
}

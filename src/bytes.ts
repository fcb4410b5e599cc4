/**
 * Where bytes come from, a bounds-checked cursor over them, and every cap on what a file may make the readers do.
 * A cap is a constant with its reason: raising one is a decision, not a patch.
 */
import { UnitcellError } from "./errors.js";

/** What reading one file may take. Each default has its reason; a caller who trusts a file can raise any of them. */
export interface Limits {
  /** A whole file taken into memory at once. Larger ArrayBuffers fail in some browsers; lazy reading has no such limit. */
  readonly fileBytes: number;
  /** Entries of one zip. A network has hundreds of storages; each entry costs a few hundred bytes to index. */
  readonly zipEntries: number;
  /** A zip entry's name. torch writes at most a folder and a number; tools write module paths. */
  readonly zipNameBytes: number;
  /** Deflated entries may grow to this even from a tiny file, so that small files full of zeros still load. */
  readonly inflateFloorBytes: number;
  /** Above the floor, all entries together may inflate to this multiple of the file; trained weights reach about 1.1. */
  readonly inflateRatio: number;
  /** The pickle of a file, which becomes JavaScript objects. A network of 100,000 tensors has about 30 MB. */
  readonly pickleBytes: number;
  /** Opcodes of one pickle, each of which can add one stack slot. A published CGCNN checkpoint has 2400. */
  readonly pickleOps: number;
  /**
   * Values and marks on the pickle stack at once. Python writes lists and dicts in batches of 1000, so only the items of
   * one long tuple pile up; a million nested lists would take 270 MB of JavaScript arrays.
   */
  readonly pickleStack: number;
  /** One integer. Converting text to an integer is quadratic; Python's own text limit is 4300 digits (1786 bytes). */
  readonly integerBytes: number;
  /** Tensor dimensions; torch itself stops at 64 in most operations. */
  readonly tensorRank: number;
  /** The dense copy of one strided, expanded or unaligned tensor, unless its storage is larger: stride 0 can ask for any size. */
  readonly copyBytes: number;
  /** The JSON header of a safetensors file; the library's own limit. */
  readonly headerBytes: number;
}

export const DEFAULT_LIMITS: Limits = {
  fileBytes: 2 ** 31 - 1,
  zipEntries: 100_000,
  zipNameBytes: 1024,
  inflateFloorBytes: 16 * 2 ** 20,
  inflateRatio: 100,
  pickleBytes: 256 * 2 ** 20,
  pickleOps: 10_000_000,
  pickleStack: 500_000,
  integerBytes: 2048,
  tensorRank: 64,
  copyBytes: 256 * 2 ** 20,
  headerBytes: 100_000_000,
};

/** Compressed bytes given to inflate at a time: deflate grows at most 1032-fold, so this bounds an overrun to 17 MB. */
export const INFLATE_STEP_BYTES = 16 * 1024;

/** Levels of objects and arrays in JSON that a file brings, safetensors headers and shard indices: they need three. */
export const JSON_DEPTH = 128;

/** A Blob, File or OPFS file already is one; Uint8Array and ArrayBuffer are taken as they are. */
export interface ByteSource {
  readonly size: number;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

export type Input = ByteSource | Uint8Array | ArrayBuffer;

/**
 * All bytes of an input: the caller's own memory where it already is in memory, else one read.
 * @throws {UnitcellError} ARGUMENT for anything but bytes, LIMIT above MAX_FILE_BYTES, MISMATCH on a short read
 */
export async function readAll(input: Input): Promise<Uint8Array> {
  const size = inputSize(input);
  if (size > DEFAULT_LIMITS.fileBytes)
    throw new UnitcellError("LIMIT", `the file has ${size} bytes, the limit is ${DEFAULT_LIMITS.fileBytes}`, { size });
  if (input instanceof Uint8Array) return input;
  if (isArrayBuffer(input)) return new Uint8Array(input);
  const bytes = new Uint8Array(await input.slice(0, size).arrayBuffer());
  if (bytes.byteLength !== size)
    throw new UnitcellError("MISMATCH", `expected ${size} bytes, the source gave ${bytes.byteLength}`, {
      expected: size,
      found: bytes.byteLength,
    });
  return bytes;
}

function inputSize(input: Input): number {
  if (input instanceof Uint8Array || isArrayBuffer(input)) return input.byteLength;
  if (Number.isSafeInteger(input?.size) && input.size >= 0 && typeof input.slice === "function") return input.size;
  throw new UnitcellError(
    "ARGUMENT",
    `expected a Uint8Array, ArrayBuffer, Blob or File, found ${input === null ? "null" : typeof input}`,
  );
}

/** By tag and not instanceof: a buffer from a worker, iframe or test realm has another constructor. */
function isArrayBuffer(input: unknown): input is ArrayBuffer {
  return Object.prototype.toString.call(input) === "[object ArrayBuffer]";
}

/** A cursor. Reads are little-endian, and past the end they throw CORRUPT with the offset and both numbers. */
export class ByteReader {
  readonly bytes: Uint8Array;
  offset: number;
  private readonly view: DataView;

  constructor(bytes: Uint8Array, offset = 0) {
    this.bytes = bytes;
    this.offset = offset;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.bytes.byteLength - this.offset;
  }

  u8(): number {
    return this.view.getUint8(this.advance(1));
  }

  u16(): number {
    return this.view.getUint16(this.advance(2), true);
  }

  u32(): number {
    return this.view.getUint32(this.advance(4), true);
  }

  i32(): number {
    return this.view.getInt32(this.advance(4), true);
  }

  /** A size, count or offset: beyond 2^53 it can only be a lie, so it is CORRUPT rather than rounded. */
  u64(): number {
    const at = this.advance(8);
    const value = this.view.getBigUint64(at, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw new UnitcellError("CORRUPT", `the 64-bit size ${value} at byte ${at} is beyond any file`, { offset: at });
    return Number(value);
  }

  /** IEEE double; pickle's BINFLOAT is the one big-endian number in these formats. */
  f64(littleEndian = true): number {
    return this.view.getFloat64(this.advance(8), littleEndian);
  }

  /** The next `count` bytes as a view, not a copy. */
  take(count: number): Uint8Array {
    const start = this.advance(count);
    return this.bytes.subarray(start, start + count);
  }

  /** The bytes before the next newline; the newline is consumed too. */
  line(): Uint8Array {
    const end = this.bytes.indexOf(10, this.offset);
    if (end < 0)
      throw new UnitcellError("CORRUPT", `a line starts at byte ${this.offset} and has no end`, {
        offset: this.offset,
      });
    const line = this.bytes.subarray(this.offset, end);
    this.offset = end + 1;
    return line;
  }

  /** Moves past `count` bytes, checked before anything is read or allocated; returns where they start. */
  private advance(count: number): number {
    const start = this.offset;
    const size = this.bytes.byteLength;
    if (!(count >= 0 && start + count <= size))
      throw new UnitcellError("CORRUPT", `expected ${count} more bytes at byte ${start}, the data ends at ${size}`, {
        offset: start,
        expected: count,
        size,
      });
    this.offset = start + count;
    return start;
  }
}

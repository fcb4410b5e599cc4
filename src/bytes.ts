/**
 * Where bytes come from, a bounds-checked cursor over them, and every cap on what a file may make the readers do.
 * A cap is a constant with its reason: raising one is a decision, not a patch.
 */
import { UnitcellError } from "./errors.js";

/** What reading one file may take. Each default has its reason; a caller who trusts a file can raise any of them. */
export interface Limits {
  /** A file read whole because its format has no directory (tar, bare pickles). Larger ArrayBuffers fail in some browsers. */
  readonly wholeFileBytes: number;
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
  /** Opcodes of one pickle. Every third can make a Set of 250 bytes; 100,000 tensors take 4 million, a published CGCNN has 2400. */
  readonly pickleOps: number;
  /**
   * Values and marks on the pickle stack at once. Python writes lists and dicts in batches of 1000, so only the items of
   * one long tuple pile up; a million nested lists would take 270 MB of JavaScript arrays.
   */
  readonly pickleStack: number;
  /**
   * Bytes (8 for an item) that calls in a pickle take from their arguments, per byte of the pickle up to there: one
   * argument can be used any number of times, and bytes, sets and numpy values copy it. Python's own files stay below 5.
   */
  readonly pickleCopyRatio: number;
  /**
   * Keys of dicts and members of sets, in one file, that are numbers and no 32-bit integers. Engines hash those alike
   * for anyone to see: a Map of 20,000 bigints chosen to collide takes 2 s, of ten times as many 200 s.
   */
  readonly wideKeys: number;
  /** One integer. Converting text to an integer is quadratic; Python's own text limit is 4300 digits (1786 bytes). */
  readonly integerBytes: number;
  /** Tensor dimensions; torch itself stops at 64 in most operations. */
  readonly tensorRank: number;
  /**
   * Strided, expanded and unaligned tensors are copied when their data is asked for; together the copies of one file may
   * take this, and on top of it copyRatio times the storages. Stride 0 can ask for any size.
   */
  readonly copyFloorBytes: number;
  readonly copyRatio: number;
  /** The JSON header of a safetensors file; the library's own limit. */
  readonly headerBytes: number;
  /** Tensors, and metadata entries, of one safetensors file: 2 million in a hostile header take 14 s to describe. */
  readonly headerEntries: number;
  /** A JSON text of settings beside a checkpoint; those of ALIGNN and matgl have 2 kB. */
  readonly settingsBytes: number;
}

/** The caps that hold where a caller gives no others. */
export const DEFAULT_LIMITS: Limits = {
  wholeFileBytes: 2 ** 31 - 1,
  zipEntries: 100_000,
  zipNameBytes: 1024,
  inflateFloorBytes: 16 * 2 ** 20,
  inflateRatio: 100,
  pickleBytes: 256 * 2 ** 20,
  pickleOps: 5_000_000,
  pickleStack: 500_000,
  pickleCopyRatio: 8,
  wideKeys: 20_000,
  integerBytes: 2048,
  tensorRank: 64,
  copyFloorBytes: 64 * 2 ** 20,
  copyRatio: 4,
  headerBytes: 100_000_000,
  headerEntries: 100_000,
  settingsBytes: 2 ** 20,
};

/**
 * The defaults with a caller's changes; undefined is none.
 * @throws {UnitcellError} ARGUMENT for what is no number: compared with that, nothing would ever be too much
 */
export function limitsOf(changes: Partial<Limits> = {}): Limits {
  const limits: Record<string, number> = { ...DEFAULT_LIMITS };
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) continue;
    if (!(Object.hasOwn(DEFAULT_LIMITS, name) && typeof value === "number" && value >= 0))
      throw new UnitcellError(
        "ARGUMENT",
        `expected a limit of the names in Limits and a number, found ${name}: ${value}`,
        {
          name,
        },
      );
    limits[name] = value;
  }
  return limits as unknown as Limits;
}

/** Compressed bytes given to inflate at a time: deflate grows at most 1032-fold, so this bounds an overrun to 17 MB. */
export const INFLATE_STEP_BYTES = 16 * 1024;

/** Levels of objects and arrays in JSON that a file brings; safetensors headers and shard indices need three. */
export const JSON_DEPTH = 128;

/** A Blob, File or OPFS file already is one; Uint8Array and ArrayBuffer are taken as they are. */
export interface ByteSource {
  readonly size: number;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
  /** Where a source can give bytes with one copy less than `slice`; exactly end - start of them. */
  read?(start: number, end: number): Uint8Array | Promise<Uint8Array>;
}

/** A file's bytes, or something that gives them by range: a Blob and a File are such. */
export type Input = ByteSource | Uint8Array | ArrayBuffer;

/** Takes the bytes of a file in order; what it was given stays unchanged unless the caller changes a tensor. */
export type Sink = (bytes: Uint8Array) => void | Promise<void>;

/** Bytes start (included) to end (excluded) of a file. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Ranges with a gap up to this are fetched in one piece: a request costs more than so many bytes. */
const JOIN_GAP_BYTES = 64 * 1024;
/** A joined piece stops growing here: it lives as long as any tensor in it. */
const JOIN_MAX_BYTES = 4 * 2 ** 20;
/** What is aligned to this in the file is aligned in memory (torch aligns storages to 64). */
const PIECE_ALIGNMENT = 64;
/** Pieces on their way at once. */
const CONCURRENT_PIECES = 4;

/** An input that is not in memory is fetched whole up to this size: a few requests cost more than so many bytes. */
const WHOLE_BYTES = 2 ** 20;

/** Random access to an input, in memory or not; counts what it fetches. */
export class FileBytes {
  readonly size: number;
  /** Bytes fetched so far; 0 for an input that was in memory. */
  bytesRead = 0;
  private readonly source: ByteSource | undefined;
  private whole: Uint8Array | undefined;

  /** @throws {UnitcellError} ARGUMENT for anything but bytes */
  constructor(input: Input) {
    this.size = inputSize(input);
    if (isUint8Array(input)) this.whole = plainBytes(input);
    else if (isArrayBuffer(input)) this.whole = new Uint8Array(input);
    else this.source = input;
  }

  /** Fetch a small input whole. */
  async fetchSmall(): Promise<void> {
    if (!this.whole && this.size <= WHOLE_BYTES) this.whole = await this.read(0, this.size);
  }

  /** All bytes, where they are in memory. */
  get memory(): Uint8Array | undefined {
    return this.whole;
  }

  /**
   * One range: a view of an input in memory, else its own bytes.
   * @throws {UnitcellError} CORRUPT outside the file, MISMATCH when the source gives another number of bytes, BACKEND for
   *   more than the runtime has arrays for (4 GiB in Node 20)
   */
  async read(start: number, end: number): Promise<Uint8Array> {
    if (this.whole || !this.source) return this.view(start, end);
    this.checkRange(start, end);
    const bytes = await fetchRange(this.source, start, end);
    if (bytes.byteLength !== end - start)
      throw new UnitcellError(
        "MISMATCH",
        `expected ${end - start} bytes at ${start}, the source gave ${bytes.byteLength}`,
        {
          start,
          expected: end - start,
          found: bytes.byteLength,
        },
      );
    this.bytesRead += bytes.byteLength;
    return bytes;
  }

  private view(start: number, end: number): Uint8Array {
    this.checkRange(start, end);
    return this.memory!.subarray(start, end);
  }

  private checkRange(start: number, end: number): void {
    if (!(start >= 0 && start <= end && end <= this.size))
      throw new UnitcellError("CORRUPT", `expected bytes ${start} to ${end}, the file has ${this.size}`, {
        start,
        end,
        size: this.size,
      });
  }

  /**
   * Several ranges; neighbours are fetched together. What is to be done with the bytes is done as they arrive, while
   * others are on their way.
   * @param take gets a range's index and bytes, in no particular order
   * @param alignment 1 where the file is not aligned: a large range then starts its own aligned piece of memory
   */
  async readRanges(
    ranges: readonly Range[],
    take: (index: number, bytes: Uint8Array) => void,
    alignment = PIECE_ALIGNMENT,
  ): Promise<void> {
    if (this.memory) {
      for (const [i, { start, end }] of ranges.entries()) take(i, this.view(start, end));
      return;
    }
    const pieces = joinRanges(ranges, alignment);
    let next = 0;
    const worker = async () => {
      while (next < pieces.length) {
        const { start, end, members } = pieces[next++];
        const bytes = await this.read(start, end);
        for (const i of members) take(i, bytes.subarray(ranges[i].start - start, ranges[i].end - start));
      }
    };
    // After an error the others end with the piece they are at.
    const stop = (error: unknown) => {
      next = pieces.length;
      throw error;
    };
    const workers = Array.from({ length: Math.min(CONCURRENT_PIECES, pieces.length) }, () => worker().catch(stop));
    await Promise.all(workers);
  }
}

async function fetchRange(source: ByteSource, start: number, end: number): Promise<Uint8Array> {
  try {
    if (source.read) return plainBytes(await source.read(start, end));
    return new Uint8Array(await source.slice(start, end).arrayBuffer());
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const message = `this runtime cannot hold ${end - start} bytes in one array; read parts of the storage`;
    throw new UnitcellError("BACKEND", message, { start, end }, { cause });
  }
}

function joinRanges(ranges: readonly Range[], alignment: number): { start: number; end: number; members: number[] }[] {
  const order = ranges.map((_, i) => i).sort((a, b) => ranges[a].start - ranges[b].start);
  const pieces: { start: number; end: number; members: number[] }[] = [];
  for (const i of order) {
    const { start, end } = ranges[i];
    const last = pieces.at(-1);
    if (last && start - last.end <= JOIN_GAP_BYTES && end - last.start <= JOIN_MAX_BYTES) {
      last.end = Math.max(last.end, end);
      last.members.push(i);
    } else pieces.push({ start: start - (start % alignment), end, members: [i] });
  }
  return pieces;
}

function inputSize(input: Input): number {
  if (isUint8Array(input) || isArrayBuffer(input)) return input.byteLength;
  if (Number.isSafeInteger(input?.size) && input.size >= 0 && typeof input.slice === "function") return input.size;
  throw new UnitcellError(
    "ARGUMENT",
    `expected a Uint8Array, ArrayBuffer, Blob or File, found ${input === null ? "null" : typeof input}`,
  );
}

/** A Node Buffer's `slice` is a view, and numbers are swapped in place in what `slice` gives: it must be a copy. */
function plainBytes({ buffer, byteOffset, byteLength }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** By tag and not instanceof: a buffer from a worker, iframe or test realm has another constructor. */
function isArrayBuffer(input: unknown): input is ArrayBuffer {
  return Object.prototype.toString.call(input) === "[object ArrayBuffer]";
}

function isUint8Array(input: unknown): input is Uint8Array {
  return ArrayBuffer.isView(input) && Object.prototype.toString.call(input) === "[object Uint8Array]";
}

/** TextDecoder costs more than the characters of a name; files hold thousands of short ones. */
const MAX_SHORT_TEXT = 64;

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
    return this.bytes[this.advance(1)];
  }

  u16(): number {
    const at = this.advance(2);
    return this.bytes[at] | (this.bytes[at + 1] << 8);
  }

  u32(): number {
    return this.i32() >>> 0;
  }

  i32(): number {
    const at = this.advance(4);
    const { bytes } = this;
    return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
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

  /** The next `count` bytes as text when they are few and all ASCII, else undefined and nothing is consumed. */
  shortText(count: number): string | undefined {
    const end = this.offset + count;
    if (count > MAX_SHORT_TEXT || end > this.bytes.byteLength) return undefined;
    let text = "";
    for (let i = this.offset; i < end; i++) {
      if (this.bytes[i] > 127) return undefined;
      text += String.fromCharCode(this.bytes[i]);
    }
    this.offset = end;
    return text;
  }

  /** The bytes before the next newline; the newline is consumed too. */
  line(): Uint8Array {
    const end = this.bytes.indexOf(10, this.offset);
    if (end < 0)
      throw new UnitcellError("CORRUPT", `a line starts at byte ${this.offset} and has no end`, {
        offset: this.offset,
        expected: 1,
        size: this.bytes.byteLength,
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

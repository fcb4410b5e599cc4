/**
 * Zip archives, read strictly: the central directory is the truth, every local header must agree with it, and whatever
 * two readers could take in two ways is refused. Source: PKWARE APPNOTE 6.3.10; what PyTorchFileWriter makes of it is
 * in torch's caffe2/serialize/inline_container.cc.
 */
import { ByteReader, type FileBytes, type Limits, type Range } from "../bytes.js";
import { CUT_SHORT, UnitcellError } from "../errors.js";
import { crc32 } from "./crc32.js";
import type { Inflater } from "./inflate.js";

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const END_RECORD_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const END_RECORD_BYTES = 22;
const LOCATOR_64_BYTES = 20;
const END_RECORD_64_BYTES = 56;
/** Holds the end records with the longest comment, and for most files the whole directory. */
const TAIL_BYTES = END_RECORD_BYTES + 65535 + LOCATOR_64_BYTES + END_RECORD_64_BYTES;
/** A 32-bit field that says "look in the zip64 extra"; 16-bit counts use SENTINEL_16. */
const SENTINEL = 0xffffffff;
const SENTINEL_16 = 0xffff;
/** Encrypted entry, encrypted directory (strong encryption masks the local header). */
const FLAG_ENCRYPTED = 0x0001 | 0x0040 | 0x2000;
const FLAG_DESCRIPTOR = 0x0008;

/** Beyond its fields and name, what an entry of the directory or a local header may take (extras, padding, comment). */
const MAX_EXTRA_BYTES = 65535;
const LOCAL_HEADER_BYTES = 30;
const CENTRAL_HEADER_BYTES = 46;
/** A local header, name and padding in one request; torch pads to 64 bytes. */
const USUAL_EXTRA_BYTES = 256;
/** Larger deflated entries are fetched in parts of this. */
const STREAM_BYTES = 4 * 2 ** 20;

export interface ZipEntry {
  readonly name: string;
  /** Bytes after inflating. */
  readonly size: number;
  readonly compressedSize: number;
  readonly crc: number;
  readonly method: 0 | 8;
  /** Where its local header starts in the file. */
  readonly header: number;
  /** Bytes of the name in UTF-8. */
  readonly nameLength: number;
}

interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
}

export interface ZipOptions {
  readonly limits: Limits;
  /** false: CRC-32 values are not compared. */
  readonly checkCrc: boolean;
}

/** An opened archive: its directory is read and checked; entries are read when asked for. */
export class ZipArchive {
  /** In central-directory order. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  private readonly file: FileBytes;
  private readonly options: ZipOptions;
  /** Where the next record starts, for every entry. */
  private readonly ends: ReadonlyMap<ZipEntry, number>;

  constructor(file: FileBytes, entries: ReadonlyMap<string, ZipEntry>, limit: number, options: ZipOptions) {
    this.file = file;
    this.entries = entries;
    this.options = options;
    this.ends = recordEnds([...entries.values()], limit);
    this.checkInflated();
    const { memory } = file;
    // Where it costs nothing, all local headers are checked at once: two readings of a file are a reason to refuse it.
    if (memory)
      for (const [entry, end] of this.ends) {
        const start = dataStart(memory, entry.header, end, entry);
        if (start + entry.compressedSize > end) throw overlap(entry.name, start + entry.compressedSize, end);
      }
  }

  /**
   * The bytes of entries: views of the file when stored, new arrays when deflated.
   * @throws {UnitcellError} CORRUPT for a local header that disagrees, a bad stream or CRC-32, LIMIT beyond the inflate limits
   */
  async read(entries: readonly ZipEntry[]): Promise<Uint8Array[]> {
    const found = new Array<Uint8Array>(entries.length);
    const whole = [...entries.keys()].filter((i) => !this.isStreamed(entries[i]));
    // torch.save never deflates, so the library that inflates is loaded only for a file that needs it.
    const deflated = entries.some((entry) => entry.method === 8);
    const Inflater = deflated ? (await import("./inflate.js")).Inflater : undefined;
    const keep = (i: number, data: Uint8Array) => {
      found[i] = data;
      if (this.options.checkCrc) checkCrc(data, entries[i]);
    };
    const ranges = whole.map((i) => this.recordRange(entries[i]));
    await this.file.readRanges(ranges, (at, record) => {
      const entry = entries[whole[at]];
      const start = dataStart(record, 0, record.length, entry);
      const raw = record.subarray(start, start + entry.compressedSize);
      if (raw.length !== entry.compressedSize)
        throw overlap(entry.name, entry.header + start + entry.compressedSize, this.ends.get(entry)!);
      if (entry.method === 0) keep(whole[at], raw);
      else {
        const inflater = new Inflater!(entry.size, entry.name);
        inflater.push(raw, true);
        keep(whole[at], inflater.finish());
      }
    });
    for (const [i, entry] of entries.entries())
      if (this.isStreamed(entry)) keep(i, await this.inflateStream(entry, new Inflater!(entry.size, entry.name)));
    return found;
  }

  /** Deflated bytes that are fetched in parts: beside the inflated ones they would take as much memory again. */
  private isStreamed({ method, compressedSize }: ZipEntry): boolean {
    return method === 8 && compressedSize > STREAM_BYTES && !this.file.memory;
  }

  private async inflateStream(entry: ZipEntry, inflater: Inflater): Promise<Uint8Array> {
    const start = await this.findData(entry);
    const end = start + entry.compressedSize;
    for (let at = start; at < end; at += STREAM_BYTES) {
      const next = Math.min(at + STREAM_BYTES, end);
      inflater.push(await this.file.read(at, next), next === end);
    }
    return inflater.finish();
  }

  /** Some bytes of a stored entry, without its CRC being checked; undefined for a deflated one. */
  async readRange(entry: ZipEntry, start: number, end: number): Promise<Uint8Array | undefined> {
    if (entry.method === 8) return undefined;
    const from = await this.findData(entry);
    return this.file.read(from + start, from + end);
  }

  /** Where an entry's bytes start in the file. @throws {UnitcellError} CORRUPT as read */
  private async findData(entry: ZipEntry): Promise<number> {
    const limit = this.ends.get(entry)!;
    const usual = entry.header + LOCAL_HEADER_BYTES + entry.nameLength + USUAL_EXTRA_BYTES;
    let record = await this.file.read(entry.header, Math.min(usual, limit));
    const needed = localHeaderBytes(record);
    if (needed > record.length) record = await this.file.read(entry.header, Math.min(entry.header + needed, limit));
    const from = entry.header + dataStart(record, 0, record.length, entry);
    if (from + entry.compressedSize > limit) throw overlap(entry.name, from + entry.compressedSize, limit);
    return from;
  }

  private recordRange(entry: ZipEntry): Range {
    const most = LOCAL_HEADER_BYTES + entry.nameLength + MAX_EXTRA_BYTES + entry.compressedSize;
    return { start: entry.header, end: Math.min(this.ends.get(entry)!, entry.header + most) };
  }

  /** Sizes are added up before anything is inflated; one that lies is found when its stream ends elsewhere. */
  private checkInflated(): void {
    const { inflateFloorBytes, inflateRatio } = this.options.limits;
    const budget = Math.max(inflateFloorBytes, inflateRatio * this.file.size);
    let inflated = 0;
    for (const { name, size, method } of this.entries.values()) {
      if (method === 8) inflated += size;
      if (inflated > budget)
        throw new UnitcellError(
          "LIMIT",
          `zip entry "${name}" would bring the inflated size to ${inflated} bytes, the limit for a file of ${this.file.size} is ${budget}`,
          { name, size: inflated, limit: budget },
        );
    }
  }
}

/**
 * Open a zip archive: two or three reads at the end of the file.
 * @throws {UnitcellError} CORRUPT when the structure contradicts itself, UNSUPPORTED for encryption, several disks and
 *   methods other than stored and deflate, LIMIT for more than zipEntries
 */
export async function openZip(file: FileBytes, options: ZipOptions): Promise<ZipArchive> {
  const tailStart = Math.max(0, file.size - TAIL_BYTES);
  const tail: Window = { bytes: await file.read(tailStart, file.size), start: tailStart };
  const directory = await findDirectory(file, tail, options.limits);
  const end = directory.offset + directory.size;
  const bytes =
    directory.offset >= tailStart
      ? tail.bytes.subarray(directory.offset - tailStart, end - tailStart)
      : await file.read(directory.offset, end);
  const entries = new Map<string, ZipEntry>();
  const folded = new Set<string>();
  for (const entry of readCentral(bytes, directory, options.limits)) {
    // torch looks names up without case, so names that differ in case only have two readings.
    const key = entry.name.toLowerCase();
    if (folded.has(key)) throw corrupt(`two entries are named "${entry.name}"`, { name: entry.name });
    folded.add(key);
    entries.set(entry.name, entry);
  }
  return new ZipArchive(file, entries, directory.offset, options);
}

/** True when the file ends as a zip does, whatever it starts with (a self-extracting archive). */
export async function endsAsZip(file: FileBytes): Promise<boolean> {
  const tail = await file.read(Math.max(0, file.size - TAIL_BYTES), file.size);
  return endRecords(tail).length > 0;
}

/** Part of a file and where it starts. */
interface Window {
  readonly bytes: Uint8Array;
  readonly start: number;
}

/** Where an end record starts whose comment ends exactly at the end of the file. */
function endRecords(tail: Uint8Array): number[] {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  const size = tail.byteLength;
  const found: number[] = [];
  for (let at = size - END_RECORD_BYTES; at >= Math.max(0, size - END_RECORD_BYTES - SENTINEL_16); at--)
    if (view.getUint32(at, true) === END_RECORD && at + END_RECORD_BYTES + view.getUint16(at + 20, true) === size)
      found.push(at);
  return found;
}

function noEnd(tail: Uint8Array, size: number): UnitcellError {
  const isZero = tail.subarray(-END_RECORD_BYTES).every((byte) => byte === 0);
  const why = isZero ? "the file ends in zeros, perhaps an unfinished download" : CUT_SHORT;
  return corrupt(`no end-of-directory record in ${size} bytes; ${why}`, { size, hint: "truncated" });
}

/** Two end records that both reach the end are an attack. */
async function findDirectory(file: FileBytes, tail: Window, limits: Limits): Promise<Directory> {
  const { bytes } = tail;
  const [end, second] = endRecords(bytes);
  if (second !== undefined)
    throw corrupt(`two end records, at bytes ${tail.start + second} and ${tail.start + end}`, {
      offset: tail.start + second,
    });
  if (end === undefined) throw noEnd(bytes, file.size);
  const reader = new ByteReader(bytes, end + 4);
  const disks = [reader.u16(), reader.u16()];
  const counts = [reader.u16(), reader.u16()];
  const record: Directory = { count: counts[1], size: reader.u32(), offset: reader.u32() };
  if (disks.some((disk) => disk !== 0 && disk !== SENTINEL_16) || counts[0] !== counts[1])
    throw new UnitcellError("UNSUPPORTED", "the zip is split over several files");
  const { directory, limit } = await widen(file, tail, record, end);
  if (directory.count > limits.zipEntries)
    throw new UnitcellError("LIMIT", `the zip has ${directory.count} entries, the limit is ${limits.zipEntries}`, {
      count: directory.count,
    });
  const most = directory.count * (CENTRAL_HEADER_BYTES + limits.zipNameBytes + USUAL_EXTRA_BYTES);
  if (directory.offset + directory.size !== limit || (directory.size > most && directory.size > TAIL_BYTES))
    throw corrupt(
      `the directory of ${directory.count} entries should end at byte ${limit}, it starts at ${directory.offset} with ${directory.size} bytes`,
      { ...directory },
    );
  return directory;
}

/** The zip64 end record where there is one; `limit` is where the directory must end. */
async function widen(
  file: FileBytes,
  tail: Window,
  record: Directory,
  end: number,
): Promise<{ directory: Directory; limit: number }> {
  const locator = end - LOCATOR_64_BYTES;
  const found = locator >= 0 && new ByteReader(tail.bytes, locator).u32() === LOCATOR_64;
  const fits = record.count !== SENTINEL_16 && record.size !== SENTINEL && record.offset !== SENTINEL;
  if (!found) {
    if (!fits) throw corrupt("the end record points to a zip64 record that is not there", { offset: tail.start + end });
    return { directory: record, limit: tail.start + end };
  }
  const limit = new ByteReader(tail.bytes, locator + 8).u64();
  const length = tail.start + locator - limit;
  if (length < END_RECORD_64_BYTES || length > TAIL_BYTES) throw noRecord64(limit);
  const reader = new ByteReader(await file.read(limit, limit + length));
  if (reader.u32() !== END_RECORD_64) throw noRecord64(limit);
  if (12 + reader.u64() !== length) throw corrupt("the zip64 end record has the wrong size", { offset: limit });
  reader.offset = 24;
  const [here, count, size, offset] = [reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  const agrees = (narrow: number, wide: number, sentinel: number) => narrow === wide || narrow === sentinel;
  if (
    here !== count ||
    !agrees(record.count, count, SENTINEL_16) ||
    !agrees(record.size, size, SENTINEL) ||
    !agrees(record.offset, offset, SENTINEL)
  )
    throw corrupt("the two end records disagree", { offset: tail.start + end });
  return { directory: { count, size, offset }, limit };
}

function noRecord64(offset: number): UnitcellError {
  const message = `no zip64 end record at byte ${offset}; bytes were added or lost before it, perhaps by a transfer as text`;
  return corrupt(message, { offset });
}

function readCentral(bytes: Uint8Array, directory: Directory, limits: Limits): ZipEntry[] {
  // Decoded at once, for ASCII names to be slices of: a decoder call for each takes longer than everything else here.
  const text = new TextDecoder("latin1").decode(bytes);
  const entries: ZipEntry[] = [];
  let at = 0;
  for (let i = 0; i < directory.count; i++) {
    if (bytes.length - at < CENTRAL_HEADER_BYTES || u32(bytes, at) !== CENTRAL_HEADER)
      throw corrupt(`no directory entry at byte ${directory.offset + at}`, { offset: directory.offset + at });
    const next = at + CENTRAL_HEADER_BYTES + u16(bytes, at + 28) + u16(bytes, at + 30) + u16(bytes, at + 32);
    if (next > bytes.length)
      throw corrupt(`the directory entry at byte ${directory.offset + at} is cut`, { offset: directory.offset + at });
    entries.push(readCentralEntry(bytes, at, text, limits));
    at = next;
  }
  if (at !== bytes.length)
    throw corrupt(`${bytes.length - at} bytes follow the last of ${directory.count} directory entries`, {
      count: directory.count,
    });
  return entries;
}

/** @param text the directory, one character a byte and right where it is ASCII */
function readCentralEntry(bytes: Uint8Array, at: number, text: string, limits: Limits): ZipEntry {
  const flags = u16(bytes, at + 8);
  const method = u16(bytes, at + 10);
  const crc = u32(bytes, at + 16);
  const nameLength = u16(bytes, at + 28);
  const nameStart = at + CENTRAL_HEADER_BYTES;
  const extraStart = nameStart + nameLength;
  if (nameLength > limits.zipNameBytes)
    throw new UnitcellError("LIMIT", `a zip entry name has ${nameLength} bytes, the limit is ${limits.zipNameBytes}`);
  const ascii = text.slice(nameStart, extraStart);
  const name = PLAIN_NAME.test(ascii) ? ascii : checkedName(bytes.subarray(nameStart, extraStart));
  // Fields appear in the zip64 extra in this order, and only those whose 32-bit slot holds the sentinel.
  const narrow = [u32(bytes, at + 24), u32(bytes, at + 20), u32(bytes, at + 42)];
  const [size, compressedSize, header] = narrow.includes(SENTINEL)
    ? zip64Fields(bytes.subarray(extraStart, extraStart + u16(bytes, at + 30)), narrow, name)
    : narrow;
  if (u16(bytes, at + 34) !== 0)
    throw new UnitcellError("UNSUPPORTED", `zip entry "${name}" is on another disk`, { name });
  if (flags & FLAG_ENCRYPTED) throw new UnitcellError("UNSUPPORTED", `zip entry "${name}" is encrypted`, { name });
  if (method !== 0 && method !== 8)
    throw new UnitcellError(
      "UNSUPPORTED",
      `zip entry "${name}" uses compression method ${method}; expected stored (0) or deflate (8)`,
      { name, method },
    );
  if (method === 0 && size !== compressedSize)
    throw corrupt(`zip entry "${name}" is stored, but its sizes ${compressedSize} and ${size} differ`, { name });
  return { name, nameLength, method, crc, size, compressedSize, header };
}

/** Replaces sentinels by the 64-bit values of the zip64 extra (id 1), in order. */
function zip64Fields(extra: Uint8Array, narrow: number[], name: string): number[] {
  const reader = new ByteReader(extra);
  while (reader.remaining >= 4) {
    const id = reader.u16();
    const field = reader.take(reader.u16());
    if (id !== 1) continue;
    const wide = new ByteReader(field);
    return narrow.map((value) => (value === SENTINEL ? wide.u64() : value));
  }
  throw corrupt(`zip entry "${name}" needs a zip64 extra field and has none`, { name });
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Folders and a file in letters, digits and `_-.`, none of them only dots: what torch writes. */
const PLAIN_NAME = /^(?:\.?[\w-][\w.-]*\/)*\.?[\w-][\w.-]*$/;

/** A name must stay inside the archive whatever program unpacks it. */
function checkedName(bytes: Uint8Array): string {
  let name: string;
  try {
    name = strictUtf8.decode(bytes);
  } catch (cause) {
    throw new UnitcellError("CORRUPT", `a zip entry name of ${bytes.length} bytes is not UTF-8`, {}, { cause });
  }
  const parts = name.replace(/\/$/, "").split("/");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\\\u0000-\u001f]|^[A-Za-z]:/.test(name) || parts.some((part) => part === "" || part === "." || part === ".."))
    throw corrupt(`the zip entry name ${JSON.stringify(name)} is not a plain relative path`, { name });
  return name;
}

const u16 = (bytes: Uint8Array, at: number): number => bytes[at] | (bytes[at + 1] << 8);
const u32 = (bytes: Uint8Array, at: number): number => (u16(bytes, at) | (u16(bytes, at + 2) << 16)) >>> 0;

/** Length of a local header with name and extras, from its fixed part; 0 when even that is cut. */
function localHeaderBytes(record: Uint8Array): number {
  return record.length < LOCAL_HEADER_BYTES ? 0 : LOCAL_HEADER_BYTES + u16(record, 26) + u16(record, 28);
}

/**
 * Checks the local header against the directory and finds where the bytes start.
 * @param bytes holds the record; the header is at `at`, the record ends at `end` at the latest
 * @returns the offset in `bytes`
 */
function dataStart(bytes: Uint8Array, at: number, end: number, entry: ZipEntry): number {
  const { name, nameLength, size, compressedSize, crc, method, header } = entry;
  if (end - at < LOCAL_HEADER_BYTES || u32(bytes, at) !== LOCAL_HEADER)
    throw corrupt(`no local header for zip entry "${name}" at byte ${header}`, { name, offset: header });
  const flags = u16(bytes, at + 6);
  const nameStart = at + LOCAL_HEADER_BYTES;
  const extraStart = nameStart + u16(bytes, at + 26);
  const start = extraStart + u16(bytes, at + 28);
  if (start > end) throw overlap(name, header + start - at, header + end - at);
  const sameName = extraStart - nameStart === nameLength && isNameAt(bytes, nameStart, entry);
  const narrow = [u32(bytes, at + 22), u32(bytes, at + 18)];
  const [localSize, localCompressed] = narrow.includes(SENTINEL)
    ? zip64Fields(bytes.subarray(extraStart, start), narrow, name)
    : narrow;
  // With a data descriptor the writer did not know these yet and left zeros (torch does so for every entry).
  const described = (flags & FLAG_DESCRIPTOR) !== 0;
  const agrees = (here: number, there: number) => here === there || (here === 0 && described);
  const localMethod = u16(bytes, at + 8);
  const localCrc = u32(bytes, at + 14);
  const differs = (what: string, found: unknown, expected: unknown) =>
    corrupt(
      `the local header of zip entry "${name}" at byte ${header} disagrees with the directory: ${what} ${found}, expected ${expected}`,
      { name, offset: header, found, expected },
    );
  if (localMethod !== method) throw differs("method", localMethod, method);
  if (flags & FLAG_ENCRYPTED) throw differs("encryption flags", flags & FLAG_ENCRYPTED, 0);
  if (!sameName) throw differs("name", JSON.stringify(localName(bytes.subarray(nameStart, extraStart))), `"${name}"`);
  if (!agrees(localSize, size)) throw differs("size", localSize, size);
  if (!agrees(localCompressed, compressedSize)) throw differs("compressed size", localCompressed, compressedSize);
  if (!agrees(localCrc, crc)) throw differs("CRC-32", hex(localCrc), hex(crc));
  return start;
}

const localName = (bytes: Uint8Array): string => new TextDecoder("latin1").decode(bytes.subarray(0, 100));
const hex = (value: number): string => value.toString(16).padStart(8, "0");

/** True when the bytes from `at` on are the entry's name. */
function isNameAt(bytes: Uint8Array, at: number, { name, nameLength }: ZipEntry): boolean {
  // As many characters as bytes: all are ASCII.
  const encoded = name.length === nameLength ? undefined : new TextEncoder().encode(name);
  for (let i = 0; i < nameLength; i++) if (bytes[at + i] !== (encoded ? encoded[i] : name.charCodeAt(i))) return false;
  return true;
}

/** Entries lie one after another before the directory; shared bytes are how small files pretend to be large. */
function recordEnds(entries: readonly ZipEntry[], limit: number): ReadonlyMap<ZipEntry, number> {
  const order = [...entries].sort((a, b) => a.header - b.header);
  const ends = new Map<ZipEntry, number>();
  for (const [i, entry] of order.entries()) {
    const next = order[i + 1]?.header ?? limit;
    const least = entry.header + LOCAL_HEADER_BYTES + entry.nameLength + entry.compressedSize;
    if (least > next) throw overlap(entry.name, least, next);
    ends.set(entry, next);
  }
  return ends;
}

function overlap(name: string, end: number, next: number): UnitcellError {
  return corrupt(`zip entry "${name}" ends at byte ${end}, past the next record at ${next}`, { name, end, next });
}

/** torch can leave the CRC out, which reads as 0; a wrong one that is not 0 is damage. */
function checkCrc(data: Uint8Array, entry: ZipEntry): void {
  if (entry.crc === 0) return;
  const found = crc32(data);
  if (found === entry.crc) return;
  throw corrupt(
    `zip entry "${entry.name}" has CRC-32 ${hex(found)}, the directory says ${hex(entry.crc)}; its bytes are damaged`,
    { name: entry.name, offset: entry.header, found, expected: entry.crc },
  );
}

function corrupt(message: string, detail: Record<string, unknown>): UnitcellError {
  return new UnitcellError("CORRUPT", message, detail);
}

/**
 * Zip archives, read strictly: the central directory is the truth, every local header must agree with it, and whatever
 * two readers could take in two ways is refused. Source: PKWARE APPNOTE 6.3.10; what PyTorchFileWriter makes of it is
 * in torch's caffe2/serialize/inline_container.cc.
 */
import type { FileBytes, Limits, Range } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { rare } from "../when-needed.js";
import { crc32 } from "./crc32.js";
import type { Inflater } from "./inflate.js";
import {
  corrupt,
  FLAG_ENCRYPTED,
  readDirectory,
  SENTINEL,
  u16,
  u32,
  type ZipEntry,
  zip64Fields,
} from "./zip-directory.js";

export { endsAsZip, type ZipEntry } from "./zip-directory.js";

const LOCAL_HEADER = 0x04034b50;
const LOCAL_HEADER_BYTES = 30;
const FLAG_DESCRIPTOR = 0x0008;
/** Beyond its fields and name, what a local header may take. */
const MAX_EXTRA_BYTES = 65535;
/** A local header, name and padding in one request; torch pads to 64 bytes. */
const USUAL_EXTRA_BYTES = 256;
/** Larger deflated entries are fetched in parts of this. */
const STREAM_BYTES = 4 * 2 ** 20;

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
    // torch.save never deflates, so what inflates is loaded only for a file that needs it.
    const deflated = entries.some((entry) => entry.method === 8);
    const Inflater = deflated ? (await rare()).Inflater : undefined;
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
 * Open a zip archive: its directory is read and checked.
 * @throws {UnitcellError} as readDirectory; CORRUPT for entries that overlap or share a name; LIMIT beyond the inflate limits
 */
export async function openZip(file: FileBytes, options: ZipOptions): Promise<ZipArchive> {
  const directory = await readDirectory(file, options.limits);
  const entries = new Map<string, ZipEntry>();
  const folded = new Set<string>();
  for (const entry of directory.entries) {
    // torch looks names up without case, so names that differ in case only have two readings.
    const key = entry.name.toLowerCase();
    if (folded.has(key)) throw corrupt(`two entries are named "${entry.name}"`, { name: entry.name });
    folded.add(key);
    entries.set(entry.name, entry);
  }
  return new ZipArchive(file, entries, directory.start, options);
}

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

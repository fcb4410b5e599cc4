/**
 * Zip archives, read strictly: the central directory is the truth, every local header must agree with it, and whatever
 * two readers could take in two ways is refused. Source: PKWARE APPNOTE 6.3.10; what PyTorchFileWriter makes of it is
 * in torch's caffe2/serialize/inline_container.cc.
 */
import { ByteReader, INFLATE_FLOOR_BYTES, MAX_INFLATE_RATIO, MAX_ZIP_ENTRIES, MAX_ZIP_NAME_BYTES } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { crc32 } from "./crc32.js";

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const END_RECORD_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const END_RECORD_BYTES = 22;
const LOCATOR_64_BYTES = 20;
const END_RECORD_64_BYTES = 56;
/** A 32-bit field that says "look in the zip64 extra"; 16-bit counts use SENTINEL_16. */
const SENTINEL = 0xffffffff;
const SENTINEL_16 = 0xffff;
/** Encrypted entry, encrypted directory (strong encryption masks the local header). */
const FLAG_ENCRYPTED = 0x0001 | 0x0040 | 0x2000;
const FLAG_DESCRIPTOR = 0x0008;

export interface ZipEntry {
  readonly name: string;
  /** Bytes after inflating. */
  readonly size: number;
  readonly compressedSize: number;
  readonly crc: number;
  readonly method: 0 | 8;
  /** Where its bytes start in the file. */
  readonly start: number;
}

interface CentralEntry extends Omit<ZipEntry, "start"> {
  readonly flags: number;
  readonly header: number;
  readonly nameBytes: Uint8Array;
}

interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
}

/** An opened archive; nothing is inflated or checksummed before `read`. */
export interface ZipArchive {
  /** In central-directory order. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /**
   * The entry's bytes: a view of the file when stored, a new array when deflated.
   * @throws {UnitcellError} CORRUPT for a bad stream or CRC-32, LIMIT beyond the inflate caps
   */
  read(entry: ZipEntry): Uint8Array;
}

/**
 * Open a zip archive held in memory.
 * @throws {UnitcellError} CORRUPT when the structure contradicts itself, UNSUPPORTED for encryption, several disks and
 *   methods other than stored and deflate, LIMIT for more than MAX_ZIP_ENTRIES
 */
export async function openZip(bytes: Uint8Array): Promise<ZipArchive> {
  const directory = findDirectory(bytes);
  const central = readCentral(bytes, directory);
  const entries = new Map<string, ZipEntry>();
  const folded = new Set<string>();
  for (const entry of central) {
    // torch looks names up without case, so names that differ in case only have two readings.
    const key = entry.name.toLowerCase();
    if (folded.has(key)) throw corrupt(`two entries are named "${entry.name}"`, { name: entry.name });
    folded.add(key);
    entries.set(entry.name, locate(bytes, entry));
  }
  refuseOverlap(central, entries, directory.offset);
  // torch.save never deflates, so the library that inflates is loaded only for a file that needs it.
  const deflated = central.some((entry) => entry.method === 8);
  const inflate = deflated ? (await import("./inflate.js")).inflate : undefined;
  let inflated = 0;
  const budget = Math.max(INFLATE_FLOOR_BYTES, MAX_INFLATE_RATIO * bytes.byteLength);
  return {
    entries,
    read(entry) {
      const raw = bytes.subarray(entry.start, entry.start + entry.compressedSize);
      if (entry.method !== 8) {
        checkCrc(raw, entry);
        return raw;
      }
      inflated += entry.size;
      if (inflated > budget)
        throw new UnitcellError(
          "LIMIT",
          `zip entry "${entry.name}" would bring the inflated size to ${inflated} bytes, the limit for a file of ${bytes.byteLength} is ${budget}`,
          { name: entry.name, size: inflated, limit: budget },
        );
      const data = inflate!(raw, entry.size, entry.name);
      checkCrc(data, entry);
      return data;
    },
  };
}

/** The end record is the one whose comment ends exactly at the end of the file; two such records are an attack. */
function findDirectory(bytes: Uint8Array): Directory {
  const size = bytes.byteLength;
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  let end = -1;
  for (let at = size - END_RECORD_BYTES; at >= Math.max(0, size - END_RECORD_BYTES - SENTINEL_16); at--) {
    if (view.getUint32(at, true) !== END_RECORD || at + END_RECORD_BYTES + view.getUint16(at + 20, true) !== size)
      continue;
    if (end >= 0) throw corrupt(`two end records, at bytes ${at} and ${end}`, { offset: at });
    end = at;
  }
  if (end < 0) throw corrupt(`no end-of-directory record in ${size} bytes; the file is cut short`, { size });
  const reader = new ByteReader(bytes, end + 4);
  const disks = [reader.u16(), reader.u16()];
  const counts = [reader.u16(), reader.u16()];
  const record: Directory = { count: counts[1], size: reader.u32(), offset: reader.u32() };
  if (disks.some((disk) => disk !== 0 && disk !== SENTINEL_16) || counts[0] !== counts[1])
    throw new UnitcellError("UNSUPPORTED", "the zip is split over several files");
  const { directory, limit } = widen(bytes, record, end);
  if (directory.count > MAX_ZIP_ENTRIES)
    throw new UnitcellError("LIMIT", `the zip has ${directory.count} entries, the limit is ${MAX_ZIP_ENTRIES}`, {
      count: directory.count,
    });
  if (directory.offset + directory.size !== limit)
    throw corrupt(
      `the directory should end at byte ${limit}, it starts at ${directory.offset} with ${directory.size} bytes`,
      { ...directory },
    );
  return directory;
}

/** The zip64 end record where there is one; `limit` is where the directory must end. */
function widen(bytes: Uint8Array, record: Directory, end: number): { directory: Directory; limit: number } {
  const locator = end - LOCATOR_64_BYTES;
  const found = locator >= 0 && new ByteReader(bytes, locator).u32() === LOCATOR_64;
  const fits = record.count !== SENTINEL_16 && record.size !== SENTINEL && record.offset !== SENTINEL;
  if (!found) {
    if (!fits) throw corrupt("the end record points to a zip64 record that is not there", { offset: end });
    return { directory: record, limit: end };
  }
  const limit = new ByteReader(bytes, locator + 8).u64();
  if (limit + END_RECORD_64_BYTES > locator || new ByteReader(bytes, limit).u32() !== END_RECORD_64)
    throw corrupt(`no zip64 end record at byte ${limit}`, { offset: limit });
  const reader = new ByteReader(bytes, limit + 4);
  if (limit + 12 + reader.u64() !== locator)
    throw corrupt("the zip64 end record has the wrong size", { offset: limit });
  reader.offset = limit + 24;
  const [here, count, size, offset] = [reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  const agrees = (narrow: number, wide: number, sentinel: number) => narrow === wide || narrow === sentinel;
  if (
    here !== count ||
    !agrees(record.count, count, SENTINEL_16) ||
    !agrees(record.size, size, SENTINEL) ||
    !agrees(record.offset, offset, SENTINEL)
  )
    throw corrupt("the two end records disagree", { offset: end });
  return { directory: { count, size, offset }, limit };
}

function readCentral(bytes: Uint8Array, directory: Directory): CentralEntry[] {
  const reader = new ByteReader(bytes.subarray(0, directory.offset + directory.size), directory.offset);
  const entries: CentralEntry[] = [];
  for (let i = 0; i < directory.count; i++) entries.push(readCentralEntry(reader));
  if (reader.remaining !== 0)
    throw corrupt(`${reader.remaining} bytes follow the last of ${directory.count} directory entries`, {
      count: directory.count,
    });
  return entries;
}

function readCentralEntry(reader: ByteReader): CentralEntry {
  const at = reader.offset;
  if (reader.u32() !== CENTRAL_HEADER) throw corrupt(`no directory entry at byte ${at}`, { offset: at });
  reader.take(4); // versions
  const flags = reader.u16();
  const method = reader.u16();
  reader.take(4); // time and date
  const crc = reader.u32();
  const narrow = [reader.u32(), reader.u32()];
  const [nameLength, extraLength, commentLength, disk] = [reader.u16(), reader.u16(), reader.u16(), reader.u16()];
  reader.take(6); // attributes
  const headerNarrow = reader.u32();
  const nameBytes = reader.take(nameLength);
  const name = entryName(nameBytes, at);
  // Fields appear in the zip64 extra in this order, and only those whose 32-bit slot holds the sentinel.
  const wide = zip64Fields(reader.take(extraLength), [narrow[1], narrow[0], headerNarrow], name);
  const [size, compressedSize, header] = wide;
  reader.take(commentLength);
  if (disk !== 0) throw new UnitcellError("UNSUPPORTED", `zip entry "${name}" is on another disk`, { name });
  if (flags & FLAG_ENCRYPTED) throw new UnitcellError("UNSUPPORTED", `zip entry "${name}" is encrypted`, { name });
  if (method !== 0 && method !== 8)
    throw new UnitcellError(
      "UNSUPPORTED",
      `zip entry "${name}" uses compression method ${method}; expected stored (0) or deflate (8)`,
      { name, method },
    );
  if (method === 0 && size !== compressedSize)
    throw corrupt(`zip entry "${name}" is stored, but its sizes ${compressedSize} and ${size} differ`, { name });
  return { name, nameBytes, flags, method, crc, size, compressedSize, header };
}

/** Replaces sentinels by the 64-bit values of the zip64 extra (id 1), in order. */
function zip64Fields(extra: Uint8Array, narrow: number[], name: string): number[] {
  if (!narrow.includes(SENTINEL)) return narrow;
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

/** Section "name rules": a name must stay inside the archive whatever program unpacks it. */
function entryName(bytes: Uint8Array, at: number): string {
  if (bytes.length > MAX_ZIP_NAME_BYTES)
    throw new UnitcellError("LIMIT", `a zip entry name has ${bytes.length} bytes, the limit is ${MAX_ZIP_NAME_BYTES}`);
  let name: string;
  try {
    name = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new UnitcellError("CORRUPT", `the zip entry name at byte ${at} is not UTF-8`, { offset: at }, { cause });
  }
  const parts = name.replace(/\/$/, "").split("/");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\\\u0000-\u001f]|^[A-Za-z]:/.test(name) || parts.some((part) => part === "" || part === "." || part === ".."))
    throw corrupt(`the zip entry name ${JSON.stringify(name)} is not a plain relative path`, { name });
  return name;
}

/** Checks the local header against the directory and finds where the bytes start. */
function locate(bytes: Uint8Array, entry: CentralEntry): ZipEntry {
  const { name, size, compressedSize, crc, method } = entry;
  const reader = new ByteReader(bytes, Math.min(entry.header, bytes.byteLength));
  if (reader.u32() !== LOCAL_HEADER)
    throw corrupt(`no local header for zip entry "${name}" at byte ${entry.header}`, { name, offset: entry.header });
  reader.take(2); // version
  const flags = reader.u16();
  const localMethod = reader.u16();
  reader.take(4); // time and date
  const localCrc = reader.u32();
  const narrow = [reader.u32(), reader.u32()];
  const [nameLength, extraLength] = [reader.u16(), reader.u16()];
  const localName = reader.take(nameLength);
  const extra = reader.take(extraLength);
  const start = reader.offset;
  const local = zip64Fields(extra, [narrow[1], narrow[0]], name);
  // With a data descriptor the writer did not know these yet and left zeros (torch does so for every entry).
  const agrees = (here: number, there: number) => here === there || (here === 0 && !!(flags & FLAG_DESCRIPTOR));
  if (
    localMethod !== method ||
    flags & FLAG_ENCRYPTED ||
    localName.length !== entry.nameBytes.length ||
    localName.some((byte, i) => byte !== entry.nameBytes[i]) ||
    !agrees(local[0], size) ||
    !agrees(local[1], compressedSize) ||
    !agrees(localCrc, crc)
  )
    throw corrupt(`the local header of zip entry "${name}" disagrees with the directory`, { name });
  if (start + compressedSize > bytes.byteLength)
    throw corrupt(
      `zip entry "${name}" ends at byte ${start + compressedSize}, the file has ${bytes.byteLength} bytes`,
      { name, end: start + compressedSize, size: bytes.byteLength },
    );
  return { name, size, compressedSize, crc, method, start };
}

/** Entries lie one after another before the directory; shared bytes are how small files pretend to be large. */
function refuseOverlap(central: readonly CentralEntry[], entries: ReadonlyMap<string, ZipEntry>, limit: number): void {
  const spans = central.map(({ name, header }) => {
    const entry = entries.get(name)!;
    return { name, from: header, to: entry.start + entry.compressedSize };
  });
  spans.sort((a, b) => a.from - b.from);
  for (const [i, { name, to }] of spans.entries()) {
    const next = spans[i + 1]?.from ?? limit;
    if (to > next) throw corrupt(`zip entry "${name}" ends at byte ${to}, past the next record at ${next}`, { name });
  }
}

/** torch can leave the CRC out, which reads as 0; a wrong one that is not 0 is damage. */
function checkCrc(data: Uint8Array, entry: ZipEntry): void {
  if (entry.crc === 0) return;
  const found = crc32(data);
  if (found === entry.crc) return;
  const hex = (value: number) => value.toString(16).padStart(8, "0");
  throw corrupt(`zip entry "${entry.name}" has CRC-32 ${hex(found)}, the directory says ${hex(entry.crc)}`, {
    name: entry.name,
  });
}

function corrupt(message: string, detail: Record<string, unknown>): UnitcellError {
  return new UnitcellError("CORRUPT", message, detail);
}

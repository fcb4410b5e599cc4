/**
 * The central directory of a zip, where every entry is named and placed, found from the end of the file.
 * Source: PKWARE APPNOTE 6.3.10.
 */
import { ByteReader, type FileBytes, type Limits } from "../bytes.js";
import { CUT_SHORT, UnitcellError } from "../errors.js";

const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const END_RECORD_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const CENTRAL_HEADER_BYTES = 46;
const END_RECORD_BYTES = 22;
const LOCATOR_64_BYTES = 20;
const END_RECORD_64_BYTES = 56;
/** Holds the end records with the longest comment, and for most files the whole directory. */
const TAIL_BYTES = END_RECORD_BYTES + 65535 + LOCATOR_64_BYTES + END_RECORD_64_BYTES;
/** A 32-bit field that says "look in the zip64 extra"; 16-bit counts use SENTINEL_16. */
export const SENTINEL = 0xffffffff;
const SENTINEL_16 = 0xffff;
/** Encrypted entry, encrypted directory (strong encryption masks the local header). */
export const FLAG_ENCRYPTED = 0x0001 | 0x0040 | 0x2000;
/** Extras and comment of a directory entry, on average; torch writes neither. */
const USUAL_EXTRA_BYTES = 256;

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

/**
 * Find and read the directory: two or three reads at the end of the file.
 * @returns the entries in its order, and where it starts
 * @throws {UnitcellError} CORRUPT when it contradicts itself, UNSUPPORTED for encryption, several disks and methods other
 *   than stored and deflate, LIMIT for more than zipEntries
 */
export async function readDirectory(file: FileBytes, limits: Limits): Promise<{ entries: ZipEntry[]; start: number }> {
  const tailStart = Math.max(0, file.size - TAIL_BYTES);
  const tail: Window = { bytes: await file.read(tailStart, file.size), start: tailStart };
  const directory = await findDirectory(file, tail, limits);
  const end = directory.offset + directory.size;
  const bytes =
    directory.offset >= tailStart
      ? tail.bytes.subarray(directory.offset - tailStart, end - tailStart)
      : await file.read(directory.offset, end);
  return { entries: readCentral(bytes, directory, limits), start: directory.offset };
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
export function zip64Fields(extra: Uint8Array, narrow: number[], name: string): number[] {
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

export const u16 = (bytes: Uint8Array, at: number): number => bytes[at] | (bytes[at + 1] << 8);
export const u32 = (bytes: Uint8Array, at: number): number => (u16(bytes, at) | (u16(bytes, at + 2) << 16)) >>> 0;

export function corrupt(message: string, detail: Record<string, unknown>): UnitcellError {
  return new UnitcellError("CORRUPT", message, detail);
}

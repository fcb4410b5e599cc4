/** Byte sources for tests: one that counts what is asked of it, and files of gigabytes that are zeros but for a few bytes. */
import type { ByteSource } from "../src/bytes.js";
import { crc32 } from "../src/formats/crc32.js";
import { isTorchLegacy } from "../src/formats/magic.js";
import { u16, u32, utf8 } from "./build-files.js";

/** Bytes at their offsets; zeros elsewhere. */
export type Segment = readonly [offset: number, bytes: ArrayLike<number>];

/** A file that exists only where it is looked at, and how often that was. */
export class VirtualFile implements ByteSource {
  readonly size: number;
  requests = 0;
  bytesGiven = 0;
  private readonly segments: readonly (readonly [offset: number, bytes: Uint8Array])[];

  constructor(size: number, segments: readonly Segment[]) {
    this.size = size;
    this.segments = segments.map(([offset, bytes]) => [
      offset,
      bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes),
    ]);
  }

  /** The same with other bytes laid over it. */
  with(...segments: readonly Segment[]): VirtualFile {
    return new VirtualFile(this.size, [...this.segments, ...segments]);
  }

  bytes(start: number, end: number): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(end - start);
    for (const [offset, bytes] of this.segments) {
      const [from, to] = [Math.max(start, offset), Math.min(end, offset + bytes.length)];
      if (from < to) out.set(bytes.subarray(from - offset, to - offset), from - start);
    }
    return out;
  }

  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> } {
    this.requests++;
    this.bytesGiven += end - start;
    return { arrayBuffer: () => Promise.resolve(this.bytes(start, end).buffer) };
  }
}

/** A record of a virtual zip: bytes, or a number of zeros whose CRC is left out, as torch can. */
export interface VirtualRecord {
  name: string;
  data: ArrayLike<number> | number;
}

/** A zip of stored records below 4 GB. */
export function virtualZip(records: readonly VirtualRecord[]): VirtualFile {
  const segments: Segment[] = [];
  const central: number[] = [];
  let at = 0;
  for (const { name, data } of records) {
    const size = typeof data === "number" ? data : data.length;
    const crc = typeof data === "number" ? 0 : crc32(Uint8Array.from(data));
    const fields = [...[0, 0, 0, 0].flatMap(u16), ...[crc, size, size].flatMap(u32), ...u16(utf8(name).length)];
    segments.push([at, [...u32(0x04034b50), ...u16(20), ...fields, ...u16(0), ...utf8(name)]]);
    central.push(...u32(0x02014b50), ...[20, 20].flatMap(u16), ...fields, ...[0, 0, 0, 0].flatMap(u16));
    central.push(...u32(0), ...u32(at), ...utf8(name));
    at += 30 + utf8(name).length;
    if (typeof data !== "number") segments.push([at, data]);
    at += size;
  }
  const count = u16(records.length);
  segments.push([
    at,
    [...central, ...u32(0x06054b50), ...u32(0), ...count, ...count, ...u32(central.length), ...u32(at), ...u16(0)],
  ]);
  return new VirtualFile(at + central.length + 22, segments);
}

const GAP_BYTES = 3 * 2 ** 20;
const END_BYTES = 22;
const LOCATOR_BYTES = 20;

/**
 * The same checkpoint as a file of some MB, which the reader does not fetch whole: zeros before the directory of a zip or
 * behind a legacy stream. undefined for other files and archives with a comment.
 */
export function spread(bytes: Uint8Array): VirtualFile | undefined {
  const size = bytes.length + GAP_BYTES;
  if (isTorchLegacy(bytes)) return new VirtualFile(size, [[0, bytes]]);
  const [end, locator] = [bytes.length - END_BYTES, bytes.length - END_BYTES - LOCATOR_BYTES];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (locator < 0 || view.getUint32(end, true) !== 0x06054b50) return undefined;
  // Where the file states offsets of the directory or behind it; torch writes a zip64 record in every file.
  const places = view.getUint32(end + 16, true) === 0xffffffff ? [] : [end + 16];
  if (view.getUint32(locator, true) === 0x07064b50) {
    const record = view.getUint32(locator + 8, true);
    if (record + 56 > locator) return undefined;
    places.push(locator + 8, record + 48);
  }
  const directory = places.length > 0 ? view.getUint32(places.at(-1)!, true) : end;
  if (directory >= end) return undefined;
  const moved = places.map((at): Segment => [at + GAP_BYTES, u32(view.getUint32(at, true) + GAP_BYTES)]);
  return new VirtualFile(size, [
    [0, bytes.subarray(0, directory)],
    [directory + GAP_BYTES, bytes.subarray(directory)],
    ...moved,
  ]);
}

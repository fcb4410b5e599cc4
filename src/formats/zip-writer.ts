/**
 * Zip archives as PyTorchFileWriter lays them out (torch's caffe2/serialize/inline_container.cc over miniz): stored,
 * payloads at multiples of 64 bytes so that typed arrays can look at them, CRC and sizes after each payload and in the
 * directory. Newer torch computes storage offsets from this layout, so every byte of padding counts. All names and
 * sizes are known before the first byte, and so is the size of the archive.
 */
import type { Sink } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { crc32 } from "./crc32.js";

const ALIGNMENT = 64;
/** From here on a size or offset goes into a zip64 extra. */
const WIDE = 0xffffffff;
const LOCAL_HEADER_BYTES = 30;
const CENTRAL_HEADER_BYTES = 46;
/** The zip64 end record, its locator and the end record. */
const END_BYTES = 56 + 20 + 22;
/** Names are UTF-8; sizes and CRC follow the payload. */
const FLAG_UTF8 = 0x0800;
const FLAG_DESCRIPTOR = 0x0008;
/** Streamed headers and descriptors are joined up to this size, so that a small tensor is not three writes. */
const JOIN_BYTES = 256 * 1024;

/** One entry, in pieces of any sizes that add up to `size`. */
export interface ZipRecord<Pieces> {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Called when all earlier records are written; gets their CRC-32s (0 for an empty one). */
  pieces(crcs: readonly number[]): Pieces;
}

/** Where a record goes. */
interface Slot {
  readonly name: Uint8Array;
  readonly size: number;
  /** Of the local header, in the file. */
  readonly header: number;
  /** Of the payload. */
  readonly start: number;
  /** Values of the zip64 extra in the directory; empty when all fit in 32 bits. */
  readonly wide: readonly number[];
}

interface Layout {
  readonly slots: readonly Slot[];
  /** Offset of the directory. */
  readonly directory: number;
  readonly size: number;
}

/**
 * The archive as one array.
 * @throws {UnitcellError} BACKEND when the runtime has no array of that size
 */
export function zipBytes(records: readonly ZipRecord<Iterable<Uint8Array>>[]): Uint8Array {
  const layout = plan(records);
  const out = new Cursor(allocate(layout.size));
  const crcs: number[] = [];
  for (const [i, record] of records.entries()) {
    const slot = layout.slots[i];
    localHeader(out, slot);
    let crc = 0;
    for (const piece of record.pieces(crcs)) {
      checkRoom(record, out.offset - slot.start + piece.byteLength);
      crc = crc32(piece, crc);
      out.put(piece);
    }
    checkEnd(record, out.offset - slot.start);
    crcs.push(crc);
    descriptor(out, slot, crc);
  }
  endOfArchive(out, layout, crcs);
  return out.bytes;
}

function allocate(size: number): Uint8Array {
  try {
    return new Uint8Array(size);
  } catch (cause) {
    const message = `this runtime cannot hold a file of ${size} bytes in one array; write it as a stream`;
    throw new UnitcellError("BACKEND", message, { size }, { cause });
  }
}

/**
 * The archive piece by piece. Payload pieces go to the sink as they are, each awaited before the next is asked for.
 * @throws {UnitcellError} MISMATCH when a record's pieces are not of the size it named
 */
export async function zipStream(
  records: readonly ZipRecord<Iterable<Uint8Array> | AsyncIterable<Uint8Array>>[],
  sink: Sink,
): Promise<void> {
  const layout = plan(records);
  const out = new Joiner(sink);
  const crcs: number[] = [];
  for (const [i, record] of records.entries()) {
    const slot = layout.slots[i];
    localHeader(out.room(slot.start - slot.header) ?? (await out.flush(slot.start - slot.header)), slot);
    let crc = 0;
    let done = 0;
    const pieces = record.pieces(crcs);
    const take = (piece: Uint8Array): Promise<void> | undefined => {
      done += piece.byteLength;
      checkRoom(record, done);
      crc = crc32(piece, crc);
      return out.payload(piece);
    };
    // Waiting where there is nothing to wait for would take longer than a small tensor does.
    if (Symbol.asyncIterator in pieces) for await (const piece of pieces) await take(piece);
    else
      for (const piece of pieces) {
        const written = take(piece);
        if (written) await written;
      }
    checkEnd(record, done);
    crcs.push(crc);
    descriptor(out.room(descriptorBytes(slot)) ?? (await out.flush(descriptorBytes(slot))), slot, crc);
  }
  const rest = layout.size - layout.directory;
  endOfArchive(out.room(rest) ?? (await out.flush(rest)), layout, crcs);
  await out.flush(0);
}

function checkRoom({ name, size }: ZipRecord<unknown>, done: number): void {
  if (done > size)
    throw new UnitcellError("MISMATCH", `record "${name}" should have ${size} bytes, it was given ${done} or more`, {
      name,
      expected: size,
    });
}

function checkEnd({ name, size }: ZipRecord<unknown>, done: number): void {
  if (done !== size)
    throw new UnitcellError("MISMATCH", `record "${name}" should have ${size} bytes, it was given ${done}`, {
      name,
      expected: size,
      found: done,
    });
}

/** Joins small pieces before they go to the sink, each time in a block of its own. */
class Joiner {
  private readonly sink: Sink;
  private block = new Cursor(new Uint8Array(JOIN_BYTES));

  constructor(sink: Sink) {
    this.sink = sink;
  }

  /** Where so many bytes can be written now; undefined when the block is full and must be flushed. */
  room(size: number): Cursor | undefined {
    return this.block.offset + size <= this.block.bytes.byteLength ? this.block : undefined;
  }

  /** A large piece goes through without a copy. Nothing to await when it fits into the block. */
  payload(piece: Uint8Array): Promise<void> | undefined {
    const size = piece.byteLength;
    if (size < JOIN_BYTES && this.room(size)) {
      this.block.put(piece);
      return undefined;
    }
    return this.passOn(piece);
  }

  private async passOn(piece: Uint8Array): Promise<void> {
    const block = await this.flush(JOIN_BYTES);
    if (piece.byteLength < JOIN_BYTES) block.put(piece);
    else await this.sink(piece);
  }

  /** Gives the block to the sink, and begins one with room for so many bytes. */
  async flush(room: number): Promise<Cursor> {
    const { bytes, offset } = this.block;
    if (offset > 0) await this.sink(bytes.subarray(0, offset));
    if (offset > 0 || bytes.byteLength < room) this.block = new Cursor(new Uint8Array(Math.max(room, JOIN_BYTES)));
    return this.block;
  }
}

function plan(records: readonly ZipRecord<unknown>[]): Layout {
  const encoder = new TextEncoder();
  const slots: Slot[] = [];
  let at = 0;
  let central = 0;
  for (const record of records) {
    const { size } = record;
    const name = encoder.encode(record.name);
    const wide = [...(size >= WIDE ? [size, size] : []), ...(at >= WIDE ? [at] : [])];
    const header = at;
    const padding = header + LOCAL_HEADER_BYTES + name.length + extraBytes(wide) + 4;
    const slot = { name, size, header, start: Math.ceil(padding / ALIGNMENT) * ALIGNMENT, wide };
    slots.push(slot);
    at = slot.start + size + descriptorBytes(slot);
    central += CENTRAL_HEADER_BYTES + name.length + extraBytes(wide);
  }
  return { slots, directory: at, size: at + central + END_BYTES };
}

function extraBytes(wide: readonly number[]): number {
  return wide.length === 0 ? 0 : 4 + 8 * wide.length;
}

function descriptorBytes({ size, wide }: Slot): number {
  if (size === 0) return 0;
  return wide.length === 0 ? 16 : 24;
}

/** Writes little-endian fields one after another into zeroed bytes. */
class Cursor {
  readonly bytes: Uint8Array;
  offset = 0;
  private readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(...values: number[]): void {
    for (let i = 0; i < values.length; i++, this.offset += 2) this.view.setUint16(this.offset, values[i], true);
  }

  u32(...values: number[]): void {
    for (let i = 0; i < values.length; i++, this.offset += 4) this.view.setUint32(this.offset, values[i], true);
  }

  u64(...values: number[]): void {
    for (const value of values) this.u32(value % 2 ** 32, Math.floor(value / 2 ** 32));
  }

  put(bytes: Uint8Array): void {
    const { offset, bytes: out } = this;
    const size = bytes.byteLength;
    // Below about a cache line the call costs more than the bytes.
    if (size > 64) out.set(bytes, offset);
    else for (let i = 0; i < size; i++) out[offset + i] = bytes[i];
    this.offset += size;
  }

  fill(value: number, count: number): void {
    for (let i = 0; i < count; i++) this.bytes[this.offset++] = value;
  }
}

function flags({ size }: Slot): number {
  return size === 0 ? FLAG_UTF8 : FLAG_UTF8 | FLAG_DESCRIPTOR;
}

/** Local header, name, extras and padding: all up to the payload. */
function localHeader(out: Cursor, slot: Slot): void {
  const { name, header, start, size, wide } = slot;
  const extra = start - header - LOCAL_HEADER_BYTES - name.length;
  out.u32(0x04034b50);
  out.u16(0, flags(slot), 0, 0, 0);
  out.u32(0, 0, 0);
  out.u16(name.length, extra);
  out.put(name);
  if (wide.length > 0) {
    out.u16(1, 8 * wide.length);
    // miniz does not know the stored size yet when it writes this.
    out.u64(...(size >= WIDE ? [size, 0, ...wide.slice(2)] : wide));
  }
  const padding = extra - extraBytes(wide) - 4;
  out.u16(0x4246); // "FB"
  out.u16(padding);
  out.fill(0x5a, padding); // "Z"
}

function descriptor(out: Cursor, { size, wide }: Slot, crc: number): void {
  if (size === 0) return;
  out.u32(0x08074b50, crc);
  if (wide.length === 0) out.u32(size, size);
  else out.u64(size, size);
}

/** The directory and the three end records. */
function endOfArchive(out: Cursor, { slots, directory, size }: Layout, crcs: readonly number[]): void {
  for (const [i, slot] of slots.entries()) centralHeader(out, slot, crcs[i]);
  const [count, length, end] = [slots.length, size - END_BYTES - directory, size - END_BYTES];
  out.u32(0x06064b50);
  out.u64(44);
  out.u16(798, 45); // made by, needed: miniz's constants
  out.u32(0, 0);
  out.u64(count, count, length, directory);
  out.u32(0x07064b50, 0);
  out.u64(end);
  out.u32(1);
  out.u32(0x06054b50);
  out.u16(0, 0, Math.min(count, 0xffff), Math.min(count, 0xffff));
  out.u32(Math.min(length, WIDE), Math.min(directory, WIDE));
  out.u16(0);
}

function centralHeader(out: Cursor, slot: Slot, crc: number): void {
  const { name, size, header, wide } = slot;
  out.u32(0x02014b50);
  out.u16(0, 0, flags(slot), 0, 0, 0);
  out.u32(crc, Math.min(size, WIDE), Math.min(size, WIDE));
  out.u16(name.length, extraBytes(wide), 0, 0, 0);
  out.u32(0, Math.min(header, WIDE));
  out.put(name);
  if (wide.length === 0) return;
  out.u16(1, 8 * wide.length);
  out.u64(...wide);
}

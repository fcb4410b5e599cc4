/** Byte writers for tests: every field of a zip and every opcode of a pickle can be set, so that each can be set wrong. */
import { crc32 } from "../src/formats/crc32.js";
import { ROWS, STOP } from "../src/formats/pickle.js";
import { RARE_ROWS } from "../src/formats/rare-opcodes.js";

/** Every opcode of pickletools by name. */
export const OPCODE_BYTES: ReadonlyMap<string, number> = new Map([
  ...[...ROWS, ...RARE_ROWS].map(([code, name]): [string, number] => [name, code]),
  ["STOP", STOP],
]);

export function u16(value: number): number[] {
  return [value & 255, (value >> 8) & 255];
}

export function u32(value: number): number[] {
  return [...u16(value & 0xffff), ...u16(value >>> 16)];
}

export function u64(value: number | bigint): number[] {
  return Array.from({ length: 8 }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 255n));
}

export function utf8(text: string): number[] {
  return [...new TextEncoder().encode(text)];
}

/** Pickle bytes: a string is an opcode by name, an array is bytes as they are. */
export function ops(...parts: readonly (string | readonly number[])[]): number[] {
  return parts.flatMap((part) => {
    if (typeof part !== "string") return [...part];
    const code = OPCODE_BYTES.get(part);
    if (code === undefined) throw new Error(`no opcode ${part}`);
    return [code];
  });
}

export function str(text: string): number[] {
  return ops("BINUNICODE", u32(utf8(text).length), utf8(text));
}

export function int(value: number): number[] {
  return ops("BININT", u32(value));
}

/** A non-negative integer of up to 64 bits. */
export function long(value: bigint): number[] {
  return ops("LONG1", [9], u64(value), [0]);
}

export function global(module: string, name: string): number[] {
  return ops("GLOBAL", utf8(`${module}\n${name}\n`));
}

export function tuple(...items: readonly (readonly number[])[]): number[] {
  return ops("MARK", ...items, "TUPLE");
}

export function call(name: readonly number[], ...args: readonly (readonly number[])[]): number[] {
  return ops(name, tuple(...args), "REDUCE");
}

/** ('storage', torch.<type>Storage, key, 'cpu', numel). */
export function storage(type: string, key: string, numel: number | bigint): number[] {
  const size = typeof numel === "bigint" ? long(numel) : int(numel);
  return ops(tuple(str("storage"), global("torch", `${type}Storage`), str(key), str("cpu"), size), "BINPERSID");
}

export type Size = number | bigint;

function size(value: Size): number[] {
  return typeof value === "bigint" ? long(value) : int(value);
}

/** torch._utils._rebuild_tensor_v2 over a storage. */
export function tensor(
  source: readonly number[],
  offset: Size,
  shape: readonly Size[],
  strides: readonly Size[],
): number[] {
  return call(
    global("torch._utils", "_rebuild_tensor_v2"),
    source,
    size(offset),
    tuple(...shape.map(size)),
    tuple(...strides.map(size)),
    ops("NEWFALSE"),
    call(global("collections", "OrderedDict")),
  );
}

export interface ZipPart {
  name: string;
  data: ArrayLike<number>;
  /** Bytes in the file, when they are not `data` itself. */
  raw?: ArrayLike<number>;
  method?: number;
  flags?: number;
  crc?: number;
  size?: number;
  /** Local header name, when it is to differ. */
  localName?: string;
  /** Byte offset the directory claims. */
  header?: number;
  /** Sizes and offset in the zip64 extra instead of the 32-bit fields. */
  zip64?: boolean;
}

export interface ZipEnd {
  count?: number;
  offset?: number;
  comment?: readonly number[];
  /** Write a zip64 end record and locator; the 32-bit record then holds sentinels. */
  zip64?: boolean;
}

/** A zip archive; `end` changes fields of the end record. */
export function zip(parts: readonly ZipPart[], end: ZipEnd = {}): Uint8Array {
  const out: number[] = [];
  const central: number[] = [];
  for (const part of parts) {
    const data = Uint8Array.from(part.data);
    const raw = part.raw ?? data;
    const header = part.header ?? out.length;
    const fields = { crc: part.crc ?? crc32(data), size: part.size ?? data.length, packed: raw.length };
    const narrow = part.zip64 ? [0xffffffff, 0xffffffff] : [fields.packed, fields.size];
    const sizes = [...u64(fields.size), ...u64(fields.packed)];
    const extra = part.zip64 ? [...u16(1), ...u16(16), ...sizes] : [];
    const wide = part.zip64 ? [...u16(1), ...u16(24), ...sizes, ...u64(header)] : [];
    const common = [part.flags ?? 0, part.method ?? 0].flatMap(u16);
    common.push(...[0, fields.crc, ...narrow].flatMap(u32));
    const [name, localName] = [utf8(part.name), utf8(part.localName ?? part.name)];
    if (part.header === undefined) {
      out.push(...u32(0x04034b50), ...u16(20), ...common, ...u16(localName.length), ...u16(extra.length));
      out.push(...localName, ...extra);
      // One by one: a large entry would overflow the stack as arguments.
      for (let i = 0; i < raw.length; i++) out.push(raw[i]);
    }
    central.push(...u32(0x02014b50), ...[20, 20].flatMap(u16), ...common, ...u16(name.length), ...u16(wide.length));
    central.push(...[0, 0, 0].flatMap(u16), ...u32(0), ...u32(part.zip64 ? 0xffffffff : header), ...name, ...wide);
  }
  out.push(...central, ...endRecords(out.length, central.length, { count: parts.length, ...end }));
  return Uint8Array.from(out);
}

function endRecords(start: number, size: number, end: ZipEnd & { count: number }): number[] {
  const offset = end.offset ?? start;
  const comment = end.comment ?? [];
  const wide: number[] = [];
  if (end.zip64) {
    wide.push(...u32(0x06064b50), ...u64(44), ...[45, 45].flatMap(u16), ...[0, 0].flatMap(u32));
    wide.push(...[end.count, end.count, size, offset].flatMap(u64));
    wide.push(...u32(0x07064b50), ...u32(0), ...u64(start + size), ...u32(1));
  }
  const [count, sizeField, offsetField] = end.zip64 ? [0xffff, 0xffffffff, 0xffffffff] : [end.count, size, offset];
  const narrow = [
    ...u32(0x06054b50),
    ...u32(0),
    ...[count, count].flatMap(u16),
    ...[sizeField, offsetField].flatMap(u32),
  ];
  return [...wide, ...narrow, ...u16(comment.length), ...comment];
}

/** A torch zip: data.pkl of these opcodes (PROTO 2 and STOP are added), version, and data/<key> per storage. */
export function torchZip(
  pickle: readonly number[],
  storages: Readonly<Record<string, ArrayLike<number>>> = {},
  extra: readonly ZipPart[] = [],
): Uint8Array {
  return zip([
    { name: "archive/data.pkl", data: ops("PROTO", [2], pickle, "STOP") },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data })),
    { name: "archive/version", data: utf8("3\n") },
    ...extra,
  ]);
}

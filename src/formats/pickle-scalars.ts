/** The scalar encodings inside the opcodes that torch.save uses: integers, names and texts; others are pickle-text.ts. */
import type { ByteReader, Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";

/** A plain number where that is a safe integer, else a bigint. */
export function narrowInteger(value: bigint): number | bigint {
  const narrow = Number(value);
  return Number.isSafeInteger(narrow) ? narrow : value;
}

/** LONG1: one length byte n, then an n-byte little-endian two's-complement integer (pickletools, "long1"). */
export function readLong1(reader: ByteReader, limits: Limits): number | bigint {
  return readInteger(reader, reader.u8(), limits);
}

export function readInteger(reader: ByteReader, count: number, { integerBytes }: Limits): number | bigint {
  const bytes = reader.take(count);
  if (count > integerBytes)
    throw new UnitcellError("LIMIT", `an integer has ${count} bytes, the limit is ${integerBytes}`, { count });
  let digits = "";
  for (const byte of bytes) digits = byte.toString(16).padStart(2, "0") + digits;
  return narrowInteger(BigInt.asIntN(8 * count, BigInt(`0x${digits || "0"}`)));
}

/** One byte, one character. */
export function decodeLatin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

/** GLOBAL and INST: a name on a line, kept as written (a CR or a look-alike letter must not be cleaned away). */
export function readNameLine(reader: ByteReader): string {
  return decodeUtf8(reader.line(), reader);
}

export const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** BINUNICODE and its relatives: so many bytes of UTF-8. */
export function readText(reader: ByteReader, count: number): string {
  return reader.shortText(count) ?? decodeUtf8(reader.take(count), reader);
}

/** UTF-8 as Python's "surrogatepass": lone surrogates are kept, every other malformation is CORRUPT. */
function decodeUtf8(bytes: Uint8Array, reader: ByteReader): string {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return decodeSurrogatePass(bytes, reader);
  }
}

/** Decodes the stretches between three-byte surrogates strictly; ED A0..BF xx is a surrogate and nothing else. */
function decodeSurrogatePass(bytes: Uint8Array, reader: ByteReader): string {
  const parts: string[] = [];
  let from = 0;
  try {
    for (let at = bytes.indexOf(0xed); at >= 0; at = bytes.indexOf(0xed, at + 1)) {
      const [second, third] = [bytes[at + 1], bytes[at + 2]];
      if (!(second >= 0xa0 && second <= 0xbf && third >= 0x80 && third <= 0xbf)) continue;
      parts.push(strictUtf8.decode(bytes.subarray(from, at)));
      parts.push(String.fromCharCode(0xd000 | ((second & 0x3f) << 6) | (third & 0x3f)));
      from = at + 3;
    }
    parts.push(strictUtf8.decode(bytes.subarray(from)));
  } catch (cause) {
    throw new UnitcellError(
      "CORRUPT",
      `a string before byte ${reader.offset} is not UTF-8`,
      { offset: reader.offset },
      { cause },
    );
  }
  return parts.join("");
}

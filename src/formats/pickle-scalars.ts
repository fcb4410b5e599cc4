/** The scalar encodings inside pickle opcodes: integers, text-protocol numbers, and three kinds of string. */
import type { ByteReader, Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";

/** Decimal digits in a byte, about. */
const DIGITS_PER_BYTE = 2.408;

/** A plain number where that is a safe integer, else a bigint. */
export function narrowInteger(value: bigint): number | bigint {
  const narrow = Number(value);
  return Number.isSafeInteger(narrow) ? narrow : value;
}

/** LONG1: one length byte n, then an n-byte little-endian two's-complement integer (pickletools, "long1"). */
export function readLong1(reader: ByteReader, limits: Limits): number | bigint {
  return readInteger(reader, reader.u8(), limits);
}

/** LONG4: as LONG1 with a signed 32-bit length (pickletools, "long4"). */
export function readLong4(reader: ByteReader, limits: Limits): number | bigint {
  const count = reader.i32();
  if (count < 0) throw malformed(`LONG4 has length ${count}`, reader);
  return readInteger(reader, count, limits);
}

function readInteger(reader: ByteReader, count: number, { integerBytes }: Limits): number | bigint {
  const bytes = reader.take(count);
  if (count > integerBytes)
    throw new UnitcellError("LIMIT", `an integer has ${count} bytes, the limit is ${integerBytes}`, { count });
  let digits = "";
  for (const byte of bytes) digits = byte.toString(16).padStart(2, "0") + digits;
  return narrowInteger(BigInt.asIntN(8 * count, BigInt(`0x${digits || "0"}`)));
}

/** INT: a decimal line; "00" and "01" are how protocol 0 writes False and True (pickletools, "decimalnl_short"). */
export function readIntLine(reader: ByteReader, limits: Limits): number | bigint | boolean {
  const text = ascii(reader);
  if (text === "00" || text === "01") return text === "01";
  return parseInteger(text, reader, limits);
}

/** LONG: a decimal line that ends in L (pickletools, "decimalnl_long"); the L is missing in some writers. */
export function readLongLine(reader: ByteReader, limits: Limits): number | bigint {
  return parseInteger(ascii(reader).replace(/L$/, ""), reader, limits);
}

function parseInteger(text: string, reader: ByteReader, limits: Limits): number | bigint {
  const digits = Math.floor(limits.integerBytes * DIGITS_PER_BYTE);
  if (text.length > digits)
    throw new UnitcellError("LIMIT", `an integer has ${text.length} digits, the limit is ${digits}`);
  if (!/^[+-]?\d+$/.test(text)) throw malformed(`${JSON.stringify(text)} is not an integer`, reader);
  return narrowInteger(text.startsWith("-") ? -BigInt(text.slice(1)) : BigInt(text.replace("+", "")));
}

/** FLOAT: Python's repr of a float on a line (pickletools, "floatnl"). */
export function readFloatLine(reader: ByteReader): number {
  const text = ascii(reader);
  const word = /^([+-]?)(inf|nan)$/.exec(text);
  if (word)
    return word[2] === "nan" ? Number.NaN : word[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  // One way to match each digit: two would take quadratic time to fail.
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(text))
    throw malformed(`${JSON.stringify(text.slice(0, 40))} is not a float`, reader);
  return Number(text);
}

/** PUT and GET: a memo index on a line. */
export function readIndexLine(reader: ByteReader): number {
  const text = ascii(reader);
  if (!/^\d{1,10}$/.test(text)) throw malformed(`${JSON.stringify(text.slice(0, 40))} is not a memo index`, reader);
  return Number(text);
}

/** One byte, one character. */
export function decodeLatin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

function ascii(reader: ByteReader): string {
  return decodeLatin1(reader.line());
}

/** GLOBAL and INST: a name on a line, kept as written (a CR or a look-alike letter must not be cleaned away). */
export function readNameLine(reader: ByteReader): string {
  return decodeUtf8(reader.line(), reader);
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

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

/** Python 2's str is text or bytes, and the file does not say which: text when it is UTF-8. */
export function decodePython2(bytes: Uint8Array): string | Uint8Array {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return bytes;
  }
}

const ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  t: 9,
  n: 10,
  v: 11,
  f: 12,
  r: 13,
  "\\": 92,
  "'": 39,
  '"': 34,
};

/** STRING: Python 2's repr of a str on a line, quoted, with backslash escapes (pickletools, "stringnl"). */
export function readStringLine(reader: ByteReader): string | Uint8Array {
  const quoted = /^(['"])(.*)\1$/s.exec(ascii(reader));
  if (!quoted) throw malformed("STRING without matching quotes", reader);
  const body = quoted[2].replace(/\\(x[0-9a-fA-F]{2}|x|[0-7]{1,3}|[abtnvfr\\'"]|$)/g, (_all, code: string) => {
    if (code === "" || code === "x") throw malformed("STRING has a broken escape", reader);
    if (code[0] === "x") return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    return String.fromCharCode(ESCAPES[code] ?? Number.parseInt(code, 8) & 255);
  });
  return decodePython2(Uint8Array.from(body, (char) => char.charCodeAt(0)));
}

/** UNICODE: raw-unicode-escape on a line: latin-1, with only \u (four hex digits) and \U (eight) as escapes. */
export function readUnicodeLine(reader: ByteReader): string {
  return ascii(reader).replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/g, (_all, short?: string, long?: string) => {
    const point = Number.parseInt(short ?? long!, 16);
    if (point > 0x10ffff) throw malformed(`there is no character ${point}`, reader);
    return String.fromCodePoint(point);
  });
}

function malformed(message: string, reader: ByteReader): UnitcellError {
  return new UnitcellError("CORRUPT", `${message} (before byte ${reader.offset})`, { offset: reader.offset });
}

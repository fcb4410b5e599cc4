/** The scalar encodings inside rare opcodes: the text protocol's numbers and strings, Python 2's strings, long integers. */
import type { ByteReader, Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { decodeLatin1, narrowInteger, readInteger, strictUtf8 } from "./pickle-scalars.js";

/** Decimal digits in a byte, about. */
const DIGITS_PER_BYTE = 2.408;

/** LONG4: as LONG1 with a signed 32-bit length (pickletools, "long4"). */
export function readLong4(reader: ByteReader, limits: Limits): number | bigint {
  const count = reader.i32();
  if (count < 0) throw malformed(`LONG4 has length ${count}`, reader);
  return readInteger(reader, count, limits);
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

function ascii(reader: ByteReader): string {
  return decodeLatin1(reader.line());
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

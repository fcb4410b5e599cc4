/**
 * Writes the opcodes of a protocol 2 pickle, the protocol of torch.save, as CPython's C pickler does
 * (Modules/_pickle.c): the same opcode for every size, and BINPUT after whatever could be referred to again.
 */
import { UnitcellError } from "../errors.js";

/** Opcodes by their names in Python's pickletools. */
export const OP = {
  PROTO: 0x80,
  STOP: 0x2e,
  MARK: 0x28,
  POP: 0x30,
  POP_MARK: 0x31,
  NONE: 0x4e,
  NEWTRUE: 0x88,
  NEWFALSE: 0x89,
  BININT: 0x4a,
  BININT1: 0x4b,
  BININT2: 0x4d,
  LONG1: 0x8a,
  LONG4: 0x8b,
  BINFLOAT: 0x47,
  BINUNICODE: 0x58,
  EMPTY_TUPLE: 0x29,
  TUPLE1: 0x85,
  TUPLE2: 0x86,
  TUPLE3: 0x87,
  TUPLE: 0x74,
  EMPTY_LIST: 0x5d,
  APPEND: 0x61,
  APPENDS: 0x65,
  EMPTY_DICT: 0x7d,
  SETITEM: 0x73,
  SETITEMS: 0x75,
  GLOBAL: 0x63,
  REDUCE: 0x52,
  BUILD: 0x62,
  NEWOBJ: 0x81,
  NEWOBJ_EX: 0x92,
  INST: 0x69,
  OBJ: 0x6f,
  BINPERSID: 0x51,
  BINGET: 0x68,
  LONG_BINGET: 0x6a,
  BINPUT: 0x71,
  LONG_BINPUT: 0x72,
} as const;

/** Python 3 modules that protocol 2 writes under their Python 2 name, so that Python 2 could read them. */
const PYTHON2_MODULES: ReadonlyMap<string, string> = new Map([
  ["builtins", "__builtin__"],
  ["copyreg", "copy_reg"],
]);

export class PickleWriter {
  private bytes = new Uint8Array(1024);
  private view = new DataView(this.bytes.buffer);
  private length = 0;
  private memoSize = 0;
  /** Memo indices of strings and names: Python's literals and names are interned, so equal ones are one object. */
  private readonly strings = new Map<string, number>();
  private readonly names = new Map<string, number>();

  constructor() {
    this.op(OP.PROTO);
    this.u8(2);
  }

  /** The finished pickle. */
  finish(): Uint8Array {
    this.op(OP.STOP);
    return this.bytes.subarray(0, this.length);
  }

  op(code: number): void {
    this.u8(code);
  }

  /** Stores the value on top of the stack in the memo; returns its index. */
  put(): number {
    this.indexed(OP.BINPUT, OP.LONG_BINPUT, this.memoSize);
    return this.memoSize++;
  }

  get(index: number): void {
    this.indexed(OP.BINGET, OP.LONG_BINGET, index);
  }

  bool(value: boolean): void {
    this.op(value ? OP.NEWTRUE : OP.NEWFALSE);
  }

  /** @param value a safe integer, or a bigint of any size */
  int(value: number | bigint): void {
    if (value >= 0 && value <= 0xff) {
      this.op(OP.BININT1);
      this.u8(Number(value));
    } else if (value >= 0 && value <= 0xffff) {
      this.op(OP.BININT2);
      this.reserve(2);
      this.view.setUint16(this.length, Number(value), true);
      this.length += 2;
    } else if (value >= -0x80000000 && value <= 0x7fffffff) {
      this.op(OP.BININT);
      this.u32(Number(value));
    } else this.long(BigInt(value));
  }

  /** As many bytes of little-endian two's complement as the value and its sign bit need. */
  private long(value: bigint): void {
    const magnitude = (value < 0n ? ~value : value).toString(16);
    const bits = 4 * magnitude.length - Math.clz32(Number.parseInt(magnitude[0], 16)) + 28;
    const count = Math.floor(bits / 8) + 1;
    this.op(count < 256 ? OP.LONG1 : OP.LONG4);
    if (count < 256) this.u8(count);
    else this.u32(count);
    this.reserve(count);
    const digits = BigInt.asUintN(8 * count, value)
      .toString(16)
      .padStart(2 * count, "0");
    for (let at = digits.length - 2; at >= 0; at -= 2) this.u8(Number.parseInt(digits.slice(at, at + 2), 16));
  }

  float(value: number): void {
    this.op(OP.BINFLOAT);
    this.reserve(8);
    this.view.setFloat64(this.length, value);
    this.length += 8;
  }

  /** A string, or the memo's copy of an equal one. */
  string(value: string): void {
    const known = this.strings.get(value);
    if (known !== undefined) this.get(known);
    else this.strings.set(value, this.newString(value));
  }

  /** A string that is an object of its own in Python, whatever strings are equal to it; returns its memo index. */
  newString(value: string): number {
    const start = this.beginString(3 * value.length);
    for (const char of value) this.utf8(char.codePointAt(0)!);
    return this.endString(start);
  }

  /** Bytes as the string of the same code points, each a new object as the C pickler makes it. */
  latin1(value: Uint8Array): void {
    // Python keeps one object per string of at most one Latin-1 character.
    if (value.length < 2) {
      this.string(String.fromCharCode(...value));
      return;
    }
    const start = this.beginString(2 * value.length);
    for (const byte of value) this.utf8(byte);
    this.endString(start);
  }

  private beginString(most: number): number {
    this.op(OP.BINUNICODE);
    this.u32(0);
    this.reserve(most);
    return this.length;
  }

  private endString(start: number): number {
    const size = this.length - start;
    if (size > 0xffffffff)
      throw new UnitcellError("UNSUPPORTED", `protocol 2 holds strings of up to 4 GiB, found ${size} bytes`);
    this.view.setUint32(start - 4, size, true);
    return this.put();
  }

  /** UTF-8 of a code point, with room reserved; lone surrogates as Python's "surrogatepass" writes them. */
  private utf8(point: number): void {
    const { bytes } = this;
    if (point < 0x80) bytes[this.length++] = point;
    else if (point < 0x800) {
      bytes[this.length++] = 0xc0 | (point >> 6);
      bytes[this.length++] = 0x80 | (point & 63);
    } else {
      if (point < 0x10000) bytes[this.length++] = 0xe0 | (point >> 12);
      else {
        bytes[this.length++] = 0xf0 | (point >> 18);
        bytes[this.length++] = 0x80 | ((point >> 12) & 63);
      }
      bytes[this.length++] = 0x80 | ((point >> 6) & 63);
      bytes[this.length++] = 0x80 | (point & 63);
    }
  }

  /**
   * A class or function by name.
   * @throws {UnitcellError} ARGUMENT for a name that is not "module.name" on one line
   */
  global(name: string): void {
    const known = this.names.get(name);
    if (known !== undefined) {
      this.get(known);
      return;
    }
    this.op(OP.GLOBAL);
    this.name(name);
    this.names.set(name, this.put());
  }

  /** The two lines that follow GLOBAL and INST. */
  name(name: string): void {
    const dot = name.lastIndexOf(".");
    if (dot <= 0 || dot === name.length - 1 || /[\r\n]/.test(name))
      throw new UnitcellError("ARGUMENT", `expected a Python name "module.name", found ${JSON.stringify(name)}`);
    const module = name.slice(0, dot);
    const lines = `${PYTHON2_MODULES.get(module) ?? module}\n${name.slice(dot + 1)}\n`;
    this.reserve(3 * lines.length);
    for (const char of lines) this.utf8(char.codePointAt(0)!);
  }

  /** Makes a tuple of the `count` values on top of the stack; above three of them a MARK must lie below. */
  tuple(count: number): void {
    this.op([OP.EMPTY_TUPLE, OP.TUPLE1, OP.TUPLE2, OP.TUPLE3][count] ?? OP.TUPLE);
  }

  private indexed(short: number, long: number, index: number): void {
    this.op(index < 256 ? short : long);
    if (index < 256) this.u8(index);
    else this.u32(index);
  }

  private u8(value: number): void {
    if (this.length === this.bytes.length) this.reserve(1);
    this.bytes[this.length++] = value;
  }

  private u32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, value, true);
    this.length += 4;
  }

  /** Room for `count` more bytes. */
  private reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.bytes.length, this.length + count));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
}

/**
 * Elements of a tensor as float64, a block at a time: what loops over tensors of any dtype work on. One block is small
 * enough for the cache, so the conversion costs little beside reading the memory.
 */
import { UnitcellError } from "./errors.js";
import { DTYPE_BYTES, type DType, elementReader, TORCH_DTYPES } from "./tensor.js";

/** Numbers in a block: 32 KB. */
export const BLOCK = 4096;

type Numbers =
  | Float64Array
  | Float32Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;
type NumbersConstructor = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => Numbers;

/** How the numbers of a dtype lie in memory: complex ones as two numbers, quantized ones as the integers stored. */
const PLAIN: Readonly<Partial<Record<DType, NumbersConstructor>>> = {
  f64: Float64Array,
  f32: Float32Array,
  c128: Float64Array,
  c64: Float32Array,
  i32: Int32Array,
  u32: Uint32Array,
  i16: Int16Array,
  u16: Uint16Array,
  i8: Int8Array,
  u8: Uint8Array,
  qi32: Int32Array,
  qi8: Int8Array,
  qu8: Uint8Array,
};

/** Dtypes whose bit patterns are few enough to look up. */
const LOOKED_UP: Readonly<Partial<Record<DType, DType>>> = {
  f16: "f16",
  bf16: "bf16",
  c32: "f16",
  bool: "bool",
  f8_e4m3fn: "f8_e4m3fn",
  f8_e5m2: "f8_e5m2",
  f8_e4m3fnuz: "f8_e4m3fnuz",
  f8_e5m2fnuz: "f8_e5m2fnuz",
  f8_e8m0fnu: "f8_e8m0fnu",
};

/**
 * Calls `take` with block after block of the numbers in `bytes`, in order; two numbers an element when complex. The
 * block is reused. Integers of 64 bits are rounded to float64.
 * @param bytes whole little-endian elements
 * @throws {UnitcellError} UNSUPPORTED for the packed dtypes, ARGUMENT when an element is cut
 */
export function eachBlock(dtype: DType, bytes: Uint8Array, take: (block: Float64Array, count: number) => void): void {
  const read = blockReader(dtype, bytes);
  const block = new Float64Array(Math.min(BLOCK, read.count));
  for (let at = 0; at < read.count; at += BLOCK) {
    const count = Math.min(BLOCK, read.count - at);
    read.fill(block, at, count);
    take(block, count);
  }
}

/** How many numbers, and a function that puts those from `at` on into a block. */
interface BlockReader {
  readonly count: number;
  readonly fill: (block: Float64Array, at: number, count: number) => void;
}

function blockReader(dtype: DType, bytes: Uint8Array): BlockReader {
  if (dtype === "i64" || dtype === "u64") {
    const words = wordsOf(bytes);
    const high = dtype === "i64" ? new Int32Array(words.buffer, words.byteOffset, words.length) : words;
    const fill = (block: Float64Array, at: number, count: number) => {
      for (let i = 0, w = 2 * at; i < count; i++, w += 2) block[i] = high[w + 1] * 2 ** 32 + words[w];
    };
    return { count: words.length / 2, fill };
  }
  const plain = PLAIN[dtype];
  if (plain) {
    const numbers = typedView(plain, bytes, dtype[0] === "c" ? DTYPE_BYTES[dtype] / 2 : DTYPE_BYTES[dtype]);
    return { count: numbers.length, fill: (block, at, count) => block.set(numbers.subarray(at, at + count)) };
  }
  const pattern = LOOKED_UP[dtype];
  if (!pattern) throw new UnitcellError("UNSUPPORTED", `the numbers of a packed ${TORCH_DTYPES[dtype]} tensor`);
  const values = valueTable(pattern);
  const codes = values.length === 256 ? bytes : typedView(Uint16Array, bytes, 2);
  const fill = (block: Float64Array, at: number, count: number) => {
    for (let i = 0; i < count; i++) block[i] = values[codes[at + i]];
  };
  return { count: codes.length, fill };
}

/** Low and high halves of 64-bit integers, by turns. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  if (bytes.byteLength % 8) throw cut(bytes, 8);
  return typedView(Uint32Array, bytes, 4) as Uint32Array;
}

/** The bytes as numbers, in place where they are aligned. */
function typedView(type: NumbersConstructor, bytes: Uint8Array, itemsize: number): Numbers {
  if (bytes.byteLength % itemsize) throw cut(bytes, itemsize);
  // Not bytes.slice: a Buffer's is no copy.
  const aligned = bytes.byteOffset % itemsize ? Uint8Array.from(bytes) : bytes;
  return new type(aligned.buffer, aligned.byteOffset, aligned.byteLength / itemsize);
}

function cut(bytes: Uint8Array, itemsize: number): UnitcellError {
  return new UnitcellError("ARGUMENT", `${bytes.byteLength} bytes are not whole numbers of ${itemsize} bytes`);
}

const tables = new Map<DType, Float32Array>();

/** The value of every bit pattern of an 8- or 16-bit dtype, made once: 256 KB at most. */
function valueTable(dtype: DType): Float32Array {
  let values = tables.get(dtype);
  if (!values) {
    const codes =
      DTYPE_BYTES[dtype] === 1
        ? Uint8Array.from({ length: 256 }, (_, i) => i)
        : Uint16Array.from({ length: 65536 }, (_, i) => i);
    const view = new DataView(codes.buffer);
    const read = elementReader(dtype);
    values = Float32Array.from({ length: codes.length }, (_, i) => read(view, i));
    tables.set(dtype, values);
  }
  return values;
}

/**
 * Conversion between dtypes, value for value as torch's `tensor.to(dtype)`: nearest, ties to even, too large becomes
 * infinite, NaN stays NaN. torch goes to float16 and bfloat16 through float32, so a float64 (or integer) is rounded
 * twice there; so it is here.
 */
import { eachBlock, wordsOf } from "../element-blocks.js";
import { UnitcellError } from "../errors.js";
import { DTYPE_BYTES, type DType, type Tensor, TORCH_DTYPES } from "../tensor.js";
import { elementCount } from "./torch-tensors.js";

const FLOATS: readonly DType[] = ["f64", "f32", "f16", "bf16"];
const INTEGERS: readonly DType[] = ["i64", "i32", "i16", "i8", "u8", "bool", "u64", "u32", "u16"];

/**
 * A dense copy in another dtype; the tensor itself when it has that dtype already.
 * @param dtype f64, f32, f16 or bf16; the tensor's is one of these or an integer or bool
 * @throws {UnitcellError} UNSUPPORTED for other pairs, MISMATCH when data and shape disagree
 */
export function castTensor(tensor: Tensor, dtype: DType): Tensor {
  const from = tensor.dtype;
  if (from === dtype) return tensor;
  if (!FLOATS.includes(dtype) || !(FLOATS.includes(from) || INTEGERS.includes(from)))
    throw new UnitcellError("UNSUPPORTED", `a cast from ${TORCH_DTYPES[from]} to ${TORCH_DTYPES[dtype]}`, {
      from,
      to: dtype,
    });
  const { shape } = tensor;
  const count = elementCount(shape);
  const bytes = tensor.data;
  if (bytes.byteLength !== count * DTYPE_BYTES[from])
    throw new UnitcellError(
      "MISMATCH",
      `tensor of shape [${shape}] and dtype ${from} needs ${count * DTYPE_BYTES[from]} bytes, found ${bytes.byteLength}`,
    );
  const out = new ArrayBuffer(count * DTYPE_BYTES[dtype]);
  const write = blockWriter(dtype, out);
  let at = 0;
  eachBlock(from, dtype === "f64" ? bytes : rounded64(from, bytes), (block, length) => {
    write(block, at, length);
    at += length;
  });
  return { dtype, shape, data: new Uint8Array(out) };
}

type BlockWriter = (block: Float64Array, at: number, count: number) => void;

function blockWriter(dtype: DType, out: ArrayBuffer): BlockWriter {
  if (dtype === "f64" || dtype === "f32") {
    const numbers = dtype === "f64" ? new Float64Array(out) : new Float32Array(out);
    return (block, at, count) => numbers.set(count < block.length ? block.subarray(0, count) : block, at);
  }
  const codes = new Uint16Array(out);
  const narrow = dtype === "f16" ? halfBits : bfloat16Bits;
  const scratch = new Float32Array(1);
  const bits = new Uint32Array(scratch.buffer);
  return (block, at, count) => {
    for (let i = 0; i < count; i++) {
      scratch[0] = block[i];
      codes[at + i] = narrow(bits[0]);
    }
  };
}

/** The bfloat16 nearest to a float32, both as bits: the upper half, rounded; a carry goes into the exponent, up to infinity. */
function bfloat16Bits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // NaN: a payload in the lower half must not vanish
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** The float16 nearest to a float32, both as bits. */
function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00; // NaN
  if (size >= 0x47800000) return sign | 0x7c00; // 65536 and more
  // 2^-14 and more: 13 bits of fraction go, and the exponent's bias changes from 127 to 15. 65520 carries to infinity.
  if (size >= 0x38800000) return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
  if (size <= 0x33000000) return sign; // 2^-25 is the tie between 0 and the smallest
  // Subnormal: a multiple of 2^-24. The float32 fraction (with its hidden bit) is shifted to that.
  const shift = 126 - (size >>> 23);
  const fraction = (size & 0x7fffff) | 0x800000;
  const half = 1 << (shift - 1);
  return sign | ((fraction + half - 1 + ((fraction >>> shift) & 1)) >>> shift);
}

/**
 * 64-bit integers for rounding to 24 bits or fewer by way of float64: where that would round first, the low 11 bits
 * become one bit that says whether any was set ("round to odd"), so that the second rounding sees no false tie.
 */
function rounded64(dtype: DType, bytes: Uint8Array): Uint8Array {
  if (dtype !== "i64" && dtype !== "u64") return bytes;
  const words = Uint32Array.from(wordsOf(bytes));
  for (let low = 0; low < words.length; low += 2) {
    const high = dtype === "i64" ? words[low + 1] | 0 : words[low + 1];
    if (high < 2 ** 21 && high >= -(2 ** 21)) continue;
    if (words[low] & 0x7ff) words[low] = (words[low] & ~0x7ff) | 0x800;
  }
  return new Uint8Array(words.buffer);
}

import { UnitcellError } from "./errors.js";

/** Element types a Tensor can have, in torch's own short names. */
export type DType = "f64" | "f32" | "f16" | "bf16" | "i64" | "i32" | "i16" | "i8" | "u8" | "bool";

/** Bytes per element. */
export const DTYPE_BYTES: Readonly<Record<DType, number>> = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i32: 4,
  i16: 2,
  i8: 1,
  u8: 1,
  bool: 1,
};

/** A dense tensor: row-major, contiguous, little-endian bytes. Tied weights are one Tensor object under two names. */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Parameters and buffers by name, in the order the checkpoint lists them. */
export type StateDict = Map<string, Tensor>;

/** Number of elements: the product of the shape, 1 for a scalar. */
export function numElements(shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) count *= size;
  return count;
}

/**
 * The tensor's values as float32, in row-major order: a view when the bytes already are aligned float32, else a
 * converted copy. float64 and wide integers are rounded to the nearest float32, as `tensor.float()` does.
 */
export function toFloat32(tensor: Tensor): Float32Array {
  const { data, dtype } = tensor;
  const count = numElements(tensor.shape);
  if (data.byteLength !== count * DTYPE_BYTES[dtype])
    throw new UnitcellError(
      "MISMATCH",
      `tensor of shape [${tensor.shape}] and dtype ${dtype} needs ${count * DTYPE_BYTES[dtype]} bytes, found ${data.byteLength}`,
    );
  if (dtype === "f32" && data.byteOffset % 4 === 0) return new Float32Array(data.buffer, data.byteOffset, count);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const read = READERS[dtype];
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = read(view, i);
  return out;
}

/** The one number a one-element tensor holds, in full precision (int64 beyond 2^53 is rounded). */
export function toScalar(tensor: Tensor): number {
  if (numElements(tensor.shape) !== 1)
    throw new UnitcellError("MISMATCH", `expected a one-element tensor, found shape [${tensor.shape}]`);
  return READERS[tensor.dtype](new DataView(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength), 0);
}

/** One row per dtype: element i of a little-endian buffer as a JavaScript number. */
const READERS: Readonly<Record<DType, (view: DataView, i: number) => number>> = {
  f64: (view, i) => view.getFloat64(8 * i, true),
  f32: (view, i) => view.getFloat32(4 * i, true),
  f16: (view, i) => halfToNumber(view.getUint16(2 * i, true)),
  bf16: (view, i) => bfloat16ToNumber(view.getUint16(2 * i, true)),
  i64: (view, i) => Number(view.getBigInt64(8 * i, true)),
  i32: (view, i) => view.getInt32(4 * i, true),
  i16: (view, i) => view.getInt16(2 * i, true),
  i8: (view, i) => view.getInt8(i),
  u8: (view, i) => view.getUint8(i),
  bool: (view, i) => (view.getUint8(i) ? 1 : 0),
};

/** IEEE 754 binary16: sign, 5 exponent bits, 10 fraction bits. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

const scratch = new DataView(new ArrayBuffer(4));

/** bfloat16 is the upper half of a float32. */
function bfloat16ToNumber(bits: number): number {
  scratch.setUint32(0, bits * 65536);
  return scratch.getFloat32(0);
}

import { UnitcellError } from "./errors.js";

/**
 * Element types a Tensor can have, in torch's own short names: c64 is torch.complex64 (two f32), qu8 is torch.quint8.
 * The packed ones (qu4x2, qu2x4, f4_e2m1fn_x2) hold two or four numbers in a byte.
 */
export type DType =
  | "f64"
  | "f32"
  | "f16"
  | "bf16"
  | "i64"
  | "i32"
  | "i16"
  | "i8"
  | "u8"
  | "bool"
  | "u64"
  | "u32"
  | "u16"
  | "c128"
  | "c64"
  | "c32"
  | "f8_e4m3fn"
  | "f8_e5m2"
  | "f8_e4m3fnuz"
  | "f8_e5m2fnuz"
  | "f8_e8m0fnu"
  | "f4_e2m1fn_x2"
  | "qi8"
  | "qu8"
  | "qi32"
  | "qu4x2"
  | "qu2x4"
  | "bits8"
  | "bits16"
  | "bits1x8"
  | "bits2x4"
  | "bits4x2";

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
  u64: 8,
  u32: 4,
  u16: 2,
  c128: 16,
  c64: 8,
  c32: 4,
  f8_e4m3fn: 1,
  f8_e5m2: 1,
  f8_e4m3fnuz: 1,
  f8_e5m2fnuz: 1,
  f8_e8m0fnu: 1,
  f4_e2m1fn_x2: 1,
  qi8: 1,
  qu8: 1,
  qi32: 4,
  qu4x2: 1,
  qu2x4: 1,
  bits8: 1,
  bits16: 2,
  bits1x8: 1,
  bits2x4: 1,
  bits4x2: 1,
};

/** torch.<name> of each. */
export const TORCH_DTYPES: Readonly<Record<DType, string>> = {
  f64: "float64",
  f32: "float32",
  f16: "float16",
  bf16: "bfloat16",
  i64: "int64",
  i32: "int32",
  i16: "int16",
  i8: "int8",
  u8: "uint8",
  bool: "bool",
  u64: "uint64",
  u32: "uint32",
  u16: "uint16",
  c128: "complex128",
  c64: "complex64",
  c32: "complex32",
  f8_e4m3fn: "float8_e4m3fn",
  f8_e5m2: "float8_e5m2",
  f8_e4m3fnuz: "float8_e4m3fnuz",
  f8_e5m2fnuz: "float8_e5m2fnuz",
  f8_e8m0fnu: "float8_e8m0fnu",
  f4_e2m1fn_x2: "float4_e2m1fn_x2",
  qi8: "qint8",
  qu8: "quint8",
  qi32: "qint32",
  qu4x2: "quint4x2",
  qu2x4: "quint2x4",
  bits8: "bits8",
  bits16: "bits16",
  bits1x8: "bits1x8",
  bits2x4: "bits2x4",
  bits4x2: "bits4x2",
};

/**
 * A dense tensor as a caller sees or makes it: row-major, contiguous, little-endian bytes. What a torch file holds beside
 * that (strides, the storage it shares, requires_grad) is on the TorchTensor that the reader gives.
 */
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
  const read = elementReader(dtype);
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = read(view, i);
  return out;
}

/** The one number a one-element tensor holds, in full precision (int64 beyond 2^53 is rounded). */
export function toScalar(tensor: Tensor): number {
  if (numElements(tensor.shape) !== 1)
    throw new UnitcellError("MISMATCH", `expected a one-element tensor, found shape [${tensor.shape}]`);
  const read = elementReader(tensor.dtype);
  return read(new DataView(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength), 0);
}

/**
 * A function for element i of a little-endian buffer as a JavaScript number (integers beyond 2^53 are rounded).
 * @throws {UnitcellError} UNSUPPORTED for complex, quantized and packed elements, which are no single number
 */
export function elementReader(dtype: DType): (view: DataView, i: number) => number {
  const read = READERS[dtype];
  if (!read) throw new UnitcellError("UNSUPPORTED", `a ${TORCH_DTYPES[dtype]} element is not one real number`);
  return read;
}

/** Whether an element is one real number, which elementReader can read and any other real type can be made from. */
export function isRealNumber(dtype: DType): boolean {
  return READERS[dtype] !== undefined;
}

const READERS: Readonly<Partial<Record<DType, (view: DataView, i: number) => number>>> = {
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
  u64: (view, i) => Number(view.getBigUint64(8 * i, true)),
  u32: (view, i) => view.getUint32(4 * i, true),
  u16: (view, i) => view.getUint16(2 * i, true),
  f8_e4m3fn: (view, i) => float8(view.getUint8(i), 4, 7, (bits) => (bits & 0x7f) === 0x7f),
  f8_e4m3fnuz: (view, i) => float8(view.getUint8(i), 4, 8, (bits) => bits === 0x80),
  f8_e5m2: (view, i) => halfToNumber(view.getUint8(i) << 8),
  f8_e5m2fnuz: (view, i) => float8(view.getUint8(i), 5, 16, (bits) => bits === 0x80),
  f8_e8m0fnu: (view, i) => (view.getUint8(i) === 255 ? Number.NaN : 2 ** (view.getUint8(i) - 127)),
};

/** An 8-bit float without infinities: sign, exponent bits with this bias, fraction (arXiv:2209.05433; fnuz: arXiv:2206.02915). */
function float8(bits: number, exponentBits: number, bias: number, isNotANumber: (bits: number) => boolean): number {
  if (isNotANumber(bits)) return Number.NaN;
  const fractionBits = 7 - exponentBits;
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits & 0x7f) >> fractionBits;
  const fraction = (bits & ((1 << fractionBits) - 1)) / (1 << fractionBits);
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

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

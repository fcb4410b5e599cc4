/**
 * Tensors as torch keeps them: a view (offset, sizes, strides) of a storage that other tensors may share. A pickle
 * describes storages and views of them before any storage bytes are known, so views are checked first and the bytes come
 * later, or never when only the description is wanted.
 */
import { UnitcellError } from "../errors.js";
import { DTYPE_BYTES, type DType, type Tensor, TORCH_DTYPES } from "../tensor.js";
import type { TorchValue } from "./values.js";

/** One block of elements that tensors look into. */
export class Storage {
  /** Its name in the file. */
  readonly key: string;
  /** undefined: untyped bytes, each tensor names its own dtype. */
  readonly dtype: DType | undefined;
  /** In elements of dtype, in bytes when untyped or packed (qu4x2, qu2x4). */
  readonly numel: number;
  readonly byteLength: number;
  /** Where the saving program had it: "cpu", "cuda:0". Here it is plain memory. */
  readonly location: string;
  /** Little-endian elements; undefined until they are loaded. */
  bytes: Uint8Array | undefined;

  constructor(key: string, dtype: DType | undefined, numel: number, location = "cpu", bytes?: Uint8Array) {
    this.key = key;
    this.dtype = dtype;
    this.numel = numel;
    this.byteLength = dtype ? numel * DTYPE_BYTES[dtype] : numel;
    this.location = location;
    this.bytes = bytes;
  }

  /** Moves bytes that lie unaligned in their file: one copy for all tensors, however many look at them. */
  align(itemsize: number): void {
    if (this.bytes && this.bytes.byteOffset % itemsize !== 0) this.bytes = Uint8Array.from(this.bytes);
  }
}

/** Numbers in one byte of the packed dtypes whose elements torch counts one by one. */
const PACKED: Readonly<Partial<Record<DType, number>>> = { qu4x2: 2, qu2x4: 4 };

/** Bytes that so many elements of a tensor take in a storage. */
export function storedBytes(dtype: DType, count: number): number {
  return Math.ceil((count * DTYPE_BYTES[dtype]) / (PACKED[dtype] ?? 1));
}

/** Everything about a TorchTensor but its storage. */
export interface View {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In elements, one per axis. */
  readonly strides: readonly number[];
  /** Elements before the first one, in the storage. */
  readonly offset: number;
}

/** A tensor of a torch file. As a Tensor it is dense: `data` is a view of the storage where that is so, else a copy. */
export class TorchTensor implements Tensor {
  dtype: DType = "f32";
  shape: readonly number[] = [0];
  strides: readonly number[] = [1];
  offset = 0;
  /** undefined for a tensor on the "meta" device, which has no elements. */
  storage: Storage | undefined;
  requiresGrad = false;
  /** torch.nn.Parameter. */
  isParameter = false;
  /** Lazy bits: the numbers are the conjugate (negative) of what the storage holds. `data` has them applied. */
  conj = false;
  neg = false;
  /** Python attributes set on the tensor. */
  attributes: TorchValue | undefined;
  /** (scheme, scale, zero point) or (scheme, scales, zero points, axis). */
  quantizer: readonly TorchValue[] | undefined;
  /** Old files: the slice of `storage` the tensor was made over. */
  storageView: { readonly key: string; readonly offset: number; readonly numel: number } | undefined;
  private dense: Uint8Array | undefined;

  /** A tensor over a storage; without arguments an empty one, to be filled. */
  static over(storage: Storage | undefined, view: View): TorchTensor {
    const tensor = new TorchTensor();
    tensor.storage = storage;
    tensor.setView(view);
    return tensor;
  }

  setView({ dtype, shape, strides, offset }: View): void {
    this.dtype = dtype;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
  }

  /**
   * Row-major little-endian bytes.
   * @throws {UnitcellError} ARGUMENT before the storage is loaded, UNSUPPORTED on the meta device
   */
  get data(): Uint8Array {
    if (this.dense) return this.dense;
    if (!this.storage) throw new UnitcellError("UNSUPPORTED", "a tensor on the meta device has no data");
    if (!this.storage.bytes)
      throw new UnitcellError("ARGUMENT", `the bytes of storage "${this.storage.key}" are not loaded yet`);
    this.storage.align(Math.min(DTYPE_BYTES[this.dtype], 8));
    const view = denseView(this.storage.bytes, this);
    let dense = view;
    if (!dense || this.conj || this.neg) {
      dense = gather(this.storage.bytes, this);
      if (this.conj) negate(dense, this.dtype, true);
      if (this.neg) negate(dense, this.dtype, false);
    }
    this.dense = dense;
    return dense;
  }
}

/** 1 + the largest element index that sizes and strides reach, 0 for an empty tensor; doubles never round it down to fit. */
export function extent(shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0;
  let last = 0;
  for (const [axis, size] of shape.entries()) last += (size - 1) * strides[axis];
  return last + 1;
}

/** Product of the sizes; 0 whenever one size is 0, where Infinity times 0 would be NaN. */
export function elementCount(shape: readonly number[]): number {
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
}

/** Strides of a dense row-major tensor, in elements. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= Math.max(shape[axis], 1);
  }
  return strides;
}

/** True when the elements lie one after another in row-major order. */
export function isContiguous({ shape, strides }: Pick<View, "shape" | "strides">): boolean {
  const dense = rowMajorStrides(shape);
  return shape.includes(0) || shape.every((size, axis) => size === 1 || strides[axis] === dense[axis]);
}

/** The block itself where the elements already lie in order and aligned, so that typed arrays can look at them. */
function denseView(bytes: Uint8Array, view: View): Uint8Array | undefined {
  const { dtype, shape, offset } = view;
  const count = elementCount(shape);
  if (count === 0) return new Uint8Array(0);
  if (PACKED[dtype]) {
    if (offset !== 0 || !isContiguous(view))
      throw new UnitcellError(
        "UNSUPPORTED",
        `a ${TORCH_DTYPES[dtype]} tensor that is not contiguous from its storage's start`,
      );
    return bytes.subarray(0, storedBytes(dtype, count));
  }
  const itemsize = DTYPE_BYTES[dtype];
  const start = offset * itemsize;
  if (!isContiguous(view) || (bytes.byteOffset + start) % Math.min(itemsize, 8) !== 0) return undefined;
  return bytes.subarray(start, start + count * itemsize);
}

/**
 * Copy elements through strides into a dense array.
 * @param bytes the block; the view must lie inside it
 */
export function gather(bytes: Uint8Array, view: View): Uint8Array {
  const { shape, strides } = view;
  const itemsize = DTYPE_BYTES[view.dtype];
  const count = elementCount(shape);
  const out = new Uint8Array(count * itemsize);
  // The innermost axes that are contiguous are copied in one piece: an unaligned but dense tensor is one copy.
  let run = 1;
  let outer = shape.length;
  while (outer > 0 && (shape[outer - 1] === 1 || strides[outer - 1] === run)) run *= shape[--outer];
  const index = new Array<number>(outer).fill(0);
  const length = run * itemsize;
  let from = view.offset;
  for (let at = 0; at < count; at += run) {
    const [target, start] = [at * itemsize, from * itemsize];
    // Below about a cache line, making a subarray costs more than the bytes.
    if (length <= 64) for (let b = 0; b < length; b++) out[target + b] = bytes[start + b];
    else out.set(bytes.subarray(start, start + length), target);
    for (let axis = outer - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/** Bytes of one number: a complex element is two. */
export function componentBytes(dtype: DType): number {
  return dtype[0] === "c" ? DTYPE_BYTES[dtype] / 2 : DTYPE_BYTES[dtype];
}

/** Big-endian numbers to little-endian, in place. */
export function reverseItems(bytes: Uint8Array, itemsize: number): void {
  for (let at = 0; at < bytes.length; at += itemsize) bytes.subarray(at, at + itemsize).reverse();
}

/** Flips the sign bit of every number, or of the imaginary parts only. */
function negate(bytes: Uint8Array, dtype: DType, imaginary: boolean): void {
  if (!(imaginary ? /^c/ : /^(c|f64$|f32$|f16$|bf16$)/).test(dtype))
    throw new UnitcellError(
      "UNSUPPORTED",
      `a lazily ${imaginary ? "conjugated" : "negated"} ${TORCH_DTYPES[dtype]} tensor`,
    );
  const size = componentBytes(dtype);
  const step = imaginary ? 2 * size : size;
  for (let at = imaginary ? 2 * size - 1 : size - 1; at < bytes.length; at += step) bytes[at] ^= 0x80;
}

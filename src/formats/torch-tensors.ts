/**
 * From storages and strides to dense tensors. A pickle describes storages and views of them before any storage bytes
 * are known (the legacy stream writes them last), so views are checked and noted first and filled afterwards.
 */
import { COPY_FLOOR_BYTES, MAX_COPY_RATIO, MAX_TENSOR_RANK } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { DTYPE_BYTES, type DType, type Tensor } from "../tensor.js";
import type { PickleValue } from "./pickle.js";

/** A tensor object that exists before its content: the memo hands out the same object, so it is filled in place. */
export interface TensorSlot {
  dtype: DType;
  shape: readonly number[];
  data: Uint8Array;
}

/** One block of elements that tensors look into. */
export class Storage {
  readonly key: string;
  /** undefined: untyped bytes, the tensor names its own dtype. */
  readonly dtype: DType | undefined;
  /** In elements of dtype, in bytes when untyped. */
  readonly numel: number;
  readonly byteLength: number;
  /** Set by the container once it knows where they are. */
  bytes: Uint8Array | undefined;

  constructor(key: string, dtype: DType | undefined, numel: number) {
    this.key = key;
    this.dtype = dtype;
    this.numel = numel;
    this.byteLength = numel * (dtype ? DTYPE_BYTES[dtype] : 1);
  }
}

/** What a persistent id stands for: a storage, or (in old files) a slice of one, in elements. */
export class StorageView {
  readonly storage: Storage;
  readonly start: number;
  readonly numel: number;

  constructor(storage: Storage, start: number, numel: number) {
    this.storage = storage;
    this.start = start;
    this.numel = numel;
  }
}

/** Elements of a block: offset and strides in elements, all checked to lie inside it. */
interface Layout {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

interface View extends Layout {
  readonly slot: TensorSlot;
  readonly storage: Storage;
}

/** A tensor of shape [0] whose real content is filled in later. */
export function emptySlot(): TensorSlot {
  return { dtype: "f32", shape: [0], data: new Uint8Array(0) };
}

/** All views of one file. Equal views are one Tensor, which is how tied weights stay tied. */
export class TensorTable {
  private readonly views: View[] = [];
  private readonly byLayout = new Map<Storage, Map<string, TensorSlot>>();

  /**
   * Note a view; `into` is the object to fill when the pickle made it earlier.
   * @throws {UnitcellError} CORRUPT when it does not fit its storage, LIMIT above MAX_TENSOR_RANK
   */
  add(source: PickleValue, args: readonly PickleValue[], dtype?: DType, into?: TensorSlot): Tensor {
    if (!(source instanceof StorageView)) throw new UnitcellError("CORRUPT", "a tensor is built over no storage");
    const { storage, start, numel } = source;
    const type = dtype ?? storage.dtype;
    if (!type) throw new UnitcellError("CORRUPT", `a tensor over the untyped storage "${storage.key}" has no dtype`);
    const [offset, shape, strides] = [sizeOf(args[0], "offset"), sizesOf(args[1], "size"), sizesOf(args[2], "stride")];
    if (shape.length !== strides.length)
      throw new UnitcellError("CORRUPT", `a tensor has ${shape.length} sizes and ${strides.length} strides`);
    if (!storage.dtype && start !== 0) throw new UnitcellError("UNSUPPORTED", "slices of untyped storages");
    const layout = { dtype: type, shape, strides, offset: start + offset };
    const itemsize = DTYPE_BYTES[type];
    const held = storage.dtype ? numel * DTYPE_BYTES[storage.dtype] : numel;
    const needed = (offset + extent(shape, strides)) * itemsize;
    if (needed > held)
      throw new UnitcellError(
        "CORRUPT",
        `a ${type} tensor of size [${shape}], strides [${strides}] and offset ${offset} needs ${needed} bytes, storage "${storage.key}" has ${held}`,
        { shape, strides, offset, key: storage.key },
      );
    return this.slot(storage, layout, into);
  }

  private slot(storage: Storage, layout: Layout, into: TensorSlot | undefined): Tensor {
    const known = this.byLayout.get(storage) ?? new Map<string, TensorSlot>();
    this.byLayout.set(storage, known);
    const key = `${layout.dtype}|${layout.offset}|${layout.shape}|${layout.strides}`;
    const tied = known.get(key);
    if (tied && !into) return tied;
    const slot = into ?? emptySlot();
    slot.dtype = layout.dtype;
    slot.shape = layout.shape;
    known.set(key, slot);
    this.views.push({ ...layout, slot, storage });
    return slot;
  }

  /**
   * Give every noted tensor its bytes, once all storages have theirs.
   * @throws {UnitcellError} LIMIT when the copies would need more than the copy cap allows
   */
  fill(bigEndian: boolean): void {
    let stored = 0;
    for (const storage of this.byLayout.keys()) stored += storage.byteLength;
    const budget = COPY_FLOOR_BYTES + MAX_COPY_RATIO * stored;
    let copied = 0;
    for (const view of this.views) {
      const bytes = view.storage.bytes!;
      const swap = bigEndian && DTYPE_BYTES[view.dtype] > 1;
      const direct = swap ? undefined : contiguousView(bytes, view);
      copied += direct ? 0 : elementCount(view.shape) * DTYPE_BYTES[view.dtype];
      if (copied > budget)
        throw new UnitcellError(
          "LIMIT",
          `copying tensors, the last of size [${view.shape}], would take ${copied} bytes; the limit for ${stored} stored bytes is ${budget}`,
          { shape: view.shape, copied, limit: budget },
        );
      view.slot.data = direct ?? gather(bytes, view, swap);
    }
  }
}

/** 1 + the largest element index that sizes and strides reach, 0 for an empty tensor; doubles never round it down to fit. */
function extent(shape: readonly number[], strides: readonly number[]): number {
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

/** The block itself where the elements already lie in order and aligned, so that typed arrays can look at them. */
function contiguousView(bytes: Uint8Array, { dtype, shape, strides, offset }: Layout): Uint8Array | undefined {
  const dense = rowMajorStrides(shape);
  const count = elementCount(shape);
  if (count === 0) return new Uint8Array(0);
  const inOrder = shape.every((size, axis) => size === 1 || strides[axis] === dense[axis]);
  const itemsize = DTYPE_BYTES[dtype];
  const start = offset * itemsize;
  if (!inOrder || (bytes.byteOffset + start) % itemsize !== 0) return undefined;
  return bytes.subarray(start, start + count * itemsize);
}

/**
 * Copy elements through strides into a dense little-endian array.
 * @param bytes the block; the layout must lie inside it
 * @param swap true when the block is big-endian
 */
export function gather(bytes: Uint8Array, layout: Layout, swap: boolean): Uint8Array {
  const { shape, strides } = layout;
  const itemsize = DTYPE_BYTES[layout.dtype];
  const count = elementCount(shape);
  const out = new Uint8Array(count * itemsize);
  // The innermost axis that is contiguous is copied in one piece: an unaligned but dense tensor is one copy.
  let run = 1;
  let outer = shape.length;
  while (outer > 0 && (shape[outer - 1] === 1 || strides[outer - 1] === run)) run *= shape[--outer];
  const index = new Array<number>(outer).fill(0);
  const length = run * itemsize;
  let from = layout.offset;
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
  if (swap) reverseItems(out, itemsize);
  return out;
}

/** Big-endian elements to little-endian, in place. */
export function reverseItems(bytes: Uint8Array, itemsize: number): void {
  for (let at = 0; at < bytes.length; at += itemsize) bytes.subarray(at, at + itemsize).reverse();
}

/** An offset, size, stride or count: a non-negative integer that is exact. */
export function sizeOf(value: PickleValue | undefined, what: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  const found = typeof value === "number" || typeof value === "bigint" ? value : typeof value;
  throw new UnitcellError("CORRUPT", `expected a non-negative integer as ${what}, found ${found}`);
}

/** A tuple of sizes or strides. */
export function sizesOf(value: PickleValue | undefined, what: string): number[] {
  if (!Array.isArray(value)) throw new UnitcellError("CORRUPT", `expected a tuple of integers as tensor ${what}`);
  if (value.length > MAX_TENSOR_RANK)
    throw new UnitcellError("LIMIT", `a tensor has ${value.length} dimensions, the limit is ${MAX_TENSOR_RANK}`);
  return value.map((size) => sizeOf(size, what));
}

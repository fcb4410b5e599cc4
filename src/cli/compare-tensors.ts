/** How far the numbers of two tensors are apart. */
import { eachBlock } from "../element-blocks.js";
import { componentBytes, elementCount, TorchTensor } from "../formats/torch-tensors.js";
import type { DType, Tensor } from "../tensor.js";
import type { OpenedFile } from "./open.js";
import { tensorPieces } from "./tensor-pieces.js";

export interface TensorDifference {
  /** Numbers that differ; NaN equals NaN, 0 equals -0. Undefined where they cannot be looked at one by one. */
  readonly differing: number | undefined;
  /** Numbers in each; two to a complex element. */
  readonly count: number;
  /** Largest |a - b|; infinite where one is and the other not. */
  readonly largest: number;
  /** Largest |a - b| / max(|a|, |b|). */
  readonly relative: number;
  /** Places where one is NaN and the other is not. */
  readonly nanMismatch: number;
}

/** One side of a comparison. */
export interface Side {
  readonly file: OpenedFile;
  readonly tensor: Tensor;
}

/** Numbers compared at a time. */
const BLOCK = 2 ** 16;
/** Those that elements are no plain numbers in; compared as bytes only. */
const PACKED: ReadonlySet<DType> = new Set(["qu4x2", "qu2x4", "f4_e2m1fn_x2"]);

/**
 * Compares tensors of one shape; undefined where their numbers cannot be compared (complex with real, packed with other
 * dtypes). Memory: a few pieces.
 */
export async function compareTensors(a: Side, b: Side): Promise<TensorDifference | undefined> {
  const [from, to] = [a.tensor.dtype, b.tensor.dtype];
  if (from !== to && (from[0] === "c" || to[0] === "c" || PACKED.has(from) || PACKED.has(to))) return undefined;
  const total = new Differences((from[0] === "c" ? 2 : 1) * elementCount(a.tensor.shape));
  // On the meta device there is nothing to compare.
  if (isMeta(a.tensor) || isMeta(b.tensor)) return isMeta(a.tensor) && isMeta(b.tensor) ? total.result() : undefined;
  const others = slices(b);
  for await (const bytes of slices(a)) {
    const other = (await others.next()).value as Uint8Array;
    if (from === to && Buffer.compare(bytes, other) === 0) continue;
    if (PACKED.has(from)) total.unknown = true;
    else if (from === to && (from === "i64" || from === "u64")) total.addIntegers(from, bytes, other);
    else total.add(numbers(from, bytes), numbers(to, other));
  }
  return total.result();
}

function isMeta(tensor: Tensor): boolean {
  return tensor instanceof TorchTensor && !tensor.storage;
}

/** Dense bytes, BLOCK numbers at a time, whatever the dtype: a piece holds a whole number of blocks of any. */
async function* slices({ file, tensor }: Side): AsyncGenerator<Uint8Array> {
  const length = BLOCK * componentBytes(tensor.dtype);
  for await (const piece of tensorPieces(file, tensor))
    for (let at = 0; at < piece.byteLength; at += length) yield piece.subarray(at, at + length);
}

function numbers(dtype: DType, bytes: Uint8Array): Float64Array {
  const all = new Float64Array(bytes.byteLength / componentBytes(dtype));
  let at = 0;
  eachBlock(dtype, bytes, (block, count) => {
    all.set(block.subarray(0, count), at);
    at += count;
  });
  return all;
}

class Differences {
  unknown = false;
  private readonly count: number;
  private differing = 0;
  private largest = 0;
  private relative = 0;
  private nanMismatch = 0;

  constructor(count: number) {
    this.count = count;
  }

  add(a: Float64Array, b: Float64Array): void {
    for (let i = 0; i < a.length; i++) {
      const [x, y] = [a[i], b[i]];
      if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
      if (Number.isNaN(x) || Number.isNaN(y)) {
        this.differing++;
        this.nanMismatch++;
      } else this.note(Math.abs(x - y), Math.max(Math.abs(x), Math.abs(y)));
    }
  }

  /** 64-bit integers, which float64 would round. */
  addIntegers(dtype: "i64" | "u64", a: Uint8Array, b: Uint8Array): void {
    const [x, y] = [a, b].map((bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    const read = (view: DataView, at: number) =>
      dtype === "i64" ? view.getBigInt64(at, true) : view.getBigUint64(at, true);
    for (let at = 0; at < a.byteLength; at += 8) {
      const [p, q] = [read(x, at), read(y, at)];
      if (p !== q) this.note(Math.abs(Number(p - q)), Math.max(Math.abs(Number(p)), Math.abs(Number(q))));
    }
  }

  result(): TensorDifference {
    const { count, differing, largest, relative, nanMismatch, unknown } = this;
    return { differing: unknown ? undefined : differing, count, largest, relative, nanMismatch };
  }

  private note(distance: number, size: number): void {
    this.differing++;
    this.largest = Math.max(this.largest, distance);
    this.relative = Math.max(this.relative, size === Number.POSITIVE_INFINITY ? size : distance / size);
  }
}

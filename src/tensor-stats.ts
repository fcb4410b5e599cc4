/**
 * What the numbers of a tensor are like, for looking at a checkpoint: range, mean, and how many are NaN, infinite or
 * zero. Works on pieces, so a tensor need not fit in memory.
 */
import { eachBlock, wordsOf } from "./element-blocks.js";
import { UnitcellError } from "./errors.js";
import { DTYPE_BYTES, type DType, type Tensor } from "./tensor.js";

/** Of a tensor's numbers; NaN and infinities are counted apart. */
export interface TensorStats {
  /** Numbers looked at: elements, and twice that for complex dtypes, whose parts are counted one by one. */
  readonly count: number;
  /**
   * Smallest and largest number but NaN, infinities included; undefined when there is none, and for complex dtypes.
   * Exact: a bigint beyond 2^53. Quantized tensors give the integers stored, bool 0 and 1.
   */
  readonly min: number | bigint | undefined;
  readonly max: number | bigint | undefined;
  /** Of the same numbers, summed in float64 in storage order: 64-bit integers are rounded to that first. */
  readonly mean: number | undefined;
  readonly nan: number;
  readonly positiveInfinity: number;
  readonly negativeInfinity: number;
  /** Of either sign. */
  readonly zeros: number;
}

/**
 * Statistics of a dense tensor.
 * @throws {UnitcellError} UNSUPPORTED for the packed dtypes
 */
export function tensorStats(tensor: Tensor): TensorStats {
  const stats = new StatsAccumulator(tensor.dtype);
  stats.add(tensor.data);
  return stats.result();
}

/** The same, fed piece by piece: how the elements are cut into pieces changes nothing, not even the last bit. */
export class StatsAccumulator {
  private readonly dtype: DType;
  private count = 0;
  private min = Number.POSITIVE_INFINITY;
  private max = Number.NEGATIVE_INFINITY;
  private sum = 0;
  private nan = 0;
  private positiveInfinity = 0;
  private negativeInfinity = 0;
  private zeros = 0;
  /** Of 64-bit integers, whose min and max above are rounded. */
  private exact: { min: bigint; max: bigint } | undefined;

  /** @throws {UnitcellError} UNSUPPORTED for the packed dtypes */
  constructor(dtype: DType) {
    this.dtype = dtype;
    this.add(new Uint8Array(0));
  }

  /**
   * @param bytes whole elements, little-endian
   * @throws {UnitcellError} ARGUMENT when an element is cut
   */
  add(bytes: Uint8Array): void {
    if (bytes.byteLength % DTYPE_BYTES[this.dtype])
      throw new UnitcellError("ARGUMENT", `${bytes.byteLength} bytes are not whole elements of ${this.dtype}`);
    eachBlock(this.dtype, bytes, (block, count) => this.addBlock(block, count));
    if (this.dtype === "i64" || this.dtype === "u64") this.addExact(wordsOf(bytes), this.dtype === "i64");
  }

  result(): TensorStats {
    const { count, nan, positiveInfinity, negativeInfinity, zeros, exact } = this;
    const counts = { count, nan, positiveInfinity, negativeInfinity, zeros };
    if (this.dtype[0] === "c" || count === nan) return { ...counts, min: undefined, max: undefined, mean: undefined };
    const min = exact ? numberWhereExact(exact.min) : this.min;
    const max = exact ? numberWhereExact(exact.max) : this.max;
    return { ...counts, min, max, mean: this.sum / (count - nan) };
  }

  /** The one loop over all numbers; sums stay in locals, which is what makes it fast. */
  private addBlock(block: Float64Array, count: number): void {
    let { min, max, sum, nan, zeros } = this;
    let infinite = 0;
    for (let i = 0; i < count; i++) {
      const value = block[i];
      if (Number.isNaN(value)) nan++;
      else {
        sum += value;
        if (value < min) min = value;
        if (value > max) max = value;
        if (value === 0) zeros++;
        if (value - value !== 0) infinite++; // infinity less infinity is NaN
      }
    }
    if (infinite)
      for (let i = 0; i < count; i++) {
        if (block[i] === Number.POSITIVE_INFINITY) this.positiveInfinity++;
        else if (block[i] === Number.NEGATIVE_INFINITY) this.negativeInfinity++;
      }
    this.count += count;
    this.min = min;
    this.max = max;
    this.sum = sum;
    this.nan = nan;
    this.zeros = zeros;
  }

  /** Compares (high, low) halves, and makes bigints of the two that remain only. */
  private addExact(words: Uint32Array, signed: boolean): void {
    if (words.length === 0) return;
    let least = 0;
    let most = 0;
    const flip = signed ? 0x80000000 : 0;
    const below = (a: number, b: number) => {
      const x = (words[a + 1] ^ flip) >>> 0;
      const y = (words[b + 1] ^ flip) >>> 0;
      return x < y || (x === y && words[a] < words[b]);
    };
    for (let at = 2; at < words.length; at += 2) {
      if (below(at, least)) least = at;
      if (below(most, at)) most = at;
    }
    const integer = (at: number) => {
      const value = (BigInt(words[at + 1]) << 32n) | BigInt(words[at]);
      return signed ? BigInt.asIntN(64, value) : value;
    };
    this.exact ??= { min: integer(least), max: integer(most) };
    if (integer(least) < this.exact.min) this.exact.min = integer(least);
    if (integer(most) > this.exact.max) this.exact.max = integer(most);
  }
}

function numberWhereExact(value: bigint): number | bigint {
  return BigInt.asIntN(54, value) === value ? Number(value) : value;
}

/**
 * Fused multiply-add, which JavaScript lacks: a b + c rounded once. numpy's products of small matrices go through BLAS,
 * which fuses where the processor can, and graphs cut by rounding (jarvis.ts) follow its last bit.
 */

/** 2^27 + 1: splits 53 bits into two halves whose products are exact (Dekker 1971). */
const SPLITTER = 134217729;

const bits = new DataView(new ArrayBuffer(8));

/**
 * a b + c with one rounding, to nearest even. For numbers whose products neither overflow nor underflow.
 * The product and the sums are exact pairs of numbers; what is left of them is rounded to odd before the last addition,
 * so that this one rounds as if it saw all digits (Boldo and Melquiond, IEEE Trans. Comput. 57, 462, 2008).
 */
export function fusedMultiplyAdd(a: number, b: number, c: number): number {
  const product = a * b;
  const productRest = productError(a, b, product);
  const [high, low] = twoSum(c, productRest);
  const [sum, rest] = twoSum(product, high);
  return sum + oddSum(rest, low);
}

/** a b - product, exactly. */
function productError(a: number, b: number, product: number): number {
  const [ah, al] = split(a);
  const [bh, bl] = split(b);
  return al * bl - (product - ah * bh - al * bh - ah * bl);
}

function split(x: number): [number, number] {
  const scaled = SPLITTER * x;
  const high = scaled - (scaled - x);
  return [high, x - high];
}

/** The rounded sum, and what rounding took (Knuth, vol. 2, 4.2.2). */
function twoSum(x: number, y: number): [number, number] {
  const sum = x + y;
  const part = sum - x;
  return [sum, x - (sum - part) + (y - part)];
}

/** x + y; where that is not exact, of the two neighbouring numbers the one whose last bit is 1. */
function oddSum(x: number, y: number): number {
  const [sum, rest] = twoSum(x, y);
  if (rest === 0) return sum;
  bits.setFloat64(0, sum);
  const pattern = bits.getBigInt64(0);
  if (pattern & 1n) return sum;
  // One step up in magnitude adds 1 to the pattern, whatever the sign.
  bits.setBigInt64(0, pattern + (rest > 0 === sum > 0 ? 1n : -1n));
  return bits.getFloat64(0);
}

/**
 * Numbers as unevaluated sums of two doubles (about 106 bits), for functions that must round the same way on every engine.
 * Source: Dekker, Numer. Math. 18, 224 (1971); Hida, Li & Bailey, "Library for Double-Double and Quad-Double Arithmetic"
 * (2007).
 */

/** high + low, |low| at most half a unit in the last place of high. */
export type DoubleDouble = readonly [high: number, low: number];

/** a + b and its rounding error. */
export function twoSum(a: number, b: number): DoubleDouble {
  const sum = a + b;
  const shadow = sum - a;
  return [sum, a - (sum - shadow) + (b - shadow)];
}

/** 2^27 + 1: splits 53 bits into two halves whose products are exact. */
const SPLITTER = 134217729;

/** a * b and its rounding error, for magnitudes well inside the range of doubles. */
export function twoProduct(a: number, b: number): DoubleDouble {
  const product = a * b;
  const aHigh = SPLITTER * a - (SPLITTER * a - a);
  const bHigh = SPLITTER * b - (SPLITTER * b - b);
  const aLow = a - aHigh;
  const bLow = b - bHigh;
  return [product, aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow)];
}

export function add(a: DoubleDouble, b: DoubleDouble): DoubleDouble {
  const [high, low] = twoSum(a[0], b[0]);
  const [lowHigh, lowLow] = twoSum(a[1], b[1]);
  const [sum, rest] = twoSum(high, low + lowHigh);
  return twoSum(sum, rest + lowLow);
}

export function multiply(a: DoubleDouble, b: DoubleDouble): DoubleDouble {
  const [product, error] = twoProduct(a[0], b[0]);
  return twoSum(product, error + (a[0] * b[1] + a[1] * b[0]));
}

export function divide(a: DoubleDouble, b: DoubleDouble): DoubleDouble {
  const first = a[0] / b[0];
  const rest = add(a, multiply([-first, 0], b));
  const second = rest[0] / b[0];
  const rest2 = add(rest, multiply([-second, 0], b));
  return add(twoSum(first, second), [rest2[0] / b[0], 0]);
}

const bits = new BigInt64Array(1);
const value = new Float64Array(bits.buffer);

/** a + b with the last bit set when it is inexact, so that a later rounding to fewer bits is the only one. */
function addToOdd(a: number, b: number): number {
  const [sum, error] = twoSum(a, b);
  value[0] = sum;
  if (error !== 0 && (bits[0] & 1n) === 0n) bits[0] += error > 0 === sum > 0 ? 1n : -1n;
  return value[0];
}

/** a * b + c rounded once. Source: Boldo & Melquiond, IEEE Trans. Comput. 57, 462 (2008). */
export function fma(a: number, b: number, c: number): number {
  const [product, productError] = twoProduct(a, b);
  const [low, lower] = twoSum(c, productError);
  const [high, middle] = twoSum(product, low);
  return high + addToOdd(middle, lower);
}

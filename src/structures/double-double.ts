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

const value = new Float64Array(1);
/** Low half of `value`, then its high half: little-endian, as Wasm's memory is. */
const halves = new Uint32Array(value.buffer);

/** a + b with the last bit set when it is inexact, so that a later rounding to fewer bits is the only one. */
function addToOdd(a: number, b: number): number {
  const sum = a + b;
  const shadow = sum - a;
  const error = a - (sum - shadow) + (b - shadow);
  if (error === 0) return sum;
  value[0] = sum;
  if ((halves[0] & 1) === 1) return sum;
  if (error > 0 === sum > 0) halves[0] |= 1;
  else if (halves[0]-- === 0) halves[1]--; // wraps to all ones, and borrows
  return value[0];
}

/**
 * a * b + c rounded once: twoProduct and twoSum written out, since graphs of skewed cells call this for every neighbour.
 * Source: Boldo & Melquiond, IEEE Trans. Comput. 57, 462 (2008).
 */
export function fma(a: number, b: number, c: number): number {
  const product = a * b;
  const aHigh = SPLITTER * a - (SPLITTER * a - a);
  const bHigh = SPLITTER * b - (SPLITTER * b - b);
  const aLow = a - aHigh;
  const bLow = b - bHigh;
  const productError = aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow);
  const low = c + productError;
  const lowShadow = low - c;
  const lower = c - (low - lowShadow) + (productError - lowShadow);
  const high = product + low;
  const highShadow = high - product;
  const middle = product - (high - highShadow) + (low - highShadow);
  return high + addToOdd(middle, lower);
}

/** Exponential, logarithm and power rounded to the nearest double (as C libraries do, but for ties below 2^-40). */
import { add, type DoubleDouble, divide, multiply } from "./double-double.js";

/** The natural logarithm of 2 as a sum of three doubles; the first ends in zeros, so that its multiples are exact. */
const LN2 = [0.6931471803691238, 1.9082149292705877e-10, 1.1612227229362532e-26] as const;

/** Below it e^x is 0 (of doubles, from -745.2 on). */
const LEAST = -745.2;

/** e^x to about 100 bits, for results that are doubles. */
function exponentialPrecise(x: DoubleDouble): DoubleDouble {
  const halvings = Math.round(x[0] / Math.LN2);
  let rest = x;
  for (const part of LN2) rest = add(rest, multiply([-halvings, 0], [part, 0]));
  let term: DoubleDouble = [1, 0];
  let sum = term;
  for (let n = 1; n < 28; n++) {
    term = divide(multiply(term, rest), [n, 0]);
    sum = add(sum, term);
  }
  const scale = 2 ** halvings;
  return [sum[0] * scale, sum[1] * scale];
}

/** For x > 0. Math.log is the start of a Newton step, which doubles its digits, so that its last do not matter. */
function logarithmPrecise(x: number): DoubleDouble {
  const start = Math.log(x);
  const excess = add(multiply([x, 0], exponentialPrecise([-start, 0])), [-1, 0]);
  return add([start, 0], add(excess, [(-excess[0] * excess[0]) / 2, 0]));
}

export function exponential(x: number): number {
  if (x < LEAST) return 0;
  return exponentialPrecise([x, 0])[0];
}

/** Natural logarithm of x > 0. */
export function logarithm(x: number): number {
  return logarithmPrecise(x)[0];
}

/** x^y for x > 0. */
export function power(x: number, y: number): number {
  return exponentialPrecise(multiply(logarithmPrecise(x), [y, 0]))[0];
}

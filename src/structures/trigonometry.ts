/**
 * Cosine, sine and arc cosine with the bits of numpy.
 *
 * A lattice must have the bits that pymatgen gave it, because upstream's graphs cut shells of equal distances by rounding
 * noise: arccos(-6e-17) decides whether NaCl has -3.5e-16 or +9.0e-16 in its lattice. pymatgen calls numpy, and numpy 1.22
 * and later on x86 with AVX-512 calls Intel's SVML (BSD-3-Clause, bundled as numpy/SVML: cos, sin and acos "d_la"), whose
 * results are up to 3 units in the last place off. What follows is that arithmetic, step by step, with its coefficients;
 * no engine's Math.cos takes part, so every engine gives the same lattice.
 */
import { fma, twoProduct } from "./double-double.js";

/** pi as a sum of three doubles. */
const PI = [Math.PI, 1.224646799147353e-16, 2.165713347843828e-32] as const;
const INVERSE_PI = 0.3183098861837907;

/** Coefficients of (sin r - r) / r³ in r², highest power first; SVML fits them apart for cosine and sine. */
const COS_SERIES = [
  -7.37280909726507e-13, 1.6048055576979365e-10, -2.505187912674299e-8, 2.755731658449074e-6, -1.9841269824944275e-4,
  8.33333333328519e-3, -0.16666666666666183,
];
const SIN_SERIES = [
  -7.373344533110665e-13, 1.6048095404959637e-10, -2.505188027386288e-8, 2.7557316600552628e-6, -1.9841269825056256e-4,
  8.333333333285542e-3, -0.16666666666666186,
];

/** sin(r) for the remainder r after two parts of pi, refined by the third. */
function sinNearZero(r: number, refined: number, coefficients: readonly number[]): number {
  const square = r * r;
  let tail = coefficients[0];
  for (let i = 1; i < coefficients.length; i++) tail = fma(tail, square, coefficients[i]);
  return fma(square * refined, tail, refined);
}

/** Cosine of an angle in radians, some turns at most: sine of its distance from the nearest odd multiple of pi / 2. */
export function cos(angle: number): number {
  const x = Math.abs(angle);
  if (x < 2 ** -27) return 1;
  const [turns, rest] = twoProduct(x, INVERSE_PI);
  const halfTurns = Math.floor(turns) - (rest < 0 && Number.isInteger(turns) ? 1 : 0);
  const n = halfTurns + 0.5;
  const r = fma(n, PI[1], fma(n, PI[0], -x));
  const value = sinNearZero(r, fma(n, PI[2], r), COS_SERIES);
  return halfTurns % 2 === 0 ? value : -value;
}

/** Sine of an angle in radians, some turns at most. */
export function sin(angle: number): number {
  const shift = 1.5 * 2 ** 52; // adding it rounds to a whole number
  const n = fma(angle, INVERSE_PI, shift) - shift;
  const r = fma(-n, PI[1], fma(-n, PI[0], angle));
  const value = sinNearZero(r, fma(-n, PI[2], r), SIN_SERIES);
  return n % 2 === 0 ? value : -value;
}

/** (asin(x) - x) / x³ as a polynomial in z = x². */
function arcSinTail(z: number): number {
  const z2 = z * z;
  const a = fma(
    z2,
    fma(0.03214361600781685, z, -0.016582846167623556),
    fma(0.01977260036715805, z, 0.006431771759956202),
  );
  const b = fma(
    z2,
    fma(0.012193412839768863, z, 0.013881175183171264),
    fma(0.01736016508782006, z, 0.022371723076271322),
  );
  const c = fma(0.030381960865917483, z, 0.04464285677580543);
  const d = fma(0.07500000000425497, z, 0.1666666666666473);
  return fma(z2, fma(z2, fma(z2 * z2, a, b), c), d);
}

/**
 * Arc cosine in radians of x in [-1, 1]. From |x| = 0.5 on it is 2 asin(sqrt((1 - |x|) / 2)), where SVML refines a 14-bit
 * approximation that only hardware has; the square root here is exact, and results may differ in the last bit.
 */
export function arcCos(x: number): number {
  const y = fma(0.5, -Math.abs(x), 0.5);
  const outer = y <= x * x;
  const z = outer ? y : x * x;
  const m = outer ? 2 * Math.sqrt(y) * (x < 0 ? -1 : 1) : -x;
  const offset = outer ? (x < 0 ? Math.PI : 0) : Math.PI / 2;
  return offset + fma(m, arcSinTail(z) * z, m);
}

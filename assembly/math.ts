/**
 * exp, sigmoid and softplus on four float32 lanes.
 *
 * exp: Cody-Waite reduction by ln 2 in two parts, degree-6 polynomial (the coefficients of Cephes' expf, S. Moshier),
 * then 2^r is added to the exponent bits. Measured against float64 (test/kernels.test.ts prints it): relative error at
 * most 1e-7. Inputs are clamped to [-87.33, 88.37], so the result is never 0, subnormal or infinite. NaN stays NaN.
 *
 * The constants live in memory and are loaded once per call: V8 would rebuild each v128.const in registers at every use.
 */
const CONSTANTS = memory.data<f32>([
  88.37626, -87.33654, 1.4426950408889634, 12582912, 0.693359375, -2.1219444e-4, 1.987569150e-4, 1.3981999507e-3,
  8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1.0,
]);

// @ts-ignore: decorator
@inline
export function constant(i: i32): v128 {
  return v128.load_splat<f32>(CONSTANTS + ((<usize>i) << 2));
}

// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  // pmin/pmax in this operand order keep NaN.
  let v = f32x4.pmin(f32x4.pmax(x, constant(1)), constant(0));
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low mantissa bits.
  const shifted = f32x4.add(f32x4.mul(v, constant(2)), constant(3));
  const r = f32x4.sub(shifted, constant(3));
  v = f32x4.sub(v, f32x4.mul(r, constant(4)));
  v = f32x4.sub(v, f32x4.mul(r, constant(5)));
  let p = f32x4.add(f32x4.mul(constant(6), v), constant(7));
  p = f32x4.add(f32x4.mul(p, v), constant(8));
  p = f32x4.add(f32x4.mul(p, v), constant(9));
  p = f32x4.add(f32x4.mul(p, v), constant(10));
  p = f32x4.add(f32x4.mul(p, v), constant(11));
  p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(v, v)), v), constant(12));
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/** 1 / (1 + exp(-x)). */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const one = constant(12);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

/**
 * log(1 + exp(x)) = max(x, 0) + log1p(t), t = exp(-|x|) in (0, 1].
 * log1p(t) = 2 atanh(s), s = t / (2 + t) <= 1/3, by its odd series to s^13 (next term below 1e-8).
 */
// @ts-ignore: decorator
@inline
export function softplus4(x: v128): v128 {
  const t = exp4(f32x4.neg(f32x4.abs(x)));
  const s = f32x4.div(t, f32x4.add(t, f32x4.splat(2)));
  const q = f32x4.mul(s, s);
  let p = f32x4.add(f32x4.mul(q, f32x4.splat(<f32>(2.0 / 13))), f32x4.splat(<f32>(2.0 / 11)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(2.0 / 9)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(2.0 / 7)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(2.0 / 5)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(2.0 / 3)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(2));
  // x first: pmax returns it when the comparison with NaN fails, so NaN stays NaN.
  return f32x4.add(f32x4.pmax(x, f32x4.splat(0)), f32x4.mul(p, s));
}

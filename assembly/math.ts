/**
 * exp, sigmoid and softplus on four float32 lanes.
 *
 * exp: Cody-Waite reduction by ln 2 in two parts, degree-6 polynomial (the coefficients of Cephes' expf, S. Moshier),
 * then 2^r is added to the exponent bits. Relative error at most 1e-7; of sigmoid and softplus 1.7e-7, on [-80, 80]
 * against float64 (test/kernels.test.ts prints it). Inputs are clamped to [-87.33, 88.37], so the result is never 0,
 * subnormal or infinite. NaN stays NaN.
 *
 * The constants live in memory and are loaded once per call: V8 would rebuild each v128.const in registers at every use.
 */
const CONSTANTS = memory.data<f32>([
  88.37626, -87.33654, 1.4426950408889634, 12582912, 0.693359375, -2.1219444e-4, 1.987569150e-4, 1.3981999507e-3,
  8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1.0,
  // softplus, from index 13
  0.81093019, -0.2885271, 0.13260901, -0.06768819, 0.036635235, -0.020563183, 0.011577685, -0.006788017, 0.0052502705,
  -0.003176057, 2.7442692e-8,
  // log 2, index 24
  0.6931471805599453,
]);

// @ts-expect-error: decorator
@inline
export function constant(i: i32): v128 {
  return v128.load_splat<f32>(CONSTANTS + ((<usize>i) << 2));
}

/** a * b + c, rounded once where the module and the machine have such an instruction. */
// @ts-expect-error: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

// @ts-expect-error: decorator
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
// @ts-expect-error: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const one = constant(12);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

/**
 * log(1 + exp(x)) = max(x, 0) + log1p(t), t = exp(-|x|) in (0, 1].
 * log1p(t) = t q(t - 1/2), q a polynomial of degree 9: Chebyshev interpolation of log1p(t) / t on [0, 1], off by 5e-8.
 */
// @ts-expect-error: decorator
@inline
export function softplus4(x: v128): v128 {
  const t = exp4(f32x4.neg(f32x4.abs(x)));
  const u = f32x4.sub(t, f32x4.splat(0.5));
  let q = f32x4.add(f32x4.mul(constant(22), u), constant(21));
  q = f32x4.add(f32x4.mul(q, u), constant(20));
  q = f32x4.add(f32x4.mul(q, u), constant(19));
  q = f32x4.add(f32x4.mul(q, u), constant(18));
  q = f32x4.add(f32x4.mul(q, u), constant(17));
  q = f32x4.add(f32x4.mul(q, u), constant(16));
  q = f32x4.add(f32x4.mul(q, u), constant(15));
  q = f32x4.add(f32x4.mul(q, u), constant(14));
  // The constant term in two parts: rounded to float32 it would bias every softplus by 3e-8.
  q = f32x4.add(f32x4.add(f32x4.mul(q, u), constant(23)), constant(13));
  // x first: pmax returns it when the comparison with NaN fails, so NaN stays NaN.
  return f32x4.add(f32x4.pmax(x, f32x4.splat(0)), f32x4.mul(q, t));
}

/**
 * exp, sigmoid, softplus and tanh on four float32 lanes.
 *
 * exp: Cody-Waite reduction by ln 2 in two parts, a minimax polynomial of degree 6 for e^v on |v| <= ln 2 / 2 (off by 3e-9),
 * then 2^r is added to the exponent bits. Relative errors, rounding included, against float64 (test/kernels.test.ts prints
 * them): exp 1e-7 on [-87, 87], sigmoid and softplus 1.7e-7 on [-80, 80], silu 2e-7 there, tanh 2.5e-7. Inputs of exp are
 * clamped to [-87.33, 88.37], so the result is never 0, subnormal or infinite. NaN stays NaN.
 *
 * The constants live in memory: V8 would rebuild each v128.const in registers at every use. Loops load them once, before
 * they start, and hand them on (activation.ts); the functions named after one lane count load them at every use.
 */
const CONSTANTS = memory.data<f32>([
  12582912, 1, -0.0, 0.6931471805599453,
  // e^x, from index 4: the bounds of x, log2 e, -ln 2 in two parts, coefficients of degree 6 to 1
  88.37626, -87.33654, 1.4426950408889634, -0.693359375, 2.1219444e-4, 0.001381454, 0.008368745, 0.04166839, 0.16666521,
  0.49999994, 1,
  // e^-x, from index 15: the same for -x, so that nothing has to be negated
  87.33654, -88.37626, -1.4426950408889634, 0.693359375, -2.1219444e-4, 0.001381454, -0.008368745, 0.04166839,
  -0.16666521, 0.49999994, -1,
  // log1p, from index 26: -2 and coefficients of degree 3 to 0
  -2, -0.26867548, -0.28233957, -0.40007672, -0.6666664,
]);

/** The functions, as arguments that are known when compiling. */
export const EXP: i32 = 0;
export const TANH: i32 = 1;
export const SIGMOID: i32 = 2;
export const SILU: i32 = 3;
export const SOFTPLUS: i32 = 4;
export const SHIFTED_SOFTPLUS: i32 = 5;

// @ts-expect-error: decorator
@inline
export function constant(i: i32): v128 {
  return v128.load_splat<f32>(CONSTANTS + ((<usize>i) << 2));
}

/** Four floats, or one of them in every lane: so a loop over a row's floats ends without a copy of its body. */
// @ts-expect-error: decorator
@inline
export function fourOrOne(at: usize, four: bool): v128 {
  return four ? v128.load(at) : v128.load_splat<f32>(at);
}

// @ts-expect-error: decorator
@inline
export function storeFourOrOne(at: usize, value: v128, four: bool): void {
  if (four) v128.store(at, value);
  else v128.store32_lane(at, value, 0);
}

/** a * b + c, rounded once where the module and the machine have such an instruction. */
// @ts-expect-error: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

/**
 * One of the functions below softplus by its name, with all constants given: 0 to 2, then eleven from 4 on for EXP and TANH,
 * from 15 on for SIGMOID and SILU.
 */
// @ts-expect-error: decorator
@inline
export function expLike(
  name: i32, x: v128, magic: v128, one: v128, sign: v128, most: v128, least: v128, log2e: v128, high: v128, low: v128, c6: v128,
  c5: v128, c4: v128, c3: v128, c2: v128, c1: v128,
): v128 {
  // tanh(x) = y / (y + 2), y = e^(2|x|) - 1, with the sign of x: y keeps what e^(2|x|) would lose near 1.
  const doubled = name == TANH ? v128.andnot(f32x4.add(x, x), sign) : x;
  // pmin and pmax in this operand order keep NaN.
  let v = f32x4.pmin(doubled, most);
  if (name != TANH) v = f32x4.pmax(v, least);
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low mantissa bits.
  const shifted = madd(v, log2e, magic);
  const r = f32x4.sub(shifted, magic);
  v = madd(r, high, v);
  v = madd(r, low, v);
  let p = madd(c6, v, c5);
  p = madd(p, v, c4);
  p = madd(p, v, c3);
  p = madd(p, v, c2);
  p = madd(p, v, c1);
  const power = i32x4.shl(shifted, 23);
  if (name == TANH) {
    const scale = i32x4.add(one, power);
    const y = madd(scale, f32x4.mul(p, v), f32x4.sub(scale, one));
    const size = f32x4.div(y, f32x4.add(y, f32x4.add(one, one)));
    return v128.bitselect(x, size, sign);
  }
  const e = i32x4.add(madd(p, v, one), power);
  if (name == EXP) return e;
  const sigmoid = f32x4.div(one, f32x4.add(one, e));
  return name == SILU ? f32x4.mul(x, sigmoid) : sigmoid;
}

/**
 * log(1 + e^x) = max(x, 0) + log1p(t), t = e^-|x| in (0, 1], with all constants given: 0 to 2, from 15 on all but the 16th.
 * log1p(t) = 2 artanh(s), s = t / (t + 2) in (0, 1/3], is s (2 + w q(w)) with w = s² and q of degree 3, interpolated at
 * Chebyshev's points: off by 1.6e-8. As 2s = t - ts that is t - s (t - w q), which rounds less.
 */
// @ts-expect-error: decorator
@inline
export function softplusOf(
  x: v128, magic: v128, one: v128, sign: v128, most: v128, log2e: v128, high: v128, low: v128, c6: v128, c5: v128, c4: v128, c3: v128,
  c2: v128, c1: v128, minusTwo: v128, q3: v128, q2: v128, q1: v128, q0: v128,
): v128 {
  let v = f32x4.pmin(v128.andnot(x, sign), most);
  const shifted = madd(v, log2e, magic);
  const r = f32x4.sub(shifted, magic);
  v = madd(r, high, v);
  v = madd(r, low, v);
  let p = madd(c6, v, c5);
  p = madd(p, v, c4);
  p = madd(p, v, c3);
  p = madd(p, v, c2);
  p = madd(p, v, c1);
  const t = i32x4.add(madd(p, v, one), i32x4.shl(shifted, 23));
  const s = f32x4.div(t, f32x4.sub(minusTwo, t)); // with the other sign, as q is
  const w = f32x4.mul(s, s);
  let q = madd(q3, w, q2);
  q = madd(q, w, q1);
  q = madd(q, w, q0);
  q = madd(madd(w, q, t), s, t);
  // x first: pmax returns it when the comparison with NaN fails, so NaN stays NaN.
  return f32x4.add(f32x4.pmax(x, f32x4.splat(0)), q);
}

// @ts-expect-error: decorator
@inline
function expLike4(name: i32, x: v128, from: i32): v128 {
  return expLike(
    name, x, constant(0), constant(1), constant(2), constant(from), constant(from + 1), constant(from + 2), constant(from + 3),
    constant(from + 4), constant(from + 5), constant(from + 6), constant(from + 7), constant(from + 8), constant(from + 9),
    constant(from + 10),
  );
}

// @ts-expect-error: decorator
@inline
export function exp4(x: v128): v128 {
  return expLike4(EXP, x, 4);
}

// @ts-expect-error: decorator
@inline
export function tanh4(x: v128): v128 {
  return expLike4(TANH, x, 4);
}

/** 1 / (1 + exp(-x)). */
// @ts-expect-error: decorator
@inline
export function sigmoid4(x: v128): v128 {
  return expLike4(SIGMOID, x, 15);
}

// @ts-expect-error: decorator
@inline
export function softplus4(x: v128): v128 {
  return softplusOf(
    x, constant(0), constant(1), constant(2), constant(15), constant(17), constant(18), constant(19), constant(20), constant(21),
    constant(22), constant(23), constant(24), constant(25), constant(26), constant(27), constant(28), constant(29),
    constant(30),
  );
}

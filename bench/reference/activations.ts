/**
 * The elementwise functions that the kernels are measured against: Cephes' exp in SIMD with its constants in a table, loaded
 * before the loop for exp and at every use for the others. Each takes addresses of x and y and a count, a multiple of 4.
 */
const TABLE = memory.data<f32>([
  88.37626, -87.33654, 1.4426950408889634, 12582912, 0.693359375, -2.12194440e-4, 1.9875691500e-4, 1.3981999507e-3,
  8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1, 2, 0.33333333, 0.2, 0.14285714, 0.11111111,
  0.09090909,
]);

// @ts-expect-error: decorator
@inline
function K(i: i32): v128 {
  return v128.load_splat<f32>(TABLE + ((<usize>i) << 2));
}

// @ts-expect-error: decorator
@inline
function madd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

// @ts-expect-error: decorator
@inline
function nmadd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_nmadd(a, b, c) : f32x4.sub(c, f32x4.mul(a, b));
}

// @ts-expect-error: decorator
@inline
function expWith(
  x: v128, k0: v128, k1: v128, k2: v128, k3: v128, k4: v128, k5: v128, k6: v128, k7: v128, k8: v128, k9: v128, k10: v128,
  k11: v128, k12: v128,
): v128 {
  let v = f32x4.pmin(f32x4.pmax(x, k1), k0);
  const t = madd(v, k2, k3);
  const r = f32x4.sub(t, k3);
  v = nmadd(r, k4, v);
  v = nmadd(r, k5, v);
  let p = madd(k6, v, k7);
  p = madd(p, v, k8);
  p = madd(p, v, k9);
  p = madd(p, v, k10);
  p = madd(p, v, k11);
  p = f32x4.add(madd(p, f32x4.mul(v, v), v), k12);
  return i32x4.add(p, i32x4.shl(t, 23));
}

// @ts-expect-error: decorator
@inline
function exp4(x: v128): v128 {
  return expWith(x, K(0), K(1), K(2), K(3), K(4), K(5), K(6), K(7), K(8), K(9), K(10), K(11), K(12));
}

export function exp(x: usize, y: usize, n: i32): void {
  const k0 = K(0);
  const k1 = K(1);
  const k2 = K(2);
  const k3 = K(3);
  const k4 = K(4);
  const k5 = K(5);
  const k6 = K(6);
  const k7 = K(7);
  const k8 = K(8);
  const k9 = K(9);
  const k10 = K(10);
  const k11 = K(11);
  const k12 = K(12);
  for (const end = x + ((<usize>n) << 2); x < end; x += 16, y += 16)
    v128.store(y, expWith(v128.load(x), k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12));
}

export function sigmoid(x: usize, y: usize, n: i32): void {
  for (const end = x + ((<usize>n) << 2); x < end; x += 16, y += 16)
    v128.store(y, f32x4.div(K(12), f32x4.add(K(12), exp4(f32x4.neg(v128.load(x))))));
}

export function silu(x: usize, y: usize, n: i32): void {
  for (const end = x + ((<usize>n) << 2); x < end; x += 16, y += 16) {
    const v = v128.load(x);
    v128.store(y, f32x4.div(v, f32x4.add(K(12), exp4(f32x4.neg(v)))));
  }
}

/** 1 - 2 / (exp(2x) + 1). */
export function tanh(x: usize, y: usize, n: i32): void {
  for (const end = x + ((<usize>n) << 2); x < end; x += 16, y += 16) {
    const v = v128.load(x);
    v128.store(y, f32x4.sub(K(12), f32x4.div(K(13), f32x4.add(K(12), exp4(f32x4.add(v, v))))));
  }
}

/** max(x, 0) + 2 atanh(s), s = t / (2 + t), t = exp(-|x|). */
export function softplus(x: usize, y: usize, n: i32): void {
  for (const end = x + ((<usize>n) << 2); x < end; x += 16, y += 16) {
    const v = v128.load(x);
    const t = exp4(f32x4.neg(f32x4.abs(v)));
    const s = f32x4.div(t, f32x4.add(K(13), t));
    const q = f32x4.mul(s, s);
    let p = madd(K(18), q, K(17));
    p = madd(p, q, K(16));
    p = madd(p, q, K(15));
    p = madd(p, q, K(14));
    p = madd(p, q, K(12));
    v128.store(y, madd(f32x4.mul(K(13), s), p, f32x4.pmax(v, f32x4.splat(0))));
  }
}

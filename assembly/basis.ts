import { exp4 } from "./math";

/**
 * Gaussian expansion of lengths or cosines: out[r, k] = exp(-gamma (x[r] - centers[k])²).
 *   out (R, K) f32 overwritten; x (R,) f32; centers (K,) f64, readable up to a multiple of 4; gamma > 0
 * Values below e^-60 (9e-27) become 0.
 * Source: CGCNN's GaussianDistance (data.py), gamma = 1 / step²; ALIGNN's RBFExpansion, gamma = 1 / step; matgl's
 * GaussianExpansion, gamma = 0.5 (width). Differences are taken in float64, so a column differs from NumPy's float64 by
 * the rounding of x and of exp alone.
 */
export function gaussianForward(out: usize, x: usize, centers: usize, gamma: f64, R: i32, K: i32): void {
  const row = (<usize>K) << 2;
  const factor = f64x2.splat(-gamma);
  for (let r = 0; r < R; r++, x += 4, out += row) {
    const at = f64x2.splat(<f64>load<f32>(x));
    let center = centers;
    for (let k = 0; k < K; k += 4, center += 32) {
      const u = f64x2.sub(at, v128.load(center, 0));
      const v = f64x2.sub(at, v128.load(center, 16));
      const low = f32x4.demote_f64x2_zero(f64x2.mul(factor, f64x2.mul(u, u)));
      const high = f32x4.demote_f64x2_zero(f64x2.mul(factor, f64x2.mul(v, v)));
      const exponent = v128.shuffle<i32>(low, high, 0, 1, 4, 5);
      // Below e^-60 a column adds nothing to a float32 sum, but its products with weights would go subnormal, which
      // costs some processors a hundred cycles each.
      const seen = f32x4.gt(exponent, f32x4.splat(-60));
      const value = v128.any_true(seen) ? v128.and(exp4(exponent), seen) : seen;
      const to = out + ((<usize>k) << 2);
      if (k + 4 <= K) v128.store(to, value);
      else storeFirst(to, value, K - k);
    }
  }
}

/** The first 1 to 3 lanes. */
// @ts-expect-error: decorator
@inline
function storeFirst(at: usize, value: v128, count: i32): void {
  store<f32>(at, f32x4.extract_lane(value, 0));
  if (count > 1) store<f32>(at, f32x4.extract_lane(value, 1), 4);
  if (count > 2) store<f32>(at, f32x4.extract_lane(value, 2), 8);
}

/**
 * Polynomial cutoff u(q) = 1 + c1 q^p + c2 q^(p+1) + c3 q^(p+2), q = x / cutoff, 0 beyond it; u, u' and u'' vanish at it.
 *   out, x n f32; out may be x; cutoff as x; p = exponent
 * c1 = -(p+1)(p+2)/2, c2 = p(p+2), c3 = -p(p+1)/2. Source: ALIGNN's cutoff_function_based_edges; Gasteiger et al.,
 * arXiv:2003.03123, eq. 8. One number a bond: scalar float64.
 */
export function envelopeForward(out: usize, x: usize, cutoff: f64, exponent: i32, n: i32): void {
  const p = <f64>exponent;
  const c1 = (-(p + 1) * (p + 2)) / 2;
  const c2 = p * (p + 2);
  const c3 = (-p * (p + 1)) / 2;
  for (const end = x + ((<usize>n) << 2); x < end; x += 4, out += 4) {
    const q = <f64>load<f32>(x) / cutoff;
    let power: f64 = 1;
    for (let i = 0; i < exponent; i++) power *= q;
    const value = q > 1 ? 0 : 1 + power * (c1 + q * (c2 + q * c3));
    store<f32>(out, <f32>value);
  }
}

/** out[i] = factor * max(threshold - x[i], 0) for n floats; out may be x. Source: ALIGNN's penalty on short bonds. */
export function hingeForward(out: usize, x: usize, factor: f64, threshold: f64, n: i32): void {
  for (const end = x + ((<usize>n) << 2); x < end; x += 4, out += 4)
    store<f32>(out, <f32>(factor * Math.max(threshold - load<f32>(x), 0)));
}

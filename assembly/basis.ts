import { exp4 } from "./math";

/**
 * Gaussian expansion of bond lengths: out[e, k] = exp(-((lengths[e] - first - k * step) / width)²).
 *   out (E, K) f32 overwritten; lengths (E,) f32 in Å; first, step, width in Å
 * Values below e^-60 (9e-27) become 0.
 * Source: CGCNN's GaussianDistance (data.py), where width = step. Differences are taken in float64, so a column differs
 * from NumPy's float64 by the rounding of the length and of exp alone.
 */
export function gaussianForward(out: usize, lengths: usize, first: f64, step: f64, width: f64, E: i32, K: i32): void {
  const row = (<usize>K) << 2;
  const pair = f64x2(0, step);
  const next = f64x2.splat(2 * step);
  for (let e = 0; e < E; e++, lengths += 4, out += row) {
    let u = f64x2.div(f64x2.sub(f64x2.splat(<f64>load<f32>(lengths) - first), pair), f64x2.splat(width));
    const stride = f64x2.div(next, f64x2.splat(width));
    for (let k = 0; k < K; k += 4) {
      const v = f64x2.sub(u, stride);
      const low = f32x4.demote_f64x2_zero(f64x2.neg(f64x2.mul(u, u)));
      const high = f32x4.demote_f64x2_zero(f64x2.neg(f64x2.mul(v, v)));
      const exponent = v128.shuffle<i32>(low, high, 0, 1, 4, 5);
      // Below e^-60 a column adds nothing to a float32 sum, but its products with weights would go subnormal, which
      // costs some processors a hundred cycles each.
      const value = v128.and(exp4(exponent), f32x4.gt(exponent, f32x4.splat(-60)));
      const at = out + ((<usize>k) << 2);
      if (k + 4 <= K) v128.store(at, value);
      else storeFirst(at, value, K - k);
      u = f64x2.sub(v, stride);
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

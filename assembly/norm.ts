/**
 * out[r, f] = x[r, f] * scale[f] + shift[f]: batch normalisation in evaluation mode, with
 * scale = weight / sqrt(running_var + eps) and shift = bias - running_mean * scale worked out beforehand.
 *   out (R, F) f32 overwritten, may be x; x (R, F) f32; scale, shift (F,) f32
 * PyTorch: nn.BatchNorm1d(F).eval().
 */
export function affineForward(out: usize, x: usize, scale: usize, shift: usize, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  for (let r = 0; r < R; r++, out += row, x += row) {
    for (let f: usize = 0; f < whole; f += 16)
      v128.store(out + f, f32x4.add(f32x4.mul(v128.load(x + f), v128.load(scale + f)), v128.load(shift + f)));
    for (let f = whole; f < row; f += 4)
      store<f32>(out + f, load<f32>(x + f) * load<f32>(scale + f) + load<f32>(shift + f));
  }
}

/**
 * out[r, f] = (x[r, f] - mean) / sqrt(variance + eps) * weight[f] + bias[f], mean and (biased) variance of row r.
 *   out (R, F) f32 overwritten, may be x; x (R, F) f32; weight, bias (F,) f32
 * PyTorch: nn.LayerNorm(F). Moments in float64: the mean of squares may be far larger than the variance.
 */
export function layerNormForward(out: usize, x: usize, weight: usize, bias: usize, eps: f64, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  const pairs = row & ~7;
  for (let r = 0; r < R; r++, out += row, x += row) {
    let sums = f64x2.splat(0);
    let squares = f64x2.splat(0);
    for (let f: usize = 0; f < pairs; f += 8) {
      const v = f64x2.promote_low_f32x4(v128.load64_zero(x + f));
      sums = f64x2.add(sums, v);
      squares = f64x2.add(squares, f64x2.mul(v, v));
    }
    let sum = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
    let square = f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1);
    if (pairs < row) {
      const v = <f64>load<f32>(x + pairs);
      sum += v;
      square += v * v;
    }
    const mean = sum / <f64>F;
    const scale = <f32>(1 / Math.sqrt(Math.max(square / <f64>F - mean * mean, 0) + eps));
    for (let f: usize = 0; f < row; f += 4) {
      const normal = <f32>(<f64>load<f32>(x + f) - mean) * scale;
      store<f32>(out + f, normal * load<f32>(weight + f) + load<f32>(bias + f));
    }
  }
}

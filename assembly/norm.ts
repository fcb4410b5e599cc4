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

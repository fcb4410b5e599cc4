import { activate } from "./activation";
import { addForward } from "./elementwise";
import { madd } from "./math";

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
      v128.store(out + f, madd(v128.load(x + f), v128.load(scale + f), v128.load(shift + f)));
    for (let f = whole; f < row; f += 4) {
      const v = madd(v128.load_splat<f32>(x + f), v128.load_splat<f32>(scale + f), v128.load_splat<f32>(shift + f));
      v128.store32_lane(out + f, v, 0);
    }
  }
}

/** Bytes finished at a time by kernels that pass them three times: they stay in the first-level cache. */
const PIECE: i32 = 8192;

/** Rows of them: a multiple of four, as elementwise kernels run over the padding behind their last float. */
// @ts-expect-error: decorator
@inline
function rowsOfPiece(F: i32): i32 {
  return max(PIECE / (F << 4), 1) << 2;
}

/** out = residual + activation(out) for n floats; residual may be 0 for none. */
// @ts-expect-error: decorator
@inline
function follow(out: usize, residual: usize, activation: i32, n: i32): void {
  activate(activation, out, n);
  if (residual) addForward(out, residual, out, n);
}

/**
 * out[r, f] = residual[r, f] + activation(x[r, f] * scale[f] + shift[f]): batch normalisation and what follows it.
 *   out (R, F) f32 overwritten, may be x and not residual; x (R, F) f32; scale, shift (F,) f32; residual (R, F) f32, or 0
 *   for none; activation as in activation.ts
 * Equals affineForward, the activation's kernel and addForward bit for bit.
 */
export function normActForward(
  out: usize, x: usize, scale: usize, shift: usize, residual: usize, activation: i32, R: i32, F: i32,
): void {
  const rows = rowsOfPiece(F);
  const bytes = (<usize>(rows * F)) << 2;
  for (let r = 0; r < R; r += rows, out += bytes, x += bytes) {
    const count = min(rows, R - r);
    affineForward(out, x, scale, shift, count, F);
    follow(out, residual, activation, count * F);
    if (residual) residual += bytes;
  }
}

/**
 * out[r, f] = residual[r, f] + activation((x[r, f] - mean) / sqrt(variance + eps) * weight[f] + bias[f]), mean and (biased)
 * variance of row r.
 *   out (R, F) f32 overwritten, may be x and not residual; x (R, F) f32; weight, bias (F,) f32; residual (R, F) f32, or 0
 *   for none; activation as in activation.ts
 * PyTorch: nn.LayerNorm(F) and what follows it. Moments in float64: the mean of squares may be far larger than the
 * variance. The mean is taken off as two floats, the larger of which leaves no rounding where numbers are close to it.
 */
export function layerNormForward(
  out: usize, x: usize, weight: usize, bias: usize, eps: f64, residual: usize, activation: i32, R: i32, F: i32,
): void {
  const rows = rowsOfPiece(F);
  const bytes = (<usize>(rows * F)) << 2;
  for (let r = 0; r < R; r += rows, out += bytes, x += bytes) {
    const count = min(rows, R - r);
    normRows(out, x, weight, bias, eps, count, F);
    follow(out, residual, activation, count * F);
    if (residual) residual += bytes;
  }
}

function normRows(out: usize, x: usize, weight: usize, bias: usize, eps: f64, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  for (let r = 0; r < R; r++, out += row, x += row) {
    let sums = f64x2.splat(0);
    let squares = f64x2.splat(0);
    let moreSums = f64x2.splat(0);
    let moreSquares = f64x2.splat(0);
    for (let f: usize = 0; f < whole; f += 16) {
      const u = f64x2.promote_low_f32x4(v128.load64_zero(x + f));
      const v = f64x2.promote_low_f32x4(v128.load64_zero(x + f, 8));
      sums = f64x2.add(sums, u);
      squares = f64x2.add(squares, f64x2.mul(u, u));
      moreSums = f64x2.add(moreSums, v);
      moreSquares = f64x2.add(moreSquares, f64x2.mul(v, v));
    }
    sums = f64x2.add(sums, moreSums);
    squares = f64x2.add(squares, moreSquares);
    let sum = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
    let square = f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1);
    for (let f = whole; f < row; f += 4) {
      const v = <f64>load<f32>(x + f);
      sum += v;
      square += v * v;
    }
    const mean = sum / <f64>F;
    const high = <f32>mean;
    const low = f32x4.splat(<f32>(mean - <f64>high));
    const most = f32x4.splat(high);
    const scale = f32x4.splat(<f32>(1 / Math.sqrt(Math.max(square / <f64>F - mean * mean, 0) + eps)));
    for (let f: usize = 0; f < whole; f += 16) {
      const normal = f32x4.mul(f32x4.sub(f32x4.sub(v128.load(x + f), most), low), scale);
      v128.store(out + f, madd(normal, v128.load(weight + f), v128.load(bias + f)));
    }
    for (let f = whole; f < row; f += 4) {
      const normal = f32x4.mul(f32x4.sub(f32x4.sub(v128.load_splat<f32>(x + f), most), low), scale);
      v128.store32_lane(
        out + f, madd(normal, v128.load_splat<f32>(weight + f), v128.load_splat<f32>(bias + f)), 0,
      );
    }
  }
}

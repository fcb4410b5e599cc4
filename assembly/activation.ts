import { sigmoid4, softplus4 } from "./math";

/** out[i] = 1 / (1 + exp(-x[i])) for n floats; out may be x. PyTorch: torch.sigmoid. */
export function sigmoidForward(out: usize, x: usize, n: i32): void {
  const end = x + ((<usize>n) << 2);
  for (; x < end; x += 16, out += 16) v128.store(out, sigmoid4(v128.load(x)));
}

/** out[i] = log(1 + exp(x[i])) for n floats; out may be x. PyTorch: nn.Softplus(). */
export function softplusForward(out: usize, x: usize, n: i32): void {
  const end = x + ((<usize>n) << 2);
  for (; x < end; x += 16, out += 16) v128.store(out, softplus4(v128.load(x)));
}

/**
 * out[r, f] = x[r, f] - log(sum over f of exp(x[r, f])).
 *   out (R, F) f32 overwritten; x (R, F) f32
 * PyTorch: nn.LogSoftmax(dim=1). Classes are few, so this runs in scalar float64.
 */
export function logSoftmaxForward(out: usize, x: usize, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  for (let r = 0; r < R; r++, out += row, x += row) {
    let top: f64 = -Infinity;
    for (let f: usize = 0; f < row; f += 4) top = Math.max(top, load<f32>(x + f));
    let sum: f64 = 0;
    for (let f: usize = 0; f < row; f += 4) sum += Math.exp(load<f32>(x + f) - top);
    const shift = top + Math.log(sum);
    for (let f: usize = 0; f < row; f += 4) store<f32>(out + f, <f32>(load<f32>(x + f) - shift));
  }
}

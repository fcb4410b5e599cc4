import { constant, sigmoid4, softplus4 } from "./math";

/** out[i] = 1 / (1 + exp(-x[i])) for n floats; out may be x. PyTorch: torch.sigmoid. */
export function sigmoidForward(out: usize, x: usize, n: i32): void {
  const end = x + ((<usize>n) << 2);
  for (; x < end; x += 16, out += 16) v128.store(out, sigmoid4(v128.load(x)));
}

/** out[i] = x[i] / (1 + exp(-x[i])) for n floats; out may be x. PyTorch: nn.SiLU(). */
export function siluForward(out: usize, x: usize, n: i32): void {
  const end = x + ((<usize>n) << 2);
  for (; x < end; x += 16, out += 16) {
    const v = v128.load(x);
    v128.store(out, f32x4.mul(v, sigmoid4(v)));
  }
}

/** out[i] = log(1 + exp(x[i])) for n floats; out may be x. PyTorch: nn.Softplus(). */
export function softplusForward(out: usize, x: usize, n: i32): void {
  const end = x + ((<usize>n) << 2);
  for (; x < end; x += 16, out += 16) v128.store(out, softplus4(v128.load(x)));
}

/** out[i] = log(1 + exp(x[i])) - log(2) for n floats; out may be x. matgl: SoftPlus2. */
export function shiftedSoftplusForward(out: usize, x: usize, n: i32): void {
  const end = x + ((<usize>n) << 2);
  const ln2 = constant(24);
  for (; x < end; x += 16, out += 16) v128.store(out, f32x4.sub(softplus4(v128.load(x)), ln2));
}

/** out[i] = tanh(x[i]) for n floats; out may be x. PyTorch: torch.tanh. For few numbers: scalar float64. */
export function tanhForward(out: usize, x: usize, n: i32): void {
  for (const end = x + ((<usize>n) << 2); x < end; x += 4, out += 4) store<f32>(out, <f32>Math.tanh(load<f32>(x)));
}

/** out[i] = exp(x[i]) for n floats; out may be x. PyTorch: torch.exp. For few numbers: scalar float64. */
export function expForward(out: usize, x: usize, n: i32): void {
  for (const end = x + ((<usize>n) << 2); x < end; x += 4, out += 4) store<f32>(out, <f32>Math.exp(load<f32>(x)));
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

/** Activations by the numbers that an epilogue names them with: 0 is none. */
export function activate(activation: i32, x: usize, n: i32): void {
  if (activation == 1) softplusForward(x, x, n);
  else if (activation == 2) shiftedSoftplusForward(x, x, n);
  else if (activation == 3) siluForward(x, x, n);
  else if (activation == 4) sigmoidForward(x, x, n);
  else if (activation == 5) tanhForward(x, x, n);
}

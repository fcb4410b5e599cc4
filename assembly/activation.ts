import {
  constant, EXP, expLike, SHIFTED_SOFTPLUS, SIGMOID, SILU, SOFTPLUS, softplusOf, TANH,
} from "./math";

/** A function of n floats, its constants loaded before the loop; out may be x. */
// @ts-expect-error: decorator
@inline
function each(name: i32, out: usize, x: usize, n: i32): void {
  const from = name <= TANH ? 4 : 15;
  const magic = constant(0);
  const one = constant(1);
  const sign = constant(2);
  const most = constant(from);
  const least = constant(from + 1);
  const log2e = constant(from + 2);
  const high = constant(from + 3);
  const low = constant(from + 4);
  const c6 = constant(from + 5);
  const c5 = constant(from + 6);
  const c4 = constant(from + 7);
  const c3 = constant(from + 8);
  const c2 = constant(from + 9);
  const c1 = constant(from + 10);
  const end = x + ((<usize>n) << 2);
  if (name < SOFTPLUS) {
    for (; x < end; x += 16, out += 16) {
      const v = v128.load(x);
      v128.store(out, expLike(name, v, magic, one, sign, most, least, log2e, high, low, c6, c5, c4, c3, c2, c1));
    }
    return;
  }
  const ln2 = constant(3);
  const minusTwo = constant(26);
  const q3 = constant(27);
  const q2 = constant(28);
  const q1 = constant(29);
  const q0 = constant(30);
  for (; x < end; x += 16, out += 16) {
    const y = softplusOf(
      v128.load(x), magic, one, sign, most, log2e, high, low, c6, c5, c4, c3, c2, c1, minusTwo, q3, q2, q1, q0,
    );
    v128.store(out, name == SHIFTED_SOFTPLUS ? f32x4.sub(y, ln2) : y);
  }
}

/** out[i] = exp(x[i]) for n floats, x clamped to [-87.33, 88.37]; out may be x. PyTorch: torch.exp. */
export function expForward(out: usize, x: usize, n: i32): void {
  each(EXP, out, x, n);
}

/** out[i] = tanh(x[i]) for n floats; out may be x. PyTorch: torch.tanh. */
export function tanhForward(out: usize, x: usize, n: i32): void {
  each(TANH, out, x, n);
}

/** out[i] = 1 / (1 + exp(-x[i])) for n floats; out may be x. PyTorch: torch.sigmoid. */
export function sigmoidForward(out: usize, x: usize, n: i32): void {
  each(SIGMOID, out, x, n);
}

/** out[i] = x[i] / (1 + exp(-x[i])) for n floats; out may be x. PyTorch: nn.SiLU(). */
export function siluForward(out: usize, x: usize, n: i32): void {
  each(SILU, out, x, n);
}

/** out[i] = log(1 + exp(x[i])) for n floats; out may be x. PyTorch: nn.Softplus(). */
export function softplusForward(out: usize, x: usize, n: i32): void {
  each(SOFTPLUS, out, x, n);
}

/** out[i] = log(1 + exp(x[i])) - log(2) for n floats; out may be x. matgl: SoftPlus2. */
export function shiftedSoftplusForward(out: usize, x: usize, n: i32): void {
  each(SHIFTED_SOFTPLUS, out, x, n);
}

/** Activations by the numbers that an epilogue names them with: 0 is none. */
export function activate(activation: i32, x: usize, n: i32): void {
  if (activation == 1) softplusForward(x, x, n);
  else if (activation == 2) shiftedSoftplusForward(x, x, n);
  else if (activation == 3) siluForward(x, x, n);
  else if (activation == 4) sigmoidForward(x, x, n);
  else if (activation == 5) tanhForward(x, x, n);
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
    const shift = top + log(sum);
    for (let f: usize = 0; f < row; f += 4) store<f32>(out + f, <f32>(load<f32>(x + f) - shift));
  }
}

/**
 * log(x) of a finite x >= 1, to the rounding of Math.exp: Math.log would bring 4 kB of tables. The exponent and mantissa taken
 * as a number are log2(x) within 0.09; each of Halley's steps on e^y = x then cubes the error, over 12.
 */
function log(x: f64): f64 {
  let y = <f64>(reinterpret<i64>(x) - reinterpret<i64>(<f64>1)) * (Math.LN2 / 4503599627370496);
  for (let step = 0; step < 3; step++) {
    const e = Math.exp(y);
    y += (2 * (x - e)) / (x + e);
  }
  return y;
}

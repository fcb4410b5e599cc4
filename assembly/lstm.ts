/**
 * The two elementwise halves of an LSTM step; the gates come from linear layers. PyTorch: nn.LSTMCell, whose 4w rows of
 * weights are those of the gates i, f, g and o.
 */
import { sigmoid4, tanh4 } from "./math";

/**
 * out[b, j] = sigmoid(f) cell[b, j] + sigmoid(i) tanh(g).
 *   out (B, w) f32 overwritten, may be cell; gates (B, 4w) f32 before their activations; cell (B, w) f32
 */
export function lstmCellForward(out: usize, gates: usize, cell: usize, B: i32, w: i32): void {
  const row = (<usize>w) << 2;
  const whole = row & ~15;
  for (let b = 0; b < B; b++, out += row, cell += row, gates += 4 * row) {
    for (let j: usize = 0; j < whole; j += 16) {
      const at = gates + j;
      v128.store(out + j, next(v128.load(at), v128.load(at + row), v128.load(at + 2 * row), v128.load(cell + j)));
    }
    for (let j = whole; j < row; j += 4) {
      const at = gates + j;
      const value = next(
        v128.load_splat<f32>(at), v128.load_splat<f32>(at + row), v128.load_splat<f32>(at + 2 * row),
        v128.load_splat<f32>(cell + j),
      );
      v128.store32_lane(out + j, value, 0);
    }
  }
}

// @ts-expect-error: decorator
@inline
function next(i: v128, f: v128, g: v128, cell: v128): v128 {
  return f32x4.add(f32x4.mul(sigmoid4(f), cell), f32x4.mul(sigmoid4(i), tanh4(g)));
}

/**
 * out[b, j] = sigmoid(o) tanh(cell[b, j]).
 *   out (B, w) f32 overwritten, may be cell; gates (B, 4w) f32 as above; cell (B, w) f32, the one that lstmCellForward gave
 */
export function lstmOutputForward(out: usize, gates: usize, cell: usize, B: i32, w: i32): void {
  const row = (<usize>w) << 2;
  const whole = row & ~15;
  gates += 3 * row;
  for (let b = 0; b < B; b++, out += row, cell += row, gates += 4 * row) {
    for (let j: usize = 0; j < whole; j += 16)
      v128.store(out + j, f32x4.mul(sigmoid4(v128.load(gates + j)), tanh4(v128.load(cell + j))));
    for (let j = whole; j < row; j += 4) {
      const h = f32x4.mul(sigmoid4(v128.load_splat<f32>(gates + j)), tanh4(v128.load_splat<f32>(cell + j)));
      v128.store32_lane(out + j, h, 0);
    }
  }
}

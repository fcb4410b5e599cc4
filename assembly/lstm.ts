/**
 * The two elementwise halves of an LSTM step; the gates come from linear layers. PyTorch: nn.LSTMCell, whose 4w rows of
 * weights are those of the gates i, f, g and o.
 */
import { fourOrOne, sigmoid4, storeFourOrOne, tanh4 } from "./math";

/**
 * out[b, j] = sigmoid(f) cell[b, j] + sigmoid(i) tanh(g).
 *   out (B, w) f32 overwritten, may be cell; gates (B, 4w) f32 before their activations; cell (B, w) f32
 */
export function lstmCellForward(out: usize, gates: usize, cell: usize, B: i32, w: i32): void {
  const row = (<usize>w) << 2;
  const whole = row & ~15;
  for (let b = 0; b < B; b++, out += row, cell += row, gates += 4 * row)
    for (let j: usize = 0; j < row; j += j < whole ? 16 : 4) {
      const four = j < whole;
      const at = gates + j;
      const kept = f32x4.mul(sigmoid4(fourOrOne(at + row, four)), fourOrOne(cell + j, four));
      const added = f32x4.mul(sigmoid4(fourOrOne(at, four)), tanh4(fourOrOne(at + 2 * row, four)));
      storeFourOrOne(out + j, f32x4.add(kept, added), four);
    }
}

/**
 * out[b, j] = sigmoid(o) tanh(cell[b, j]).
 *   out (B, w) f32 overwritten, may be cell; gates (B, 4w) f32 as above; cell (B, w) f32, the one that lstmCellForward gave
 */
export function lstmOutputForward(out: usize, gates: usize, cell: usize, B: i32, w: i32): void {
  const row = (<usize>w) << 2;
  const whole = row & ~15;
  gates += 3 * row;
  for (let b = 0; b < B; b++, out += row, cell += row, gates += 4 * row)
    for (let j: usize = 0; j < row; j += j < whole ? 16 : 4) {
      const four = j < whole;
      const h = f32x4.mul(sigmoid4(fourOrOne(gates + j, four)), tanh4(fourOrOne(cell + j, four)));
      storeFourOrOne(out + j, h, four);
    }
}

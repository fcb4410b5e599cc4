import { sigmoid4, softplus4 } from "./math";

/**
 * CGCNN's gate: out[r, f] = sigmoid(z[r, f]) * softplus(z[r, F + f]).
 *   out (R, F) f32 overwritten; z (R, 2F) f32
 * Equals mul(sigmoid(slice(z, 0, F)), softplus(slice(z, F, 2F))) bit for bit when F is a multiple of 4 or not: the
 * last columns of a row are computed from a copy of four lanes.
 */
export function gateForward(out: usize, z: usize, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  for (let r = 0; r < R; r++, out += row, z += 2 * row) {
    for (let f: usize = 0; f < whole; f += 16)
      v128.store(out + f, f32x4.mul(sigmoid4(v128.load(z + f)), softplus4(v128.load(z + row + f))));
    for (let f = whole; f < row; f += 4) {
      const gate = f32x4.mul(sigmoid4(v128.load_splat<f32>(z + f)), softplus4(v128.load_splat<f32>(z + row + f)));
      store<f32>(out + f, f32x4.extract_lane(gate, 0));
    }
  }
}

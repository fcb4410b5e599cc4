import { sigmoid4, softplus4 } from "./math";
import { weightStep, weightsFrom } from "./segment";

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

/**
 * ALIGNN's gated mean of the neighbours:
 * out[s, f] = (sum over r of w[r] g[r, f] v[index[r], f]) / (sum over r of w[r] g[r, f] + eps), g = sigmoid(m),
 * start[s] <= r < start[s + 1].
 *   out (S, F) f32 overwritten; m (start[S], F) f32; v (any, F) f32; index (start[S],) i32; start (S + 1,) i32;
 *   weights (start[S],) f32, or 0 for all 1
 * Equals ratio(segmentSum(mul(sigmoid(m), gather(v))), segmentSum(sigmoid(m))) bit for bit. Choudhary and DeCost,
 * npj Comput. Mater. 7, 185 (2021), eq. 2; Dwivedi et al., arXiv:2003.00982.
 */
export function gatedMeanForward(
  out: usize, m: usize, v: usize, index: usize, start: usize, weights: usize, S: i32, F: i32, eps: f32,
): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  const more = f32x4.splat(eps);
  const step = weightStep(weights);
  for (let s = 0; s < S; s++, out += row, start += 4) {
    const first = load<i32>(start);
    const count = (<usize>(load<i32>(start, 4) - first)) << 2;
    const from = index + ((<usize>first) << 2);
    const rows = m + (<usize>first) * row;
    const weightsOf = weightsFrom(weights, first);
    for (let f: usize = 0; f < whole; f += 16) {
      let above = f32x4.splat(0);
      let below = f32x4.splat(0);
      let at = rows + f;
      let w = weightsOf;
      for (let i: usize = 0; i < count; i += 4, at += row, w += step) {
        const gate = sigmoid4(v128.load(at));
        const weight = v128.load_splat<f32>(w);
        const message = f32x4.mul(gate, v128.load(v + (<usize>load<i32>(from + i)) * row + f));
        above = f32x4.add(above, f32x4.mul(message, weight));
        below = f32x4.add(below, f32x4.mul(gate, weight));
      }
      v128.store(out + f, f32x4.div(above, f32x4.add(below, more)));
    }
    for (let f = whole; f < row; f += 4) {
      let above: f32 = 0;
      let below: f32 = 0;
      let at = rows + f;
      let w = weightsOf;
      for (let i: usize = 0; i < count; i += 4, at += row, w += step) {
        const gate = f32x4.extract_lane(sigmoid4(v128.load_splat<f32>(at)), 0);
        above += gate * load<f32>(v + (<usize>load<i32>(from + i)) * row + f) * load<f32>(w);
        below += gate * load<f32>(w);
      }
      store<f32>(out + f, above / (below + eps));
    }
  }
}

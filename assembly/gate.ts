import { sigmoid4, softplus4 } from "./math";
import { rowAt, weightStep, weightsFrom } from "./segment";

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

/** Columns summed at a time by gatedSum, in bytes, and their float64 sums. */
const GATED_COLUMNS: usize = 64 << 2;
const GATED_SUMS = memory.data(512, 16);

/**
 * CGCNN's gate summed over the rows of each segment, of a sum that is never written:
 * out[s, f] = sum over r of w[r] sigmoid(z[r, f]) softplus(z[r, F + f]), z[r] = own[s] + a[indexA[r]] + b[indexB[r]],
 * start[s] <= r < start[s + 1].
 *   out (S, F) f32 overwritten; own (S, 2F), a, b (any, 2F) f32; indexA, indexB (start[S],) i32, or 0 for row r itself;
 *   start (S + 1,) i32; weights (start[S],) f32, or 0 for all 1
 * Equals segmentSum(gate(gatherSum(own, a, b))) bit for bit, the sum in float64 too: of some elemental metals the published
 * band gap network amplifies rounding 25 times. Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), eq. 5.
 */
export function gatedSumForward(
  out: usize, own: usize, a: usize, indexA: usize, b: usize, indexB: usize, start: usize, weights: usize, S: i32, F: i32,
): void {
  const row = (<usize>F) << 2;
  for (let s = 0; s < S; s++, out += row, own += 2 * row, start += 4) {
    const first = load<i32>(start);
    const end = load<i32>(start, 4);
    for (let from: usize = 0; from < row; from += GATED_COLUMNS) {
      const columns = min(row - from, GATED_COLUMNS);
      memory.fill(GATED_SUMS, 0, 2 * columns);
      let w = weightsFrom(weights, first);
      for (let r = first; r < end; r++, w += weightStep(weights))
        addGated(own + from, rowAt(a, indexA, r, 2 * row) + from, rowAt(b, indexB, r, 2 * row) + from, row, w, columns);
      for (let f: usize = 0; f < columns; f += 4) store<f32>(out + from + f, <f32>load<f64>(GATED_SUMS + 2 * f));
    }
  }
}

/** Add w times the gate of a + b + c to the sums; the halves of a row are `half` bytes apart. */
// @ts-expect-error: decorator
@inline
function addGated(a: usize, b: usize, c: usize, half: usize, w: usize, columns: usize): void {
  const weight = f64x2.promote_low_f32x4(v128.load_splat<f32>(w));
  const whole = columns & ~15;
  for (let f: usize = 0; f < whole; f += 16) {
    const g = f + half;
    const filter = f32x4.add(f32x4.add(v128.load(a + f), v128.load(b + f)), v128.load(c + f));
    const core = f32x4.add(f32x4.add(v128.load(a + g), v128.load(b + g)), v128.load(c + g));
    const gate = f32x4.mul(sigmoid4(filter), softplus4(core));
    const sums = GATED_SUMS + 2 * f;
    const low = f64x2.mul(f64x2.promote_low_f32x4(gate), weight);
    const high = f64x2.mul(f64x2.promote_low_f32x4(v128.shuffle<i32>(gate, gate, 2, 3, 2, 3)), weight);
    v128.store(sums, f64x2.add(v128.load(sums), low));
    v128.store(sums, f64x2.add(v128.load(sums, 16), high), 16);
  }
  for (let f = whole; f < columns; f += 4) {
    const g = f + half;
    const filter = f32x4.splat(load<f32>(a + f) + load<f32>(b + f) + load<f32>(c + f));
    const core = f32x4.splat(load<f32>(a + g) + load<f32>(b + g) + load<f32>(c + g));
    const gate = f32x4.extract_lane(f32x4.mul(sigmoid4(filter), softplus4(core)), 0);
    const sum = GATED_SUMS + 2 * f;
    store<f64>(sum, load<f64>(sum) + <f64>gate * f64x2.extract_lane(weight, 0));
  }
}

/** Columns summed at a time by gatedMean, in bytes, and their sums: of the gated rows, and of the gates behind them. */
const MEAN_COLUMNS: usize = 256 << 2;
const MEAN_SUMS = memory.data(2048, 16);

/**
 * ALIGNN's gated mean of the neighbours:
 * out[s, f] = (sum over r of w[r] g[r, f] v[indexV[r], f]) / (sum over r of w[r] g[r, f] + eps), g = sigmoid(m),
 * m[r] = a[indexA[r]] + b[indexB[r]] + c[indexC[r]], start[s] <= r < start[s + 1].
 *   out (S, F) f32 overwritten; v, a, b, c (any, F) f32, b and c 0 where there are no such; their indices (start[S],) i32,
 *   or 0 for row r itself; start (S + 1,) i32; weights (start[S],) f32, or 0 for all 1
 * Equals ratio(segmentSum(mul(sigmoid(m), gather(v))), segmentSum(sigmoid(m))) but for the rounding of sums in float32. Choudhary and DeCost,
 * npj Comput. Mater. 7, 185 (2021), eq. 2; Dwivedi et al., arXiv:2003.00982.
 */
export function gatedMeanForward(
  out: usize, v: usize, indexV: usize, a: usize, indexA: usize, b: usize, indexB: usize, c: usize, indexC: usize,
  start: usize, weights: usize, S: i32, F: i32, eps: f32,
): void {
  const row = (<usize>F) << 2;
  for (let s = 0; s < S; s++, out += row, start += 4) {
    const first = load<i32>(start);
    const end = load<i32>(start, 4);
    for (let f: usize = 0; f < row; f += MEAN_COLUMNS) {
      const columns = min(row - f, MEAN_COLUMNS);
      memory.fill(MEAN_SUMS, 0, 2 * MEAN_COLUMNS);
      let w = weightsFrom(weights, first);
      for (let r = first; r < end; r++, w += weightStep(weights)) {
        const value = rowAt(v, indexV, r, row) + f;
        const x = rowAt(a, indexA, r, row) + f;
        if (!b) sumGated(value, x, x, x, w, columns, 1);
        else if (!c) sumGated(value, x, rowAt(b, indexB, r, row) + f, x, w, columns, 2);
        else sumGated(value, x, rowAt(b, indexB, r, row) + f, rowAt(c, indexC, r, row) + f, w, columns, 3);
      }
      for (let g: usize = 0; g < columns; g += 4)
        store<f32>(out + f + g, load<f32>(MEAN_SUMS + g) / (load<f32>(MEAN_SUMS + g + MEAN_COLUMNS) + eps));
    }
  }
}

/** Add a row's gates, and what they let through, to the sums; `terms` of x, y and z add up to m. */
// @ts-expect-error: decorator
@inline
function sumGated(value: usize, x: usize, y: usize, z: usize, w: usize, columns: usize, terms: i32): void {
  const whole = columns & ~15;
  const weight = v128.load_splat<f32>(w);
  for (let f: usize = 0; f < whole; f += 16) {
    let m = v128.load(x + f);
    if (terms > 1) m = f32x4.add(m, v128.load(y + f));
    if (terms > 2) m = f32x4.add(m, v128.load(z + f));
    const gate = sigmoid4(m);
    const to = MEAN_SUMS + f;
    v128.store(to, f32x4.add(v128.load(to), f32x4.mul(f32x4.mul(gate, v128.load(value + f)), weight)));
    v128.store(to + MEAN_COLUMNS, f32x4.add(v128.load(to + MEAN_COLUMNS), f32x4.mul(gate, weight)));
  }
  for (let f = whole; f < columns; f += 4) {
    let m = load<f32>(x + f);
    if (terms > 1) m += load<f32>(y + f);
    if (terms > 2) m += load<f32>(z + f);
    const gate = f32x4.extract_lane(sigmoid4(f32x4.splat(m)), 0);
    const to = MEAN_SUMS + f;
    store<f32>(to, load<f32>(to) + gate * load<f32>(value + f) * load<f32>(w));
    store<f32>(to + MEAN_COLUMNS, load<f32>(to + MEAN_COLUMNS) + gate * load<f32>(w));
  }
}

import { activate } from "./activation";
import { addForward } from "./elementwise";

/** The weight of a row where none is given: read again and again, with a step of 0. x times 1 is x, bit for bit. */
const ONE = memory.data<f32>([1]);

/** Where the weights of a segment's rows stand that begins with row `first`, and how far apart; 0 stands for all 1. */
// @ts-expect-error: decorator
@inline
export function weightsFrom(weights: usize, first: i32): usize {
  return weights ? weights + ((<usize>first) << 2) : ONE;
}

// @ts-expect-error: decorator
@inline
export function weightStep(weights: usize): usize {
  return weights ? 4 : 0;
}

/**
 * Sum the rows of each segment: out[s, f] = sum of w[r] x[r, f] for start[s] <= r < start[s + 1]; an empty segment gives
 * 0.
 *   out (S, F) f32 overwritten; x (start[S], F) f32, rows sorted by segment; start (S + 1,) i32, CSR row starts;
 *   weights (start[S],) f32, or 0 for all 1
 * PyTorch: torch.zeros(S, F).index_add_(0, segment, w * x). In float64, so that a row of weight 12 counts as twelve rows
 * do.
 */
export function segmentSumForward(out: usize, x: usize, start: usize, weights: usize, S: i32, F: i32): void {
  reduceSegments(out, x, start, weights, S, F, false);
}

/**
 * Mean of the rows of each segment, sum of w[r] x[r, f] over sum of w[r]; an empty segment gives 0, as in DGL. Shapes as
 * segmentSum. In float64: a crystal of 5,000 equal atoms must have the mean of one.
 */
export function segmentMeanForward(out: usize, x: usize, start: usize, weights: usize, S: i32, F: i32): void {
  reduceSegments(out, x, start, weights, S, F, true);
}

function reduceSegments(out: usize, x: usize, start: usize, weights: usize, S: i32, F: i32, mean: boolean): void {
  const row = (<usize>F) << 2;
  const pairs = row & ~7;
  const step = weightStep(weights);
  for (let s = 0; s < S; s++, out += row, start += 4) {
    const first = x + (<usize>load<i32>(start)) * row;
    const end = x + (<usize>load<i32>(start, 4)) * row;
    const from = weightsFrom(weights, load<i32>(start));
    const total = mean ? totalWeight(from, step, load<i32>(start, 4) - load<i32>(start)) : 1;
    for (let f: usize = 0; f < pairs; f += 8) {
      let sum = f64x2.splat(0);
      for (let at = first, w = from; at < end; at += row, w += step) {
        const weight = f64x2.promote_low_f32x4(v128.load_splat<f32>(w));
        sum = f64x2.add(sum, f64x2.mul(pair(at + f), weight));
      }
      v128.store64_lane(out + f, f32x4.demote_f64x2_zero(f64x2.div(sum, f64x2.splat(total))), 0);
    }
    if (pairs < row) {
      let sum: f64 = 0;
      for (let at = first, w = from; at < end; at += row, w += step)
        sum += <f64>load<f32>(at + pairs) * <f64>load<f32>(w);
      store<f32>(out + pairs, <f32>(sum / total));
    }
  }
}

/** Their sum over a segment, 1 for an empty one. */
// @ts-expect-error: decorator
@inline
function totalWeight(from: usize, step: usize, count: i32): f64 {
  if (count == 0) return 1;
  let total: f64 = 0;
  for (; count > 0; count--, from += step) total += <f64>load<f32>(from);
  return total;
}

/**
 * out[r, f] = x[index[r], f].
 *   out (R, F) f32 overwritten; x (any, F) f32; index (R,) i32
 * PyTorch: x[index].
 */
export function gatherForward(out: usize, x: usize, index: usize, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  for (const end = index + ((<usize>R) << 2); index < end; index += 4, out += row)
    memory.copy(out, x + <usize>load<i32>(index) * row, row);
}

/**
 * out[r, f] = x[r, f] + v[index[r], f].
 *   out (R, F) f32 overwritten, may be x; x (R, F) f32; v (any, F) f32; index (R,) i32
 * PyTorch: x + v[index].
 */
export function gatherAddForward(out: usize, x: usize, v: usize, index: usize, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  for (const end = index + ((<usize>R) << 2); index < end; index += 4, out += row, x += row) {
    const from = v + (<usize>load<i32>(index)) * row;
    for (let f: usize = 0; f < whole; f += 16)
      v128.store(out + f, f32x4.add(v128.load(x + f), v128.load(from + f)));
    for (let f = whole; f < row; f += 4) store<f32>(out + f, load<f32>(x + f) + load<f32>(from + f));
  }
}

/** Where a value's row stands that is read for row r: that of the index, r itself without one. */
// @ts-expect-error: decorator
@inline
export function rowAt(x: usize, index: usize, r: i32, row: usize): usize {
  return x + <usize>(index ? load<i32>(index + ((<usize>r) << 2)) : r) * row;
}

/** Rows summed at a time by gatherSum, a multiple of four: they are in the first-level cache when they are activated. */
const SUM_ROWS: i32 = 8;

/**
 * out[r, f] = residual[r, f] + activation(a[indexA[r], f] + b[indexB[r], f] + c[indexC[r], f]).
 *   out (R, F) f32 overwritten, may be what is read without an index, but not residual; a, b, c (any, F) f32, c 0 where
 *   there are only two; their indices (R,) i32, or 0 for row r itself; activation as in activation.ts; residual (R, F) f32,
 *   or 0 for none
 * PyTorch: residual + activation(a[indexA] + b[indexB] + c[indexC]).
 */
export function gatherSumForward(
  out: usize, a: usize, indexA: usize, b: usize, indexB: usize, c: usize, indexC: usize, activation: i32, residual: usize,
  R: i32, F: i32,
): void {
  const bytes = (<usize>(SUM_ROWS * F)) << 2;
  for (let r = 0; r < R; r += SUM_ROWS, out += bytes) {
    const count = min(SUM_ROWS, R - r);
    sumRows(out, a, indexA, b, indexB, c, indexC, r, count, F);
    activate(activation, out, count * F);
    if (!residual) continue;
    addForward(out, residual, out, count * F);
    residual += bytes;
  }
}

/** Rows `first` to `first` + `count` of the sum. */
// @ts-expect-error: decorator
@inline
function sumRows(
  out: usize, a: usize, indexA: usize, b: usize, indexB: usize, c: usize, indexC: usize, first: i32, count: i32, F: i32,
): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  for (let r = first; r < first + count; r++, out += row) {
    const x = rowAt(a, indexA, r, row);
    const y = rowAt(b, indexB, r, row);
    if (c) {
      const z = rowAt(c, indexC, r, row);
      for (let f: usize = 0; f < whole; f += 16)
        v128.store(out + f, f32x4.add(f32x4.add(v128.load(x + f), v128.load(y + f)), v128.load(z + f)));
      for (let f = whole; f < row; f += 4) store<f32>(out + f, load<f32>(x + f) + load<f32>(y + f) + load<f32>(z + f));
    } else {
      for (let f: usize = 0; f < whole; f += 16) v128.store(out + f, f32x4.add(v128.load(x + f), v128.load(y + f)));
      for (let f = whole; f < row; f += 4) store<f32>(out + f, load<f32>(x + f) + load<f32>(y + f));
    }
  }
}

/** Columns summed at a time in float64 by segmentAttention. */
const ATTENTION_COLUMNS: usize = 64;
const ATTENTION_SUMS = memory.data(512, 16);

/**
 * out[s, f] = sum over r of a[r] x[r, f], a = softmax over start[s] <= r < start[s + 1] of (x[r] . query[s]), each row
 * standing for w[r] equal ones: a[r] is proportional to w[r] exp(x[r] . query[s]). An empty segment gives 0.
 *   out, query (S, F) f32, out overwritten and not query; x (start[S], F) f32; start (S + 1,) i32;
 *   weights (start[S],) f32, or 0 for all 1
 * DGL: softmax_nodes and sum_nodes, as Set2Set uses them (Vinyals et al., arXiv:1511.06391). In float64.
 */
export function segmentAttentionForward(
  out: usize, x: usize, query: usize, start: usize, weights: usize, S: i32, F: i32,
): void {
  const row = (<usize>F) << 2;
  const step = weightStep(weights);
  for (let s = 0; s < S; s++, out += row, query += row, start += 4) {
    const first = x + (<usize>load<i32>(start)) * row;
    const end = x + (<usize>load<i32>(start, 4)) * row;
    const weightsOf = weightsFrom(weights, load<i32>(start));
    let top: f64 = -Infinity;
    for (let at = first; at < end; at += row) top = Math.max(top, dot(at, query, row));
    for (let from: usize = 0; from < row; from += ATTENTION_COLUMNS << 2) {
      const columns = min(row - from, ATTENTION_COLUMNS << 2);
      memory.fill(ATTENTION_SUMS, 0, columns << 1);
      let total: f64 = 0;
      for (let at = first, w = weightsOf; at < end; at += row, w += step) {
        const share = Math.exp(dot(at, query, row) - top) * <f64>load<f32>(w);
        total += share;
        const shares = f64x2.splat(share);
        const pairs = columns & ~7;
        for (let f: usize = 0; f < pairs; f += 8) {
          const sum = ATTENTION_SUMS + (f << 1);
          v128.store(sum, f64x2.add(v128.load(sum), f64x2.mul(shares, pair(at + from + f))));
        }
        if (pairs < columns) {
          const sum = ATTENTION_SUMS + (pairs << 1);
          store<f64>(sum, load<f64>(sum) + share * <f64>load<f32>(at + from + pairs));
        }
      }
      for (let f: usize = 0; f < columns; f += 4)
        store<f32>(out + from + f, first < end ? <f32>(load<f64>(ATTENTION_SUMS + (f << 1)) / total) : 0);
    }
  }
}

// @ts-expect-error: decorator
@inline
function dot(a: usize, b: usize, row: usize): f64 {
  const pairs = row & ~7;
  let sums = f64x2.splat(0);
  for (let f: usize = 0; f < pairs; f += 8) sums = f64x2.add(sums, f64x2.mul(pair(a + f), pair(b + f)));
  const sum = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
  return pairs < row ? sum + <f64>load<f32>(a + pairs) * <f64>load<f32>(b + pairs) : sum;
}

/** Two neighbouring floats in float64. */
// @ts-expect-error: decorator
@inline
function pair(x: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(x));
}

/**
 * (x Wᵀ) * scale + shift on a packed weight: a linear layer (scale 1, shift its bias) or one with the batch
 * normalisation behind it taken up, without rounding the weights anew; and what follows it, while its rows are in cache.
 *
 * A weight is packed in panels of 16 output columns. Tiles cover every number of rows: 2 x 16, eight sums with four weights
 * and two of x, which fill the 15 vector registers that V8 has; in the relaxed build 6 x 8 (tile6.ts); and 1 x 32, two panels
 * wide, for a last row, since fewer than eight sums at once wait for each other. All sum an element in the same order with
 * the same operations: products one after another within BLOCK columns counted from column 0, then the blocks' sums. So a
 * row's bits depend on no other row, and leaving out columns that are 0 changes none. Measured in bench/kernels.ts.
 *
 * The tiles' loops over k are not unrolled: V8 loads all that a loop's body reads first, and would run out of registers.
 */
import { activate } from "./activation";
import { addForward } from "./elementwise";
import { madd } from "./math";
import { gatherAddForward } from "./segment";
import { tile6 } from "./tile6";

const TILE: i32 = 16; // output columns per panel
const ROWS: i32 = 12; // rows finished at a time: x and out stay in the first-level cache; a multiple of 4 and 6
const BLOCK: i32 = 256; // columns summed before the sum is added to the total
const CHUNK: usize = 8 << 2; // bytes of x that a single row passes one panel and then the next

/** Sums of ROWS rows of a panel, 16 floats a row: scratch below this module's tables. */
const SUMS: usize = 16;
/** The scales and shifts of a block that is not the last: 16 ones, 16 zeros. */
const IDENTITY = memory.data<f32>(
  [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 16,
);

/** Bytes that packWeight writes for an (O, K) weight. */
export function packedBytes(O: i32, K: i32): i32 {
  return ((O + TILE - 1) / TILE) * TILE * (K + 2) * 4;
}

/**
 * Rearrange a layer into panels of 16 output columns: per panel 16 scales, 16 shifts, then K rows of 16 weights.
 *   out  packedBytes(O, K) bytes, 16-byte aligned; columns beyond O are 0
 *   weight (O, K) f32; scale, shift (O,) f32
 */
export function packWeight(out: usize, weight: usize, scale: usize, shift: usize, O: i32, K: i32): void {
  for (let panel = 0; panel < O; panel += TILE) {
    out = packColumns(out, scale, panel, O, 1, 0);
    out = packColumns(out, shift, panel, O, 1, 0);
    for (let k = 0; k < K; k++) out = packColumns(out, weight, panel, O, K, k);
  }
}

/** Sixteen entries o * stride + k for o from `panel` on. */
// @ts-expect-error: decorator
@inline
function packColumns(out: usize, from: usize, panel: i32, O: i32, stride: i32, k: i32): usize {
  for (let o = panel; o < panel + TILE; o++, out += 4)
    store<f32>(out, o < O ? load<f32>(from + ((<usize>(o * stride + k)) << 2)) : 0);
  return out;
}

/**
 * out[r, o] = residual[r, o] + activation((sum over k of x[r, k] * weight[o, k]) * scale[o] + shift[o]
 *                                         + sum over j of values_j[index_j[r], o]).
 *   out (R, O) f32 overwritten, neither x nor residual; x (R, K) f32; packed from packWeight
 *   epilogue  0 for none of it, or the address of i32 fields: activation (activation.ts), address of residual (R, O) f32
 *             or 0, count of values, then for each the addresses of values (any, O) f32 and index (R,) i32
 * Equals the same by gatherAddForward, the activation's kernel and addForward bit for bit.
 * PyTorch: nn.Linear(K, O), or nn.Sequential(nn.Linear(K, O), nn.BatchNorm1d(O)).eval().
 */
export function linearForward(out: usize, x: usize, packed: usize, R: i32, O: i32, K: i32, epilogue: usize): void {
  const bytes = (<usize>(ROWS * O)) << 2;
  for (let r = 0; r < R; r += ROWS, out += bytes, x += (<usize>(ROWS * K)) << 2) {
    const rows = min(ROWS, R - r);
    product(out, x, packed, rows, O, K, 0, K);
    if (epilogue) follow(out, epilogue, r, rows, O);
  }
}

/**
 * linearForward without an epilogue, bit for bit, for x whose rows have zeros at both ends that neighbouring rows share:
 * Gaussians of sorted numbers. Those columns are not multiplied.
 */
export function bandedLinearForward(out: usize, x: usize, packed: usize, R: i32, O: i32, K: i32): void {
  const row = (<usize>K) << 2;
  for (let r = 0; r < R; r += ROWS, out += (<usize>(ROWS * O)) << 2, x += <usize>ROWS * row) {
    const rows = min(ROWS, R - r);
    let first = 0;
    let last = K;
    for (; first + 4 <= last; first += 4) {
      const set = columnsSet(x + ((<usize>first) << 2), rows, row);
      if (!set) continue;
      first += ctz(set);
      break;
    }
    for (; first + 4 <= last; last -= 4) {
      const set = columnsSet(x + ((<usize>(last - 4)) << 2), rows, row);
      if (!set) continue;
      last -= clz(set) - 28;
      break;
    }
    product(out, x, packed, rows, O, K, first, last);
  }
}

/** Which of four columns, as four bits, have anything but +0 in some row. */
// @ts-expect-error: decorator
@inline
function columnsSet(x: usize, rows: i32, row: usize): i32 {
  let bits = i32x4.splat(0);
  for (let r = 0; r < rows; r++, x += row) bits = v128.or(bits, v128.load(x));
  return i32x4.bitmask(i32x4.ne(bits, i32x4.splat(0)));
}

/** What an epilogue adds to rows r to r + rows of the output, which start at `out`. */
function follow(out: usize, epilogue: usize, r: i32, rows: i32, O: i32): void {
  const first = (<usize>r) << 2;
  const count = rows * O;
  let at = epilogue + 12;
  for (let j = load<i32>(epilogue, 8); j > 0; j--, at += 8)
    gatherAddForward(out, out, <usize>load<u32>(at), <usize>load<u32>(at, 4) + first, rows, O);
  activate(load<i32>(epilogue), out, count);
  const residual = <usize>load<u32>(epilogue, 4);
  if (residual) addForward(out, residual + first * <usize>O, out, count);
}

/** Columns `first` to `last` of x by the same of the weight, scaled and shifted. */
function product(out: usize, x: usize, packed: usize, rows: i32, O: i32, K: i32, first: i32, last: i32): void {
  let k = first;
  do {
    const next = min((k / BLOCK + 1) * BLOCK, last);
    block(out, x + ((<usize>k) << 2), packed, rows, O, K, k, next - k, k > first, next >= last);
    k = next;
  } while (k < last);
}

/** `count` columns from the k-th on: their sum added to out unless these are the first, scaled and shifted if the last. */
function block(
  out: usize, x: usize, packed: usize, rows: i32, O: i32, K: i32, k: i32, count: i32, more: bool, last: bool,
): void {
  const xRow = (<usize>K) << 2;
  const outRow = (<usize>O) << 2;
  const panelBytes = (<usize>(TILE * (K + 2))) << 2;
  const weights: usize = 128 + ((<usize>k) << 6);
  const even = rows & ~1;
  let panel = packed;
  for (let o = 0; o < O; o += TILE, panel += panelBytes) {
    let xr = x;
    let sums = SUMS;
    if (ASC_FEATURE_RELAXED_SIMD)
      for (; sums + 384 <= SUMS + ((<usize>even) << 6); sums += 384, xr += 6 * xRow) {
        tile6(sums, xr, xRow, panel + weights, count);
        if (O - o > TILE / 2) tile6(sums + 32, xr, xRow, panel + weights + 32, count);
      }
    for (; sums < SUMS + ((<usize>even) << 6); sums += 128, xr += 2 * xRow)
      tile2(sums, xr, xRow, panel + weights, count);
    settle(out + ((<usize>o) << 2), outRow, SUMS, even, min(O - o, TILE), more, last ? panel : IDENTITY);
  }
  if (even == rows) return;
  x += (<usize>even) * xRow;
  out += (<usize>even) * outRow;
  panel = packed;
  for (let o = 0; o < O; o += 2 * TILE, panel += 2 * panelBytes, out += 128) {
    // Without a second panel the first is multiplied twice, which takes no longer: latency is what a tile waits for.
    const second = O - o > TILE ? panel + panelBytes : panel;
    tile1(SUMS, x, panel + weights, second + weights, count);
    settle(out, 0, SUMS, 1, min(O - o, TILE), more, last ? panel : IDENTITY);
    if (second != panel) settle(out + 64, 0, SUMS + 64, 1, min(O - o - TILE, TILE), more, last ? second : IDENTITY);
  }
}

/** out = ((out or 0) + sums) * scale + shift in up to 16 columns; the shifts stand behind the scales. */
function settle(out: usize, outRow: usize, sums: usize, rows: i32, columns: i32, more: bool, scale: usize): void {
  const s0 = v128.load(scale, 0);
  const s1 = v128.load(scale, 16);
  const s2 = v128.load(scale, 32);
  const s3 = v128.load(scale, 48);
  const t0 = v128.load(scale, 64);
  const t1 = v128.load(scale, 80);
  const t2 = v128.load(scale, 96);
  const t3 = v128.load(scale, 112);
  for (; rows > 0; rows--, sums += 64, out += outRow) {
    if (columns < TILE) {
      for (let f: usize = 0; f < (<usize>columns) << 2; f += 4) {
        let v = v128.load_splat<f32>(sums + f);
        if (more) v = f32x4.add(v128.load_splat<f32>(out + f), v);
        v = madd(v, v128.load_splat<f32>(scale + f), v128.load_splat<f32>(scale + f, 64));
        v128.store32_lane(out + f, v, 0);
      }
      continue;
    }
    let a0 = v128.load(sums, 0);
    let a1 = v128.load(sums, 16);
    let a2 = v128.load(sums, 32);
    let a3 = v128.load(sums, 48);
    if (more) {
      a0 = f32x4.add(v128.load(out, 0), a0);
      a1 = f32x4.add(v128.load(out, 16), a1);
      a2 = f32x4.add(v128.load(out, 32), a2);
      a3 = f32x4.add(v128.load(out, 48), a3);
    }
    v128.store(out, madd(a0, s0, t0), 0);
    v128.store(out, madd(a1, s1, t1), 16);
    v128.store(out, madd(a2, s2, t2), 32);
    v128.store(out, madd(a3, s3, t3), 48);
  }
}

/** Sums of two rows by sixteen columns. */
// @ts-expect-error: decorator
@inline
function tile2(sums: usize, x: usize, xRow: usize, w: usize, count: i32): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  let y = x + xRow;
  for (; count > 0; count--, x += 4, y += 4, w += 64) {
    const w0 = v128.load(w, 0);
    const w1 = v128.load(w, 16);
    const w2 = v128.load(w, 32);
    const w3 = v128.load(w, 48);
    const u = v128.load_splat<f32>(x);
    a0 = madd(u, w0, a0);
    a1 = madd(u, w1, a1);
    a2 = madd(u, w2, a2);
    a3 = madd(u, w3, a3);
    const v = v128.load_splat<f32>(y);
    b0 = madd(v, w0, b0);
    b1 = madd(v, w1, b1);
    b2 = madd(v, w2, b2);
    b3 = madd(v, w3, b3);
  }
  v128.store(sums, a0, 0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, b2, 96);
  v128.store(sums, b3, 112);
}

/**
 * Sums of one row by thirty-two columns of two panels, CHUNK columns of x at a time for each in turn: the processor overlaps
 * the two loops, where one loop's eight weights and eight sums would be more than the registers hold.
 */
// @ts-expect-error: decorator
@inline
function tile1(sums: usize, x: usize, w: usize, v: usize, count: i32): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  const end = x + ((<usize>count) << 2);
  while (x < end) {
    const stop = min(x + CHUNK, end);
    for (let y = x; y < stop; y += 4, w += 64) {
      const u = v128.load_splat<f32>(y);
      a0 = madd(u, v128.load(w, 0), a0);
      a1 = madd(u, v128.load(w, 16), a1);
      a2 = madd(u, v128.load(w, 32), a2);
      a3 = madd(u, v128.load(w, 48), a3);
    }
    for (; x < stop; x += 4, v += 64) {
      const u = v128.load_splat<f32>(x);
      b0 = madd(u, v128.load(v, 0), b0);
      b1 = madd(u, v128.load(v, 16), b1);
      b2 = madd(u, v128.load(v, 32), b2);
      b3 = madd(u, v128.load(v, 48), b3);
    }
  }
  v128.store(sums, a0, 0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, b2, 96);
  v128.store(sums, b3, 112);
}

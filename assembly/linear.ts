/**
 * (x Wᵀ) * scale + shift on a packed weight: a linear layer (scale 1, shift its bias) or one with the batch
 * normalisation behind it taken up, without rounding the weights anew; and what follows it, while its rows are in cache.
 *
 * A weight is packed in panels of 16 output columns. Two tiles cover every number of rows: 2 x 16, eight sums with four
 * weights and two of x, which fill the 15 vector registers that V8 has; and 1 x 32, two panels wide, for a last row, since
 * fewer than eight sums at once wait for each other's latency. Both tiles sum an element in the same order with the same operations: products one after another
 * within BLOCK columns counted from column 0, then the blocks' sums. So a row's bits depend on no other row, and leaving
 * out columns that are 0 changes none.
 *
 * Their loops over k are not unrolled: V8 loads all that a loop's body reads first, and would run out of registers.
 */
import { activate } from "./activation";
import { addForward } from "./elementwise";
import { madd } from "./math";
import { gatherAddForward } from "./segment";

const TILE: i32 = 16; // output columns per panel
const ROWS: i32 = 48; // rows finished at a time: x and out stay in the caches; an even number
const BAND: i32 = 12; // rows at a time whose common zeros are left out
const BLOCK: i32 = 256; // columns summed before the sum is added to the total
const CHUNK: usize = 8 << 2; // bytes of x that a single row passes one panel and then the next

/** What a first block adds its sums to, and the scales and shifts of a block that is not the last: 16 ones, 16 zeros. */
const ZEROS = memory.data(128, 16);
const IDENTITY = memory.data<f32>(
  [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 16,
);
/** A tile wider than the output, before its columns are copied: 32 floats. */
const SCRATCH = memory.data(128, 16);

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
  for (let r = 0; r < R; r += BAND, out += (<usize>(BAND * O)) << 2, x += <usize>BAND * row) {
    const rows = min(BAND, R - r);
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
  let panel = packed;
  for (let o = 0; o < O; o += TILE, panel += panelBytes) {
    const columns = min(O - o, TILE);
    const whole = columns == TILE;
    const toRow = whole ? outRow : 64;
    const fromRow = more ? toRow : 0;
    const scale = last ? panel : IDENTITY;
    let r = 0;
    let xr = x;
    let outr = out + ((<usize>o) << 2);
    for (; r + 2 <= rows; r += 2, xr += 2 * xRow, outr += 2 * outRow) {
      const to = whole ? outr : SCRATCH;
      if (!whole && more) copyTile(SCRATCH, 64, outr, outRow, 2, columns);
      tile2(to, toRow, more ? to : ZEROS, fromRow, xr, xRow, panel + weights, count, scale);
      if (!whole) copyTile(outr, outRow, SCRATCH, 64, 2, columns);
    }
  }
  if (!(rows & 1)) return;
  x += <usize>(rows - 1) * xRow;
  out += <usize>(rows - 1) * outRow;
  panel = packed;
  for (let o = 0; o < O; o += 2 * TILE, panel += 2 * panelBytes, out += 128) {
    const columns = min(O - o, 2 * TILE);
    const whole = columns == 2 * TILE;
    const to = whole ? out : SCRATCH;
    // Without a second panel the first is multiplied twice, which takes no longer: latency is what a tile waits for.
    const second = columns > TILE ? panel + panelBytes : panel;
    if (!whole && more) copyTile(SCRATCH, 0, out, 0, 1, columns);
    tile1(
      to, more ? to : ZEROS, x, panel + weights, second + weights, count,
      last ? panel : IDENTITY, last ? second : IDENTITY,
    );
    if (!whole) copyTile(out, 0, SCRATCH, 0, 1, columns);
  }
}

/** Some columns of some rows; memory.copy would call out of the module for a few floats. */
function copyTile(out: usize, outRow: usize, x: usize, xRow: usize, rows: i32, columns: i32): void {
  const row = (<usize>columns) << 2;
  for (let r = 0; r < rows; r++, out += outRow, x += xRow)
    for (let f: usize = 0; f < row; f += 4) store<f32>(out + f, load<f32>(x + f));
}

/** (total + sum) * scale + shift of four columns; the shifts stand behind the scales. */
// @ts-expect-error: decorator
@inline
function put(out: usize, from: usize, scale: usize, sum: v128, at: usize): void {
  v128.store(out + at, madd(f32x4.add(v128.load(from + at), sum), v128.load(scale + at), v128.load(scale + at, 64)));
}

/** Two rows by sixteen columns. */
// @ts-expect-error: decorator
@inline
function tile2(
  out: usize, outRow: usize, from: usize, fromRow: usize, x: usize, xRow: usize, w: usize, count: i32, scale: usize,
): void {
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
  put(out, from, scale, a0, 0);
  put(out, from, scale, a1, 16);
  put(out, from, scale, a2, 32);
  put(out, from, scale, a3, 48);
  out += outRow;
  from += fromRow;
  put(out, from, scale, b0, 0);
  put(out, from, scale, b1, 16);
  put(out, from, scale, b2, 32);
  put(out, from, scale, b3, 48);
}

/**
 * One row by thirty-two columns of two panels, CHUNK columns of x at a time for each in turn: the processor overlaps the
 * two loops, where one loop's eight weights and eight sums would be more than the registers hold.
 */
// @ts-expect-error: decorator
@inline
function tile1(
  out: usize, from: usize, x: usize, w: usize, v: usize, count: i32, scale: usize, second: usize,
): void {
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
  put(out, from, scale, a0, 0);
  put(out, from, scale, a1, 16);
  put(out, from, scale, a2, 32);
  put(out, from, scale, a3, 48);
  out += 64;
  from += 64;
  put(out, from, second, b0, 0);
  put(out, from, second, b1, 16);
  put(out, from, second, b2, 32);
  put(out, from, second, b3, 48);
}

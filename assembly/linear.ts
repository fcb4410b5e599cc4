/**
 * (x Wᵀ) * scale + shift on a packed weight: a linear layer (scale 1, shift its bias) or one with the batch
 * normalisation behind it taken up, without rounding the weights anew.
 *
 * The micro-kernel holds a 2 x 16 tile of the output in eight registers; with four of the weight and two of x that is
 * all V8 keeps without spilling (shapes measured in bench/). Products are summed in blocks of BLOCK columns, and the
 * blocks' sums added up: the rounding error grows with BLOCK + K / BLOCK and not with K. An element is summed in this
 * order whatever rows surround it, so a row's bits do not depend on the batch.
 */
const TILE: i32 = 16; // output columns per panel
const ROWS: i32 = 128; // rows of x that stay in the second-level cache while the panels pass
const BLOCK: usize = 16 << 2; // bytes of x per block of the sum

/** Totals of a 2 x 16 tile, and a tile wider than the output before its columns are copied: 2 x 16 floats each. */
const TOTAL = memory.data(128, 16);
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
 * out[r, o] = (sum over k of x[r, k] * weight[o, k]) * scale[o] + shift[o].
 *   out (R, O) f32 overwritten; x (R, K) f32; packed from packWeight
 * PyTorch: nn.Linear(K, O), or nn.Sequential(nn.Linear(K, O), nn.BatchNorm1d(O)).eval().
 */
export function linearForward(out: usize, x: usize, packed: usize, R: i32, O: i32, K: i32): void {
  const xRow = (<usize>K) << 2;
  const outRow = (<usize>O) << 2;
  const panelBytes = (<usize>(TILE * (K + 2))) << 2;
  for (let block = 0; block < R; block += ROWS) {
    const end = min(block + ROWS, R);
    let panel = packed;
    for (let o = 0; o < O; o += TILE, panel += panelBytes) {
      const columns = min(O - o, TILE) << 2;
      let r = block;
      let xr = x + (<usize>r) * xRow;
      let outr = out + (<usize>r) * outRow + ((<usize>o) << 2);
      for (; r + 2 <= end; r += 2, xr += 2 * xRow, outr += 2 * outRow) {
        if (columns == TILE << 2) tile2(outr, outRow, xr, xRow, panel);
        else {
          tile2(SCRATCH, 64, xr, xRow, panel);
          memory.copy(outr, SCRATCH, columns);
          memory.copy(outr + outRow, SCRATCH + 64, columns);
        }
      }
      if (r < end) {
        tile1(SCRATCH, xr, xRow, panel);
        memory.copy(outr, SCRATCH, columns);
      }
    }
  }
}

/** Two rows by sixteen columns. */
// @ts-expect-error: decorator
@inline
function tile2(out: usize, outRow: usize, x: usize, xRow: usize, panel: usize): void {
  clear(TOTAL);
  clear(TOTAL + 64);
  const scale = panel;
  panel += 128;
  const end = x + xRow;
  while (x < end) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let b2 = f32x4.splat(0);
    let b3 = f32x4.splat(0);
    for (const stop = min(x + BLOCK, end); x < stop; x += 4, panel += 64) {
      const w0 = v128.load(panel, 0);
      const w1 = v128.load(panel, 16);
      const w2 = v128.load(panel, 32);
      const w3 = v128.load(panel, 48);
      const u = v128.load_splat<f32>(x);
      a0 = f32x4.add(a0, f32x4.mul(u, w0));
      a1 = f32x4.add(a1, f32x4.mul(u, w1));
      a2 = f32x4.add(a2, f32x4.mul(u, w2));
      a3 = f32x4.add(a3, f32x4.mul(u, w3));
      const v = v128.load_splat<f32>(x + xRow);
      b0 = f32x4.add(b0, f32x4.mul(v, w0));
      b1 = f32x4.add(b1, f32x4.mul(v, w1));
      b2 = f32x4.add(b2, f32x4.mul(v, w2));
      b3 = f32x4.add(b3, f32x4.mul(v, w3));
    }
    addTo(TOTAL, a0, a1, a2, a3);
    addTo(TOTAL + 64, b0, b1, b2, b3);
  }
  finish(out, TOTAL, scale);
  finish(out + outRow, TOTAL + 64, scale);
}

/** One row by sixteen columns: the same operations in the same order as one row of tile2. */
// @ts-expect-error: decorator
@inline
function tile1(out: usize, x: usize, xRow: usize, panel: usize): void {
  clear(TOTAL);
  const scale = panel;
  panel += 128;
  const end = x + xRow;
  while (x < end) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    for (const stop = min(x + BLOCK, end); x < stop; x += 4, panel += 64) {
      const u = v128.load_splat<f32>(x);
      a0 = f32x4.add(a0, f32x4.mul(u, v128.load(panel, 0)));
      a1 = f32x4.add(a1, f32x4.mul(u, v128.load(panel, 16)));
      a2 = f32x4.add(a2, f32x4.mul(u, v128.load(panel, 32)));
      a3 = f32x4.add(a3, f32x4.mul(u, v128.load(panel, 48)));
    }
    addTo(TOTAL, a0, a1, a2, a3);
  }
  finish(out, TOTAL, scale);
}

/** Sixteen zeros; memory.fill would call out of the loop. */
// @ts-expect-error: decorator
@inline
function clear(total: usize): void {
  for (let i: usize = 0; i < 64; i += 16) v128.store(total + i, f32x4.splat(0));
}

// @ts-expect-error: decorator
@inline
function addTo(total: usize, a0: v128, a1: v128, a2: v128, a3: v128): void {
  v128.store(total, f32x4.add(v128.load(total, 0), a0), 0);
  v128.store(total, f32x4.add(v128.load(total, 16), a1), 16);
  v128.store(total, f32x4.add(v128.load(total, 32), a2), 32);
  v128.store(total, f32x4.add(v128.load(total, 48), a3), 48);
}

/** out = total * scale + shift for sixteen columns; the shifts stand behind the scales. */
// @ts-expect-error: decorator
@inline
function finish(out: usize, total: usize, scale: usize): void {
  for (let i: usize = 0; i < 64; i += 16) {
    const scaled = f32x4.mul(v128.load(total + i), v128.load(scale + i));
    v128.store(out + i, f32x4.add(scaled, v128.load(scale + i, 64)));
  }
}

/**
 * x Wᵀ + b on a packed weight. The micro-kernel holds a 2 x 16 tile of the output in eight registers; with four of the
 * weight and two of x that is all V8 keeps without spilling (shapes measured in bench/). An output element is summed
 * in the order b, k = 0, 1, ... whatever rows surround it, so a row's bits do not depend on the batch.
 */
const TILE: i32 = 16; // output columns per panel
const ROWS: i32 = 128; // rows of x that stay in the second-level cache while the panels pass

/** 2 x 16 floats where a panel that is wider than the output is computed before its columns are copied. */
const SCRATCH = memory.data(128, 16);

/** Bytes that packWeight writes for an (O, K) weight. */
export function packedBytes(O: i32, K: i32): i32 {
  return ((O + TILE - 1) / TILE) * TILE * (K + 1) * 4;
}

/**
 * Rearrange a torch Linear into panels of 16 output columns: per panel the 16 biases, then K rows of 16 weights.
 *   out  packedBytes(O, K) bytes, 16-byte aligned; columns beyond O are 0
 *   weight (O, K) f32; bias (O,) f32
 */
export function packWeight(out: usize, weight: usize, bias: usize, O: i32, K: i32): void {
  for (let panel = 0; panel < O; panel += TILE) {
    for (let o = panel; o < panel + TILE; o++, out += 4)
      store<f32>(out, o < O ? load<f32>(bias + ((<usize>o) << 2)) : 0);
    for (let k = 0; k < K; k++)
      for (let o = panel; o < panel + TILE; o++, out += 4)
        store<f32>(out, o < O ? load<f32>(weight + ((<usize>(o * K + k)) << 2)) : 0);
  }
}

/**
 * out[r, o] = bias[o] + sum over k of x[r, k] * weight[o, k].
 *   out (R, O) f32 overwritten; x (R, K) f32; packed from packWeight
 * PyTorch: nn.Linear(K, O).
 */
export function linearForward(out: usize, x: usize, packed: usize, R: i32, O: i32, K: i32): void {
  const xRow = (<usize>K) << 2;
  const outRow = (<usize>O) << 2;
  const panelBytes = (<usize>(TILE * (K + 1))) << 2;
  for (let block = 0; block < R; block += ROWS) {
    const end = min(block + ROWS, R);
    let panel = packed;
    for (let o = 0; o < O; o += TILE, panel += panelBytes) {
      const width = min(O - o, TILE);
      let r = block;
      let xr = x + (<usize>r) * xRow;
      let outr = out + (<usize>r) * outRow + ((<usize>o) << 2);
      for (; r + 2 <= end; r += 2, xr += 2 * xRow, outr += 2 * outRow) {
        if (width == TILE) tile2(outr, outRow, xr, xRow, panel, K);
        else {
          tile2(SCRATCH, 64, xr, xRow, panel, K);
          memory.copy(outr, SCRATCH, (<usize>width) << 2);
          memory.copy(outr + outRow, SCRATCH + 64, (<usize>width) << 2);
        }
      }
      if (r < end) {
        tile1(SCRATCH, xr, panel, K);
        memory.copy(outr, SCRATCH, (<usize>width) << 2);
      }
    }
  }
}

/** Two rows by sixteen columns. */
// @ts-ignore: decorator
@inline
function tile2(out: usize, outRow: usize, x: usize, xRow: usize, panel: usize, K: i32): void {
  let a0 = v128.load(panel, 0);
  let a1 = v128.load(panel, 16);
  let a2 = v128.load(panel, 32);
  let a3 = v128.load(panel, 48);
  let b0 = a0;
  let b1 = a1;
  let b2 = a2;
  let b3 = a3;
  let y = x + xRow;
  for (const end = x + ((<usize>K) << 2); x < end; x += 4, y += 4) {
    panel += 64;
    const w0 = v128.load(panel, 0);
    const w1 = v128.load(panel, 16);
    const w2 = v128.load(panel, 32);
    const w3 = v128.load(panel, 48);
    const u = v128.load_splat<f32>(x);
    a0 = f32x4.add(a0, f32x4.mul(u, w0));
    a1 = f32x4.add(a1, f32x4.mul(u, w1));
    a2 = f32x4.add(a2, f32x4.mul(u, w2));
    a3 = f32x4.add(a3, f32x4.mul(u, w3));
    const v = v128.load_splat<f32>(y);
    b0 = f32x4.add(b0, f32x4.mul(v, w0));
    b1 = f32x4.add(b1, f32x4.mul(v, w1));
    b2 = f32x4.add(b2, f32x4.mul(v, w2));
    b3 = f32x4.add(b3, f32x4.mul(v, w3));
  }
  v128.store(out, a0, 0);
  v128.store(out, a1, 16);
  v128.store(out, a2, 32);
  v128.store(out, a3, 48);
  out += outRow;
  v128.store(out, b0, 0);
  v128.store(out, b1, 16);
  v128.store(out, b2, 32);
  v128.store(out, b3, 48);
}

/** One row by sixteen columns: the same operations in the same order as one row of tile2. */
// @ts-ignore: decorator
@inline
function tile1(out: usize, x: usize, panel: usize, K: i32): void {
  let a0 = v128.load(panel, 0);
  let a1 = v128.load(panel, 16);
  let a2 = v128.load(panel, 32);
  let a3 = v128.load(panel, 48);
  for (const end = x + ((<usize>K) << 2); x < end; x += 4) {
    panel += 64;
    const u = v128.load_splat<f32>(x);
    a0 = f32x4.add(a0, f32x4.mul(u, v128.load(panel, 0)));
    a1 = f32x4.add(a1, f32x4.mul(u, v128.load(panel, 16)));
    a2 = f32x4.add(a2, f32x4.mul(u, v128.load(panel, 32)));
    a3 = f32x4.add(a3, f32x4.mul(u, v128.load(panel, 48)));
  }
  v128.store(out, a0, 0);
  v128.store(out, a1, 16);
  v128.store(out, a2, 32);
  v128.store(out, a3, 48);
}

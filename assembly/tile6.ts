import { madd } from "./math";

/**
 * Sums of six rows by eight columns, half a panel of linear.ts: with twelve sums at once the fused multiply-add's latency is
 * hidden, where the eight of a 2 x 16 tile just are not. Without a fused one it would need more registers than there are.
 * The relaxed build exports it, so that it stays a function: inlined, or with anything but plain stores behind its loop,
 * Node 20's V8 spills its sums and takes twice the time.
 *   sums (6, 16) f32, the first 8 columns written; x six rows of f32, xRow bytes apart; w `count` rows of 16 f32
 */
export function tile6(sums: usize, x: usize, xRow: usize, w: usize, count: i32): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let d0 = f32x4.splat(0);
  let d1 = f32x4.splat(0);
  let e0 = f32x4.splat(0);
  let e1 = f32x4.splat(0);
  let f0 = f32x4.splat(0);
  let f1 = f32x4.splat(0);
  let xb = x + xRow;
  let xc = xb + xRow;
  let xd = xc + xRow;
  let xe = xd + xRow;
  let xf = xe + xRow;
  for (; count > 0; count--) {
    const w0 = v128.load(w, 0);
    const w1 = v128.load(w, 16);
    const a = v128.load_splat<f32>(x);
    a0 = madd(a, w0, a0);
    a1 = madd(a, w1, a1);
    const b = v128.load_splat<f32>(xb);
    b0 = madd(b, w0, b0);
    b1 = madd(b, w1, b1);
    const c = v128.load_splat<f32>(xc);
    c0 = madd(c, w0, c0);
    c1 = madd(c, w1, c1);
    const d = v128.load_splat<f32>(xd);
    d0 = madd(d, w0, d0);
    d1 = madd(d, w1, d1);
    const e = v128.load_splat<f32>(xe);
    e0 = madd(e, w0, e0);
    e1 = madd(e, w1, e1);
    const f = v128.load_splat<f32>(xf);
    f0 = madd(f, w0, f0);
    f1 = madd(f, w1, f1);
    x += 4;
    xb += 4;
    xc += 4;
    xd += 4;
    xe += 4;
    xf += 4;
    w += 64;
  }
  v128.store(sums, a0, 0);
  v128.store(sums, a1, 16);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, c0, 128);
  v128.store(sums, c1, 144);
  v128.store(sums, d0, 192);
  v128.store(sums, d1, 208);
  v128.store(sums, e0, 256);
  v128.store(sums, e1, 272);
  v128.store(sums, f0, 320);
  v128.store(sums, f1, 336);
}

/** out[i] = a[i] + b[i] for n floats; out may be a or b. */
export function addForward(out: usize, a: usize, b: usize, n: i32): void {
  const end = a + ((<usize>n) << 2);
  for (; a < end; a += 16, b += 16, out += 16) v128.store(out, f32x4.add(v128.load(a), v128.load(b)));
}

/** out[i] = a[i] * b[i] for n floats; out may be a or b. */
export function mulForward(out: usize, a: usize, b: usize, n: i32): void {
  const end = a + ((<usize>n) << 2);
  for (; a < end; a += 16, b += 16, out += 16) v128.store(out, f32x4.mul(v128.load(a), v128.load(b)));
}

/** out[i] = a[i] / (b[i] + eps) for n floats; out may be a or b. */
export function ratioForward(out: usize, a: usize, b: usize, eps: f32, n: i32): void {
  const end = a + ((<usize>n) << 2);
  const more = f32x4.splat(eps);
  for (; a < end; a += 16, b += 16, out += 16)
    v128.store(out, f32x4.div(v128.load(a), f32x4.add(v128.load(b), more)));
}

/**
 * out[r, f] = x[r, f] * a[r].
 *   out (R, F) f32 overwritten, may be x; x (R, F) f32; a (R,) f32
 */
export function scaleRowsForward(out: usize, x: usize, a: usize, R: i32, F: i32): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  for (const end = a + ((<usize>R) << 2); a < end; a += 4, x += row, out += row) {
    const by = v128.load_splat<f32>(a);
    for (let f: usize = 0; f < whole; f += 16) v128.store(out + f, f32x4.mul(v128.load(x + f), by));
    for (let f = whole; f < row; f += 4) store<f32>(out + f, load<f32>(x + f) * load<f32>(a));
  }
}

/**
 * Copy R rows of F floats between row-major matrices of any width: concat writes into a column range, slice reads one.
 *   out, x: address of the first element to write and to read; outStride, xStride: floats per row
 */
export function copyColumns(out: usize, outStride: i32, x: usize, xStride: i32, R: i32, F: i32): void {
  for (let r = 0; r < R; r++) {
    memory.copy(out, x, (<usize>F) << 2);
    out += (<usize>outStride) << 2;
    x += (<usize>xStride) << 2;
  }
}

/** n zeros. */
export function zerosForward(out: usize, n: i32): void {
  memory.fill(out, 0, (<usize>n) << 2);
}

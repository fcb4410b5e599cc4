/**
 * Sum the rows of each segment: out[s, f] = sum of x[r, f] for start[s] <= r < start[s + 1]; an empty segment gives 0.
 *   out (S, F) f32 overwritten; x (start[S], F) f32, rows sorted by segment; start (S + 1,) i32, CSR row starts
 * PyTorch: torch.zeros(S, F).index_add_(0, segment, x). Summed in row order, so runs agree bit for bit.
 */
export function segmentSumForward(out: usize, x: usize, start: usize, S: i32, F: i32): void {
  const row = (<usize>F) << 2;
  const whole = row & ~15;
  for (let s = 0; s < S; s++, out += row, start += 4) {
    const first = x + <usize>load<i32>(start) * row;
    const end = x + <usize>load<i32>(start, 4) * row;
    for (let f: usize = 0; f < whole; f += 16) {
      let sum = f32x4.splat(0);
      for (let at = first; at < end; at += row) sum = f32x4.add(sum, v128.load(at + f));
      v128.store(out + f, sum);
    }
    for (let f = whole; f < row; f += 4) {
      let sum: f32 = 0;
      for (let at = first; at < end; at += row) sum += load<f32>(at + f);
      store<f32>(out + f, sum);
    }
  }
}

/** Mean of the rows of each segment: segmentSum divided by the number of rows; an empty segment gives NaN (0 / 0). */
export function segmentMeanForward(out: usize, x: usize, start: usize, S: i32, F: i32): void {
  segmentSumForward(out, x, start, S, F);
  for (let s = 0; s < S; s++, start += 4) {
    const count = <f32>(load<i32>(start, 4) - load<i32>(start));
    for (const end = out + ((<usize>F) << 2); out < end; out += 4) store<f32>(out, load<f32>(out) / count);
  }
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

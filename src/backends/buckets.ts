/** Sizes that batches are padded to, so that a GPU sees few different ones. */
import type { FeedSizes } from "../onnx/inputs.js";

/** The next of 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...: four sizes to each doubling, at most a quarter too large. */
export function bucket(count: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(count)) - 2);
  return Math.ceil(count / step) * step;
}

export function bucketed({ rows: { B, N, E, T }, slots }: FeedSizes): FeedSizes {
  return {
    rows: { B: bucket(B), N: bucket(N), E: bucket(E), T: bucket(T) },
    slots: new Map([...slots].map(([name, count]) => [name, bucket(count)])),
  };
}

/** Numbers counted in equal bins, for histograms of values. */

export interface Bins {
  readonly centers: readonly number[];
  readonly counts: readonly number[];
}

/** @param most bins at most; fewer for few values (their square root) */
export function binned(values: readonly number[], most = 40): Bins {
  if (values.length === 0) return { centers: [], counts: [] };
  let [least, greatest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    least = Math.min(least, value);
    greatest = Math.max(greatest, value);
  }
  const bins = least === greatest ? 1 : Math.max(5, Math.min(most, Math.ceil(Math.sqrt(values.length))));
  const counts = new Array<number>(bins).fill(0);
  const width = (greatest - least) / bins;
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - least) / (width || 1)))]++;
  return { centers: counts.map((_, i) => least + width * (i + 0.5)), counts };
}

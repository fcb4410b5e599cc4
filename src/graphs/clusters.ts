/** Values as numbers of clusters, so that equal lengths and angles count as equal however they were rounded. */
export interface Clusters {
  /** Cluster of each value, numbered by rising value. */
  readonly ids: Int32Array;
  /** Middle of each cluster, ascending. */
  readonly values: Float64Array;
}

/** A cluster spans at most so many gaps: a chain of values is no cluster. */
const WIDEST = 4;

/**
 * Values share a cluster unless a gap above `gap` parts them, so that no cluster ends on a rounding boundary. Where that
 * chains values together over more than WIDEST gaps, those are told apart by ever smaller gaps.
 */
export function clusterValues(values: Float64Array, gap: number): Clusters {
  const sorted = values.slice().sort();
  const starts: number[] = [];
  split(sorted, 0, sorted.length, gap, gap * WIDEST, starts);
  const lowest = Float64Array.from(starts, (at) => sorted[at]);
  const middles = Float64Array.from(starts, (at, c) => (sorted[at] + sorted[(starts[c + 1] ?? sorted.length) - 1]) / 2);
  const ids = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) ids[i] = lastAtMost(lowest, values[i]);
  return { ids, values: middles };
}

/** Push where the clusters of sorted[from .. end) start. */
function split(sorted: Float64Array, from: number, end: number, gap: number, widest: number, starts: number[]): void {
  for (let start = from; start < end; ) {
    let stop = start + 1;
    while (stop < end && sorted[stop] - sorted[stop - 1] <= gap) stop++;
    if (sorted[stop - 1] - sorted[start] <= widest) starts.push(start);
    else split(sorted, start, stop, gap / 10, widest, starts);
    start = stop;
  }
}

/** Index of the last entry of an ascending list that is not above x; the first is not. */
function lastAtMost(ascending: Float64Array, x: number): number {
  let low = 0;
  let high = ascending.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (ascending[middle] <= x) low = middle;
    else high = middle;
  }
  return low;
}

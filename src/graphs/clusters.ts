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
  const bins = new Bins(gap, values.length);
  const ids = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) ids[i] = bins.add(values[i]);
  const order = bins.order();
  const clusterOf = new Int32Array(order.length);
  const middles = new Float64Array(order.length);
  let count = 0;
  for (let at = 0; at < order.length; count++) {
    const lowest = bins.lowest[order[at]];
    let highest: number;
    do {
      highest = bins.highest[order[at]];
      clusterOf[order[at++]] = count;
    } while (at < order.length && bins.lowest[order[at]] - highest <= gap);
    if (highest - lowest > gap * WIDEST) return clusterSorted(values, gap);
    middles[count] = (lowest + highest) / 2;
  }
  for (let i = 0; i < ids.length; i++) ids[i] = clusterOf[ids[i]];
  return { ids, values: middles.subarray(0, count) };
}

/** Values in bins as wide as the gap, which none of theirs is parted by: mostly far fewer than values, and soon sorted. */
class Bins {
  readonly #gap: number;
  /** Number of the bin at a slot, from 1; 0 where there is none. */
  readonly #slots: Int32Array;
  readonly #places: Float64Array;
  readonly lowest: Float64Array;
  readonly highest: Float64Array;
  #count = 0;

  constructor(gap: number, most: number) {
    this.#gap = gap;
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * most + 1)));
    this.#places = new Float64Array(most);
    this.lowest = new Float64Array(most);
    this.highest = new Float64Array(most);
  }

  /** The number of a value's bin. */
  add(value: number): number {
    const place = Math.floor(value / this.#gap);
    const mask = this.#slots.length - 1;
    // Fibonacci hashing (Knuth, vol. 3, 6.4): bins of neighbouring lengths are neighbours.
    let at = (Math.imul(place, 0x9e3779b1) >>> 7) & mask;
    for (let bin = this.#slots[at]; bin !== 0; bin = this.#slots[at]) {
      if (this.#places[bin - 1] === place) {
        if (value < this.lowest[bin - 1]) this.lowest[bin - 1] = value;
        else if (value > this.highest[bin - 1]) this.highest[bin - 1] = value;
        return bin - 1;
      }
      at = (at + 1) & mask;
    }
    this.#slots[at] = this.#count + 1;
    this.#places[this.#count] = place;
    this.lowest[this.#count] = value;
    this.highest[this.#count] = value;
    return this.#count++;
  }

  /** The bins by rising values. */
  order(): Int32Array {
    const lowest = this.lowest.subarray(0, this.#count);
    const sorted = lowest.slice().sort();
    const order = new Int32Array(this.#count);
    for (let bin = 0; bin < order.length; bin++) order[lastAtMost(sorted, lowest[bin])] = bin;
    return order;
  }
}

function clusterSorted(values: Float64Array, gap: number): Clusters {
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

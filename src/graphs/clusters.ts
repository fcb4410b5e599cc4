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
  BINS.clear(gap);
  const ids = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) ids[i] = BINS.add(values[i]);
  const { order, lowest, highest } = BINS.sorted();
  const clusterOf = new Int32Array(order.length);
  const middles = new Float64Array(order.length);
  let count = 0;
  for (let at = 0; at < order.length; count++) {
    const from = lowest[order[at]];
    let end: number;
    do {
      end = highest[order[at]];
      clusterOf[order[at++]] = count;
    } while (at < order.length && lowest[order[at]] - end <= gap);
    if (end - from > gap * WIDEST) return clusterSorted(values, gap);
    middles[count] = (from + end) / 2;
  }
  for (let i = 0; i < ids.length; i++) ids[i] = clusterOf[ids[i]];
  return { ids, values: middles.subarray(0, count) };
}

const FIRST_BINS = 64;
/** A table grown beyond so many bins is not kept. */
const KEPT_BINS = 2 ** 16;

/** Values in bins as wide as the gap, which none of theirs is parted by: mostly far fewer than values, and soon sorted. */
class Bins {
  #gap = 1;
  #count = 0;
  /** Number of the bin at a slot, from 1; 0 where there is none. Twice as many as bins. */
  #slots = new Int32Array(2 * FIRST_BINS);
  /** Four numbers a bin, a cache line of two: place, lowest and highest value. */
  #bins = new Float64Array(4 * FIRST_BINS);

  clear(gap: number): void {
    this.#gap = gap;
    this.#count = 0;
    if (this.#slots.length > 2 * KEPT_BINS) this.#resize(FIRST_BINS);
    else this.#slots.fill(0);
  }

  /** The number of a value's bin. */
  add(value: number): number {
    const place = Math.floor(value / this.#gap);
    const at = this.#find(place);
    const bins = this.#bins;
    const bin = this.#slots[at] - 1;
    if (bin >= 0) {
      if (value < bins[4 * bin + 1]) bins[4 * bin + 1] = value;
      else if (value > bins[4 * bin + 2]) bins[4 * bin + 2] = value;
      return bin;
    }
    if (2 * this.#count === this.#slots.length) {
      this.#resize(2 * this.#count);
      return this.add(value);
    }
    this.#slots[at] = this.#count + 1;
    bins[4 * this.#count] = place;
    bins[4 * this.#count + 1] = value;
    bins[4 * this.#count + 2] = value;
    return this.#count++;
  }

  /** The bins by rising values, and the values at both ends of each bin. */
  sorted(): { order: Int32Array; lowest: Float64Array; highest: Float64Array } {
    const lowest = new Float64Array(this.#count);
    const highest = new Float64Array(this.#count);
    for (let bin = 0; bin < this.#count; bin++) {
      lowest[bin] = this.#bins[4 * bin + 1];
      highest[bin] = this.#bins[4 * bin + 2];
    }
    const ascending = lowest.slice().sort();
    const order = new Int32Array(this.#count);
    for (let bin = 0; bin < order.length; bin++) order[lastAtMost(ascending, lowest[bin])] = bin;
    return { order, lowest, highest };
  }

  /** The slot where a place's bin is, or would be. */
  #find(place: number): number {
    const slots = this.#slots;
    const bins = this.#bins;
    const mask = slots.length - 1;
    let at = hash(place) & mask;
    while (slots[at] !== 0 && bins[4 * slots[at] - 4] !== place) at = (at + 1) & mask;
    return at;
  }

  #resize(bins: number): void {
    const old = this.#bins;
    this.#bins = new Float64Array(4 * bins);
    this.#bins.set(old.subarray(0, 4 * this.#count));
    this.#slots = new Int32Array(2 * bins);
    for (let bin = 0; bin < this.#count; bin++) this.#slots[this.#find(this.#bins[4 * bin])] = bin + 1;
  }
}

/** Of a whole number, by its low 32 bits: Fibonacci hashing (Knuth, vol. 3, 6.4), its high bits folded down. */
export function hash(whole: number): number {
  const spread = Math.imul(whole, 0x9e3779b1);
  return spread ^ (spread >>> 15);
}

/** One for all calls: a small crystal is done before new ones would be made. */
const BINS = new Bins();

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

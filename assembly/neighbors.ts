/**
 * Periodic neighbour search on a grid of bins, float64, linear in the number of atoms.
 *
 * The cell is cut into na x nb x nc bins, slabs between lattice planes. Bin (i, j, k) of any periodic image is reached
 * by counting on past the cell's edge, so one loop over bin offsets serves a one-atom cell (many images, one bin) and a
 * 5,000-atom cell (one image, many bins). Around each atom bins are visited in growing rings until no unvisited bin can
 * hold anything nearer than the k-th neighbour found.
 */

/** Bin of each atom and the atoms of each bin.
 *   atoms    (N,) i32 out: atom numbers sorted by bin, in atom order within a bin
 *   start    (na nb nc + 1,) i32 out: CSR starts of the bins in `atoms`
 *   frac     (N, 3) f64, each in [0, 1)
 */
export function binAtoms(atoms: usize, start: usize, frac: usize, N: i32, na: i32, nb: i32, nc: i32): void {
  const bins = na * nb * nc;
  memory.fill(start, 0, (<usize>(bins + 1)) << 2);
  for (let n = 0; n < N; n++) {
    const at = start + ((<usize>binOf(frac + <usize>n * 24, na, nb, nc)) << 2);
    store<i32>(at, load<i32>(at, 4) + 1, 4);
  }
  for (let b: usize = 0; b < <usize>bins; b++) {
    const at = start + (b << 2);
    store<i32>(at, load<i32>(at) + load<i32>(at, 4), 4);
  }
  // Fill from the back: each bin's start moves down to its place while atoms stay in order.
  for (let n = N - 1; n >= 0; n--) {
    const at = start + ((<usize>binOf(frac + <usize>n * 24, na, nb, nc)) << 2);
    const slot = load<i32>(at, 4) - 1;
    store<i32>(at, slot, 4);
    store<i32>(atoms + ((<usize>slot) << 2), n);
  }
  // Every entry b + 1 now holds the start of bin b: shift down by one.
  memory.copy(start, start + 4, (<usize>bins) << 2);
  store<i32>(start + ((<usize>bins) << 2), N);
}

// @ts-expect-error: decorator
@inline
function slab(x: f64, n: i32): i32 {
  return min(<i32>(x * <f64>n), n - 1);
}

// @ts-expect-error: decorator
@inline
function binOf(frac: usize, na: i32, nb: i32, nc: i32): i32 {
  return (slab(load<f64>(frac), na) * nb + slab(load<f64>(frac, 8), nb)) * nc + slab(load<f64>(frac, 16), nc);
}

/** Periodic image of bin i on an axis with n bins: floor(i / n). */
// @ts-expect-error: decorator
@inline
export function imageOf(i: i32, n: i32): i32 {
  return i >= 0 ? i / n : -((n - 1 - i) / n);
}

/** Shortest possible distance (Å) along one axis to the slab d further on, from `inside` (0 to 1) one's own of height h. */
// @ts-expect-error: decorator
@inline
function slabDistance(inside: f64, d: i32, h: f64): f64 {
  return d > 0 ? (<f64>d - inside) * h : d < 0 ? (inside - <f64>(d + 1)) * h : 0;
}

/**
 * For atoms first..last-1: every neighbour (atom, periodic image) no farther than the k-th nearest, ties included
 * (within `tolerance`), and no farther than `cutoff`, sorted by distance; k = 0: every neighbour within `cutoff`, in no
 * particular order.
 *   count     (last - first,) i32 out: neighbours of each atom
 *   index     i32 out: neighbouring atom, the atoms' lists one after another
 *   distance  f64 out: Å, likewise
 *   image     (., 3) i32 out: cells between the two atoms' own, along a, b, c, likewise; or 0 when not wanted
 *   lattice   (3, 3) f64 rows in Å; frac (N, 3) f64 in [0, 1); heights (3,) f64: slab heights in Å
 *   atoms, start: from binAtoms; best: scratch of k f64
 *   room      most neighbours one atom may have
 * Returns the number written, or -1 when an atom needs more than `room`.
 */
export function nearestNeighbors(
  count: usize, index: usize, distance: usize, image: usize, room: i32, first: i32, last: i32, k: i32, cutoff: f64,
  tolerance: f64, lattice: usize, frac: usize, heights: usize, atoms: usize, start: usize, best: usize, na: i32, nb: i32, nc: i32,
): i32 {
  const ha = load<f64>(heights);
  const hb = load<f64>(heights, 8);
  const hc = load<f64>(heights, 16);
  const reachA = <i32>(cutoff / ha) + 1;
  const reachB = <i32>(cutoff / hb) + 1;
  const reachC = <i32>(cutoff / hc) + 1;
  const rings = max(reachA, max(reachB, reachC));
  const lastBest = best + (<usize>k << 3) - 8;
  let written = 0;
  for (let n = first; n < last; n++, count += 4) {
    const at = frac + <usize>n * 24;
    const ia = slab(load<f64>(at), na);
    const ib = slab(load<f64>(at, 8), nb);
    const ic = slab(load<f64>(at, 16), nc);
    const xa = load<f64>(at) * <f64>na - <f64>ia;
    const xb = load<f64>(at, 8) * <f64>nb - <f64>ib;
    const xc = load<f64>(at, 16) * <f64>nc - <f64>ic;
    for (let b: usize = 0; b < <usize>k; b++) store<f64>(best + (b << 3), Infinity);
    let bound = cutoff;
    let found = 0;
    for (let ring = 0; ring <= rings; ring++) {
      if (ring > 0 && nearestInRing(ring, xa, xb, xc, ha, hb, hc, reachA, reachB, reachC) > bound) break;
      for (let da = -min(ring, reachA); da <= min(ring, reachA); da++) {
        if (slabDistance(xa, da, ha) > bound) continue;
        const imageA = imageOf(ia + da, na);
        const rowA = (ia + da - imageA * na) * nb;
        for (let db = -min(ring, reachB); db <= min(ring, reachB); db++) {
          if (slabDistance(xb, db, hb) > bound) continue;
          const imageB = imageOf(ib + db, nb);
          const rowB = (rowA + ib + db - imageB * nb) * nc;
          // Inside the cube of the ring only its two faces along c are new.
          const face = max(abs(da), abs(db)) == ring;
          const top = face ? min(ring, reachC) : ring;
          if (top > reachC) continue;
          const step = face ? 1 : 2 * ring;
          for (let dc = -top; dc <= top; dc += step) {
            if (slabDistance(xc, dc, hc) > bound) continue;
            const imageC = imageOf(ic + dc, nc);
            const bin = start + ((<usize>(rowB + ic + dc - imageC * nc)) << 2);
            const home = imageA == 0 && imageB == 0 && imageC == 0;
            for (let p = load<i32>(bin); p < load<i32>(bin, 4); p++) {
              const m = load<i32>(atoms + ((<usize>p) << 2));
              if (home && m == n) continue;
              const to = frac + <usize>m * 24;
              const fa = load<f64>(to) - load<f64>(at) + <f64>imageA;
              const fb = load<f64>(to, 8) - load<f64>(at, 8) + <f64>imageB;
              const fc = load<f64>(to, 16) - load<f64>(at, 16) + <f64>imageC;
              const d = length(fa, fb, fc, lattice);
              if (d > bound) continue;
              if (found == room) {
                found = keepWithin(index, distance, image, found, bound);
                if (found == room) return -1;
              }
              store<i32>(index + ((<usize>found) << 2), m);
              store<f64>(distance + ((<usize>found) << 3), d);
              if (image) storeImage(image + <usize>found * 12, imageA, imageB, imageC);
              found++;
              if (k == 0) continue;
              insert(best, lastBest, d);
              bound = min(cutoff, load<f64>(lastBest) + tolerance);
            }
          }
        }
      }
    }
    found = keepWithin(index, distance, image, found, bound);
    if (k > 0) {
      if (image) sortWithImages(index, distance, image, found);
      else sortByDistance(index, distance, found);
    }
    store<i32>(count, found);
    index += (<usize>found) << 2;
    distance += (<usize>found) << 3;
    if (image) image += <usize>found * 12;
    written += found;
  }
  return written;
}

/** Shortest possible distance to any bin with an offset of exactly `ring` on some axis that reaches that far. */
function nearestInRing(
  ring: i32, xa: f64, xb: f64, xc: f64, ha: f64, hb: f64, hc: f64, reachA: i32, reachB: i32, reachC: i32,
): f64 {
  let least: f64 = Infinity;
  if (ring <= reachA) least = min(least, min(slabDistance(xa, ring, ha), slabDistance(xa, -ring, ha)));
  if (ring <= reachB) least = min(least, min(slabDistance(xb, ring, hb), slabDistance(xb, -ring, hb)));
  if (ring <= reachC) least = min(least, min(slabDistance(xc, ring, hc), slabDistance(xc, -ring, hc)));
  return least;
}

/** Length in Å of a fractional vector. */
// @ts-expect-error: decorator
@inline
function length(fa: f64, fb: f64, fc: f64, lattice: usize): f64 {
  const x = fa * load<f64>(lattice) + fb * load<f64>(lattice, 24) + fc * load<f64>(lattice, 48);
  const y = fa * load<f64>(lattice, 8) + fb * load<f64>(lattice, 32) + fc * load<f64>(lattice, 56);
  const z = fa * load<f64>(lattice, 16) + fb * load<f64>(lattice, 40) + fc * load<f64>(lattice, 64);
  return Math.sqrt(x * x + y * y + z * z);
}

/** Insert d into the ascending list best..last, dropping its largest. */
function insert(best: usize, last: usize, d: f64): void {
  if (d >= load<f64>(last)) return;
  let at = last;
  while (at > best && load<f64>(at - 8) > d) {
    store<f64>(at, load<f64>(at - 8));
    at -= 8;
  }
  store<f64>(at, d);
}

/** Keep the entries no farther than `bound`, in order; returns how many. */
function keepWithin(index: usize, distance: usize, image: usize, n: i32, bound: f64): i32 {
  let kept = 0;
  for (let i = 0; i < n; i++) {
    const d = load<f64>(distance + ((<usize>i) << 3));
    if (d > bound) continue;
    store<f64>(distance + ((<usize>kept) << 3), d);
    store<i32>(index + ((<usize>kept) << 2), load<i32>(index + ((<usize>i) << 2)));
    if (image) memory.copy(image + <usize>kept * 12, image + <usize>i * 12, 12);
    kept++;
  }
  return kept;
}

/** Stable insertion sort: lists are a few dozen long and nearly sorted. */
function sortByDistance(index: usize, distance: usize, n: i32): void {
  for (let i = 1; i < n; i++) {
    const d = load<f64>(distance + ((<usize>i) << 3));
    const m = load<i32>(index + ((<usize>i) << 2));
    let j = i;
    for (; j > 0 && load<f64>(distance + ((<usize>(j - 1)) << 3)) > d; j--) {
      store<f64>(distance + ((<usize>j) << 3), load<f64>(distance + ((<usize>(j - 1)) << 3)));
      store<i32>(index + ((<usize>j) << 2), load<i32>(index + ((<usize>(j - 1)) << 2)));
    }
    store<f64>(distance + ((<usize>j) << 3), d);
    store<i32>(index + ((<usize>j) << 2), m);
  }
}

/** As sortByDistance, images along. */
function sortWithImages(index: usize, distance: usize, image: usize, n: i32): void {
  for (let i = 1; i < n; i++) {
    const d = load<f64>(distance + ((<usize>i) << 3));
    let j = i;
    while (j > 0 && load<f64>(distance + ((<usize>(j - 1)) << 3)) > d) j--;
    if (j == i) continue;
    const m = load<i32>(index + ((<usize>i) << 2));
    const from = image + <usize>i * 12;
    const a = load<i32>(from);
    const b = load<i32>(from, 4);
    const c = load<i32>(from, 8);
    shiftUp(distance, j, i, 8);
    shiftUp(index, j, i, 4);
    shiftUp(image, j, i, 12);
    store<f64>(distance + ((<usize>j) << 3), d);
    store<i32>(index + ((<usize>j) << 2), m);
    storeImage(image + <usize>j * 12, a, b, c);
  }
}

/** Entries j..i-1 of a list move up by one. */
// @ts-expect-error: decorator
@inline
function shiftUp(list: usize, j: i32, i: i32, bytes: usize): void {
  memory.copy(list + <usize>(j + 1) * bytes, list + <usize>j * bytes, <usize>(i - j) * bytes);
}

// @ts-expect-error: decorator
@inline
function storeImage(at: usize, a: i32, b: i32, c: i32): void {
  store<i32>(at, a);
  store<i32>(at, b, 4);
  store<i32>(at, c, 8);
}

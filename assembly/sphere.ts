/**
 * Every pair of atoms within a sphere, float64, linear in the number of atoms.
 *
 * The cell is cut into na x nb columns along c, as wide as the sphere's radius, and each column into nc bins, so that
 * what may lie in the sphere around an atom is, for each column and periodic image, one run of atoms in the order of the
 * bins. Runs are screened four atoms at a time in float32, with a margin for its rounding; what is left is computed in
 * float64 from the crystal as given, and decides.
 */
import { binAtoms, imageOf } from "./neighbors";

/** Bytes of scratch for N atoms in so many bins: their order and positions, the bins' starts. */
export function sphereScratch(N: i32, bins: i32): usize {
  return ((<usize>bins + 1) << 2) + ((<usize>N + 4) << 4);
}

/**
 * Edges of all pairs with distance² < square, each atom's by length, then sending atom.
 *   start    (N + 1,) i32 out: first edge of each receiving atom
 *   source   (E,) i32 out: sending atom; length (E,) f64 out, Å
 *   image    (E, 3) f64 out: cells as given from the sending atom to the receiving one's image; or 0 when not wanted
 *   capacity most edges that fit
 *   cell     f64: compact lattice (3, 3), Å; its basis (3, 3) in given cells; given lattice (3, 3), Å; reach (3,), the
 *            radius in cells along a, b, c with a margin; square, Å²; screen, Å², square with float32's margin
 *   frac     (N, 3) f64 in [0, 1) of the compact lattice; given (N, 3) f64 as the crystal has them
 *   origin   (N, 3) f64 given cells that were taken off the coordinates; or 0 when none were
 *   scratch  sphereScratch bytes, 16-byte aligned
 * Lengths are sqrt(|v|²), v = (given_receiver + image - given_sender) . given lattice, sums from left to right.
 * Returns E, or -1 when there are more than `capacity`.
 */
export function sphereEdges(
  start: usize, source: usize, length: usize, image: usize, capacity: i32, cell: usize, frac: usize, given: usize,
  origin: usize, N: i32, na: i32, nb: i32, nc: i32, scratch: usize,
): i32 {
  const axis = (<usize>N + 4) << 2;
  const xs = scratch;
  const ys = xs + axis;
  const zs = ys + axis;
  const atoms = zs + axis;
  const bins = atoms + axis;
  binAtoms(atoms, bins, frac, N, na, nb, nc);
  placeAtoms(xs, ys, zs, atoms, frac, cell, N);
  const reachA = load<f64>(cell, 216);
  const reachB = load<f64>(cell, 224);
  const reachC = load<f64>(cell, 232);
  const square = load<f64>(cell, 240);
  const screen = f32x4.splat(<f32>load<f64>(cell, 248));
  let E = 0;
  store<i32>(start, 0);
  for (let r = 0; r < N; r++) {
    const first = E;
    const at = frac + <usize>r * 24;
    const ua = load<f64>(at);
    const ub = load<f64>(at, 8);
    const uc = load<f64>(at, 16);
    const highA = <i32>Math.floor((ua + reachA) * <f64>na);
    const highB = <i32>Math.floor((ub + reachB) * <f64>nb);
    const highC = <i32>Math.floor((uc + reachC) * <f64>nc);
    const lowA = <i32>Math.floor((ua - reachA) * <f64>na);
    const lowB = <i32>Math.floor((ub - reachB) * <f64>nb);
    const lowC = <i32>Math.floor((uc - reachC) * <f64>nc);
    const firstB = imageOf(lowB, nb);
    const firstC = imageOf(lowC, nc);
    const lastC = imageOf(highC, nc);
    let imageA = imageOf(lowA, na);
    let rowA = lowA - imageA * na;
    for (let a = lowA; a <= highA; a++) {
      let imageB = firstB;
      let rowB = lowB - imageB * nb;
      for (let b = lowB; b <= highB; b++) {
        const column = bins + (<usize>((rowA * nb + rowB) * nc) << 2);
        for (let imageC = firstC; imageC <= lastC; imageC++) {
          const from = imageC == firstC ? lowC - imageC * nc : 0;
          const to = imageC == lastC ? highC - imageC * nc : nc - 1;
          const end = load<i32>(column + (<usize>to << 2), 4);
          let p = load<i32>(column + (<usize>from << 2));
          if (p == end) continue;
          const ia = <f64>imageA;
          const ib = <f64>imageB;
          const ic = <f64>imageC;
          // From the receiving atom to the run's image of its cell.
          const fa = ia - ua;
          const fb = ib - ub;
          const fc = ic - uc;
          const sx = f32x4.splat(<f32>(fa * load<f64>(cell) + fb * load<f64>(cell, 24) + fc * load<f64>(cell, 48)));
          const sy = f32x4.splat(<f32>(fa * load<f64>(cell, 8) + fb * load<f64>(cell, 32) + fc * load<f64>(cell, 56)));
          const sz = f32x4.splat(<f32>(fa * load<f64>(cell, 16) + fb * load<f64>(cell, 40) + fc * load<f64>(cell, 64)));
          const home = imageA == 0 && imageB == 0 && imageC == 0;
          for (; p < end; p += 4) {
            const offset = <usize>p << 2;
            const dx = f32x4.add(v128.load(xs + offset), sx);
            const dy = f32x4.add(v128.load(ys + offset), sy);
            const dz = f32x4.add(v128.load(zs + offset), sz);
            const d2 = f32x4.add(f32x4.add(f32x4.mul(dx, dx), f32x4.mul(dy, dy)), f32x4.mul(dz, dz));
            let hits = i32x4.bitmask(f32x4.le(d2, screen));
            if (p + 4 > end) hits &= (1 << (end - p)) - 1;
            for (; hits != 0; hits &= hits - 1) {
              const s = load<i32>(atoms + offset + (<usize>ctz(hits) << 2));
              if (home && s == r) continue;
              // Back from the sending atom's image to the receiving one: the opposite, in given cells.
              let ga = -(ia * load<f64>(cell, 72) + ib * load<f64>(cell, 96) + ic * load<f64>(cell, 120));
              let gb = -(ia * load<f64>(cell, 80) + ib * load<f64>(cell, 104) + ic * load<f64>(cell, 128));
              let gc = -(ia * load<f64>(cell, 88) + ib * load<f64>(cell, 112) + ic * load<f64>(cell, 136));
              if (origin) {
                const there = origin + <usize>s * 24;
                const here = origin + <usize>r * 24;
                ga += load<f64>(there) - load<f64>(here);
                gb += load<f64>(there, 8) - load<f64>(here, 8);
                gc += load<f64>(there, 16) - load<f64>(here, 16);
              }
              const sender = given + <usize>s * 24;
              const receiver = given + <usize>r * 24;
              const va = load<f64>(receiver) + ga - load<f64>(sender);
              const vb = load<f64>(receiver, 8) + gb - load<f64>(sender, 8);
              const vc = load<f64>(receiver, 16) + gc - load<f64>(sender, 16);
              const x = va * load<f64>(cell, 144) + vb * load<f64>(cell, 168) + vc * load<f64>(cell, 192);
              const y = va * load<f64>(cell, 152) + vb * load<f64>(cell, 176) + vc * load<f64>(cell, 200);
              const z = va * load<f64>(cell, 160) + vb * load<f64>(cell, 184) + vc * load<f64>(cell, 208);
              const found = x * x + y * y + z * z;
              if (!(found < square)) continue;
              if (E == capacity) return -1;
              store<f64>(length + (<usize>E << 3), Math.sqrt(found));
              store<i32>(source + (<usize>E << 2), s);
              if (image) {
                const row = image + <usize>E * 24;
                store<f64>(row, ga);
                store<f64>(row, gb, 8);
                store<f64>(row, gc, 16);
              }
              E++;
            }
          }
        }
        if (++rowB == nb) {
          rowB = 0;
          imageB++;
        }
      }
      if (++rowA == na) {
        rowA = 0;
        imageA++;
      }
    }
    sortRun(source + (<usize>first << 2), length + (<usize>first << 3), image ? image + <usize>first * 24 : 0, E - first);
    store<i32>(start + (<usize>r << 2), E, 4);
  }
  return E;
}

/** Positions in the compact cell, Å, in the order of the bins. */
function placeAtoms(xs: usize, ys: usize, zs: usize, atoms: usize, frac: usize, cell: usize, N: i32): void {
  for (let p: usize = 0; p < <usize>N << 2; p += 4) {
    const at = frac + <usize>load<i32>(atoms + p) * 24;
    const a = load<f64>(at);
    const b = load<f64>(at, 8);
    const c = load<f64>(at, 16);
    store<f32>(xs + p, <f32>(a * load<f64>(cell) + b * load<f64>(cell, 24) + c * load<f64>(cell, 48)));
    store<f32>(ys + p, <f32>(a * load<f64>(cell, 8) + b * load<f64>(cell, 32) + c * load<f64>(cell, 56)));
    store<f32>(zs + p, <f32>(a * load<f64>(cell, 16) + b * load<f64>(cell, 40) + c * load<f64>(cell, 64)));
  }
}

/** Sort n edges by length, then sending atom: Shell's sort, of the usual few dozen in one or two passes. */
function sortRun(source: usize, length: usize, image: usize, n: i32): void {
  let gap = 1;
  while (gap * 9 < n) gap = gap * 3 + 1;
  for (; gap > 0; gap = gap / 3) {
    const step = <usize>gap;
    for (let i: usize = step; i < <usize>n; i++) {
      const d = load<f64>(length + (i << 3));
      const s = load<i32>(source + (i << 2));
      let j = i;
      for (; j >= step; j -= step) {
        const before = load<f64>(length + ((j - step) << 3));
        const sender = load<i32>(source + ((j - step) << 2));
        if (before < d || (before == d && sender <= s)) break;
        store<f64>(length + (j << 3), before);
        store<i32>(source + (j << 2), sender);
        if (image) swapImages(image + j * 24, image + (j - step) * 24);
      }
      store<f64>(length + (j << 3), d);
      store<i32>(source + (j << 2), s);
    }
  }
}

function swapImages(a: usize, b: usize): void {
  for (let x: usize = 0; x < 24; x += 8) {
    const kept = load<f64>(a + x);
    store<f64>(a + x, load<f64>(b + x));
    store<f64>(b + x, kept);
  }
}

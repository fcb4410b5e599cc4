/**
 * Every pair of atoms within a sphere, float64, linear in the number of atoms.
 *
 * The cell is cut into na x nb columns along c, and each column into nc bins, so that what may lie in the sphere around
 * an atom is, for each column and periodic image, one run of atoms in the order of the bins. Runs are screened in float32, four atoms at a time, with a margin for its rounding; what is left is computed in
 * float64 from the crystal as given, and decides. Neither step branches on an atom: what is found is written always,
 * and counted if it counts.
 */
import { binAtoms, imageOf } from "./neighbors";

/** Hits and runs kept before their distances are computed; one run more may add all atoms. */
const KEPT: i32 = 256;
/** Bytes of a run: (3,) f64, the image from its atoms to the receiving one in given cells; i32, whether they are at home. */
const RUN: usize = 32;
/** Edges of one atom that are sorted by ranks, which takes time with their square; more by Shell's sort. */
const RANKED: i32 = 64;

/** Bytes of scratch for N atoms in so many bins: what sphereEdges takes from it, in its order. */
export function sphereScratch(N: i32, bins: i32): usize {
  return 4 * atomBytes(N) + 2 * hitBytes(N) + <usize>KEPT * RUN + RANK_BYTES + ((<usize>bins + 1) << 2);
}

/** One number of each atom, and what a vector reads or writes past the last. */
function atomBytes(N: i32): usize {
  return (<usize>N + 4) << 2;
}

function hitBytes(N: i32): usize {
  return <usize>(KEPT + N + 8) << 2;
}

/** Lengths and senders of the edges that are sorted. */
const RANK_BYTES: usize = (<usize>RANKED + 2) * 12;

/** For each set of lanes, the bytes that bring them to the front. */
// prettier-ignore
const FRONT: usize = memory.data<u8>([
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  4, 5, 6, 7, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  8, 9, 10, 11, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11, 12, 13, 14, 15,
  4, 5, 6, 7, 8, 9, 10, 11, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  12, 13, 14, 15, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15,
  4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15,
  8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 12, 13, 14, 15,
  4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
], 16);

/**
 * Edges of all pairs with distance² < square, each atom's by length, then sending atom.
 *   start    (N + 1,) i32 out: first edge of each receiving atom
 *   source   (E,) i32 out: sending atom; length (E,) f64 out, Å
 *   image    (E, 3) f64 out: cells as given from the sending atom to the receiving one's image; or 0 when not wanted
 *   capacity edges that the outputs have room for, source and length for one more: they are read in pairs
 *   cell     f64: compact lattice (3, 3), Å; its basis (3, 3) in given cells; given lattice (3, 3), Å; reach (3,), the
 *            radius in cells along a, b, c with a margin; square, Å²; screen, Å², square with float32's margin
 *   frac     (N, 3) f64 in [0, 1) of the compact lattice; given (N, 3) f64 as the crystal has them
 *   origin   (N, 3) f64 given cells that were taken off the coordinates; or 0 when none were
 *   scratch  sphereScratch bytes, 16-byte aligned
 * Lengths are sqrt(|v|²), v = (given_receiver + image - given_sender) . given lattice, sums from left to right.
 * Returns E, or -1 when there may be more than `capacity`.
 */
export function sphereEdges(
  start: usize, source: usize, length: usize, image: usize, capacity: i32, cell: usize, frac: usize, given: usize,
  origin: usize, N: i32, na: i32, nb: i32, nc: i32, scratch: usize,
): i32 {
  const axis = atomBytes(N);
  const xs = scratch;
  const ys = xs + axis;
  const zs = ys + axis;
  const atoms = zs + axis;
  const hits = atoms + axis;
  const runOf = hits + hitBytes(N);
  const runs = runOf + hitBytes(N);
  const ranks = runs + <usize>KEPT * RUN;
  const bins = ranks + RANK_BYTES;
  binAtoms(atoms, bins, frac, N, na, nb, nc);
  placeAtoms(xs, ys, zs, atoms, frac, cell, N);
  const reachA = load<f64>(cell, 216);
  const reachB = load<f64>(cell, 224);
  const reachC = load<f64>(cell, 232);
  const screen = f32x4.splat(<f32>load<f64>(cell, 248));
  const alongA = f32x4(<f32>load<f64>(cell), <f32>load<f64>(cell, 8), <f32>load<f64>(cell, 16), 0);
  const alongB = f32x4(<f32>load<f64>(cell, 24), <f32>load<f64>(cell, 32), <f32>load<f64>(cell, 40), 0);
  const alongC = f32x4(<f32>load<f64>(cell, 48), <f32>load<f64>(cell, 56), <f32>load<f64>(cell, 64), 0);
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
    let n = 0;
    let run = 0;
    let imageA = imageOf(lowA, na);
    let rowA = lowA - imageA * na;
    for (let a = lowA; a <= highA; a++) {
      const fromA = f32x4.mul(alongA, f32x4.splat(<f32>(<f64>imageA - ua)));
      let imageB = firstB;
      let rowB = lowB - imageB * nb;
      for (let b = lowB; b <= highB; b++) {
        const fromB = f32x4.add(fromA, f32x4.mul(alongB, f32x4.splat(<f32>(<f64>imageB - ub))));
        const column = bins + (<usize>((rowA * nb + rowB) * nc) << 2);
        for (let imageC = firstC; imageC <= lastC; imageC++) {
          const from = imageC == firstC ? lowC - imageC * nc : 0;
          const to = imageC == lastC ? highC - imageC * nc : nc - 1;
          const end = load<i32>(column + (<usize>to << 2), 4);
          let p = load<i32>(column + (<usize>from << 2));
          if (p == end) continue;
          if (max(n, run) >= KEPT) {
            if (E + n > capacity) return -1;
            E = settle(source, length, image, E, cell, given, origin, atoms, hits, runOf, runs, n, r);
            n = run = 0;
          }
          keepRun(runs + <usize>run * RUN, cell, imageA, imageB, imageC);
          // From the receiving atom to the run's image of its cell.
          const shift = f32x4.add(fromB, f32x4.mul(alongC, f32x4.splat(<f32>(<f64>imageC - uc))));
          const sx = v128.shuffle<f32>(shift, shift, 0, 0, 0, 0);
          const sy = v128.shuffle<f32>(shift, shift, 1, 1, 1, 1);
          const sz = v128.shuffle<f32>(shift, shift, 2, 2, 2, 2);
          const last = i32x4.splat(end);
          const number = i32x4.splat(run);
          let place = i32x4.add(i32x4.splat(p), i32x4(0, 1, 2, 3));
          for (; p < end; p += 4) {
            const offset = <usize>p << 2;
            const dx = f32x4.add(v128.load(xs + offset), sx);
            const dy = f32x4.add(v128.load(ys + offset), sy);
            const dz = f32x4.add(v128.load(zs + offset), sz);
            const square = f32x4.add(f32x4.add(f32x4.mul(dx, dx), f32x4.mul(dy, dy)), f32x4.mul(dz, dz));
            const lanes = i32x4.bitmask(v128.and(f32x4.le(square, screen), i32x4.lt_s(place, last)));
            v128.store(hits + (<usize>n << 2), i8x16.swizzle(place, v128.load(FRONT + (<usize>lanes << 4))));
            v128.store(runOf + (<usize>n << 2), number);
            place = i32x4.add(place, i32x4.splat(4));
            n += popcnt(lanes);
          }
          run++;
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
    if (E + n > capacity) return -1;
    E = settle(source, length, image, E, cell, given, origin, atoms, hits, runOf, runs, n, r);
    sortRun(source + (<usize>first << 2), length + (<usize>first << 3), image ? image + <usize>first * 24 : 0, E - first, ranks);
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

/** The image of a run's atoms, turned round and told in given cells. */
// @ts-expect-error: decorator
@inline
function keepRun(run: usize, cell: usize, imageA: i32, imageB: i32, imageC: i32): void {
  const a = <f64>imageA;
  const b = <f64>imageB;
  const c = <f64>imageC;
  store<f64>(run, -(a * load<f64>(cell, 72) + b * load<f64>(cell, 96) + c * load<f64>(cell, 120)));
  store<f64>(run, -(a * load<f64>(cell, 80) + b * load<f64>(cell, 104) + c * load<f64>(cell, 128)), 8);
  store<f64>(run, -(a * load<f64>(cell, 88) + b * load<f64>(cell, 112) + c * load<f64>(cell, 136)), 16);
  store<i32>(run, (imageA | imageB | imageC) == 0 ? 1 : 0, 24);
}

/** The exact lengths of n hits around atom r; those within the sphere are appended to E edges. Returns how many there are then. */
function settle(
  source: usize, length: usize, image: usize, E: i32, cell: usize, given: usize, origin: usize, atoms: usize,
  hits: usize, runOf: usize, runs: usize, n: i32, r: i32,
): i32 {
  const lattice = cell + 144;
  const a2 = v128.load(lattice);
  const b2 = v128.load(lattice, 24);
  const c2 = v128.load(lattice, 48);
  const az = load<f64>(lattice, 16);
  const bz = load<f64>(lattice, 40);
  const cz = load<f64>(lattice, 64);
  const square = load<f64>(cell, 240);
  const receiver = given + <usize>r * 24;
  const ra = load<f64>(receiver);
  const rb = load<f64>(receiver, 8);
  const rc = load<f64>(receiver, 16);
  let oa: f64 = 0;
  let ob: f64 = 0;
  let oc: f64 = 0;
  if (origin) {
    oa = load<f64>(origin + <usize>r * 24);
    ob = load<f64>(origin + <usize>r * 24, 8);
    oc = load<f64>(origin + <usize>r * 24, 16);
  }
  for (let h: usize = 0; h < <usize>n << 2; h += 4) {
    const s = load<i32>(atoms + (<usize>load<i32>(hits + h) << 2));
    const run = runs + <usize>load<i32>(runOf + h) * RUN;
    let ga = load<f64>(run);
    let gb = load<f64>(run, 8);
    let gc = load<f64>(run, 16);
    if (origin) {
      const there = origin + <usize>s * 24;
      ga += load<f64>(there) - oa;
      gb += load<f64>(there, 8) - ob;
      gc += load<f64>(there, 16) - oc;
    }
    const sender = given + <usize>s * 24;
    const va = ra + ga - load<f64>(sender);
    const vb = rb + gb - load<f64>(sender, 8);
    const vc = rc + gc - load<f64>(sender, 16);
    const xy = f64x2.add(f64x2.add(f64x2.mul(f64x2.splat(va), a2), f64x2.mul(f64x2.splat(vb), b2)), f64x2.mul(f64x2.splat(vc), c2));
    const z = va * az + vb * bz + vc * cz;
    const squares = f64x2.mul(xy, xy);
    const found = f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1) + z * z;
    store<f64>(length + (<usize>E << 3), Math.sqrt(found));
    store<i32>(source + (<usize>E << 2), s);
    if (image) {
      const row = image + <usize>E * 24;
      store<f64>(row, ga);
      store<f64>(row, gb, 8);
      store<f64>(row, gc, 16);
    }
    E += i32(found < square) & (i32(s != r) | i32(load<i32>(run, 24) == 0));
  }
  return E;
}

/** Sort n edges by length, then sending atom: by ranks, which leaves ties to an insertion sort, or by Shell's gaps. */
function sortRun(source: usize, length: usize, image: usize, n: i32, scratch: usize): void {
  let gap = 1;
  if (n <= RANKED && image == 0) rankRun(source, length, n, scratch);
  else while (gap * 9 < n) gap = gap * 3 + 1;
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

/** Sort n edges by length: each goes where as many lie before it as are shorter, without a branch. */
function rankRun(source: usize, length: usize, n: i32, scratch: usize): void {
  const lengths = scratch;
  const sources = lengths + ((<usize>RANKED + 2) << 3);
  const end = <usize>n << 3;
  // Pairs at a time, the last perhaps with one too many; memory.copy costs a call.
  for (let i: usize = 0; i < end; i += 16) {
    v128.store(lengths + i, v128.load(length + i));
    store<u64>(sources + (i >> 1), load<u64>(source + (i >> 1)));
  }
  for (let g: usize = 0; g < end; g += 16) {
    const own = v128.load(lengths + g);
    let rank = i64x2.splat(0);
    let j: usize = 0;
    // Of equal ones the earlier goes first.
    for (; j < g; j += 8) rank = i64x2.sub(rank, f64x2.le(v128.load64_splat(lengths + j), own));
    const key = v128.load64_splat(lengths + g);
    rank = i64x2.sub(rank, v128.bitselect(f64x2.le(key, own), f64x2.lt(key, own), i64x2(0, -1)));
    for (j += 8; j < end; j += 8) rank = i64x2.sub(rank, f64x2.lt(v128.load64_splat(lengths + j), own));
    let to = <usize>i64x2.extract_lane(rank, 0);
    store<f64>(length + (to << 3), f64x2.extract_lane(own, 0));
    store<i32>(source + (to << 2), load<i32>(sources + (g >> 1)));
    if (g + 8 == end) break;
    to = <usize>i64x2.extract_lane(rank, 1);
    store<f64>(length + (to << 3), f64x2.extract_lane(own, 1));
    store<i32>(source + (to << 2), load<i32>(sources + (g >> 1), 4));
  }
}

function swapImages(a: usize, b: usize): void {
  for (let x: usize = 0; x < 24; x += 8) {
    const kept = load<f64>(a + x);
    store<f64>(a + x, load<f64>(b + x));
    store<f64>(b + x, kept);
  }
}

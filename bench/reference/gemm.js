/**
 * AssemblyScript of the matrix product that linearForward is measured against: a tile of MR rows by NR columns on panels of
 * B, sums taken 256 columns at a time, rows 120 at a time. No scale, no shift, no blocks of sums.
 */

/**
 * @param {number} MR rows of a tile
 * @param {number} NR columns of a tile, a multiple of 4
 * @param {boolean} fused whether products are added by relaxed_madd
 * @param {boolean} inlined whether the tile is inlined into the loops around it
 */
export function gemm(MR, NR, fused, inlined) {
  const columns = [...Array(NR / 4).keys()];
  const madd = (a, b, c) => (fused ? `f32x4.relaxed_madd(${a}, ${b}, ${c})` : `f32x4.add(f32x4.mul(${a}, ${b}), ${c})`);
  const tile = (name, height) => {
    const rows = [...Array(height).keys()];
    const each = (write) => rows.flatMap((r) => columns.map((c) => write(r, c))).join("\n");
    const walk = (write, step) =>
      rows.map((r) => columns.map((c) => write(r, c)).join("\n") + (r + 1 < height ? `\n${step}` : "")).join("\n");
    return `
${inlined ? "// @ts-ignore: decorator\n@inline\n" : "export "}function ${name}(
  a: usize, rsa: usize, csa: usize, b: usize, c: usize, ldc: usize, k: i32, acc: i32,
): void {
${each((r, c) => `let c${r}_${c} = f32x4.splat(0);`)}
if (acc) {
let d = c;
${walk((r, c) => `c${r}_${c} = v128.load(d, ${16 * c});`, "d += ldc;")}
}
${rows.map((r) => `let a${r} = a + ${r} * rsa;`).join("\n")}
while (k > 0) {
${columns.map((c) => `const b${c} = v128.load(b, ${16 * c});`).join("\n")}
${rows
  .flatMap((r) => [
    `const x${r} = v128.load_splat<f32>(a${r});`,
    ...columns.map((c) => `c${r}_${c} = ${madd(`x${r}`, `b${c}`, `c${r}_${c}`)};`),
  ])
  .join("\n")}
${rows.map((r) => `a${r} += csa;`).join("\n")}
b += ${4 * NR};
k -= 1;
}
${walk((r, c) => `v128.store(c, c${r}_${c}, ${16 * c});`, "c += ldc;")}
}`;
  };
  return `const KC: i32 = 256;
const MC: i32 = 120;

/** B (k, n) with strides of rs and cs floats into panels of ${NR} columns, by blocks of 256 rows. */
export function packB(b: usize, rs: i32, cs: i32, k: i32, n: i32, out: usize): void {
  for (let k0 = 0; k0 < k; k0 += KC)
    for (let j = 0; j < n; j += ${NR})
      for (let p = k0; p < min(k0 + KC, k); p++)
        for (let q = j; q < j + ${NR}; q++, out += 4)
          store<f32>(out, q < n ? load<f32>(b + (<usize>(p * rs + q * cs) << 2)) : 0);
}
${tile("tile", MR)}
${tile("row", 1)}

/** C (m, n) = A (m, k) B; tmp: ${4 * MR * NR} bytes. */
export function gemm(a: usize, bp: usize, c: usize, m: i32, n: i32, k: i32, tmp: usize): void {
  const ra = <usize>k << 2, ca: usize = 4, lc = <usize>n << 2;
  for (let k0 = 0; k0 < k; k0 += KC) {
    const kc = min<i32>(KC, k - k0), panel = <usize>(kc * ${NR}) << 2, more = i32(k0 > 0);
    for (let i0 = 0; i0 < m; i0 += MC) {
      const ie = min<i32>(i0 + MC, m);
      let b = bp;
      for (let j = 0; j < n; j += ${NR}) {
        const w = min<i32>(n - j, ${NR});
        let i = i0;
        if (w == ${NR}) {
          for (; i + ${MR} <= ie; i += ${MR})
            tile(a + <usize>i * ra, ra, ca, b, c + <usize>i * lc + (<usize>j << 2), lc, kc, more);
          for (; i < ie; i++) row(a + <usize>i * ra, ra, ca, b, c + <usize>i * lc + (<usize>j << 2), lc, kc, more);
        } else
          for (; i < ie; i++) {
            row(a + <usize>i * ra, ra, ca, b, tmp, 0, kc, 0);
            for (let q = 0; q < w; q++) {
              const d = c + <usize>i * lc + (<usize>(j + q) << 2), v = load<f32>(tmp + (<usize>q << 2));
              store<f32>(d, more ? load<f32>(d) + v : v);
            }
          }
        b += panel;
      }
    }
    bp += panel * <usize>((n + ${NR - 1}) / ${NR});
    a += <usize>kc * ca;
  }
}
`;
}

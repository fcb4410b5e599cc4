/**
 * ALIGNN's k-nearest edges by the letter of the notes on its reference data (graph, steps 1 to 7): every pair of every
 * image, and as many as there are again with each cutoff; positions and images with the fused arithmetic of numpy.dot.
 * Slow on purpose.
 */
import type { ShellGraphConfig } from "../src/config.js";
import { invert } from "../src/structures/linear-algebra.js";
import type { Structure } from "../src/structures/structure.js";
import { exactFma } from "./exact-fma.js";

const around = (x: number) => {
  const y = x * 1e5;
  const low = Math.floor(y);
  const up = y - low > 0.5 || (y - low === 0.5 && low % 2 !== 0);
  return (up ? low + 1 : low) / 1e5;
};

/** [source, receiver, x, y, z] of every edge. */
export function shellOracle(
  { lattice: L, numbers, fracCoords: f }: Structure,
  { cutoff, maxNeighbors, canonize }: Pick<ShellGraphConfig, "cutoff" | "maxNeighbors" | "canonize">,
): { edges: number[][]; cutoff: number } {
  const R = Array.from(L, around);
  const N = numbers.length;
  const C = Array.from({ length: 3 * N }, (_, at) => {
    const [i, x] = [3 * Math.floor(at / 3), at % 3];
    return exactFma(f[i + 2], R[6 + x], exactFma(f[i + 1], R[3 + x], f[i] * R[x]));
  });
  const edge = Math.max(...[0, 3, 6].map((i) => Number(Math.hypot(R[i], R[i + 1], R[i + 2]).toFixed(6))));
  let r = cutoff;
  let found = neighbors(r);
  while (found.some((list) => list.length < maxNeighbors)) {
    r = r < edge ? edge : 2 * r;
    found = neighbors(r);
  }
  const bonds = new Map<string, number[]>();
  for (const [i, list] of found.entries()) {
    const last = list.map(([d]) => d).sort((a, b) => a - b)[maxNeighbors - 1];
    for (const [d, j, ...image] of list) {
      if (d > last) continue;
      const bond = canonize && j < i ? [j, i, ...image.map((n) => 0 - n)] : [i, j, ...image];
      bonds.set(canonize ? bond.join() : `${bond.join()} of ${i}`, bond);
    }
  }
  const edges = [...bonds.values()].flatMap(([i, j, ...image]) => {
    const d = image.map((n, k) => f[3 * j + k] + n - f[3 * i + k]);
    const v = [0, 1, 2].map((x) => d[0] * R[x] + d[1] * R[3 + x] + d[2] * R[6 + x]);
    return [
      [i, j, ...v],
      [j, i, ...v.map((x) => -x)],
    ];
  });
  return { edges, cutoff: r };

  function neighbors(reach: number): number[][][] {
    const inverse = invert(R);
    const G = [0, 3, 6, 1, 4, 7, 2, 5, 8].map((i) => around(2 * Math.PI * inverse[i]));
    const ranges = [0, 1, 2].map((k) => {
      const length = Number(Math.hypot(G[3 * k], G[3 * k + 1], G[3 * k + 2]).toFixed(6)) / (2 * Math.PI);
      const cells = Math.ceil((reach + 0.15) * length);
      const along = Array.from({ length: N }, (_, i) => f[3 * i + k]);
      return [Math.floor(Math.min(...along)) - cells, Math.ceil(Math.max(...along)) + cells];
    });
    const lists: number[][][] = Array.from({ length: N }, () => []);
    for (let a = ranges[0][0]; a < ranges[0][1]; a++)
      for (let b = ranges[1][0]; b < ranges[1][1]; b++)
        for (let c = ranges[2][0]; c < ranges[2][1]; c++) {
          const T = [0, 1, 2].map((x) => exactFma(c, L[6 + x], exactFma(b, L[3 + x], a * L[x])));
          for (let i = 0; i < N; i++)
            for (let j = 0; j < N; j++) {
              const [x, y, z] = T.map((t, k) => t + C[3 * j + k] - C[3 * i + k]);
              const d = Math.sqrt(x * x + y * y + z * z);
              if (d <= reach && d > 0.15) lists[i].push([d, j, a, b, c]);
            }
        }
    return lists;
  }
}

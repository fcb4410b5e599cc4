/** Structures that a page and Node make alike. */
import type { Structure } from "../src/structures/structure.js";

/** So many, each of another size: the given ones over and over, a little larger each time. */
export function scaled(cells: readonly Structure[], count: number): Structure[] {
  return Array.from({ length: count }, (_, i) => {
    const cell = cells[i % cells.length];
    return { ...cell, id: `${i}`, lattice: cell.lattice.map((x) => x * (1 + 1e-3 * i)) };
  });
}

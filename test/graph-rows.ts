/** Graphs as sorted text, for comparing multisets of edges. */
import * as assert from "uvu/assert";
import type { CrystalGraph } from "../src/graphs/graph.js";

/** Rows of numbers as sorted lines, for comparing multisets; `digits` after the point. */
export function sortedRows(rows: Iterable<readonly number[]>, digits = 0): string[] {
  return Array.from(rows, (row) =>
    row.map((x) => (x + 0).toFixed(digits).replace(/^-(0\.?0*)$/, "$1")).join(" "),
  ).sort();
}

/** The same rows in any order: equal integers in the first `ids` columns, the others within `tolerance`. */
export function sameRows(
  found: readonly number[][],
  expected: readonly number[][],
  ids: number,
  tolerance: number,
): void {
  const buckets = new Map<string, number[][]>();
  const key = (row: readonly number[]) => row.slice(0, ids).join(" ");
  for (const row of expected) buckets.set(key(row), [...(buckets.get(key(row)) ?? []), row]);
  for (const row of found) {
    const bucket = buckets.get(key(row)) ?? [];
    const at = bucket.findIndex((other) => row.every((x, k) => Math.abs(x - other[k]) <= tolerance));
    assert.ok(at >= 0, `${row} is not expected, or too often found`);
    bucket.splice(at, 1);
  }
  assert.is(found.length, expected.length);
}

/** [source, receiver] of every edge, with its vector where the graph has them. */
export function edgeRows({ numAtoms, start, source, vectors }: CrystalGraph): number[][] {
  const rows: number[][] = [];
  for (let i = 0; i < numAtoms; i++)
    for (let e = start[i]; e < start[i + 1]; e++)
      rows.push([source[e], i, ...(vectors ? vectors.subarray(3 * e, 3 * e + 3) : [])]);
  return rows;
}

/** Every atom's own element and its neighbours' (length, element), whatever the order of atoms. */
export function neighborhoods({ numAtoms, start, source, lengths, numbers }: CrystalGraph): string[] {
  return Array.from({ length: numAtoms }, (_, i) => {
    const rows = Array.from({ length: start[i + 1] - start[i] }, (_, at) => [
      lengths[start[i] + at],
      numbers[source[start[i] + at]],
    ]);
    return [numbers[i], ...sortedRows(rows, 5)].join();
  }).sort();
}

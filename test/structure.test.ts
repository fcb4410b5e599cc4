import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { MIN_ATOM_DISTANCE, makeStructure } from "../src/structures/structure.js";

/** Smallest distance over the 27 images of each pair, Å; plain and slow. */
function smallestDistance(lattice: readonly number[], coords: readonly number[]): number {
  let smallest = Infinity;
  for (let i = 0; i < coords.length; i += 3)
    for (let j = 0; j < i; j += 3)
      for (let image = 0; image < 27; image++) {
        const shift = [image % 3, Math.floor(image / 3) % 3, Math.floor(image / 9)].map((n) => n - 1);
        const d = shift.map((n, k) => coords[i + k] - coords[j + k] + n);
        const cartesian = [0, 1, 2].map((k) => d[0] * lattice[k] + d[1] * lattice[3 + k] + d[2] * lattice[6 + k]);
        smallest = Math.min(smallest, Math.hypot(...cartesian));
      }
  return smallest;
}

test("makeStructure finds exactly the overlaps that checking all pairs finds", () => {
  const lattice = [3, 0, 0, 1, 2.5, 0, -0.5, 0.7, 12];
  const coordinate = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
  const nudge = fc.double({ min: -0.05, max: 0.05, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(coordinate, { minLength: 9, maxLength: 36 }),
      fc.array(nudge, { minLength: 3, maxLength: 3 }),
      (free, near) => {
        // A last atom close to the first, across a face as often as not.
        const base = free.slice(0, free.length - (free.length % 3));
        const coords = [...base, ...near.map((d, k) => (((base[k] + d) % 1) + 1) % 1)];
        const parts = {
          lattice: Float64Array.from(lattice),
          pbc: [true, true, true] as const,
          numbers: new Uint8Array(coords.length / 3).fill(14),
          fracCoords: Float64Array.from(coords),
        };
        const overlaps = smallestDistance(lattice, coords) < MIN_ATOM_DISTANCE;
        if (overlaps) assert.throws(() => makeStructure(parts), /overlap/);
        else assert.ok(makeStructure(parts));
      },
    ),
    { seed: 7, numRuns: 500 },
  );
});

test.run();

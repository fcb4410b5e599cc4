/** Random crystals for property tests, and the ways of writing the same crystal down differently. */
import fc from "fast-check";
import { invert } from "../src/structures/linear-algebra.js";
import { makeStructure, type Structure, transformRows } from "../src/structures/structure.js";

type Vector = readonly [number, number, number];

/** Prototypes with tied neighbour shells, as (cell edge factors, [site species index, x, y, z]...). */
const PROTOTYPES: readonly { species: number; sites: readonly (readonly number[])[] }[] = [
  {
    species: 2,
    sites: [
      [0, 0, 0, 0],
      [0, 0.5, 0.5, 0],
      [0, 0.5, 0, 0.5],
      [0, 0, 0.5, 0.5],
      [1, 0.5, 0, 0],
      [1, 0, 0.5, 0],
      [1, 0, 0, 0.5],
      [1, 0.5, 0.5, 0.5],
    ],
  },
  {
    species: 2,
    sites: [
      [0, 0, 0, 0],
      [1, 0.5, 0.5, 0.5],
    ],
  },
  {
    species: 3,
    sites: [
      [0, 0, 0, 0],
      [1, 0.5, 0.5, 0.5],
      [2, 0.5, 0.5, 0],
      [2, 0.5, 0, 0.5],
      [2, 0, 0.5, 0.5],
    ],
  },
  { species: 1, sites: [[0, 0, 0, 0]] },
];

const element = fc.integer({ min: 1, max: 92 });
const edge = fc.double({ min: 3, max: 7, noNaN: true });
const coordinate = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

/** Ideal cubic prototypes, sometimes strained: exact ties, and cuts through a tied shell of different species. */
const symmetric: fc.Arbitrary<Structure> = fc
  .record({
    prototype: fc.constantFrom(...PROTOTYPES),
    species: fc.array(element, { minLength: 3, maxLength: 3 }),
    a: edge,
    c: fc.constantFrom(1, 1, 1.07),
  })
  .map(({ prototype, species, a, c }) =>
    makeStructure({
      lattice: Float64Array.of(a, 0, 0, 0, a, 0, 0, 0, a * c),
      pbc: [true, true, true],
      numbers: Uint8Array.from(prototype.sites, ([s]) => species[s]),
      fracCoords: Float64Array.from(prototype.sites.flatMap(([, ...xyz]) => xyz)),
    }),
  );

/** Triclinic cells with 1 to 6 atoms anywhere, at least 1.2 Å apart. */
const general: fc.Arbitrary<Structure> = fc
  .record({
    edges: fc.tuple(edge, edge, edge),
    shear: fc.tuple(...Array.from({ length: 3 }, () => fc.double({ min: -1.5, max: 1.5, noNaN: true }))),
    atoms: fc.array(fc.record({ number: element, at: fc.tuple(coordinate, coordinate, coordinate) }), {
      minLength: 1,
      maxLength: 6,
    }),
  })
  .map(({ edges: [a, b, c], shear: [xy, xz, yz], atoms }) => ({
    lattice: Float64Array.of(a, 0, 0, xy, b, 0, xz, yz, c),
    pbc: [true, true, true] as const,
    numbers: Uint8Array.from(atoms, ({ number }) => number),
    fracCoords: Float64Array.from(atoms.flatMap(({ at }) => at)),
  }))
  .filter((structure) => closestPair(structure) > 1.2);

export const crystal: fc.Arbitrary<Structure> = fc.oneof(symmetric, general);

/** Shortest distance between two atoms or images, over the 27 nearest cells; Å. */
export function closestPair({ lattice, numbers, fracCoords }: Structure): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < numbers.length; i++)
    for (let j = 0; j <= i; j++)
      for (const shift of cellShifts(1)) {
        const d = shift.map((n, k) => fracCoords[3 * i + k] - fracCoords[3 * j + k] + n);
        if (i !== j || shift.some(Boolean)) least = Math.min(least, Math.hypot(...transformRows(d, lattice)));
      }
  return least;
}

export function cellShifts(reach: number): Vector[] {
  const range = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
  return range.flatMap((a) => range.flatMap((b) => range.map((c): Vector => [a, b, c])));
}

/** The same atoms in another order: `order` lists old positions. */
export function permuted(structure: Structure, order: readonly number[]): Structure {
  return {
    ...structure,
    numbers: Uint8Array.from(order, (i) => structure.numbers[i]),
    fracCoords: Float64Array.from(order.flatMap((i) => [...structure.fracCoords.subarray(3 * i, 3 * i + 3)])),
  };
}

/** The same crystal with its origin moved; fractional. */
export function shifted(structure: Structure, by: Vector): Structure {
  return { ...structure, fracCoords: structure.fracCoords.map((x, i) => x + by[i % 3]) };
}

/** The same crystal turned in space by Euler angles. */
export function rotated(structure: Structure, [a, b, c]: Vector): Structure {
  const z = (t: number) => [Math.cos(t), -Math.sin(t), 0, Math.sin(t), Math.cos(t), 0, 0, 0, 1];
  const x = (t: number) => [1, 0, 0, 0, Math.cos(t), -Math.sin(t), 0, Math.sin(t), Math.cos(t)];
  const turn = transformRows(transformRows(z(a), x(b)), z(c));
  return { ...structure, lattice: transformRows(structure.lattice, turn) };
}

/** The same crystal on basis vectors M · lattice, M an integer matrix of determinant ±1. */
export function rebased(structure: Structure, m: readonly number[]): Structure {
  const lattice = transformRows(m, structure.lattice);
  return { ...structure, lattice, fracCoords: transformRows(structure.fracCoords, invert(m)) };
}

/** n x n x n cells as one. */
export function supercell({ lattice, numbers, fracCoords, ...rest }: Structure, n: number): Structure {
  const shifts = cellShifts(n).filter((shift) => shift.every((s) => s >= 0 && s < n));
  return {
    ...rest,
    lattice: lattice.map((x) => x * n),
    numbers: Uint8Array.from(shifts.flatMap(() => [...numbers])),
    fracCoords: Float64Array.from(shifts.flatMap((shift) => Array.from(fracCoords, (x, i) => (x + shift[i % 3]) / n))),
  };
}

/** Products of a few shears and swaps: unimodular integer matrices. */
export const unimodular: fc.Arbitrary<number[]> = fc
  .array(
    fc.record({
      i: fc.integer({ min: 0, max: 2 }),
      j: fc.integer({ min: 0, max: 2 }),
      times: fc.integer({ min: -2, max: 2 }),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((steps) => {
    const m = [1, 0, 0, 0, 1, 0, 0, 0, 1];
    for (const { i, j, times } of steps) if (i !== j) for (let k = 0; k < 3; k++) m[3 * i + k] += times * m[3 * j + k];
    return m;
  });

/** Structures of the shared fixtures exactly as the reference codes had them. */
import { SYMBOLS } from "../src/structures/elements.js";
import type { Structure } from "../src/structures/structure.js";
import { fixtureJson, fixtureNames } from "./fixtures.js";

interface StoredStructure {
  lattice: number[][];
  frac_coords: number[][];
  species: string[];
}

export function asStructure({ lattice, frac_coords, species }: StoredStructure): Structure {
  return {
    lattice: Float64Array.from(lattice.flat()),
    pbc: [true, true, true],
    numbers: Uint8Array.from(species, (symbol) => SYMBOLS.indexOf(symbol)),
    fracCoords: Float64Array.from(frac_coords.flat()),
  };
}

/** By id, from the folder of structures. */
export function storedStructures(): Map<string, Structure> {
  const ids = fixtureNames("structures").filter((name) => /\.(cif|vasp|extxyz)$/.test(name));
  return new Map(
    ids.map((name) => {
      const id = name.replace(/\.[^.]+$/, "");
      return [id, asStructure(fixtureJson<StoredStructure>(`structures/${id}.json`))];
    }),
  );
}

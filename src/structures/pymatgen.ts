/** JSON of pymatgen's Structure.as_dict(). Source: pymatgen.core.structure, IStructure. */
import { UnitcellError } from "../errors.js";
import type { Species } from "./elements.js";
import {
  assemble,
  isObject,
  type JsonKind,
  type JsonObject,
  readLattice,
  readPbc,
  readSpecies,
  readVector,
  show,
} from "./json.js";
import { MAX_ATOMS, type Structure } from "./structure.js";

interface Site {
  readonly species: Species;
  readonly abc: readonly number[];
}

/** One whole atom: `species: [{ element: "Na", occu: 1 }]`, charge signs in the element allowed. */
function readSite(site: unknown, i: number): Site {
  const species = isObject(site) ? site.species : undefined;
  if (!Array.isArray(species) || species.length === 0 || !species.every(isObject))
    throw new UnitcellError("CORRUPT", `site ${i}: expected a list of species, found ${show(species)}`);
  if (species.length > 1 || species[0].occu !== 1)
    throw new UnitcellError("UNSUPPORTED", `disordered structure: site ${i} has species ${show(species)}`, { site: i });
  return {
    species: readSpecies(species[0].element, `site ${i}`),
    abc: readVector((site as JsonObject).abc, `site ${i}: abc`),
  };
}

function readStructure(value: JsonObject): Structure {
  const lattice = value.lattice as JsonObject;
  const list = value.sites as unknown[];
  if (list.length > MAX_ATOMS) throw new UnitcellError("LIMIT", `${list.length} sites, at most ${MAX_ATOMS} are read`);
  const sites = list.map(readSite);
  return assemble(
    readLattice(lattice.matrix, "lattice.matrix"),
    lattice.pbc === undefined ? [true, true, true] : readPbc(lattice.pbc, "lattice.pbc"),
    sites.map((site) => site.species),
    Float64Array.from(sites.flatMap((site) => site.abc)),
  );
}

export const pymatgenKind: JsonKind = {
  description: "a pymatgen Structure dict with lattice and sites",
  recognizes: (value) => isObject(value.lattice) && Array.isArray(value.sites),
  items: (value) => [{ place: "", read: () => readStructure(value) }],
};

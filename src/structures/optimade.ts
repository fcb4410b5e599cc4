/**
 * OPTIMADE JSON: a resource of type structures, a response that lists some, or bare attributes.
 * Source: OPTIMADE API specification 1.2, sections "Structures Entries" and "JSON Response Schema", and the JSON Lines form.
 */
import { UnitcellError } from "../errors.js";
import type { Species } from "./elements.js";
import {
  assemble,
  checkCounts,
  isObject,
  type JsonItem,
  type JsonKind,
  type JsonObject,
  readAtomList,
  readId,
  readLattice,
  readSpecies,
  readVectors,
  show,
  showKeys,
} from "./json.js";
import { toFractional } from "./linear-algebra.js";
import type { Structure } from "./structure.js";

/** Concentrations closer to 1 than this are 1. */
const CONCENTRATION_TOLERANCE = 1e-6;

function disordered(why: string): UnitcellError {
  return new UnitcellError("UNSUPPORTED", `disordered structure: ${why}; every site must hold one whole atom`);
}

const isEmpty = (value: unknown) =>
  value === undefined || value === null || (Array.isArray(value) && value.length === 0);

/** One whole atom of one element, nothing attached. */
function readSpeciesEntry(entry: JsonObject, what: string): Species {
  const { chemical_symbols: symbols, concentration, attached } = entry;
  if (!Array.isArray(symbols) || symbols.length === 0)
    throw new UnitcellError("CORRUPT", `${what}: expected chemical_symbols to be a list, found ${show(symbols)}`);
  if (symbols.length > 1 || symbols[0] === "vacancy") throw disordered(`${what} is ${show(symbols)}`);
  if (!isEmpty(attached))
    throw new UnitcellError("UNSUPPORTED", `${what} has atoms without positions: ${show(attached)}`);
  const share = Array.isArray(concentration) ? concentration[0] : undefined;
  if (!Number.isFinite(share) || (concentration as unknown[]).length !== 1)
    throw new UnitcellError("CORRUPT", `${what}: expected a concentration, found ${show(concentration)}`);
  if (Math.abs(share - 1) > CONCENTRATION_TOLERANCE)
    throw disordered(`${what} has concentration ${show(concentration)}`);
  return readSpecies(symbols[0], what);
}

function readSites(attributes: JsonObject): Species[] {
  const list = readAtomList(attributes.species, "species");
  const byName = new Map<unknown, Species>();
  for (const [i, entry] of list.entries()) {
    if (!isObject(entry) || typeof entry.name !== "string")
      throw new UnitcellError("CORRUPT", `species[${i}]: expected an object with a name, found ${show(entry)}`);
    byName.set(entry.name, readSpeciesEntry(entry, `species ${show(entry.name)}`));
  }
  return readAtomList(attributes.species_at_sites, "species_at_sites").map((name, i) => {
    const species = byName.get(name);
    if (species) return species;
    throw new UnitcellError("CORRUPT", `species_at_sites[${i}]: ${show(name)} is not in species`);
  });
}

/** 1 for an axis that repeats, 0 for one that does not; all repeat when it is not given. */
function readDimensions(value: unknown): [boolean, boolean, boolean] {
  if (value === undefined || value === null) return [true, true, true];
  if (!Array.isArray(value) || value.length !== 3 || !value.every((n) => n === 0 || n === 1))
    throw new UnitcellError("CORRUPT", `dimension_types: expected three of 0 and 1, found ${show(value)}`);
  return [value[0] === 1, value[1] === 1, value[2] === 1];
}

/** A vector may be null where nothing repeats: a structure without a full cell, refused as in every other format. */
function readCell(value: unknown): Float64Array {
  const open = Array.isArray(value)
    ? value.findIndex((row) => row === null || (Array.isArray(row) && row.length > 0 && row.every((x) => x === null)))
    : -1;
  if (open >= 0)
    throw new UnitcellError(
      "UNSUPPORTED",
      `no full cell: only periodic structures are supported; lattice_vectors[${open}] is null`,
    );
  return readLattice(value, "lattice_vectors");
}

function readStructure(attributes: JsonObject): Structure {
  const { structure_features: features, assemblies, nsites, cartesian_site_positions: sites } = attributes;
  // What a feature means for the atoms must be understood, so an unknown one is refused, too.
  if (!isEmpty(features))
    throw new UnitcellError("UNSUPPORTED", `structure_features ${show(features)} are not supported`);
  if (!isEmpty(assemblies)) throw disordered("it has assemblies");
  const lattice = readCell(attributes.lattice_vectors);
  const pbc = readDimensions(attributes.dimension_types);
  const positions = readVectors(sites, "cartesian_site_positions");
  const species = readSites(attributes);
  checkCounts(species.length, "species_at_sites", positions.length / 3, "cartesian_site_positions");
  if (typeof nsites === "number") checkCounts(species.length, "species_at_sites", nsites, "nsites");
  return assemble(lattice, pbc, species, toFractional(positions, lattice));
}

/** Named so that a value that is not one stays an object to the type checker. */
type Attributes = JsonObject & { lattice_vectors: unknown };

const isAttributes = (value: unknown): value is Attributes =>
  isObject(value) && ("lattice_vectors" in value || "cartesian_site_positions" in value);

/** Resources of another type (references, info) and the header of JSON Lines hold no structure. */
const isOther = (value: JsonObject) =>
  "x-optimade" in value || (typeof value.type === "string" && value.type !== "structures" && "id" in value);

function item(value: unknown, place: string): JsonItem {
  return {
    id: isObject(value) ? (readId(value.id) ?? readId(value.immutable_id)) : undefined,
    place,
    read() {
      if (isAttributes(value)) return readStructure(value);
      if (isObject(value) && isAttributes(value.attributes)) return readStructure(value.attributes);
      const found = showKeys(isObject(value) && isObject(value.attributes) ? value.attributes : value);
      throw new UnitcellError(
        "CORRUPT",
        `expected attributes with lattice_vectors and cartesian_site_positions, found ${found}`,
      );
    },
  };
}

function* responseItems(data: unknown): Generator<JsonItem> {
  if (!Array.isArray(data)) return yield item(data, "");
  for (const [i, resource] of data.entries())
    if (!isObject(resource) || !isOther(resource)) yield item(resource, `structure ${i}`);
}

export const optimadeKind: JsonKind = {
  description: "an OPTIMADE resource with attributes, or a response with data",
  recognizes: (value) =>
    isAttributes(value) ||
    isObject(value.attributes) ||
    "data" in value ||
    isOther(value) ||
    value.type === "structures",
  items(value) {
    if (isAttributes(value)) return [item(value, "")];
    if (isOther(value)) return [];
    return "data" in value ? responseItems(value.data) : [item(value, "")];
  },
};

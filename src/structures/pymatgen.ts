/** JSON of pymatgen's Structure.as_dict(), one object or an array of them. Source: pymatgen.core.structure, IStructure. */
import { UnitcellError } from "../errors.js";
import { DEUTERIUM_NOTE, parseSpecies } from "./elements.js";
import { located, quote } from "./lines.js";
import { MAX_ATOMS, makeStructure, type Structure } from "./structure.js";

type JsonObject = Record<string, unknown>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value in a message: short, as JSON. */
function show(value: unknown): string {
  return value === undefined ? "nothing" : quote(JSON.stringify(value)).replaceAll('\\"', "'");
}

/** Python writes NaN and Infinity where JSON has no word for them; a structure has no use for either. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const lines = text.split("\n");
    const line = lines.findIndex((one) => /(?:^|[[,:\s])-?(?:NaN|Infinity)\b/.test(one)) + 1;
    const why = line > 0 ? `line ${line}: NaN and Infinity are not numbers of JSON` : (cause as Error).message;
    throw new UnitcellError("CORRUPT", `expected JSON: ${why}`, line > 0 ? { line } : {}, { cause });
  }
}

/** Three finite numbers. */
function readVector(value: unknown, what: string): number[] {
  if (Array.isArray(value) && value.length === 3 && value.every(Number.isFinite)) return value as number[];
  throw new UnitcellError("CORRUPT", `${what}: expected three numbers, found ${show(value)}`);
}

function readLattice(lattice: unknown): { lattice: Float64Array; pbc: [boolean, boolean, boolean] } {
  const matrix = isObject(lattice) ? lattice.matrix : undefined;
  if (!Array.isArray(matrix) || matrix.length !== 3)
    throw new UnitcellError("CORRUPT", `lattice.matrix: expected three vectors, found ${show(matrix)}`);
  const rows = matrix.flatMap((row, i) => readVector(row, `lattice.matrix[${i}]`));
  const pbc = (lattice as JsonObject).pbc;
  if (pbc === undefined) return { lattice: Float64Array.from(rows), pbc: [true, true, true] };
  if (!Array.isArray(pbc) || pbc.length !== 3 || !pbc.every((axis) => typeof axis === "boolean"))
    throw new UnitcellError("CORRUPT", `lattice.pbc: expected three booleans, found ${show(pbc)}`);
  return { lattice: Float64Array.from(rows), pbc: [pbc[0], pbc[1], pbc[2]] };
}

interface Site {
  readonly number: number;
  readonly deuterium: boolean;
  readonly abc: readonly number[];
}

/** One whole atom: `species: [{ element: "Na", occu: 1 }]`, charge signs in the element allowed. */
function readSite(site: unknown, i: number): Site {
  const species = isObject(site) ? site.species : undefined;
  if (!Array.isArray(species) || species.length === 0 || !species.every(isObject))
    throw new UnitcellError("CORRUPT", `site ${i}: expected a list of species, found ${show(species)}`);
  if (species.length > 1 || species[0].occu !== 1)
    throw new UnitcellError("UNSUPPORTED", `disordered structure: site ${i} has species ${show(species)}`, { site: i });
  const element = species[0].element;
  const known = typeof element === "string" ? parseSpecies(element) : undefined;
  if (!known) throw new UnitcellError("CORRUPT", `site ${i}: ${show(element)} names no element`, { site: i });
  return { ...known, abc: readVector((site as JsonObject).abc, `site ${i}: abc`) };
}

function readStructure(value: unknown): Structure {
  if (!isObject(value) || !isObject(value.lattice) || !Array.isArray(value.sites)) {
    const found = isObject(value) ? `keys ${Object.keys(value).slice(0, 10).join(", ") || "(none)"}` : show(value);
    throw new UnitcellError("UNSUPPORTED", `expected a pymatgen Structure dict with lattice and sites, found ${found}`);
  }
  if (value.sites.length > MAX_ATOMS)
    throw new UnitcellError("LIMIT", `${value.sites.length} sites, at most ${MAX_ATOMS} are read`);
  const sites = value.sites.map(readSite);
  const parts = {
    ...readLattice(value.lattice),
    numbers: Uint8Array.from(sites, (site) => site.number),
    fracCoords: Float64Array.from(sites.flatMap((site) => site.abc)),
  };
  return makeStructure(sites.some((site) => site.deuterium) ? { ...parts, notes: [DEUTERIUM_NOTE] } : parts);
}

/** Every structure in order, or the error it gave; text that is no JSON is one error. */
export function* readPymatgen(text: string): Generator<Structure | UnitcellError> {
  const read = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      if (error instanceof UnitcellError) return error;
      throw error;
    }
  };
  const value = read(() => parseJson(text));
  if (value instanceof UnitcellError) return yield value;
  if (!Array.isArray(value)) return yield read(() => readStructure(value)) as Structure | UnitcellError;
  for (const [i, one] of value.entries())
    yield read(() => located(`structure ${i}`, () => readStructure(one))) as Structure | UnitcellError;
}

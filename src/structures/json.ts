/** What the JSON readers share: reading values of unknown shape with errors that say where, and building the structure. */
import { UnitcellError } from "../errors.js";
import { DEUTERIUM_NOTE, parseSpecies, type Species } from "./elements.js";
import { quote } from "./lines.js";
import { MAX_ATOMS, makeStructure, type Structure } from "./structure.js";

export type JsonObject = Record<string, unknown>;

/** A structure that names itself, or the error it gave; without `id` it is named after the file. */
export interface JsonItem {
  readonly id?: string | undefined;
  /** Where it stands: "structure 3", "row 12"; empty for the only one. */
  readonly place: string;
  /** @throws {UnitcellError} without the place */
  read(): Structure;
}

/** One kind of JSON. */
export interface JsonKind {
  /** What a value of this kind is, for messages. */
  readonly description: string;
  /** By its keys alone. */
  recognizes(value: JsonObject): boolean;
  /** The structures of a value, none where it holds something else by intent (a header). */
  items(value: JsonObject): Iterable<JsonItem>;
}

/** Identifiers longer than this are not used as one. */
const MAX_ID_LENGTH = 200;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Levels and entries of a value that a message has room for; a file may nest deeper than JSON.stringify can go. */
const SHOWN_LEVELS = 3;
const SHOWN_ENTRIES = 8;

function abridge(value: unknown, levels: number): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (levels === 0) return "...";
  if (Array.isArray(value)) return value.slice(0, SHOWN_ENTRIES).map((entry) => abridge(entry, levels - 1));
  const entries = Object.entries(value).slice(0, SHOWN_ENTRIES);
  return Object.fromEntries(entries.map(([key, entry]) => [key, abridge(entry, levels - 1)]));
}

/** A value in a message: short, as JSON. */
export function show(value: unknown): string {
  return value === undefined ? "nothing" : quote(JSON.stringify(abridge(value, SHOWN_LEVELS))).replaceAll('\\"', "'");
}

/** The first keys of an object, for messages; another value as show has it. */
export function showKeys(value: unknown): string {
  if (!isObject(value)) return show(value);
  const keys = Object.keys(value).slice(0, 10);
  return `keys ${keys.length > 0 ? keys.map((key) => quote(key).slice(1, -1)).join(", ") : "(none)"}`;
}

/** An identifier of a file: a string or a whole number, of sensible length. */
export function readId(value: unknown): string | undefined {
  const id = Number.isSafeInteger(value) ? String(value) : value;
  return typeof id === "string" && id.length > 0 && id.length <= MAX_ID_LENGTH ? id : undefined;
}

/** Python writes NaN and Infinity where JSON has no word for them; a structure has no use for either. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const lines = text.split("\n");
    const line = lines.findIndex((one) => /(?:^|[[,:\s])-?(?:NaN|Infinity)\b/.test(one)) + 1;
    const where = lines.length > 1 ? `line ${line}: ` : "";
    const why = line > 0 ? `${where}NaN and Infinity are not numbers of JSON` : (cause as Error).message;
    throw new UnitcellError("CORRUPT", `expected JSON: ${why}`, line > 0 ? { line } : {}, { cause });
  }
}

/** Three finite numbers. */
export function readVector(value: unknown, what: string): number[] {
  if (Array.isArray(value) && value.length === 3 && value.every(Number.isFinite)) return value as number[];
  throw new UnitcellError("CORRUPT", `${what}: expected three numbers, found ${show(value)}`);
}

/** Three vectors, row by row. */
export function readLattice(value: unknown, what: string): Float64Array {
  if (!Array.isArray(value) || value.length !== 3)
    throw new UnitcellError("CORRUPT", `${what}: expected three vectors, found ${show(value)}`);
  return Float64Array.from(value.flatMap((row, i) => readVector(row, `${what}[${i}]`)));
}

/** A list, one entry per atom, bounded. */
export function readAtomList(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new UnitcellError("CORRUPT", `${what}: expected a list, found ${show(value)}`);
  if (value.length > MAX_ATOMS)
    throw new UnitcellError("LIMIT", `${value.length} ${what}, at most ${MAX_ATOMS} are read`);
  return value;
}

/** Vectors, one per atom, row by row. */
export function readVectors(value: unknown, what: string): Float64Array {
  const rows = readAtomList(value, what);
  const out = new Float64Array(3 * rows.length);
  for (const [i, row] of rows.entries()) out.set(readVector(row, `${what}[${i}]`), 3 * i);
  return out;
}

/** A chemical symbol; charges and the like after it are passed over. */
export function readSpecies(value: unknown, what: string): Species {
  const species = typeof value === "string" ? parseSpecies(value) : undefined;
  if (species) return species;
  throw new UnitcellError("CORRUPT", `${what}: ${show(value)} names no element`);
}

/** Three booleans, or one for all axes. */
export function readPbc(value: unknown, what: string): [boolean, boolean, boolean] {
  const list = Array.isArray(value) ? value : [value, value, value];
  if (list.length !== 3 || !list.every((axis) => typeof axis === "boolean" || axis === 0 || axis === 1))
    throw new UnitcellError("CORRUPT", `${what}: expected three booleans, found ${show(value)}`);
  return [Boolean(list[0]), Boolean(list[1]), Boolean(list[2])];
}

/** The count of one list must be the count of the other. */
export function checkCounts(found: number, what: string, expected: number, ofWhat: string): void {
  if (found !== expected) throw new UnitcellError("MISMATCH", `${found} ${what} but ${expected} ${ofWhat}`);
}

/** The structure, with a note where deuterium was read as hydrogen. */
export function assemble(
  lattice: Float64Array,
  pbc: readonly [boolean, boolean, boolean],
  species: readonly Species[],
  fracCoords: Float64Array,
): Structure {
  const parts = { lattice, pbc, numbers: Uint8Array.from(species, ({ number }) => number), fracCoords };
  return makeStructure(species.some(({ deuterium }) => deuterium) ? { ...parts, notes: [DEUTERIUM_NOTE] } : parts);
}

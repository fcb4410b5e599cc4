/** The atom sites of a CIF block: elements, coordinates, and what must be refused (disorder) or noted. */
import { UnitcellError } from "../errors.js";
import { type CifBlock, type CifColumn, isAbsent } from "./cif.js";
import { atomicNumber, DEUTERIUM_NOTE, parseSpecies, type Species } from "./elements.js";
import { parseReal, quote } from "./lines.js";

export interface AtomSite {
  readonly label: string;
  readonly number: number;
  /** Fractional, as listed but for thirds (snapThird). */
  readonly coords: readonly [number, number, number];
  readonly line: number;
}

/** Sentences for Structure.notes, each with the labels of the sites it is about. */
export type Remarks = Map<string, string[]>;

/** Sites named in a message before it says "and 7 more". */
const NAMED_SITES = 5;

/** Occupancies closer to 1 than this are 1. */
const OCCUPANCY_TOLERANCE = 1e-6;

function remark(remarks: Remarks, sentence: string, label: string): void {
  const labels = remarks.get(sentence);
  if (labels) labels.push(label);
  else remarks.set(sentence, [label]);
}

export function nameSites(labels: readonly string[]): string {
  const shown = labels.slice(0, NAMED_SITES).join(", ");
  return labels.length > NAMED_SITES ? `${shown} and ${labels.length - NAMED_SITES} more` : shown;
}

/** A CIF number, standard uncertainty (last digits, in brackets) dropped: `5.62(3)`, `.0573(2)`, `1.`. */
export function parseCifNumber(value: string): number | undefined {
  return parseReal(value.endsWith(")") ? value.replace(/\(\d+\)$/, "") : value);
}

/**
 * 0.3333 and 0.6667 become 1/3 and 2/3 when they are within 1e-4 of them, relative.
 * Source: pymatgen 2022.11 CifParser, whose structures our models were trained on; the formula is its own, to the bit.
 */
export function snapThird(x: number): number {
  if (Math.abs(1 - x / (1 / 3)) < 1e-4) return 1 / 3;
  return Math.abs(1 - x / (2 / 3)) < 1e-4 ? 2 / 3 : x;
}

/** Symbols the block itself names: its atom types and its chemical formula. They settle labels such as CO1 or HO1. */
function declaredElements(block: CifBlock): Set<number> {
  const types = block.columns.get("_atom_type_symbol")?.values ?? [];
  const formula = block.columns.get("_chemical_formula_sum")?.values[0] ?? "";
  const words = [...types, ...(formula.match(/[A-Z][a-z]?/g) ?? [])];
  return new Set(words.flatMap((word) => parseSpecies(word)?.number ?? []));
}

/** `Vac1` is an empty site, not vanadium. */
const VACANCY = /^vac/i;

/**
 * The element of a label, for files without type symbols. A label begins with its symbol (CIF core dictionary), but
 * `Oa` is oxygen and `CO1` may be carbon or cobalt. Candidates are its first two letters, then its first. The first
 * candidate that the block declares wins; else the first that is an element, with a remark where case left a doubt.
 */
function elementFromLabel(label: string, declared: ReadonlySet<number>, remarks: Remarks): Species | undefined {
  const letters = /^[A-Za-z]{1,2}/.exec(label)?.[0];
  if (letters === undefined || VACANCY.test(label)) return undefined;
  const candidates = [...new Set([letters, letters[0]])].flatMap((symbol) => parseSpecies(symbol) ?? []);
  const known = candidates.find(({ number }) => declared.has(number));
  if (known) return known;
  const [chosen, other] = candidates;
  if (other && /^[A-Z]{2}/.test(label))
    remark(remarks, "no type symbol and an upper-case label: read as the two-letter element", label);
  return chosen;
}

/** `Wat`, `OH`, `O-H`: oxygen with hydrogens that have no coordinates. */
const HYDROXYL = /^(?:wat|o-?h(?![a-z]))/i;
const MISSING_HYDROGEN = "has hydrogens without coordinates; they are not in the structure";

function readElement(
  type: string | undefined,
  label: string,
  declared: ReadonlySet<number>,
  remarks: Remarks,
): Species | undefined {
  const symbol = isAbsent(type) ? label : type;
  if (HYDROXYL.test(symbol)) {
    remark(remarks, MISSING_HYDROGEN, label);
    return { number: atomicNumber("O")!, deuterium: false };
  }
  return isAbsent(type) ? elementFromLabel(label, declared, remarks) : parseSpecies(type);
}

/** The columns of the atom_site loop that are read, all of one length; absent ones undefined. */
interface SiteColumns {
  readonly x: CifColumn;
  readonly y: CifColumn;
  readonly z: CifColumn;
  readonly label: CifColumn | undefined;
  readonly type: CifColumn | undefined;
  readonly calcFlag: CifColumn | undefined;
  readonly hydrogens: CifColumn | undefined;
  readonly occupancy: CifColumn | undefined;
  readonly disorder: CifColumn | undefined;
}

function siteColumns(block: CifBlock): SiteColumns {
  const column = (name: string) => block.columns.get(name);
  const x = column("_atom_site_fract_x");
  const y = column("_atom_site_fract_y");
  const z = column("_atom_site_fract_z");
  if (!x || !y || !z) {
    if (column("_atom_site_cartn_x"))
      throw new UnitcellError("UNSUPPORTED", "atom sites have Cartesian coordinates only; fractional ones are needed");
    const found = x || y || z ? "not all three of them" : "none";
    throw new UnitcellError("CORRUPT", `expected atom sites with _atom_site_fract_x, _y and _z, found ${found}`);
  }
  if (x.values.length === 0) throw new UnitcellError("CORRUPT", "the atom_site loop has no rows");
  const optional = (name: string) => {
    const found = column(name);
    if (found && found.values.length !== x.values.length)
      throw new UnitcellError(
        "CORRUPT",
        `${name} has ${found.values.length} values, _atom_site_fract_x has ${x.values.length}`,
      );
    return found;
  };
  // In the order in which a site asks for them: the first of the wrong length is the one that is told.
  return {
    x,
    y,
    z,
    type: optional("_atom_site_type_symbol"),
    label: optional("_atom_site_label"),
    calcFlag: optional("_atom_site_calc_flag"),
    hydrogens: optional("_atom_site_attached_hydrogens"),
    occupancy: optional("_atom_site_occupancy"),
    disorder: optional("_atom_site_disorder_group"),
  };
}

function readCoordinate({ values, lines }: CifColumn, axis: string, label: string, i: number): number {
  const value = parseCifNumber(values[i] ?? "?");
  if (value !== undefined) return snapThird(value);
  throw new UnitcellError(
    "CORRUPT",
    `line ${lines[i]}: expected a number for fractional ${axis} of site ${label}, found ${quote(values[i])}`,
    { line: lines[i], label },
  );
}

/** Whole atoms only: undefined when the site is one, else what is partial about it. */
function partialOccupancy(columns: SiteColumns, i: number, label: string, line: number): string | undefined {
  const occupancy = columns.occupancy?.values[i];
  if (!isAbsent(occupancy)) {
    const value = parseCifNumber(occupancy);
    if (value === undefined)
      throw new UnitcellError("CORRUPT", `line ${line}: occupancy of site ${label} is ${quote(occupancy)}`, { label });
    if (Math.abs(value - 1) > OCCUPANCY_TOLERANCE) return `${label} (occupancy ${occupancy})`;
  }
  const group = columns.disorder?.values[i];
  // SHELX writes part 0, no disorder, as "." and some programs as 0.
  return isAbsent(group) || group === "0" ? undefined : `${label} (disorder group ${group})`;
}

/**
 * Read the atom sites of a block. Dummy atoms (calc_flag dum) are left out with a remark.
 * @throws {UnitcellError} UNSUPPORTED naming the sites when any is partly occupied or in a disorder group, or when there
 *   are Cartesian coordinates only; CORRUPT for an unknown element or coordinate, with line and label
 */
export function readAtomSites(block: CifBlock, remarks: Remarks): AtomSite[] {
  const columns = siteColumns(block);
  const declared = declaredElements(block);
  const sites: AtomSite[] = [];
  const partial: string[] = [];
  for (let i = 0; i < columns.x.values.length; i++) {
    const type = columns.type?.values[i];
    const label = columns.label?.values[i] ?? type ?? `${i + 1}`;
    const line = columns.x.lines[i];
    if (columns.calcFlag?.values[i].toLowerCase() === "dum") {
      remark(remarks, "dummy atom, left out", label);
      continue;
    }
    const species = readElement(type, label, declared, remarks);
    if (!species)
      throw new UnitcellError(
        "CORRUPT",
        `line ${line}: site ${label}: ${quote(isAbsent(type) ? label : type)} names no element`,
        { line, label },
      );
    if (species.deuterium) remark(remarks, DEUTERIUM_NOTE, label);
    if ((parseReal(columns.hydrogens?.values[i]) ?? 0) > 0) remark(remarks, MISSING_HYDROGEN, label);
    const reason = partialOccupancy(columns, i, label, line);
    if (reason) partial.push(reason);
    sites.push({
      label,
      number: species.number,
      coords: [
        readCoordinate(columns.x, "x", label, i),
        readCoordinate(columns.y, "y", label, i),
        readCoordinate(columns.z, "z", label, i),
      ],
      line,
    });
  }
  if (partial.length > 0)
    throw new UnitcellError(
      "UNSUPPORTED",
      `disordered structure: ${nameSites(partial)}; every site must hold one whole atom`,
      { sites: partial },
    );
  if (sites.length === 0) throw new UnitcellError("CORRUPT", "all atom sites are dummy atoms");
  return sites;
}

/** A CIF data block to a Structure: cell, symmetry operators, atom sites, and their images. */
import { UnitcellError } from "../errors.js";
import { blockPlace, type CifBlock, type CifColumn, isAbsent, readCifBlocks } from "./cif.js";
import { type AtomSite, nameSites, parseCifNumber, type Remarks, readAtomSites } from "./cif-sites.js";
import { latticeFromParameters } from "./lattice.js";
import { located, quote } from "./lines.js";
import { type Orbit, orbitExpander } from "./orbit.js";
import { operatorsByName } from "./space-groups.js";
import { MAX_ATOMS, makeStructure, type Structure } from "./structure.js";
import {
  checkGroup,
  compose,
  formatOperator,
  identityOperator,
  metricTensor,
  operatorOffLattice,
  parseOperator,
  type SymmetryOperator,
} from "./symmetry.js";

const OPERATOR_TAGS = [
  "_symmetry_equiv_pos_as_xyz",
  "_space_group_symop_operation_xyz",
  "_space_group_symop_magn_operation_xyz",
];
/** Magnetic CIF lists centring translations apart; the group is every operator with every centring. */
const CENTRING_TAG = "_space_group_symop_magn_centering_xyz";
const HALL_TAGS = ["_symmetry_space_group_name_hall", "_space_group_name_hall"];
const HERMANN_MAUGUIN_TAGS = [
  "_symmetry_space_group_name_h-m",
  "_space_group_name_h-m_alt",
  "_space_group_name_h-m_full",
  "_space_group_name_h-m",
  "_symmetry_space_group_name_h_m",
];
/** Modulated structures: atoms move from cell to cell, and their operators act in more than three dimensions. */
const MODULATION_TAGS = ["_space_group_symop_ssg_operation_algebraic", "_cell_modulation_dimension"];
const NUMBER_TAGS = ["_symmetry_int_tables_number", "_space_group_it_number"];

/** Any sign that a block means to be a crystal; journal and software blocks have none. */
const STRUCTURE_TAGS = ["_atom_site_label", "_atom_site_fract_x", "_atom_site_cartn_x", "_cell_length_a"];

/** The first of these tags that has a value, with its line. */
function firstValue(block: CifBlock, tags: readonly string[]): { value: string; line: number } | undefined {
  for (const tag of tags) {
    const column = block.columns.get(tag);
    if (column && !isAbsent(column.values[0])) return { value: column.values[0].trim(), line: column.lines[0] };
  }
  return undefined;
}

function readCell(block: CifBlock): Float64Array {
  const read = (tag: string) => {
    const found = firstValue(block, [tag]);
    const value = found && parseCifNumber(found.value);
    if (value !== undefined) return value;
    throw found
      ? new UnitcellError("CORRUPT", `line ${found.line}: expected a number for ${tag}, found ${quote(found.value)}`)
      : new UnitcellError("CORRUPT", `no lattice: ${tag} is missing or unknown`, { tag });
  };
  return latticeFromParameters(
    [read("_cell_length_a"), read("_cell_length_b"), read("_cell_length_c")],
    [read("_cell_angle_alpha"), read("_cell_angle_beta"), read("_cell_angle_gamma")],
  );
}

/** A column of operators; the time reversal (`,-1`) of magnetic CIF does not move atoms. */
function parseOperators({ values, lines }: CifColumn): SymmetryOperator[] {
  const operators: SymmetryOperator[] = [];
  try {
    for (const value of values)
      operators.push(parseOperator(/[1\s]$/.test(value) ? value.replace(/,\s*[+-]1\s*$/, "") : value));
    return operators;
  } catch (error) {
    return located(`line ${lines[operators.length]}`, () => {
      throw error;
    });
  }
}

/** The operators the block lists; undefined when it lists none. */
function listedOperators(block: CifBlock): SymmetryOperator[] | undefined {
  const column = OPERATOR_TAGS.map((tag) => block.columns.get(tag)).find(
    (found) => found && !isAbsent(found.values[0]),
  );
  if (!column) return undefined;
  const operators = parseOperators(column);
  const centrings = block.columns.get(CENTRING_TAG);
  const all = centrings
    ? parseOperators(centrings).flatMap((centring) => operators.map((operator) => compose(centring, operator)))
    : operators;
  return checkGroup(all);
}

/** Listed operators first; else from the Hall symbol, the Hermann-Mauguin symbol, the number; else P1, with a note. */
function readOperators(block: CifBlock, metric: readonly number[], notes: string[]): readonly SymmetryOperator[] {
  const listed = listedOperators(block);
  if (listed) {
    const off = operatorOffLattice(listed, metric);
    if (off)
      throw new UnitcellError(
        "MISMATCH",
        `symmetry operator "${formatOperator(off)}" does not map the cell onto itself`,
        { operator: formatOperator(off) },
      );
    return listed;
  }
  const number = firstValue(block, NUMBER_TAGS);
  const named = operatorsByName(
    {
      hall: firstValue(block, HALL_TAGS)?.value,
      hermannMauguin: firstValue(block, HERMANN_MAUGUIN_TAGS)?.value,
      number: number && Number(number.value),
    },
    metric,
  );
  if (named?.note) notes.push(named.note);
  if (named) return named.operators;
  notes.push("no symmetry operators and no space group given: assumed P 1, every atom listed");
  return [identityOperator];
}

/** The images of one site; the place in an error is worked out only then. */
function expandSite(expand: ReturnType<typeof orbitExpander>, { coords, line, label }: AtomSite): Orbit {
  try {
    return expand(coords);
  } catch (error) {
    return located(`line ${line}: site ${label}`, () => {
      throw error;
    });
  }
}

interface Expanded {
  readonly fracCoords: Float64Array;
  readonly numbers: Uint8Array;
  /** Index of the listed site of each atom. */
  readonly siteOf: readonly number[];
}

function expandSites(
  sites: readonly AtomSite[],
  operators: readonly SymmetryOperator[],
  metric: readonly number[],
  notes: string[],
): Expanded {
  const expand = orbitExpander(operators, metric);
  const coords: number[] = [];
  const siteOf: number[] = [];
  const moved: string[] = [];
  let farthest = 0;
  for (let i = 0; i < sites.length; i++) {
    const orbit = expandSite(expand, sites[i]);
    if (orbit.moved > 0) moved.push(sites[i].label);
    farthest = Math.max(farthest, orbit.moved);
    for (let k = 0; k < orbit.coords.length; k++) coords.push(orbit.coords[k]);
    for (let k = 0; k < orbit.coords.length; k += 3) siteOf.push(i);
    if (siteOf.length > MAX_ATOMS)
      throw new UnitcellError("LIMIT", `more than ${MAX_ATOMS} atoms in the cell`, { limit: MAX_ATOMS });
  }
  if (moved.length > 0)
    notes.push(`${nameSites(moved)}: moved up to ${farthest.toPrecision(2)} Å onto a special position`);
  const numbers = new Uint8Array(siteOf.length);
  for (let atom = 0; atom < siteOf.length; atom++) numbers[atom] = sites[siteOf[atom]].number;
  return { fracCoords: Float64Array.from(coords), numbers, siteOf };
}

/** The overlap error of makeStructure counts atoms of the cell; a CIF knows them by label. */
function nameOverlap(error: unknown, sites: readonly AtomSite[], siteOf: readonly number[]): unknown {
  if (!(error instanceof UnitcellError) || !Array.isArray(error.detail.atoms)) return error;
  const [a, b] = (error.detail.atoms as number[]).map((atom) => sites[siteOf[atom]]);
  const distance = Number(error.detail.distance).toPrecision(3);
  const what = `sites ${a.label} (line ${a.line}) and ${b.label} (line ${b.line})`;
  return new UnitcellError(
    "CORRUPT",
    `${what} overlap: ${distance} Å apart; each is a whole atom, so one is listed twice`,
    {
      sites: [a.label, b.label],
      distance: error.detail.distance,
    },
  );
}

/**
 * @throws {UnitcellError} without the block's name in the message; readCif adds it
 */
function structureFromBlock(block: CifBlock): Structure {
  const modulation = firstValue(block, MODULATION_TAGS);
  if (modulation && modulation.value !== "0")
    throw new UnitcellError("UNSUPPORTED", `line ${modulation.line}: modulated structure: it repeats in no cell`);
  const lattice = readCell(block);
  const metric = metricTensor(lattice);
  const remarks: Remarks = new Map();
  const notes: string[] = [];
  const sites = readAtomSites(block, remarks);
  const operators = readOperators(block, metric, notes);
  const { fracCoords, numbers, siteOf } = expandSites(sites, operators, metric, notes);
  for (const [sentence, labels] of remarks) notes.push(`${nameSites(labels)}: ${sentence}`);
  const parts = { lattice, pbc: [true, true, true] as const, numbers, fracCoords };
  try {
    return makeStructure(notes.length > 0 ? { ...parts, notes } : parts);
  } catch (error) {
    throw nameOverlap(error, sites, siteOf);
  }
}

/**
 * The structures of a CIF, one per data block that describes a crystal, or the error it gave. Blocks without cell and
 * atoms are passed over; when no block has any, that is one CORRUPT error.
 */
export function* readCif(text: string): Generator<Structure | UnitcellError> {
  const passed: string[] = [];
  let found = false;
  for (const block of readCifBlocks(text)) {
    if (!(block instanceof UnitcellError) && !STRUCTURE_TAGS.some((tag) => block.columns.has(tag))) {
      passed.push(`data_${block.name}`);
      continue;
    }
    found = true;
    yield block instanceof UnitcellError ? block : structureOrError(block);
  }
  if (found) return;
  const blocks = passed.length > 0 ? `only ${nameSites(passed)}` : "no data_ block at all";
  yield new UnitcellError("CORRUPT", `expected a data block with a cell and atom sites, found ${blocks}`);
}

function structureOrError(block: CifBlock): Structure | UnitcellError {
  try {
    return located(blockPlace(block.name, block.line), () => structureFromBlock(block));
  } catch (error) {
    if (error instanceof UnitcellError) return error;
    throw error;
  }
}

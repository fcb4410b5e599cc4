/** The structures that were given, in order, with their files. */
import { UnitcellError } from "../../errors.js";
import { chemicalFormula, SYMBOLS } from "../../structures/elements.js";
import { parseEach } from "../../structures/parse.js";
import { type Structure, transformRows, type UnreadStructure } from "../../structures/structure.js";
import type { GivenFile, StructureDetails, StructureRow } from "../messages.js";
import { problemOf } from "./problem.js";

export interface OpenStructure {
  readonly row: StructureRow;
  readonly structure: Structure | UnreadStructure;
}

/** Files are read whole, up to so many bytes; a structure's has some thousand. */
const MOST_BYTES = 2 ** 28;

export class Structures {
  readonly all: OpenStructure[] = [];

  /** Every structure of a file, or the error of the file in its place. */
  async open({ path, file }: GivenFile): Promise<StructureRow[]> {
    if (file.size > MOST_BYTES) {
      const message = `the file has ${file.size} bytes, the limit is ${MOST_BYTES}`;
      return [this.add(path, { id: path, error: new UnitcellError("LIMIT", message) })];
    }
    const rows: StructureRow[] = [];
    for (const structure of parseEach(await file.text(), { filename: file.name })) rows.push(this.add(path, structure));
    return rows;
  }

  private add(file: string, structure: Structure | UnreadStructure): StructureRow {
    const numbers = "error" in structure ? undefined : structure.numbers;
    const row = {
      index: this.all.length,
      id: structure.id ?? file,
      file,
      formula: numbers && chemicalFormula(numbers),
      sites: numbers?.length,
      problem: "error" in structure ? problemOf(structure.error) : undefined,
    };
    this.all.push({ row, structure });
    return row;
  }
}

/** For drawing: Cartesian places of the atoms, each moved into the cell. */
export function crystalOf(structure: Structure): NonNullable<StructureDetails["crystal"]> {
  const { numbers, fracCoords, lattice, pbc, notes = [] } = structure;
  const inside = fracCoords.map((x, i) => (pbc[i % 3] ? wrap(x) : x));
  return {
    symbols: Array.from(numbers, (number) => SYMBOLS[number]),
    positions: transformRows(inside, lattice),
    lattice,
    notes,
  };
}

/** Into [0, 1); what is 1 but for rounding is 0. */
function wrap(x: number): number {
  const part = x - Math.floor(x);
  return part > 1 - 1e-6 ? 0 : part;
}

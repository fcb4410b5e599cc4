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

  /** Every structure of a file, or the error of the file in its place; one by one, since a file may have thousands. */
  async *open({ path, file }: GivenFile): AsyncGenerator<StructureRow> {
    if (file.size > MOST_BYTES) {
      const message = `the file has ${file.size} bytes, the limit is ${MOST_BYTES}`;
      yield this.add(path, { id: path, error: new UnitcellError("LIMIT", message) });
      return;
    }
    for (const structure of parseEach(await file.text(), { filename: file.name })) yield this.add(path, structure);
  }

  /** @throws {UnitcellError} NOT_FOUND: it was closed meanwhile */
  get(index: number): OpenStructure {
    const found = this.all[index];
    if (!found) throw new UnitcellError("NOT_FOUND", `there is no open structure ${index}`);
    return found;
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

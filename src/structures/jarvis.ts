/**
 * JSON of jarvis-tools: Atoms.to_dict(), and the records of its data sets (dft_3d), which hold one under `atoms`.
 * Source: jarvis.core.atoms and jarvis.db.figshare.
 */
import { UnitcellError } from "../errors.js";
import {
  assemble,
  checkCounts,
  isObject,
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

function isAtoms(value: unknown): value is JsonObject & { lattice_mat: unknown } {
  return isObject(value) && "lattice_mat" in value;
}

function readStructure({ lattice_mat, coords, elements, cartesian = false }: JsonObject): Structure {
  const lattice = readLattice(lattice_mat, "lattice_mat");
  const rows = readVectors(coords, "coords");
  const symbols = readAtomList(elements, "elements");
  checkCounts(symbols.length, "elements", rows.length / 3, "coords");
  if (typeof cartesian !== "boolean")
    throw new UnitcellError("CORRUPT", `cartesian: expected true or false, found ${show(cartesian)}`);
  return assemble(
    lattice,
    [true, true, true],
    symbols.map((symbol, i) => readSpecies(symbol, `elements[${i}]`)),
    cartesian ? toFractional(rows, lattice) : rows,
  );
}

/** Data sets name their records by one of these. */
function recordId(record: JsonObject): string | undefined {
  return readId(record.jid) ?? readId(record.id);
}

export const jarvisKind: JsonKind = {
  description: "a JARVIS dict with lattice_mat, coords and elements, or a record with jid and atoms",
  recognizes: (value) => isAtoms(value) || isAtoms(value.atoms) || "jid" in value,
  items: (value) => [
    {
      id: recordId(value),
      place: "",
      read() {
        const atoms = isAtoms(value) ? value : value.atoms;
        if (isAtoms(atoms)) return readStructure(atoms);
        throw new UnitcellError(
          "CORRUPT",
          `atoms: expected lattice_mat, coords and elements, found ${showKeys(atoms)}`,
        );
      },
    },
  ],
};

/**
 * JSON of ASE: the database backend that ase.db and ase.io write (rows by number, `ids`, `nextid`), and one Atoms.todict().
 * Source: ase.db.jsondb, ase.db.row and ase.io.jsonio, whose arrays are {"__ndarray__": [shape, type, flat values]}.
 */
import { UnitcellError } from "../errors.js";
import { SYMBOLS } from "./elements.js";
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
  readPbc,
  readVectors,
  show,
  showKeys,
} from "./json.js";
import { toFractional } from "./linear-algebra.js";
import { MAX_ATOMS, type Structure } from "./structure.js";

/** An array of one or two axes as nested lists; other values as they are. */
function decodeArray(value: unknown, what: string): unknown {
  if (!isObject(value)) return value;
  const encoded = value.__ndarray__;
  if (!Array.isArray(encoded) || encoded.length !== 3)
    throw new UnitcellError(
      "CORRUPT",
      `${what}: expected a list or an __ndarray__ of three parts, found ${show(value)}`,
    );
  const [shape, , flat] = encoded;
  const sound = Array.isArray(shape) && shape.every((n) => Number.isInteger(n) && n >= 0) && Array.isArray(flat);
  if (!sound || shape.length < 1 || shape.length > 2 || shape.reduce((a: number, n) => a * n, 1) !== flat.length)
    throw new UnitcellError(
      "CORRUPT",
      `${what}: expected ${sound ? `${flat.length} values to fill shape` : "a shape and a flat list, found"} ${show(shape)}`,
    );
  if (shape.length === 1) return flat;
  const [rows, columns] = shape as [number, number];
  if (rows > MAX_ATOMS) throw new UnitcellError("LIMIT", `${rows} ${what}, at most ${MAX_ATOMS} are read`);
  return Array.from({ length: rows }, (_, i) => flat.slice(i * columns, (i + 1) * columns));
}

function readCell(value: unknown): Float64Array {
  const array = isObject(value) && "array" in value ? value.array : value; // ase.cell.Cell
  const cell = readLattice(decodeArray(array, "cell"), "cell");
  const empty = [0, 1, 2].filter((i) => cell.subarray(3 * i, 3 * i + 3).every((x) => x === 0));
  if (empty.length > 0)
    throw new UnitcellError(
      "UNSUPPORTED",
      `no full cell: only periodic structures are supported; vectors ${empty.join(", ")} are zero`,
    );
  return cell;
}

function readNumber(value: unknown, i: number): { number: number; deuterium: boolean } {
  const number = value as number;
  if (Number.isInteger(number) && SYMBOLS[number]) return { number, deuterium: false };
  throw new UnitcellError("CORRUPT", `numbers[${i}]: ${show(value)} is no atomic number`);
}

function readRow(row: unknown): Structure {
  if (!isObject(row) || !("cell" in row && "positions" in row && "numbers" in row))
    throw new UnitcellError("CORRUPT", `expected cell, positions and numbers, found ${showKeys(row)}`);
  const cell = readCell(row.cell);
  const positions = readVectors(decodeArray(row.positions, "positions"), "positions");
  const numbers = readAtomList(decodeArray(row.numbers, "numbers"), "numbers");
  checkCounts(numbers.length, "numbers", positions.length / 3, "positions");
  return assemble(
    cell,
    row.pbc === undefined ? [true, true, true] : readPbc(decodeArray(row.pbc, "pbc"), "pbc"),
    numbers.map(readNumber),
    toFractional(positions, cell),
  );
}

const isAtoms = (value: JsonObject) => "numbers" in value && "positions" in value;

/** Rows in the order of `ids`. A single row is a file of ase.io.write, whose name says more than its random unique_id. */
function* databaseItems(database: JsonObject): Generator<JsonItem> {
  const { ids } = database;
  const read = () => {
    throw new UnitcellError("CORRUPT", `ids: expected a list of row numbers, found ${show(ids)}`);
  };
  if (!Array.isArray(ids) || !ids.every(Number.isInteger)) return yield { place: "", read };
  for (const id of ids) {
    const row = Object.hasOwn(database, String(id)) ? database[id] : undefined;
    yield {
      id: isObject(row) && ids.length > 1 ? readId(row.unique_id) : undefined,
      place: `row ${id}`,
      read() {
        if (row !== undefined) return readRow(row);
        throw new UnitcellError("CORRUPT", "listed in ids, but not in the database");
      },
    };
  }
}

export const aseKind: JsonKind = {
  description: "an ASE database with ids, or an Atoms dict with cell, positions and numbers",
  recognizes: (value) => isAtoms(value) || ("ids" in value && "nextid" in value),
  items: (value) => (isAtoms(value) ? [{ place: "", read: () => readRow(value) }] : databaseItems(value)),
};

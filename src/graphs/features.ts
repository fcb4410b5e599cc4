import { UnitcellError } from "../errors.js";
import { SYMBOLS } from "../structures/elements.js";
import atomInit from "./atom-init.json" with { type: "json" };

/** Feature rows by atomic number: `columns` numbers an element, in the order the network was trained with. */
export interface ElementTable {
  readonly columns: number;
  readonly rows: ReadonlyMap<number, readonly number[]>;
}

/**
 * CGCNN's own table: elements 1 to 100, 92 zeros and ones each (one-hot bins of group, period, electronegativity,
 * covalent radius, valence electrons, ionisation energy, electron affinity, block and atomic volume).
 * Source: atom_init.json of github.com/txie-93/cgcnn; Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018).
 */
export function cgcnnElementTable(): ElementTable {
  shipped ??= decodeTable();
  return shipped;
}

let shipped: ElementTable | undefined;

function decodeTable(): ElementTable {
  const { columns } = atomInit;
  const rows = new Map<number, number[]>();
  for (const [i, hex] of atomInit.rows.entries())
    rows.set(
      i + 1,
      Array.from(BigInt(`0x${hex}`).toString(2).padStart(columns, "0"), (bit) => Number(bit)),
    );
  return { columns, rows };
}

/** ALIGNN's atom_features "atomic_number": one number an element, Z itself. */
export function atomicNumberTable(): ElementTable {
  return { columns: 1, rows: new Map(Array.from({ length: SYMBOLS.length - 1 }, (_, i) => [i + 1, [i + 1]])) };
}

/**
 * A table of your own, from the text of an atom_init.json: an object from atomic numbers to equally long rows.
 * @throws {UnitcellError} CORRUPT when the text is not such an object
 */
export function parseElementTable(json: string): ElementTable {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new UnitcellError("CORRUPT", `element table is not JSON: ${(cause as Error).message}`, {}, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new UnitcellError("CORRUPT", "element table must be an object of atomic numbers to rows of numbers");
  const rows = new Map<number, readonly number[]>();
  let columns = 0;
  for (const [key, row] of Object.entries(value)) {
    const number = Number(key);
    if (!(Number.isInteger(number) && number >= 1 && number < SYMBOLS.length))
      throw new UnitcellError("CORRUPT", `element table: key "${key}" is no atomic number`);
    if (!Array.isArray(row) || row.length === 0 || !row.every((x) => typeof x === "number" && Number.isFinite(x)))
      throw new UnitcellError("CORRUPT", `element table: row ${key} is not a list of finite numbers`);
    columns ||= row.length;
    if (row.length !== columns)
      throw new UnitcellError("CORRUPT", `element table: row ${key} has ${row.length} columns, the first ${columns}`);
    rows.set(number, row);
  }
  if (rows.size === 0) throw new UnitcellError("CORRUPT", "element table is empty");
  return { columns, rows };
}

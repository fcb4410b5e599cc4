/**
 * Extended XYZ: a count, a line of key=value pairs with Lattice and Properties, one line per atom; any number of frames.
 * Source: the extended XYZ specification (libAtoms/extxyz) and ase.io.extxyz, which write Lattice as rows a, b, c.
 */
import { UnitcellError } from "../errors.js";
import { DEUTERIUM_NOTE, parseSpecies, type Species, SYMBOLS } from "./elements.js";
import { toFractional } from "./linear-algebra.js";
import { located, parseReal, parseVector, quote } from "./lines.js";
import { MAX_ATOMS, makeStructure, type Structure } from "./structure.js";

function corrupt(message: string, line: number): UnitcellError {
  return new UnitcellError("CORRUPT", `line ${line}: ${message}`, { line });
}

/** key, `key=word`, `key="any text"`, `key='...'`, `key={...}`, `key=[...]`. */
const PAIR =
  /\s*([^\s=]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|\{([^}]*)\}|\[([^\]]*)\]|([^\s"'{[]\S*)))?(?=\s|$)/y;

/** The pairs of a comment line, keys lower-cased; a bare key has the value "T". */
function parsePairs(text: string, line: number): Map<string, string> {
  const source = text.trimEnd();
  const pairs = new Map<string, string>();
  PAIR.lastIndex = 0;
  for (let at = 0; at < source.length; at = PAIR.lastIndex) {
    const match = PAIR.exec(source);
    if (!match) throw corrupt(`expected key=value pairs, found ${quote(source.slice(at).trim())}`, line);
    const [, key, ...values] = match;
    pairs.set(key.toLowerCase(), values.find((value) => value !== undefined) ?? "T");
  }
  return pairs;
}

function readLattice(pairs: ReadonlyMap<string, string>, line: number): Float64Array {
  const text = pairs.get("lattice");
  if (text === undefined)
    throw new UnitcellError("UNSUPPORTED", `line ${line}: no Lattice: only periodic structures are supported`, {
      line,
    });
  const values = text
    .split(/[\s,[\]]+/)
    .filter(Boolean)
    .map(parseReal);
  if (values.length !== 9 || values.includes(undefined))
    throw corrupt(`expected Lattice to be nine numbers, found ${quote(text)}`, line);
  return Float64Array.from(values as number[]);
}

/** `pbc="T T F"`; all true when it is left out, as a Lattice is given. */
function readPbc(pairs: ReadonlyMap<string, string>, line: number): [boolean, boolean, boolean] {
  const text = pairs.get("pbc");
  if (text === undefined) return [true, true, true];
  const words = text.split(/[\s,]+/).filter(Boolean);
  if (words.length !== 3 || !words.every((word) => /^(?:t|f|true|false|1|0)$/i.test(word)))
    throw corrupt(`expected pbc to be three of T and F, found ${quote(text)}`, line);
  const [a, b, c] = words.map((word) => /^[t1]/i.test(word));
  return [a, b, c];
}

/** Where the columns that are read stand, from 0. */
interface Layout {
  readonly species: number | undefined;
  readonly numbers: number | undefined;
  readonly pos: number;
  readonly columns: number;
}

/** `species:S:1:pos:R:3:forces:R:3`: name, type and number of columns, in turn. */
function readLayout(properties: string, line: number): Layout {
  const words = properties.split(":");
  const at = new Map<string, number>();
  let columns = 0;
  for (let i = 0; i < words.length; i += 3) {
    const count = Number(words[i + 2]);
    if (!(Number.isInteger(count) && count > 0 && count <= 1000))
      throw corrupt(`expected Properties as name:type:columns, found ${quote(properties)}`, line);
    const name = words[i].toLowerCase();
    const width = name === "pos" ? 3 : 1;
    if (["pos", "species", "z", "numbers"].includes(name) && count !== width)
      throw corrupt(`expected ${width} columns for ${words[i]} in Properties, found ${count}`, line);
    at.set(name, columns);
    columns += count;
  }
  const pos = at.get("pos");
  const species = at.get("species");
  const numbers = at.get("z") ?? at.get("numbers");
  if (pos === undefined || (species === undefined && numbers === undefined))
    throw corrupt(`Properties must name pos and species (or Z), found ${quote(properties)}`, line);
  return { species, numbers, pos, columns };
}

function readSpecies(words: readonly string[], { species, numbers }: Layout, line: number): Species {
  if (species !== undefined) {
    const found = parseSpecies(words[species]);
    if (found) return found;
    throw corrupt(`${quote(words[species])} names no element`, line);
  }
  const word = words[numbers!];
  const number = parseReal(word) ?? 0;
  if (SYMBOLS[number]) return { number, deuterium: false };
  throw corrupt(`${quote(word)} is no atomic number`, line);
}

/** The frame whose count stands on lines[start]. */
function readFrame(lines: readonly string[], start: number): { structure: Structure; end: number } {
  const count = Number(lines[start].trim());
  const header = start + 2; // 1-based line of the pairs
  const pairs = parsePairs(lines[start + 1] ?? "", header);
  const lattice = readLattice(pairs, header);
  const pbc = readPbc(pairs, header);
  const layout = readLayout(pairs.get("properties") ?? "species:S:1:pos:R:3", header);
  const end = start + 2 + count;
  if (count > MAX_ATOMS)
    throw new UnitcellError("LIMIT", `line ${start + 1}: ${count} atoms declared, at most ${MAX_ATOMS} are read`);
  if (end > lines.length)
    throw new UnitcellError(
      "MISMATCH",
      `line ${start + 1}: ${count} atoms declared, but only ${Math.max(0, lines.length - start - 2)} lines follow`,
      { declared: count },
    );
  const numbers = new Uint8Array(count);
  const positions: number[] = [];
  let deuterium = false;
  for (let i = 0; i < count; i++) {
    const line = start + 3 + i;
    const words = lines[line - 1].trim().split(/\s+/);
    if (words.length !== layout.columns)
      throw corrupt(`expected ${layout.columns} columns for atom ${i + 1} of ${count}, found ${words.length}`, line);
    const species = readSpecies(words, layout, line);
    numbers[i] = species.number;
    deuterium ||= species.deuterium;
    positions.push(...parseVector(words.slice(layout.pos, layout.pos + 3), `the position of atom ${i + 1}`, line));
  }
  const parts = { lattice, pbc, numbers, fracCoords: toFractional(positions, lattice) };
  return { structure: makeStructure(deuterium ? { ...parts, notes: [DEUTERIUM_NOTE] } : parts), end };
}

const COUNT_LINE = /^\s*\d+\s*$/;

/** After an error: the next line that is a count followed by a line of pairs, where a frame most likely begins. */
function findFrame(lines: readonly string[], from: number): number {
  for (let at = from; at < lines.length; at++)
    if (COUNT_LINE.test(lines[at]) && (lines[at + 1] ?? "").includes("=")) return at;
  return lines.length;
}

/**
 * Every frame in order, each a Structure or the error it gave.
 * @param text with \n line ends
 */
export function* readXyz(text: string): Generator<Structure | UnitcellError> {
  const lines = text.trimEnd().split("\n");
  let frame = 0;
  for (let at = 0; at < lines.length; ) {
    if (lines[at].trim() === "" && frame > 0) {
      at++;
      continue;
    }
    const start = at;
    frame++;
    let result: Structure | UnitcellError;
    try {
      const read = located(`frame ${frame}`, () => {
        if (COUNT_LINE.test(lines[start])) return readFrame(lines, start);
        throw corrupt(`expected the number of atoms, found ${quote(lines[start])}`, start + 1);
      });
      result = read.structure;
      at = read.end;
    } catch (error) {
      if (!(error instanceof UnitcellError)) throw error;
      result = error;
      at = findFrame(lines, start + 1);
    }
    yield result;
  }
}

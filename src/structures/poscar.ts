/**
 * POSCAR / CONTCAR, VASP 4 and 5. Source: the POSCAR page of the VASP manual.
 * Fortran reads these lines free-format: what follows the words a line needs is a comment.
 */
import { UnitcellError } from "../errors.js";
import { DEUTERIUM_NOTE, parseSpecies, type Species } from "./elements.js";
import { power } from "./exponential.js";
import { absoluteDeterminant, toFractional } from "./linear-algebra.js";
import { parseReal, parseVector, quote } from "./lines.js";
import { MAX_ATOMS, makeStructure, type Structure } from "./structure.js";

/** Lines of the file, split into words; `at` is the next line, from 0. */
interface Cursor {
  readonly lines: readonly string[];
  at: number;
}

function corrupt(message: string, line: number): UnitcellError {
  return new UnitcellError("CORRUPT", `line ${line}: ${message}`, { line });
}

/** Words of the next line; `c.at` is then its 1-based number. Empty past the end. */
function nextWords(c: Cursor): string[] {
  const line = c.lines[c.at++] ?? "";
  return line.trim().split(/\s+/).filter(Boolean);
}

/** One factor, three (one per Cartesian axis), or minus the wanted volume. Returned as three positive factors. */
function readScale(words: readonly string[], rows: readonly number[], line: number): number[] {
  const values = words.slice(0, 3).map(parseReal);
  const [first] = values;
  if (first === undefined || first === 0)
    throw corrupt(`expected a scale factor other than 0, found ${quote(words[0])}`, line);
  if (values.length === 3 && values.every((value) => value !== undefined)) {
    if (values.some((value) => value <= 0))
      throw corrupt(`three scale factors must be positive, found ${values.join(" ")}`, line);
    return values;
  }
  if (first > 0) return [first, first, first];
  const volume = absoluteDeterminant(rows);
  if (volume === 0) throw corrupt("the lattice vectors span no volume, so it cannot be scaled to one", line);
  const factor = power(-first / volume, 1 / 3); // not the cube root: pymatgen's ** (1 / 3), to the bit
  return [factor, factor, factor];
}

/** Whole numbers up to the first word that is none. */
function readCounts(words: readonly string[], line: number): number[] {
  const end = words.findIndex((word) => parseReal(word) === undefined);
  const counts = words.slice(0, end < 0 ? words.length : end).map(Number);
  const bad = counts.find((count) => !Number.isInteger(count) || count < 0);
  if (counts.length === 0 || bad !== undefined)
    throw corrupt(
      `expected the number of atoms of each species, found ${quote(bad === undefined ? words[0] : `${bad}`)}`,
      line,
    );
  return counts;
}

/** Element words of a VASP 5 species line, comments (`!`, `#`) cut off. */
function readSpecies(words: readonly string[], line: number): Species[] {
  const end = words.findIndex((word) => /^[!#]/.test(word));
  return words.slice(0, end < 0 ? words.length : end).map((word) => {
    const species = parseSpecies(word);
    if (!species) throw corrupt(`${quote(word)} names no element`, line);
    return species;
  });
}

/**
 * VASP 4 files name no species. Many writers put the symbol after each position; others use the comment line.
 * @param rows words of the coordinate lines
 */
function guessSpecies(comment: string, rows: readonly string[][], counts: readonly number[], line: number): Species[] {
  const trailing = rows.map((words) => {
    const rest = words.slice(3).filter((word) => !/^\.?[TF](?:RUE|ALSE)?\.?$/i.test(word));
    return parseSpecies(rest[0] ?? "");
  });
  if (trailing.every((species) => species !== undefined)) return trailing;
  const words = comment
    .trim()
    .split(/\s+/)
    .map((word) => parseSpecies(word));
  if (words.length === counts.length && words.every((species) => species !== undefined)) return repeat(words, counts);
  throw new UnitcellError(
    "UNSUPPORTED",
    `line ${line}: VASP 4 file without species: expected element symbols before the counts, after each position, or ` +
      `${counts.length} of them in the comment line`,
    { line },
  );
}

function repeat(species: readonly Species[], counts: readonly number[]): Species[] {
  return species.flatMap((one, i) => new Array<Species>(counts[i]).fill(one));
}

/** `Direct` or `Cartesian` by the first letter; VASP takes k for Cartesian, too. */
function readMode(words: readonly string[], line: number): "direct" | "cartesian" {
  const letter = words[0]?.[0]?.toLowerCase() ?? "";
  if (letter === "d" || letter === "f") return "direct";
  if (letter === "c" || letter === "k") return "cartesian";
  throw corrupt(`expected "Direct" or "Cartesian", found ${quote(words.join(" "))}`, line);
}

/** The species line of VASP 5, when there is one, and the counts. */
function readComposition(c: Cursor): { listed: Species[] | undefined; counts: number[] } {
  let words = nextWords(c);
  let listed: Species[] | undefined;
  if (words.length > 0 && parseReal(words[0]) === undefined) {
    listed = readSpecies(words, c.at);
    words = nextWords(c);
  }
  const counts = readCounts(words, c.at);
  if (listed && listed.length !== counts.length)
    throw new UnitcellError("MISMATCH", `line ${c.at}: ${listed.length} species but ${counts.length} counts`, {
      line: c.at,
    });
  return { listed, counts };
}

/** The coordinate lines, `total` of them, as words. */
function readRows(c: Cursor, total: number): string[][] {
  if (total > MAX_ATOMS)
    throw new UnitcellError("LIMIT", `${total} atoms declared, at most ${MAX_ATOMS} are read`, { total });
  if (c.at + total > c.lines.length)
    throw new UnitcellError("CORRUPT", `${total} atoms declared, but the file ends at line ${c.lines.length}`, {
      total,
    });
  return Array.from({ length: total }, () => nextWords(c));
}

/**
 * One structure. Selective dynamics flags, velocities and what follows are passed over.
 * @param text with \n line ends
 * @throws {UnitcellError} CORRUPT, MISMATCH, LIMIT or UNSUPPORTED with the line number
 */
export function readPoscar(text: string): Structure {
  const c: Cursor = { lines: text.trimEnd().split("\n"), at: 0 };
  const comment = c.lines[c.at++];
  const scaleWords = nextWords(c);
  const rows = [0, 1, 2].flatMap(() => parseVector(nextWords(c), "a lattice vector", c.at));
  const scale = readScale(scaleWords, rows, 2);
  const lattice = Float64Array.from(rows, (x, i) => x * scale[i % 3]);
  const { listed, counts } = readComposition(c);
  const countLine = c.at;
  let modeWords = nextWords(c);
  if (/^s/i.test(modeWords[0] ?? "")) modeWords = nextWords(c);
  const mode = readMode(modeWords, c.at);
  const first = c.at + 1;
  const atoms = readRows(
    c,
    counts.reduce((sum, count) => sum + count, 0),
  );
  const positions = atoms.flatMap((words, i) => parseVector(words, `the position of atom ${i + 1}`, first + i));
  const species = listed ? repeat(listed, counts) : guessSpecies(comment, atoms, counts, countLine);
  const fracCoords =
    mode === "direct"
      ? Float64Array.from(positions)
      : toFractional(
          positions.map((x, i) => x * scale[i % 3]),
          lattice,
        );
  const parts = {
    lattice,
    pbc: [true, true, true] as const,
    numbers: Uint8Array.from(species, (s) => s.number),
    fracCoords,
  };
  return makeStructure(species.some((s) => s.deuterium) ? { ...parts, notes: [DEUTERIUM_NOTE] } : parts);
}

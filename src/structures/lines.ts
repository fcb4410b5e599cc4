/** What the text formats share: lines, numbers, and errors that say where. */
import { reworded, UnitcellError } from "../errors.js";

/** Without byte order mark, and with \n for every line end (Windows \r\n, old Macintosh \r). */
export function normalizeText(text: string): string {
  const body = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  return body.includes("\r") ? body.replace(/\r\n?/g, "\n") : body;
}

/** What was found, quoted and short enough for a message; control characters escaped. */
export function quote(found: string | undefined): string {
  if (found === undefined) return "the end of the text";
  return JSON.stringify(found.length > 40 ? `${found.slice(0, 37)}...` : found);
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?$/;

/** A finite decimal number, Fortran exponents (1.0D+00) included; undefined for anything else, NaN and Inf among it. */
export function parseReal(word: string | undefined): number | undefined {
  if (word === undefined || !NUMBER.test(word)) return undefined;
  const plain = Number(word);
  const value = Number.isNaN(plain) ? Number(word.replace(/[dD]/, "e")) : plain;
  return Number.isFinite(value) ? value : undefined;
}

/**
 * The first three numbers of a line, for a lattice vector or a position.
 * @throws {UnitcellError} CORRUPT with the 1-based line number
 */
export function parseVector(words: readonly (string | undefined)[], what: string, line: number): number[] {
  const values = [0, 1, 2].map((i) => parseReal(words[i]));
  const bad = values.indexOf(undefined);
  if (bad >= 0) {
    const found = words[bad] === undefined ? `${bad} numbers` : quote(words[bad]);
    throw new UnitcellError("CORRUPT", `line ${line}: expected three numbers (${what}), found ${found}`, { line });
  }
  return values as number[];
}

/** Run a step; a UnitcellError it throws is prefixed with the place (`data_x`, `frame 2`), other errors pass. */
export function located<T>(place: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof UnitcellError)) throw error;
    throw reworded(error, `${place}: ${error.message}`);
  }
}

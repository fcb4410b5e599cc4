/** JSON as Python's json module reads and writes it: NaN, Infinity and -Infinity are numbers there. */
import { UnitcellError } from "../errors.js";

/** Stand-ins for what JSON lacks, as strings that no file can hold by accident (JSON text has no raw control characters). */
const MARK = "\u0000";
const WORDS: ReadonlyMap<string, number> = new Map([
  ["NaN", Number.NaN],
  ["Infinity", 1 / 0],
  ["-Infinity", -1 / 0],
]);
/** What tells strings, in which words stay, from the rest. Strings themselves may be of any length, and not end. */
const TOKEN = /\\.|"|-?Infinity|NaN|-?\d[\d.eE+-]*/gs;

/** A number that would be written otherwise than it was read: an integer beyond 2^53, 1.0, 1e-06. */
class NumberText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

/**
 * @param options.exact for rewriting: numbers that JavaScript would write otherwise are kept as they stand, as objects
 * @throws {UnitcellError} CORRUPT, with the name, for what is no JSON
 */
export function parsePythonJson(bytes: Uint8Array, name: string, { exact = false } = {}): unknown {
  const text = new TextDecoder().decode(bytes);
  let inString = false;
  const marked = text.replace(TOKEN, (token) => {
    if (token === '"') inString = !inString;
    const isMarked = !inString && (WORDS.has(token) || (exact && /\d/.test(token) && !isSame(token)));
    return isMarked ? `"\\u0000${token}"` : token;
  });
  try {
    return JSON.parse(marked, (_key, value) =>
      typeof value === "string" && value.startsWith(MARK) ? unmarked(value) : value,
    );
  } catch (cause) {
    throw new UnitcellError("CORRUPT", `${name} is no JSON: ${(cause as Error).message}`, { name }, { cause });
  }
}

function isSame(token: string): boolean {
  return String(Number(token)) === token;
}

function unmarked(value: string): unknown {
  const text = value.slice(1);
  return WORDS.get(text) ?? (/^-?\d/.test(text) ? new NumberText(text) : value);
}

/** With an indent of two; the rows of a list of objects of numbers stand in a line each. */
export function formatPythonJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${format(value, "")}\n`);
}

function format(value: unknown, indent: string): string {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (value instanceof NumberText) return value.text;
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    const items = value.map((item) => deeper + (isRow(item) ? formatRow(item) : format(item, deeper)));
    return `[\n${items.join(",\n")}\n${indent}]`;
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  if (entries.length === 0) return "{}";
  const lines = entries.map(([key, item]) => `${deeper}${JSON.stringify(key)}: ${format(item, deeper)}`);
  return `{\n${lines.join(",\n")}\n${indent}}`;
}

function isRow(value: unknown): value is Record<string, number | NumberText> {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return (
    isObject &&
    !(value instanceof NumberText) &&
    Object.values(value).every((item) => typeof item === "number" || item instanceof NumberText)
  );
}

function formatRow(row: Record<string, number | NumberText>): string {
  return `{${Object.entries(row)
    .map(([key, item]) => `${JSON.stringify(key)}: ${format(item, "")}`)
    .join(", ")}}`;
}

/** JSON and JSON Lines of any known kind: one value or an array of them, each recognised by its keys. */
import { UnitcellError } from "../errors.js";
import { aseKind } from "./ase.js";
import { jarvisKind } from "./jarvis.js";
import { isObject, type JsonItem, type JsonKind, parseJson, showKeys } from "./json.js";
import { located } from "./lines.js";
import { optimadeKind } from "./optimade.js";
import { pymatgenKind } from "./pymatgen.js";
import type { Structure, UnreadStructure } from "./structure.js";

/** In the order they are tried: what says most by its keys first. */
export const JSON_KINDS = { pymatgen: pymatgenKind, jarvis: jarvisKind, ase: aseKind, optimade: optimadeKind } as const;

/** A value of the text and where it stands. */
interface Placed {
  readonly value: unknown;
  readonly place: string;
}

/** Results of `run`, or the UnitcellError it threw. */
function attempt<T>(run: () => T): T | UnitcellError {
  try {
    return run();
  } catch (error) {
    if (error instanceof UnitcellError) return error;
    throw error;
  }
}

/** JSON Lines: the first line is a value of its own, and more follow. */
function isJsonLines(text: string): boolean {
  const end = text.indexOf("\n");
  if (end < 0 || text.slice(end).trim() === "") return false;
  return !(attempt(() => parseJson(text.slice(0, end))) instanceof UnitcellError);
}

function* lineValues(text: string): Generator<Placed | UnitcellError> {
  let line = 0;
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    const body = text.slice(start, end);
    line++;
    start = end + 1;
    if (body.trim() === "") continue;
    const place = `line ${line}`;
    const value = attempt(() => located(place, () => ({ value: parseJson(body), place })));
    if (value instanceof UnitcellError || !Array.isArray(value.value)) yield value;
    else yield* arrayValues(value.value, `${place}: `);
  }
}

function* arrayValues(values: readonly unknown[], prefix: string): Generator<Placed> {
  for (const [i, value] of values.entries()) yield { value, place: `${prefix}structure ${i}` };
}

function* values(text: string): Generator<Placed | UnitcellError> {
  if (isJsonLines(text)) return yield* lineValues(text);
  const value = attempt(() => parseJson(text));
  if (value instanceof UnitcellError) yield value;
  else if (Array.isArray(value)) yield* arrayValues(value, "");
  else yield { value, place: "" };
}

/** @throws {UnitcellError} UNSUPPORTED naming the keys found and the kinds known */
function chooseKind(value: unknown, wanted: keyof typeof JSON_KINDS | undefined): JsonKind {
  const kinds = wanted ? [JSON_KINDS[wanted]] : Object.values(JSON_KINDS);
  const found = isObject(value) && kinds.find((kind) => kind.recognizes(value));
  if (found) return found;
  const expected = kinds.map((kind) => kind.description).join("; or ");
  throw new UnitcellError("UNSUPPORTED", `expected ${expected}; found ${showKeys(value)}`);
}

function at<T>(place: string, run: () => T): T {
  return place ? located(place, run) : run();
}

function readItem(place: string, item: JsonItem): Structure | UnreadStructure {
  const { id } = item;
  const where = [place, item.place].filter(Boolean).join(": ");
  const read = attempt(() => at(where, () => item.read()));
  const named = id === undefined ? {} : { id };
  return read instanceof UnitcellError ? { ...named, error: read } : { ...read, ...named };
}

/**
 * Every structure in order, or the error it gave; those that name themselves have an id. Text that is no JSON is one error.
 * @param kind only this kind, undefined for any
 */
export function* readJson(
  text: string,
  kind?: keyof typeof JSON_KINDS,
): Generator<Structure | UnreadStructure | UnitcellError> {
  for (const placed of values(text)) {
    if (placed instanceof UnitcellError) {
      yield placed;
      continue;
    }
    const { value, place } = placed;
    const chosen = attempt(() => at(place, () => chooseKind(value, kind)));
    if (chosen instanceof UnitcellError) yield chosen;
    else for (const item of chosen.items(value as Record<string, unknown>)) yield readItem(place, item);
  }
}

/** JSON as the values of a checkpoint: settings that Python programs write beside one, and our own in safetensors. */
import { DEFAULT_LIMITS, JSON_DEPTH, type Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { JsonScanner } from "./json-scanner.js";
import { Float, isFloatAt, type TorchValue } from "./values.js";

/** The last three are no JSON, and are what Python's json writes. */
const WORDS = ["true", "false", "null", "NaN", "Infinity", "-Infinity"] as const;
const VALUES = { true: true, false: false, null: null, NaN: Number.NaN, Infinity: 1 / 0, "-Infinity": -1 / 0 } as const;

/**
 * Read a JSON object: dicts become Maps, in order.
 * @param bytes the whole text
 * @param what what it is, for messages: "config.json"
 * @throws {UnitcellError} CORRUPT when it is no JSON object or has a key twice, LIMIT above Limits.settingsBytes
 */
export function parseSettings(bytes: Uint8Array, what: string, limits: Limits): Map<string, TorchValue> {
  checkSettingsSize(bytes.byteLength, what, limits);
  const json = new JsonScanner(bytes, what);
  const settings = readObject(json);
  json.end();
  return settings;
}

/** Read JSON of any kind, as parseSettings does objects. @throws {UnitcellError} as parseSettings */
export function parseJson(text: string, what: string, limits: Limits = DEFAULT_LIMITS): TorchValue {
  const bytes = new TextEncoder().encode(text);
  checkSettingsSize(bytes.byteLength, what, limits);
  const json = new JsonScanner(bytes, what);
  const value = readValue(json);
  json.end();
  return value;
}

/**
 * A value as JSON that parseJson and Python's json.loads read: 1.0 stays a float for Python, NaN and infinities are bare
 * words, integers have all their digits (beyond 2^53 they are rounded when read here).
 * @returns undefined for what has no such form, nests deeper than the reader takes or is longer
 */
export function jsonOf(value: TorchValue): string | undefined {
  try {
    const text = write(value, false, 0);
    return new TextEncoder().encode(text).byteLength <= DEFAULT_LIMITS.settingsBytes ? text : undefined;
  } catch (error) {
    if (error === NOT_JSON) return undefined;
    throw error;
  }
}

const NOT_JSON = new Error("no JSON");

function write(value: TorchValue, isFloat: boolean, depth: number): string {
  if (depth > JSON_DEPTH) throw NOT_JSON;
  if (value instanceof Float) return write(value.value, true, depth);
  if (typeof value === "number") return writeNumber(value, isFloat);
  if (value === null || typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "string") {
    // Half of a surrogate pair is no character, and the reader refuses it.
    if (/\p{Surrogate}/u.test(value)) throw NOT_JSON;
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((item, i) => write(item, isFloatAt(value, i), depth + 1)).join(",")}]`;
  if (!(value instanceof Map)) throw NOT_JSON;
  const members = [...value].map(([key, item]) => {
    if (typeof key !== "string") throw NOT_JSON;
    return `${write(key, false, depth)}:${write(item, isFloatAt(value, key), depth + 1)}`;
  });
  return `{${members.join(",")}}`;
}

function writeNumber(value: number, isFloat: boolean): string {
  const text = Object.is(value, -0) ? "-0" : String(value);
  return isFloat && /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** For a look before the bytes are read. @throws {UnitcellError} LIMIT above Limits.settingsBytes */
export function checkSettingsSize(size: number, what: string, { settingsBytes }: Limits): void {
  if (size > settingsBytes)
    throw new UnitcellError("LIMIT", `${what} has ${size} bytes, the limit for settings is ${settingsBytes}`, {
      size,
      limit: settingsBytes,
    });
}

function readObject(json: JsonScanner): Map<string, TorchValue> {
  const object = new Map<string, TorchValue>();
  json.object((key) => object.set(key, readValue(json)));
  return object;
}

function readValue(json: JsonScanner): TorchValue {
  const next = json.peek();
  if (next === "{") return readObject(json);
  if (next === '"') return json.string();
  if (next === "[") {
    const items: TorchValue[] = [];
    json.array(() => items.push(readValue(json)));
    return items;
  }
  const word = json.word(WORDS);
  return word === undefined ? json.number() : VALUES[word];
}

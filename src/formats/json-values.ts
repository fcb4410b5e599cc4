/** JSON as the values of a checkpoint: settings that Python programs write beside one. */
import type { Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { JsonScanner } from "./json-scanner.js";
import type { TorchValue } from "./values.js";

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

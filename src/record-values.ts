/**
 * Predictions as the plain values of a torch file, and back. The JSON Schema of records says what is a float and checks
 * what a file holds, so that there is one list of fields. Understands what that schema uses and no more; tests compare it
 * with a validator that knows all of JSON Schema.
 */

import { UnitcellError } from "./errors.js";
import { kindOf } from "./formats/kind-of.js";
import { Float, type TorchValue } from "./formats/values.js";
import type { Prediction } from "./prediction.js";
import document from "./prediction.schema.json" with { type: "json" };

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly dependentRequired?: Readonly<Record<string, readonly string[]>>;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly pattern?: string;
}

const DEFINITIONS = document.$defs as Readonly<Record<string, Schema>>;
const PREDICTION = DEFINITIONS.prediction;

/** Dicts are Maps; what is a number that need not be whole is a float, also where it is whole. */
export function predictionToValue(prediction: Prediction): TorchValue {
  return toValue(prediction, PREDICTION);
}

/** @throws {UnitcellError} CORRUPT for what is no prediction, with the place in it */
export function predictionFromValue(value: TorchValue, where: string): Prediction {
  return fromValue(value, PREDICTION, where) as Prediction;
}

function resolve(schema: Schema): Schema {
  return schema.$ref === undefined ? schema : DEFINITIONS[schema.$ref.slice("#/$defs/".length)];
}

function toValue(value: unknown, schema: Schema): TorchValue {
  const { type, items, properties = {} } = resolve(schema);
  if (type === "number") return new Float(value as number);
  if (Array.isArray(value)) return value.map((item) => toValue(item, items!));
  if (typeof value !== "object" || value === null) return value as TorchValue;
  return new Map(
    Object.entries(value)
      .filter(([, field]) => field !== undefined)
      .map(([name, field]) => [name, toValue(field, properties[name] ?? {})]),
  );
}

function fromValue(value: TorchValue, schema: Schema, where: string): unknown {
  const { type, const: only, enum: choices, items, minItems = 0, ...rest } = resolve(schema);
  const fail = (expected: string) => {
    const found = typeof value === "string" ? `"${value}"` : typeof value === "object" ? kindOf(value) : String(value);
    throw new UnitcellError("CORRUPT", `${where}: expected ${expected}, found ${found}`);
  };
  if (only !== undefined && value !== only) fail(JSON.stringify(only));
  if (choices && !choices.includes(value)) fail(`one of ${choices.join(", ")}`);
  if (type === "object") return value instanceof Map ? objectOf(value, rest, where) : fail("a dict");
  if (type === "array") {
    if (!Array.isArray(value) || value.length < minItems) return fail(`a list of at least ${minItems}`);
    return value.map((item, i) => fromValue(item, items!, `${where}[${i}]`));
  }
  if (type && !isOf(type, value)) fail(type === "number" ? "a finite number" : `a ${type}`);
  const { minimum, exclusiveMinimum, pattern } = rest;
  if (minimum !== undefined && !(Number(value) >= minimum)) fail(`at least ${minimum}`);
  if (exclusiveMinimum !== undefined && !(Number(value) > exclusiveMinimum)) fail(`more than ${exclusiveMinimum}`);
  if (pattern !== undefined && !new RegExp(pattern).test(String(value))) fail(`text like ${pattern}`);
  return value;
}

function isOf(type: string, value: TorchValue): boolean {
  if (type === "number") return Number.isFinite(value);
  return type === "integer" ? Number.isSafeInteger(value) : typeof value === type;
}

function objectOf(map: Map<TorchValue, TorchValue>, schema: Schema, where: string): Record<string, unknown> {
  const { properties = {}, required = [], dependentRequired = {} } = schema;
  const lacking = (names: readonly string[]) => names.filter((name) => !map.has(name));
  const missing = lacking(required);
  for (const [name, others] of Object.entries(dependentRequired)) if (map.has(name)) missing.push(...lacking(others));
  if (missing.length) throw new UnitcellError("CORRUPT", `${where}: there is no ${missing.join(", ")}`);
  const fields: [string, unknown][] = [];
  for (const [name, value] of map) {
    if (typeof name !== "string" || !Object.hasOwn(properties, name))
      throw new UnitcellError("CORRUPT", `${where}: a record has no field ${JSON.stringify(String(name))}`);
    fields.push([name, fromValue(value, properties[name], `${where}.${name}`)]);
  }
  return Object.fromEntries(fields);
}

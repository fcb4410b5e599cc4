/** What a run's `<run>_metadata.json` says of its models. */
import { UnitcellError } from "../errors.js";
import type { ModelOptions } from "../models/model.js";

/** What is used of a `<run>_metadata.json`. */
export interface Metadata {
  readonly property?: string;
  readonly unit?: string;
  readonly limits?: string;
  readonly test_mae?: number;
  readonly test_r2?: number;
  /** Symbols of the elements trained on. */
  readonly elements?: readonly string[];
}

/** `<run>_metadata.json` of `<run>_best.pt`, `<run>_final.pt` or `<run>_epoch<N>.pt`. */
export function metadataName(checkpoint: string): string {
  return `${checkpoint.replace(/(_best|_final|_epoch\d+)?\.\w+$/, "")}_metadata.json`;
}

/** What a metadata file says of the model. */
export function metadataOptions({ property, unit, elements }: Metadata): ModelOptions {
  return {
    ...(property !== undefined && { property }),
    ...(unit !== undefined && { unit }),
    ...(elements && { trainedOn: elements }),
  };
}

/** @throws {UnitcellError} CORRUPT for what is no JSON object, or a value of another type; both name the file */
export function parseMetadata(text: string, file: string): Metadata {
  let metadata: unknown;
  try {
    metadata = JSON.parse(text);
  } catch (cause) {
    throw new UnitcellError("CORRUPT", `${file}: not JSON: ${(cause as Error).message}`, {}, { cause });
  }
  if (typeof metadata !== "object" || metadata === null)
    throw new UnitcellError("CORRUPT", `${file}: expected a JSON object`);
  const known: Record<string, unknown> = {};
  for (const [name, [isOf, what]] of Object.entries(METADATA)) {
    const value = (metadata as Record<string, unknown>)[name];
    if (value === undefined) continue;
    if (!isOf(value)) throw new UnitcellError("CORRUPT", `${file}: "${name}" must be ${what}`);
    known[name] = value;
  }
  return known;
}

const isText = (value: unknown) => typeof value === "string";
const isNumber = (value: unknown) => typeof value === "number";
/** What is used of a metadata file. */
const METADATA: Record<keyof Metadata, [isOf: (value: unknown) => boolean, what: string]> = {
  property: [isText, "text"],
  unit: [isText, "text"],
  limits: [isText, "text"],
  test_mae: [isNumber, "a number"],
  test_r2: [isNumber, "a number"],
  elements: [(value) => Array.isArray(value) && value.every(isText), "a list of symbols"],
};

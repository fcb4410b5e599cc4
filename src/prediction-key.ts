/**
 * What a prediction depends on, as a hash: equal keys mean equal records (but for their id and time), so that what is
 * stored under a key cannot be out of date.
 */
import type { Ensemble } from "./ensemble.js";
import { UnitcellError } from "./errors.js";
import type { ElementTable } from "./graphs/features.js";
import type { Model } from "./models/model.js";
import { RECORD_SCHEMA } from "./prediction.js";
import { sha256 } from "./sha256.js";
import type { Structure } from "./structures/structure.js";
import { VERSION } from "./version.js";

/** How a model is run, as far as a record shows it. */
export interface KeyOptions {
  readonly backend: string;
  readonly tieRange: boolean;
  readonly state: number | undefined;
  readonly lift: boolean;
}

/**
 * All that a record depends on but for the structure, to be made once for many structures. Weights count by their file's
 * hash, the program by the config and the version of unitcell.
 * @throws {UnitcellError} ARGUMENT for a model that does not know its file's hash
 */
export async function recipeOf(model: Model | Ensemble, options: KeyOptions): Promise<string> {
  const isEnsemble = "members" in model;
  const recipe = {
    unitcell: VERSION,
    schema: RECORD_SCHEMA,
    ...options,
    ensemble: isEnsemble && { name: model.name, calibration: model.calibration },
    models: await Promise.all((isEnsemble ? model.members : [model]).map(modelRecipe)),
  };
  return hashText(JSON.stringify(recipe));
}

async function modelRecipe(model: Model): Promise<unknown> {
  const { sha256, config, normalizer, elements, trainedOn, property, unit, name, assumed } = model;
  if (sha256 === undefined || !/^[0-9a-f]{64}$/.test(sha256))
    throw new UnitcellError(
      "ARGUMENT",
      `a cache needs the SHA-256 of each model's checkpoint, found ${sha256 ?? "none"} for ${name ?? model.architecture}: ` +
        "loadModel gives it",
    );
  const trained = trainedOn && [...trainedOn].sort((a, b) => a - b);
  return { sha256, config, normalizer, elements: await tableHash(elements), trained, property, unit, name, assumed };
}

const tableHashes = new WeakMap<ElementTable, Promise<string>>();

function tableHash(table: ElementTable): Promise<string> {
  const known = tableHashes.get(table) ?? hashText(JSON.stringify([table.columns, [...table.rows]]));
  tableHashes.set(table, known);
  return known;
}

/** The key of a structure that checkStructure accepts: all of it but the id, to the bit. */
export function predictionKey(recipe: string, { lattice, pbc, numbers, fracCoords, notes = [] }: Structure) {
  const head = new TextEncoder().encode(`${JSON.stringify({ recipe, atoms: numbers.length, pbc, notes })}\n`);
  const parts = [lattice, fracCoords, numbers].map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  );
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, head.length));
  let at = 0;
  for (const part of [head, ...parts]) {
    all.set(part, at);
    at += part.length;
  }
  return sha256(all);
}

function hashText(text: string): Promise<string> {
  return sha256(new TextEncoder().encode(text));
}

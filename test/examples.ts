/** The small model and structures that ship in examples/, for tests that must run without the shared fixtures. */
import { readdirSync, readFileSync } from "node:fs";
import { loadCheckpoint } from "../src/checkpoint.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import type { Model, ModelOptions } from "../src/models/model.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";

export async function exampleModel(file = "cgcnn_ionic_best.pt", options?: ModelOptions): Promise<Model> {
  return modelFromCheckpoint(await loadCheckpoint(readFileSync(`examples/saved_models/${file}`)), options);
}

export function exampleStructures(): Structure[] {
  return readdirSync("examples/structures")
    .filter((name) => /\.(cif|vasp|extxyz)$/.test(name))
    .sort()
    .flatMap((filename) => parseStructures(readFileSync(`examples/structures/${filename}`, "utf8"), { filename }));
}

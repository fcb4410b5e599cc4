/** Every published and shared model with the graphs and goldens of its structures, for tests of exported networks. */
import type { Batch } from "../src/graphs/batch.js";
import { buildGraph, type CrystalGraph } from "../src/graphs/graph.js";
import { decodeOutput, type Model, outputRow } from "../src/models/model.js";
import { haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, goldens, publishedModel, storedGraph } from "./goldens.js";
import { alignnGoldens, alignnModel, alignnStructures } from "./goldens-alignn.js";
import { megnetGoldens, megnetGraph, megnetModel } from "./goldens-megnet.js";

export interface GoldenModel {
  readonly name: string;
  readonly load: () => Promise<Model>;
  /** By structure. */
  readonly graphs: (model: Model) => ReadonlyMap<string, CrystalGraph>;
  /** By structure; relative errors of ALIGNN's are of max(1, |value|), as in its own test. */
  readonly error: (id: string, model: Model, batch: Batch, outputs: Float32Array, b: number) => number;
}

export function goldenModels(): GoldenModel[] {
  return [...cgcnnModels(), ...megnetModels(), ...alignnModels()];
}

function cgcnnModels(): GoldenModel[] {
  if (!haveFixtures("cgcnn")) return [];
  return CHECKPOINTS.map((name) => {
    const golden = goldens(name);
    return {
      name,
      load: () => publishedModel(`${name}.pth.tar`),
      graphs: () => new Map([...golden.keys()].map((id) => [id, storedGraph(id)])),
      error: (id, ...row) => Math.abs(predicted(...row) - golden.get(id)!.f64),
    };
  });
}

/** Of crystals without bonds matgl's own prediction is NaN: there is no golden. */
function megnetModels(): GoldenModel[] {
  if (!haveFixtures("megnet")) return [];
  const golden = new Map(megnetGoldens().flatMap(({ id, nan, f64 }) => (nan ? [] : [[id, f64] as const])));
  return [
    {
      name: "megnet",
      load: megnetModel,
      graphs: () => new Map([...golden.keys()].map((id) => [id, megnetGraph(id)])),
      error: (id, ...row) => Math.abs(predicted(...row) - golden.get(id)!),
    },
  ];
}

function alignnModels(): GoldenModel[] {
  if (!haveFixtures("alignn")) return [];
  const structures = alignnStructures();
  const built = new Map<string, ReadonlyMap<string, CrystalGraph>>();
  return Array.from(alignnGoldens(), ([name, { predictions }]) => ({
    name,
    load: () => alignnModel(name),
    graphs: ({ config: { graph } }) => {
      const key = JSON.stringify(graph);
      const graphs =
        built.get(key) ?? new Map(Array.from(structures, ([id, structure]) => [id, buildGraph(structure, graph)]));
      built.set(key, graphs);
      return graphs;
    },
    error: (id, model, batch, outputs, b) => {
      const found = outputRow(model, batch, outputs, b);
      const expected = [predictions[id].f64].flat(2);
      if (found.length !== expected.length) return Number.NaN;
      return Math.max(...expected.map((x, i) => Math.abs(found[i] - x) / Math.max(1, Math.abs(x))));
    },
  }));
}

function predicted(model: Model, batch: Batch, outputs: Float32Array, b: number): number {
  return decodeOutput(model, outputRow(model, batch, outputs, b)).value;
}

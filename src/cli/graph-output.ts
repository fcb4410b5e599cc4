/** What `unitcell graph` writes, and what it says of it. */

import type { Batch } from "../graphs/batch.js";
import type { AnyGraph } from "../graphs/lift.js";
import { elementWarnings } from "../model-warnings.js";
import type { Model } from "../models/model.js";
import type { Feed } from "../onnx/inputs.js";
import type { PredictionWarning } from "../prediction.js";
import { chemicalFormula } from "../structures/elements.js";
import type { Structure } from "../structures/structure.js";
import { TYPE_NAMES } from "./convert-onnx.js";
import { escaped, labelled, oneLine, plural, table } from "./shown.js";

/** A structure of the batch, under the names that a prediction's record has for the same. */
export interface Crystal {
  readonly id: string | undefined;
  readonly formula: string;
  readonly sites: number;
  /** Å, of the graph. */
  readonly cutoff: number;
  readonly neighborPolicy?: "symmetric";
  /** Of lifted ones. */
  readonly compression?: number;
  readonly warnings: readonly PredictionWarning[];
}

export interface Graphs {
  /** In the order of the network's output. */
  readonly crystals: readonly Crystal[];
  readonly graphs: readonly AnyGraph[];
  readonly sizes: Batch["sizes"];
  /** By the names of the network's inputs. */
  readonly feeds: ReadonlyMap<string, Feed>;
  readonly lifted: boolean;
  readonly model: Model;
}

/** Numbers of a tensor that become text at a time. */
const PIECE_NUMBERS = 2 ** 16;
/** Ids in the text about a file. */
const MOST_IDS = 20;

export function crystalOf(model: Model, structure: Structure, graph: AnyGraph, lifted: boolean): Crystal {
  const { cutoff, neighborPolicy, warnings } = graph;
  return {
    id: structure.id,
    formula: chemicalFormula(structure.numbers),
    sites: structure.numbers.length,
    cutoff,
    ...(neighborPolicy && { neighborPolicy }),
    ...(lifted && { compression: "rowOf" in graph ? graph.compression : 1 }),
    warnings: [...elementWarnings(model, structure), ...warnings],
  };
}

/**
 * One JSON document in pieces, since it may be longer than a string can be. Numbers have all digits of a float64, so that a
 * float32 is the same number whether it is read as one or not.
 */
export function* graphsJson({ crystals, feeds, lifted, model }: Graphs): Generator<string> {
  const { name, sha256, architecture, config } = model;
  yield `{\n"model": ${JSON.stringify({ name, sha256, architecture, graph: config.graph })},\n"lifted": ${lifted},\n"structures": [\n`;
  for (const [i, crystal] of crystals.entries())
    yield `${JSON.stringify(crystal)}${i + 1 < crystals.length ? "," : ""}\n`;
  yield '],\n"inputs": {\n';
  let before = "";
  for (const [input, { type, dims, data }] of feeds) {
    yield `${before}${JSON.stringify(input)}: {"type": "${TYPE_NAMES[type]}", "dims": [${dims}], "data": [`;
    for (let at = 0; at < data.length; at += PIECE_NUMBERS)
      yield `${at > 0 ? "," : ""}${data.subarray(at, at + PIECE_NUMBERS).join()}`;
    yield "]}";
    before = ",\n";
  }
  yield "\n}\n}\n";
}

export function describeGraphs(file: string, size: number, { crystals, sizes, feeds, lifted }: Graphs): string {
  const { B, N, E, T } = sizes;
  const rows = [plural(N, "atom"), plural(E, "bond"), ...(T > 0 ? [`${plural(T, "pair")} of bonds`] : [])];
  const columns = [{ title: "input" }, { title: "type" }, { title: "shape" }];
  const tensors = [...feeds].map(([name, { type, dims }]) => [name, TYPE_NAMES[type], `[${dims.join(", ")}]`]);
  const ids = crystals.slice(0, MOST_IDS).map(({ id }) => escaped(id ?? "-"));
  const more = crystals.length > ids.length ? ` and ${crystals.length - ids.length} more` : "";
  return [
    `${oneLine(file)}: ${plural(size, "byte")}; ${plural(B, "crystal")}, ${rows.join(", ")}${lifted ? ", lifted" : ""}`,
    "",
    ...table(columns, tensors),
    "",
    ...labelled("in order", `${ids.join(", ")}${more}`),
    "",
  ].join("\n");
}

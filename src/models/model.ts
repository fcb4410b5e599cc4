import type { ModelConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import type { ElementTable } from "../graphs/features.js";
import type { LoadReport } from "../load-report.js";
import type { Program } from "../ops/program.js";
import { SYMBOLS } from "../structures/elements.js";
import { exponential } from "../structures/exponential.js";
import type { Structure } from "../structures/structure.js";
import type { Settings } from "./architecture.js";

/** A network with its weights, and what is needed to turn a crystal into its input and its output into a property. */
export interface Model {
  readonly config: ModelConfig;
  /** "CGCNN", "ALIGNN", "MEGNet". */
  readonly architecture: string;
  readonly program: Program;
  readonly elements: ElementTable;
  /** Atomic numbers of the elements it was trained on, where that is known. */
  readonly trainedOn?: ReadonlySet<number>;
  /** property = output * std + mean; absent where the checkpoint has none, and the output is the value. */
  readonly normalizer?: Normalizer;
  /** Its targets were normalised in training, so that without a normalizer the output is no property. */
  readonly normalizes: boolean;
  readonly property?: string;
  readonly unit?: string;
  /** Of its checkpoint: a name for people, and the hash of the file. */
  readonly name?: string;
  readonly sha256?: string;
  /** Settings that the checkpoint records, "cutoff 8". */
  readonly found: readonly string[];
  /** Settings that the checkpoint does not record and the model's published defaults supplied, one sentence each. */
  readonly assumed: readonly string[];
  /** What became of the checkpoint's tensors: which were remapped or cast and, when not strict, which did not fit. */
  readonly loadReport: LoadReport;
}

/** Target scale of a regression: value = output * std + mean, in the unit of the property. */
export interface Normalizer {
  readonly mean: number;
  readonly std: number;
}

/** What a checkpoint may lack; anything given here wins over the checkpoint. */
export interface ModelOptions {
  /** Element features the network was trained with, by default its architecture's own table. */
  elements?: ElementTable;
  normalizer?: Normalizer;
  /** Settings of the graph by the names of the reference code: radius or cutoff, max_num_nbr or max_neighbors, ... */
  graph?: Settings;
  /** ALIGNN's k-nearest graph: whether shells that upstream's rounding cuts are kept whole. */
  neighborPolicy?: "upstream" | "symmetric";
  property?: string;
  unit?: string;
  /** Symbols of the elements it was trained on: others get a warning. */
  trainedOn?: readonly string[];
  name?: string;
  sha256?: string;
  /** By default true. false: tensors that do not fit are left out, and those missing start from zeros. */
  strict?: boolean;
}

/** Property values of one crystal from its row of outputs. */
export function decodeOutput(
  model: Model,
  output: Float32Array,
): { value: number; values?: number[]; probabilities?: number[] } {
  if (model.config.task === "classification") {
    const probabilities = output.length === 1 ? [1 - output[0], output[0]] : Array.from(output, exponential);
    return { value: probabilities[1], probabilities };
  }
  const { mean, std } = model.normalizer ?? { mean: 0, std: 1 };
  const values = Array.from(output, (x) => x * std + mean);
  return { value: values[0], ...(values.length > 1 && { values }) };
}

/** @throws {UnitcellError} UNSUPPORTED when a structure has elements that the model's table lacks */
export function checkElements(model: Model, structure: Structure): void {
  const unknown = new Set<string>();
  for (const number of structure.numbers)
    if (!model.elements.rows.has(number)) unknown.add(SYMBOLS[number] || `Z=${number}`);
  if (unknown.size)
    throw new UnitcellError("UNSUPPORTED", `the model's element table has no ${[...unknown].join(", ")}`, {
      elements: [...unknown],
    });
}

/** The output of one crystal in a batch of them. */
export function outputRow(model: Model, batch: Batch, outputs: Float32Array, b: number): Float32Array {
  const columns = outputs.length / batch.sizes.B;
  if (columns !== model.config.outputs)
    throw new UnitcellError("MISMATCH", `expected ${model.config.outputs} outputs a crystal, found ${columns}`);
  return outputs.subarray(b * columns, (b + 1) * columns);
}

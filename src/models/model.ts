import { DEFAULT_LIMITS } from "../bytes.js";
import type { Checkpoint } from "../checkpoint.js";
import type { ModelConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import { cgcnnElementTable, type ElementTable } from "../graphs/features.js";
import { type LoadReport, matchStateDict } from "../load-report.js";
import type { Param, Program } from "../ops/program.js";
import { SYMBOLS } from "../structures/elements.js";
import type { Structure } from "../structures/structure.js";
import { numElements, type Tensor, toFloat32 } from "../tensor.js";
import { type CgcnnTensor, cgcnnProgram, cgcnnTensors, ELEMENT_TABLE } from "./cgcnn.js";
import { type GraphSettings, readCgcnnConfig } from "./cgcnn-config.js";

/** A network with its weights, and what is needed to turn a crystal into its input and its output into a property. */
export interface Model {
  readonly config: ModelConfig;
  readonly program: Program;
  readonly elements: ElementTable;
  /** property = output * std + mean; absent where the checkpoint has none, and the output is the value. */
  readonly normalizer?: Normalizer;
  readonly property?: string;
  readonly unit?: string;
  /** Settings that the checkpoint does not record and the model's published defaults supplied, one sentence each. */
  readonly assumed: readonly string[];
  /** What became of the checkpoint's tensors: which were remapped or cast and, when not strict, which did not fit. */
  readonly loadReport: LoadReport;
}

export interface Normalizer {
  readonly mean: number;
  readonly std: number;
}

/** What a checkpoint may lack; anything given here wins over the checkpoint. */
export interface ModelOptions {
  /** Element features the network was trained with, by default CGCNN's own table. */
  elements?: ElementTable;
  normalizer?: Normalizer;
  graph?: Partial<GraphSettings>;
  property?: string;
  unit?: string;
  /** By default true. false: tensors that do not fit are left out, and those missing start from zeros. */
  strict?: boolean;
}

/** Units of the properties that CGCNN's published checkpoints name in their arguments (its pre-trained/README). */
const PROPERTY_UNITS: ReadonlyMap<string, string> = new Map([
  ["formation_energy_per_atom", "eV/atom"],
  ["band_gap", "eV"],
]);

/**
 * The model a checkpoint holds. Unless options.strict is false, a missing, unexpected or wrong-shaped tensor is an error
 * that lists them all.
 * @throws {UnitcellError} MISMATCH when tensors, arguments and element table contradict each other, UNSUPPORTED when the
 *   tensors are of no known architecture
 */
export function modelFromCheckpoint(checkpoint: Checkpoint, options: ModelOptions = {}): Model {
  const elements = options.elements ?? cgcnnElementTable();
  const { config, assumed, property } = readCgcnnConfig(checkpoint, options.graph);
  const wanted = cgcnnTensors(config);
  const { tensors, report } = matchStateDict(wanted, checkpoint.stateDict, { strict: options.strict ?? true });
  const params = toParams(wanted, tensors);
  if (elements.columns !== config.elementFeatures)
    throw new UnitcellError(
      "MISMATCH",
      `the network takes ${config.elementFeatures} features per element, the element table has ${elements.columns}; ` +
        "give the table it was trained with",
    );
  params.set(ELEMENT_TABLE, tableParam(elements));
  const named = options.property ?? property;
  const absent = report.missing.length + report.wrongShape.length + report.wrongType.length;
  if (absent)
    assumed.push(`${absent} tensors that the checkpoint does not give are zeros, in batch norms the identity`);
  const unit = options.unit ?? (config.task === "classification" ? "probability" : named && PROPERTY_UNITS.get(named));
  const normalizer = options.normalizer ?? checkpoint.normalizer;
  return {
    config,
    program: cgcnnProgram(config, params),
    elements,
    assumed,
    loadReport: report,
    ...(normalizer && { normalizer }),
    ...(named && { property: named }),
    ...(unit && { unit }),
  };
}

/** Property values of one crystal from its row of outputs. */
export function decodeOutput(model: Model, output: Float32Array): { value: number; probabilities?: number[] } {
  if (model.config.task === "classification") {
    const probabilities = Array.from(output, Math.exp);
    return { value: probabilities[1], probabilities };
  }
  const { mean, std } = model.normalizer ?? { mean: 0, std: 1 };
  return { value: output[0] * std + mean };
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

/** Weights as float32 by name, for those that the state dict lacks what they would start from. */
function toParams(wanted: ReadonlyMap<string, CgcnnTensor>, tensors: ReadonlyMap<string, Tensor>): Map<string, Param> {
  const params = new Map<string, Param>();
  for (const [name, { shape, optional, initial }] of wanted) {
    const tensor = tensors.get(name);
    if (!optional) params.set(name, { shape, data: tensor ? toFloat32(tensor) : filled(name, shape, initial) });
  }
  return params;
}

function filled(name: string, shape: readonly number[], value: number): Float32Array {
  const count = numElements(shape);
  const limit = DEFAULT_LIMITS.copyFloorBytes;
  if (count * 4 > limit)
    throw new UnitcellError(
      "LIMIT",
      `missing ${name} [${shape}] would take ${count * 4} bytes, the limit is ${limit}`,
      {
        name,
        shape,
        limit,
      },
    );
  return new Float32Array(count).fill(value);
}

/** Rows by atomic number from 0, those of elements without one zero: checkElements keeps them from being read. */
function tableParam({ columns, rows }: ElementTable): Param {
  const height = Math.max(...rows.keys()) + 1;
  const data = new Float32Array(height * columns);
  for (const [number, row] of rows) data.set(row, number * columns);
  return { shape: [height, columns], data };
}

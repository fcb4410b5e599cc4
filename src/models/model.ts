import { DEFAULT_LIMITS } from "../bytes.js";
import type { Checkpoint } from "../checkpoint.js";
import type { ModelConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import type { ElementTable } from "../graphs/features.js";
import { type LoadReport, matchStateDict } from "../load-report.js";
import type { Param, Program } from "../ops/program.js";
import { SYMBOLS } from "../structures/elements.js";
import type { Structure } from "../structures/structure.js";
import { numElements, type Tensor, toFloat32 } from "../tensor.js";
import { ELEMENT_TABLE, type ModelTensor, type Settings } from "./architecture.js";
import { architectureOf, recognizeModel } from "./recognize.js";
import type { ShareRule } from "./shares.js";
import { unitOf } from "./units.js";

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

/**
 * The model a checkpoint holds. Unless options.strict is false, a missing, unexpected or wrong-shaped tensor is an error
 * that lists them all.
 * @throws {UnitcellError} MISMATCH when tensors, settings and element table contradict each other, UNSUPPORTED when the
 *   tensors are of no known architecture, ARGUMENT for options that the architecture has no use for
 */
export function modelFromCheckpoint(checkpoint: Checkpoint, options: ModelOptions = {}): Model {
  const { config, found, assumed, property } = recognizeModel(checkpoint, options.graph);
  const architecture = architectureOf(config);
  const wanted = architecture.tensors(config);
  const { tensors, report } = matchStateDict(wanted, checkpoint.stateDict, { strict: options.strict ?? true });
  const params = toParams(wanted, tensors);
  const elements = chooseElements(config, params, checkpoint, options.elements);
  params.set(ELEMENT_TABLE, tableParam(elements));
  const named = options.property ?? property;
  const absent = report.missing.length + report.wrongShape.length + report.wrongType.length;
  const filled = `${absent} tensors that the checkpoint does not give are zeros, in batch norms the identity`;
  const unit = options.unit ?? (config.task === "classification" ? "probability" : named && unitOf(named));
  const normalizer = options.normalizer ?? checkpoint.normalizer;
  if (normalizer) checkNormalizer(normalizer, options.normalizer ? "ARGUMENT" : "CORRUPT");
  const { name, sha256 } = options;
  return {
    config: withPolicy(config, options.neighborPolicy),
    architecture: architecture.title,
    program: architecture.program(config, params),
    elements,
    normalizes: architecture.normalizes,
    found,
    assumed: absent ? [...assumed, filled] : assumed,
    loadReport: report,
    ...(options.trainedOn && { trainedOn: new Set(options.trainedOn.map(atomicNumber)) }),
    ...(normalizer && { normalizer }),
    ...(named && { property: named }),
    ...(unit && { unit }),
    ...(name !== undefined && { name }),
    ...(sha256 !== undefined && { sha256 }),
  };
}

/** Training on one value, or on none, leaves a std of 0 or NaN: no prediction can be read with those. */
function checkNormalizer({ mean, std }: Normalizer, code: "ARGUMENT" | "CORRUPT"): void {
  if (!(Number.isFinite(mean) && Number.isFinite(std) && std > 0))
    throw new UnitcellError(
      code,
      `a normalizer has a finite mean and a positive std, found mean ${mean} and std ${std}`,
    );
}

function withPolicy(config: ModelConfig, neighborPolicy: ModelOptions["neighborPolicy"]): ModelConfig {
  if (neighborPolicy === undefined) return config;
  if (config.type !== "alignn" || config.graph.select !== "shell")
    throw new UnitcellError(
      "ARGUMENT",
      `neighborPolicy is about ALIGNN's k-nearest graphs; this is ${config.type} with a ${config.graph.select} graph`,
    );
  return { ...config, graph: { ...config.graph, neighborPolicy } };
}

function chooseElements(
  config: ModelConfig,
  params: ReadonlyMap<string, Param>,
  checkpoint: Checkpoint,
  given: ElementTable | undefined,
): ElementTable {
  if (given && config.type === "megnet")
    throw new UnitcellError("ARGUMENT", "MEGNet brings its own element vectors: an element table has no use");
  const elements = given ?? architectureOf(config).elements(config, params, checkpoint);
  if (elements.columns !== config.elementFeatures)
    throw new UnitcellError(
      "MISMATCH",
      `the network takes ${config.elementFeatures} features per element, the element table has ${elements.columns}; ` +
        "give the table it was trained with",
    );
  return elements;
}

function atomicNumber(symbol: string): number {
  const number = SYMBOLS.indexOf(symbol);
  if (number < 1) throw new UnitcellError("ARGUMENT", `trainedOn: "${symbol}" names no element`);
  return number;
}

/** Property values of one crystal from its row of outputs. */
export function decodeOutput(
  model: Model,
  output: Float32Array,
): { value: number; values?: number[]; probabilities?: number[] } {
  if (model.config.task === "classification") {
    const probabilities = output.length === 1 ? [1 - output[0], output[0]] : Array.from(output, Math.exp);
    return { value: probabilities[1], probabilities };
  }
  const { mean, std } = model.normalizer ?? { mean: 0, std: 1 };
  const values = Array.from(output, (x) => x * std + mean);
  return { value: values[0], ...(values.length > 1 && { values }) };
}

/** Whether a prediction can be split among the atoms: what atomShares goes by. */
export function splitsAmongAtoms(model: Model): boolean {
  return shareRule(model) !== undefined;
}

function shareRule({ config, program }: Model): ShareRule | undefined {
  return config.task === "regression" ? architectureOf(config).shares?.(config, program.params) : undefined;
}

/**
 * What each atom contributes to a regression's outputs, in the property's unit: (N, outputs) row-major, adding up to them;
 * by the rules of shares.ts from the atoms' last features (N, F). In float64 arithmetic; unlike a prediction's, last bits
 * may differ between engines, whose Math.exp and Math.log1p do.
 * @returns undefined where that is not defined: for classifiers, and where more than the mean of the atoms is read
 */
export function atomShares(model: Model, atoms: Float32Array, count: number): Float64Array | undefined {
  const { normalizer } = model;
  const rule = shareRule(model);
  if (!rule) return undefined;
  const columns = atoms.length / count;
  const pooled = new Float64Array(columns);
  for (const [k, x] of atoms.entries()) pooled[k % columns] += x / count;
  const { gradient, start } = rule(pooled);
  const outputs = start.length;
  const { mean, std } = normalizer ?? { mean: 0, std: 1 };
  const shares = new Float64Array(count * outputs);
  for (let i = 0; i < count; i++)
    for (let o = 0; o < outputs; o++) {
      let output = start[o];
      for (let c = 0; c < columns; c++) output += gradient[o * columns + c] * atoms[i * columns + c];
      shares[i * outputs + o] = (output * std + mean) / count;
    }
  return shares;
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
function toParams(wanted: ReadonlyMap<string, ModelTensor>, tensors: ReadonlyMap<string, Tensor>): Map<string, Param> {
  const params = new Map<string, Param>();
  const limit = DEFAULT_LIMITS.copyFloorBytes;
  let filledBytes = 0;
  for (const [name, { shape: expected, optional, initial }] of wanted) {
    if (optional) continue;
    const tensor = tensors.get(name);
    const shape = tensor?.shape ?? expected;
    if (!shape) throw new UnitcellError("MISMATCH", `${name} is missing, and its size is told by nothing else`);
    if (tensor) {
      params.set(name, { shape, data: toFloat32(tensor) });
      continue;
    }
    const count = numElements(shape);
    filledBytes += 4 * count;
    if (filledBytes > limit)
      throw new UnitcellError(
        "LIMIT",
        `missing tensors up to ${name} [${shape}] would take ${filledBytes} bytes, the limit is ${limit}`,
        { name, shape, limit },
      );
    params.set(name, { shape, data: new Float32Array(count).fill(initial) });
  }
  return params;
}

/** Rows by atomic number from 0, those of elements without one zero: checkElements keeps them from being read. */
function tableParam({ columns, rows }: ElementTable): Param {
  const height = Math.max(...rows.keys()) + 1;
  const data = new Float32Array(height * columns);
  for (const [number, row] of rows) data.set(row, number * columns);
  return { shape: [height, columns], data };
}

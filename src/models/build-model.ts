import { DEFAULT_LIMITS } from "../bytes.js";
import type { Checkpoint } from "../checkpoint.js";
import type { ModelConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { ElementTable } from "../graphs/features.js";
import { matchStateDict } from "../load-report.js";
import type { Param } from "../ops/program.js";
import { SYMBOLS } from "../structures/elements.js";
import { numElements, type Tensor, toFloat32 } from "../tensor.js";
import { type Architecture, ELEMENT_TABLE, type ModelTensor, type Recognized } from "./architecture.js";
import { knownOf } from "./known.js";
import type { Model, ModelOptions, Normalizer } from "./model.js";
import { unitOf } from "./units.js";

/**
 * The model of an architecture that a checkpoint holds, with the config read from it.
 * @throws {UnitcellError} as modelFromCheckpoint
 */
export function buildModel(
  architecture: Architecture,
  checkpoint: Checkpoint,
  { config, found, assumed, property }: Recognized,
  options: ModelOptions,
): Model {
  const wanted = architecture.tensors(config);
  const { tensors, report } = matchStateDict(wanted, checkpoint.stateDict, { strict: options.strict ?? true });
  const params = toParams(wanted, tensors);
  const elements = chooseElements(architecture, config, { params, checkpoint, given: options.elements });
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
    architecture: knownOf(config).title,
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

interface ElementSources {
  readonly params: ReadonlyMap<string, Param>;
  readonly checkpoint: Checkpoint;
  readonly given: ElementTable | undefined;
}

function chooseElements(
  architecture: Architecture,
  config: ModelConfig,
  { params, checkpoint, given }: ElementSources,
): ElementTable {
  if (given && config.type === "megnet")
    throw new UnitcellError("ARGUMENT", "MEGNet brings its own element vectors: an element table has no use");
  const elements = given ?? architecture.elements(config, params, checkpoint);
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

/** A Program as an ONNX graph. */
import { UnitcellError } from "../errors.js";
import { foldAffine, lowerBatchNorm } from "../ops/fold-norms.js";
import type { Program, Value } from "../ops/program.js";
import type { Pass } from "../ops/rewrite.js";
import { splitLinear } from "../ops/split-linear.js";
import { VERSION } from "../version.js";
import { OnnxGraph } from "./graph.js";
import type { OnnxInput } from "./inputs.js";
import { ROWS } from "./inputs.js";
import { LOWERINGS } from "./lowering.js";
import { encodeModel, type OnnxValue } from "./model-proto.js";

/**
 * The least that gives a fast graph of plain operations. Distinct lengths stay out, which would be inputs that others
 * could hardly make; fused operations, too, which ONNX has not.
 */
const EXPORT_PASSES: readonly Pass[] = [lowerBatchNorm, foldAffine, splitLinear];

/** The newest opset that LayerNormalization and ONNX checkers of 2022 have in common, and its file format. */
export const OPSET = 17;
const IR_VERSION = 8;

/** Protobuf messages end at 2 GiB. */
const MAX_BYTES = 2 ** 31 - 2 ** 20;

export interface ProgramOnnx {
  readonly bytes: Uint8Array;
  /** What it is to be fed, in the file's order. */
  readonly inputs: readonly OnnxInput[];
}

export interface ProgramOnnxOptions {
  /** Labels of the program whose values are outputs, by default "output". */
  readonly outputs?: readonly string[];
  /** Linears in half precision, weights and arithmetic; by default "f32". */
  readonly weights?: "f32" | "f16";
  readonly description?: string;
  readonly metadata?: ReadonlyMap<string, string>;
}

/** What of a program is written: the operations of lowering.ts. */
export function plainProgram(program: Program): Program {
  return EXPORT_PASSES.reduce((p, pass) => pass(p), program);
}

/**
 * @throws {UnitcellError} NOT_FOUND for a label that the program lacks; ARGUMENT for other weights; LIMIT where the file would
 *   have 2 GiB or more, or a weight is beyond float16
 */
export function programOnnx(program: Program, options: ProgramOnnxOptions = {}): ProgramOnnx {
  const { description = "", metadata = new Map() } = options;
  const { graph: g, outputs } = lower(program, options);
  checkSize(g);
  const bytes = encodeModel({
    producer: "unitcell",
    producerVersion: VERSION,
    description,
    irVersion: IR_VERSION,
    opset: OPSET,
    graph: {
      name: "crystal",
      nodes: g.nodes,
      constants: [...g.constants.values()],
      inputs: g.declared(),
      outputs,
    },
    metadata,
  });
  return { bytes, inputs: [...g.inputs.values()] };
}

/** What a program's file is to be fed, in its order. @throws {UnitcellError} as programOnnx, but for the file's size */
export function programInputs(program: Program, options: ProgramOnnxOptions = {}): readonly OnnxInput[] {
  return [...lower(program, options).graph.inputs.values()];
}

function lower(
  program: Program,
  { outputs = ["output"], weights = "f32" }: ProgramOnnxOptions,
): { graph: OnnxGraph; outputs: OnnxValue[] } {
  if (weights !== "f32" && weights !== "f16")
    throw new UnitcellError("ARGUMENT", `weights are f32 or f16, found "${weights}"`);
  const plain = plainProgram(program);
  const wanted = outputs.map((label) => {
    const value = plain.labels.get(label);
    if (!value)
      throw new UnitcellError("NOT_FOUND", `no value "${label}"; there are ${[...plain.labels.keys()].join(", ")}`);
    return { label, value };
  });
  const g = new OnnxGraph(plain.params, namesOf(plain, wanted), weights === "f16");
  const needed = neededFor(
    plain,
    wanted.map(({ value }) => value),
  );
  for (const node of plain.nodes) {
    if (!needed.has(node.output.id)) continue;
    const lowering = LOWERINGS[node.op];
    if (!lowering) throw new UnitcellError("UNSUPPORTED", `"${node.op}" has no form in ONNX`);
    g.begin(node.output);
    lowering(
      g,
      node,
      node.inputs.map((x) => g.value(x)),
    );
  }
  for (const { label, value } of wanted) if (g.value(value) !== label) g.alias(value, label);
  return { graph: g, outputs: wanted.map(({ label, value }) => outputOf(label, value)) };
}

/** A value's first label that is an output, else its first label, else a number. */
function namesOf({ labels }: Program, wanted: readonly { label: string; value: Value }[]): (value: Value) => string {
  const names = new Map<number, string>();
  for (const { label, value } of wanted) if (!names.has(value.id)) names.set(value.id, label);
  for (const [label, { id }] of labels) if (!names.has(id)) names.set(id, label);
  return ({ id }) => names.get(id) ?? `v${id}`;
}

function neededFor({ nodes }: Program, wanted: readonly Value[]): ReadonlySet<number> {
  const needed = new Set(wanted.map(({ id }) => id));
  for (const { output, inputs } of nodes.toReversed())
    if (needed.has(output.id)) for (const { id } of inputs) needed.add(id);
  return needed;
}

/** What an output is, for those who read it without unitcell; others are named after the layers of the original code. */
const MEANINGS: Readonly<Record<string, string>> = {
  output: "what the network says of each crystal, before the normalizer",
  crystal: "vector of each crystal, before the last layers",
  atoms: "vector of each atom, after the last convolution",
};

function outputOf(label: string, { rows, columns }: Value): OnnxValue {
  return { name: label, type: "f32", dims: [ROWS[rows], columns], description: MEANINGS[label] ?? "" };
}

function checkSize({ constants }: OnnxGraph): void {
  let bytes = 0;
  for (const { data } of constants.values()) bytes += data.byteLength;
  if (bytes > MAX_BYTES)
    throw new UnitcellError("LIMIT", `the weights take ${bytes} bytes, an ONNX file holds less than 2 GiB`);
}

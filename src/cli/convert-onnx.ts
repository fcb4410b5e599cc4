/** `unitcell convert IN OUT.onnx`: a checkpoint's network in a file that says how it is fed and read. */

import { UnitcellError } from "../errors.js";
import { valueWarnings } from "../model-warnings.js";
import type { Model } from "../models/model.js";
import { modelOnnx } from "../onnx/export.js";
import { declare, ROWS } from "../onnx/inputs.js";
import { OPSET, type ProgramOnnx } from "../onnx/program-onnx.js";
import { type ModelArguments, openModels } from "./models.js";
import { checkFree, writeNewFile, writePieces } from "./new-file.js";
import { labelled, oneLine, plural, table } from "./shown.js";
import { UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const ONNX_ENDING = /\.onnx$/i;

export interface OnnxArguments extends ModelArguments {
  readonly dtype?: string | undefined;
  readonly force?: boolean | undefined;
}

/** @throws {UnitcellError} as openModels and exportOnnx; ARGUMENT for an address, and where OUT exists */
export async function convertToOnnx(from: string, to: string, args: OnnxArguments): Promise<number> {
  const weights = parseWeights(args.dtype);
  if (/^https?:\/\//i.test(from))
    throw new UnitcellError("ARGUMENT", `${from}: for .onnx, IN is a file or folder here: download it first`);
  const force = args.force ?? false;
  checkFree(to, force);
  const { model, description } = await openModels([from], args);
  if ("members" in model) throw new Error("one path is one model");
  process.stderr.write(`${description.join("\n")}\n`);
  for (const { message } of valueWarnings(model)) process.stderr.write(`warning: ${oneLine(message)}\n`);
  process.stderr.write("\n");
  let made: ProgramOnnx | undefined;
  const size = await writeNewFile(to, force, async (next) => {
    made = modelOnnx(model, { weights });
    await writePieces(next, made.bytes);
  });
  if (size === undefined) return 130;
  const lines = [
    `${oneLine(from)} -> ${oneLine(to)}: ${plural(size, "byte")}, ONNX opset ${OPSET}, ${WEIGHTS[weights]}`,
    "",
    ...describeInputs(made!),
    "",
    ...labelled("output", `output, float32 [${ROWS.B}, ${model.config.outputs}]`),
    ...labelled("read as", oneLine(readingOf(model))),
  ];
  await writeOut(`${lines.join("\n")}\n`);
  return 0;
}

const WEIGHTS = { f32: "float32", f16: "linear layers in float16" };

function parseWeights(dtype = "f32"): "f32" | "f16" {
  if (dtype !== "f32" && dtype !== "f16") throw new UsageError(`--dtype of an .onnx is f32 or f16, found "${dtype}"`);
  return dtype;
}

/** Names of types as ONNX runtimes and numpy have them. */
export const TYPE_NAMES: Readonly<Record<string, "float32" | "int32">> = { f32: "float32", i32: "int32" };

/** Their meanings, too long for a terminal, are in the file. */
function describeInputs({ inputs }: ProgramOnnx): string[] {
  const rows = inputs.map(declare).map(({ name, type, dims }) => [name, TYPE_NAMES[type], `[${dims.join(", ")}]`]);
  return table([{ title: "input" }, { title: "type" }, { title: "shape" }], rows);
}

/** How a row of the output is read. */
function readingOf(model: Model): string {
  const { config, normalizer, unit } = model;
  const { task, outputs } = config;
  if (task === "classification")
    return outputs === 1 ? "probability of class 1 = output" : "probability of class k = exp(output[k])";
  if (valueWarnings(model).length > 0) return "output, which is not the property: it lacks its normalizer";
  const of = unit === undefined ? "" : `, in ${unit}`;
  if (!normalizer) return `value = output${of}`;
  const { mean, std } = normalizer;
  return `value = output * ${std} ${mean < 0 ? "-" : "+"} ${Math.abs(mean)}${of}`;
}

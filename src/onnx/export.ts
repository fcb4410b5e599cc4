/** A model as an ONNX file that says by itself how it is to be fed and read. */

import { UnitcellError } from "../errors.js";
import { valueWarnings } from "../model-warnings.js";
import type { Model } from "../models/model.js";
import { SYMBOLS } from "../structures/elements.js";
import { type ProgramOnnx, type ProgramOnnxOptions, programOnnx } from "./program-onnx.js";

/** The type of the weights in the file. */
export type OnnxExportOptions = Pick<ProgramOnnxOptions, "weights">;

/** Metadata that `exportOnnx` writes; each value is JSON, or text as it is. */
export function onnxMetadata(model: Model, weights: OnnxExportOptions["weights"] = "f32"): Map<string, string> {
  const { architecture, config, property, unit, normalizer, elements, name, sha256, assumed, trainedOn } = model;
  const warnings = valueWarnings(model).map(({ message }) => message);
  const rows = [...elements.rows].map(([number, row]) => [SYMBOLS[number], row] as const);
  const texts: Record<string, string | undefined> = {
    "unitcell.architecture": architecture,
    "unitcell.task": config.task,
    "unitcell.property": property,
    "unitcell.unit": unit,
    "unitcell.checkpoint.name": name,
    "unitcell.checkpoint.sha256": sha256,
    "unitcell.weights": weights,
  };
  const values: Record<string, unknown> = {
    "unitcell.graph": config.graph,
    "unitcell.config": config,
    "unitcell.normalizer": normalizer,
    "unitcell.elements": Object.fromEntries(rows),
    "unitcell.trained_on": trainedOn && [...trainedOn].map((number) => SYMBOLS[number]),
    "unitcell.assumed": assumed.length > 0 ? assumed : undefined,
    "unitcell.warnings": warnings.length > 0 ? warnings : undefined,
  };
  return new Map(
    [
      ...Object.entries(texts),
      ...Object.entries(values).map(([key, value]) => [key, JSON.stringify(value)] as const),
    ].filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/**
 * The model as an ONNX file (opset 17): one crystal or many in a batch, of any sizes. Output "output" (crystals, outputs) is
 * the network's own; metadata `unitcell.normalizer` turns it into the property, output * std + mean. Inputs are those of
 * `collate`, described in the file and made by `unitcell graph`.
 * @throws {UnitcellError} LIMIT for weights of 2 GiB or more, or beyond float16 where that is asked for; ARGUMENT for other
 *   weights, and for an ensemble, whose members are files of their own
 */
export function exportOnnx(model: Model, options: OnnxExportOptions = {}): Uint8Array {
  return modelOnnx(model, options).bytes;
}

/** The same, with what it is to be fed. */
export function modelOnnx(model: Model, options: OnnxExportOptions = {}): ProgramOnnx {
  if ("members" in model)
    throw new UnitcellError("ARGUMENT", "expected a model, found an ensemble: export each of its members");
  const description = `${model.architecture}${model.name ? ` ${model.name}` : ""}, exported by unitcell`;
  const metadata = onnxMetadata(model, options.weights);
  return programOnnx(model.program, { ...options, description, metadata });
}

import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Checkpoint, loadCheckpoint } from "../checkpoint.js";
import { UnitcellError } from "../errors.js";
import { parseElementTable } from "../graphs/features.js";
import { describeLoadReport } from "../load-report.js";
import { type Model, type ModelOptions, modelFromCheckpoint } from "../models/model.js";
import { UsageError } from "./usage.js";

/** A model, the name it goes by in output, and what to tell the user of it. */
export interface NamedModel {
  readonly name: string;
  readonly model: Model;
  readonly description: readonly string[];
}

/** The example that ships with the package, used when no model is named. */
const EXAMPLE = fileURLToPath(new URL("../examples/saved_models/cgcnn_ionic_best.pt", import.meta.url));

export interface ModelArguments {
  readonly "atom-init"?: string | undefined;
  readonly normalizer?: string | undefined;
}

/** @throws {UnitcellError} NOT_FOUND, or whatever is wrong with the checkpoint, with the file's name */
export async function openModels(paths: readonly string[] | undefined, args: ModelArguments): Promise<NamedModel[]> {
  const options: ModelOptions = {
    ...(args["atom-init"] !== undefined && { elements: parseElementTable(readText(args["atom-init"])) }),
    ...(args.normalizer !== undefined && { normalizer: parseNormalizer(args.normalizer) }),
  };
  const models: NamedModel[] = [];
  for (const path of paths ?? [EXAMPLE]) models.push(await openModel(path, options));
  return models;
}

async function openModel(path: string, options: ModelOptions): Promise<NamedModel> {
  const name = basename(path);
  const metadata = readMetadata(path);
  try {
    const checkpoint = await loadCheckpoint(readBytes(path));
    const model = modelFromCheckpoint(checkpoint, {
      name,
      ...(typeof metadata.property === "string" && { property: metadata.property }),
      ...(typeof metadata.unit === "string" && { unit: metadata.unit }),
      ...options,
    });
    return { name, model, description: describe(path, checkpoint, model, metadata) };
  } catch (error) {
    if (!(error instanceof UnitcellError)) throw error;
    throw new UnitcellError(error.code, `${path}: ${error.message}`, error.detail, { cause: error });
  }
}

/** `<run>_metadata.json` beside `<run>_best.pt`, `<run>_final.pt` or `<run>_epoch<N>.pt`; empty where there is none. */
function readMetadata(path: string): Record<string, unknown> {
  const run = basename(path).replace(/(_best|_final|_epoch\d+)?\.\w+$/, "");
  const file = join(dirname(path), `${run}_metadata.json`);
  if (!existsSync(file)) return {};
  try {
    const metadata: unknown = JSON.parse(readText(file));
    if (typeof metadata === "object" && metadata !== null) return metadata as Record<string, unknown>;
    throw new SyntaxError("not an object");
  } catch (cause) {
    throw new UnitcellError("CORRUPT", `${file}: not a JSON object: ${(cause as Error).message}`, {}, { cause });
  }
}

function describe(path: string, { epoch }: Checkpoint, model: Model, metadata: Record<string, unknown>): string[] {
  const { architecture, config, property, unit } = model;
  const of = path === EXAMPLE ? `${basename(path)}, the example that ships with unitcell` : path;
  const lines = [
    `model: ${of}: ${architecture} ${config.task}, ${countWeights(model)} weights` +
      (epoch === undefined ? "" : `, epoch ${epoch}`),
  ];
  if (property) lines.push(`predicts: ${property}${unit ? `, ${unit}` : ""}`);
  if (typeof metadata.test_mae === "number")
    lines.push(`test error: MAE ${metadata.test_mae}${unit ? ` ${unit}` : ""}, R2 ${metadata.test_r2}`);
  if (typeof metadata.limits === "string") lines.push(`limits: ${metadata.limits}`);
  for (const found of describeLoadReport(model.loadReport)) lines.push(`tensors: ${found}`);
  for (const assumption of model.assumed) lines.push(`assumed: ${assumption}`);
  return lines.flatMap((line) => wrap(line, 110));
}

/** Trained numbers: weights and biases, without running statistics and the element table. */
function countWeights({ program }: Model): number {
  let count = 0;
  for (const [name, { data }] of program.params) if (/\.(weight|bias)$/.test(name)) count += data.length;
  return count;
}

/** Lines of at most `width` characters, broken at spaces, those after the first indented. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const last = lines.length - 1;
    if (lines[last] === "") lines[last] = word;
    else if (lines[last].length + 1 + word.length <= width) lines[last] += ` ${word}`;
    else lines.push(`  ${word}`);
  }
  return lines;
}

function parseNormalizer(text: string): { mean: number; std: number } {
  const [mean, std, ...rest] = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (rest.length || !Number.isFinite(mean) || !(std > 0 && Number.isFinite(std)))
    throw new UsageError(`--normalizer takes MEAN,STD (two numbers, the second positive), found "${text}"`);
  return { mean, std };
}

function readText(path: string): string {
  return new TextDecoder().decode(readBytes(path));
}

function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new UnitcellError("NOT_FOUND", `no file ${path}`);
    throw new UnitcellError("CORRUPT", `cannot read ${path}: ${message}`, {}, { cause: error });
  }
}

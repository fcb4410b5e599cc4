/** The models that the command line names, as one: what to predict with, and what to tell the user of it. */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Checkpoint, loadCheckpoint } from "../checkpoint.js";
import { type Ensemble, ensemble } from "../ensemble.js";
import { isUnitcellError, reworded, UnitcellError } from "../errors.js";
import { parseElementTable } from "../graphs/features.js";
import { modelFromCheckpoint, recognizeModel } from "../models/from-checkpoint.js";
import type { Model, ModelOptions } from "../models/model.js";
import { type FilesRead, readCheckpointFiles } from "./checkpoint-files.js";
import { describeModel, describeTogether, type Metadata } from "./describe-models.js";
import { UsageError } from "./usage.js";

/** One model or an ensemble, and lines about it. */
export interface OpenedModels {
  readonly model: Model | Ensemble;
  readonly description: readonly string[];
}

export interface ModelArguments {
  readonly "atom-init"?: string | undefined;
  readonly normalizer?: string | undefined;
  readonly property?: string | undefined;
  readonly unit?: string | undefined;
  readonly "neighbor-policy"?: string | undefined;
  readonly calibration?: string | undefined;
}

/** The examples that ship with the package, used when no model is named. */
export const EXAMPLES = ["cgcnn", "alignn", "megnet"].map((name) =>
  fileURLToPath(new URL(`../examples/saved_models/${name}_ionic_best.pt`, import.meta.url)),
);

/** Options that only some architectures take: where others do, the rest go without. */
const TAKERS: readonly [option: keyof ModelOptions, takes: (config: Model["config"]) => boolean][] = [
  ["elements", ({ type }) => type !== "megnet"],
  ["neighborPolicy", ({ graph }) => graph.select === "shell"],
];

/** @throws {UnitcellError} NOT_FOUND, or whatever is wrong with a checkpoint, with the file's name; MISMATCH as ensemble */
export async function openModels(paths: readonly string[] | undefined, args: ModelArguments): Promise<OpenedModels> {
  const options = parseModelOptions(args);
  const calibration = parseCalibration(args.calibration);
  const isExample = (path: string) => EXAMPLES.includes(path);
  const opened: Opened[] = [];
  for (const path of paths ?? EXAMPLES) opened.push(await open(path));
  for (const [option, takes] of TAKERS)
    if (opened.some(({ config }) => takes(config)))
      for (const one of opened) if (!takes(one.config)) one.without.push(option);
  const models = opened.map((one) => build(one, options));
  const described = models.flatMap((model, i) => describeOpened(opened[i], model, isExample(opened[i].path)));
  if (models.length === 1 && calibration !== undefined)
    throw new UsageError("--calibration is about the spread of several models: give --model more than once");
  const model = models.length === 1 ? models[0] : together(models, calibration);
  const metadata = opened.map((one) => one.metadata);
  return {
    model,
    description: [
      ...described,
      ...describeTogether(
        model,
        metadata,
        opened.some(({ path }) => isExample(path)),
      ),
    ],
  };
}

/** @throws {UnitcellError} as ensemble, with the option that helps where what they predict is not known of all */
function together(models: readonly Model[], calibration: number | undefined): Ensemble {
  try {
    return ensemble(models, calibration === undefined ? {} : { calibration });
  } catch (error) {
    const unknown = (["property", "unit"] as const).find(
      (name) => models.some((model) => model[name] === undefined) && models.some((model) => model[name] !== undefined),
    );
    if (!isUnitcellError(error, "MISMATCH") || !unknown) throw error;
    const option = unknown === "property" ? "--property NAME" : "--unit UNIT";
    throw reworded(error, `${error.message}; if it is the same, ${option} says so`);
  }
}

function describeOpened({ path, checkpoint, metadata }: Opened, model: Model, isExample: boolean): string[] {
  return describeModel(isExample ? basename(path) : path, checkpoint, model, metadata);
}

/** A checkpoint that is read, not yet a model. */
interface Opened {
  readonly path: string;
  readonly read: FilesRead;
  readonly checkpoint: Checkpoint;
  readonly config: Model["config"];
  readonly metadata: Metadata;
  /** Options that it goes without. */
  readonly without: (keyof ModelOptions)[];
}

async function open(path: string): Promise<Opened> {
  const metadata = readMetadata(path);
  return withPath(path, async () => {
    const read = await readCheckpointFiles(path);
    const checkpoint = await loadCheckpoint(read.files);
    return { path, read, checkpoint, config: recognizeModel(checkpoint).config, metadata, without: [] };
  });
}

function build({ path, read, checkpoint, metadata, without }: Opened, options: ModelOptions): Model {
  const given = Object.fromEntries(
    Object.entries(options).filter(([name]) => !without.includes(name as keyof ModelOptions)),
  );
  const { name, sha256 } = read;
  return withPath(path, () =>
    modelFromCheckpoint(checkpoint, { name, sha256, ...metadataOptions(metadata), ...given }),
  );
}

/** What a metadata file says of the model. */
export function metadataOptions({ property, unit, elements }: Metadata): ModelOptions {
  return {
    ...(property !== undefined && { property }),
    ...(unit !== undefined && { unit }),
    ...(elements && { trainedOn: elements }),
  };
}

/** What to do with a file that names code, such as a whole module. */
const CODE_HINT = "unitcell convert FILE weights.safetensors leaves the code out and keeps the tensors";

/** The path in front of what is wrong. */
export function withPath<T>(path: string, work: () => T): T {
  const named = (error: unknown): never => {
    if (!(error instanceof UnitcellError)) throw error;
    const hint = error.code === "UNSAFE" ? `. ${CODE_HINT}` : "";
    if (error.message.includes(path) && !hint) throw error;
    throw reworded(error, `${path}: ${error.message}${hint}`);
  };
  try {
    const result = work();
    return (result instanceof Promise ? result.catch(named) : result) as T;
  } catch (error) {
    return named(error);
  }
}

/** `<run>_metadata.json` beside `<run>_best.pt`, `<run>_final.pt` or `<run>_epoch<N>.pt`, which need not be there. */
export function metadataPath(path: string): string {
  const run = basename(path).replace(/(_best|_final|_epoch\d+)?\.\w+$/, "");
  return join(dirname(path), `${run}_metadata.json`);
}

/** What it says; empty where there is none. */
export function readMetadata(path: string): Metadata {
  const file = metadataPath(path);
  if (!existsSync(file)) return {};
  let metadata: unknown;
  try {
    metadata = JSON.parse(readText(file));
  } catch (cause) {
    throw new UnitcellError("CORRUPT", `${file}: not JSON: ${(cause as Error).message}`, {}, { cause });
  }
  if (typeof metadata !== "object" || metadata === null)
    throw new UnitcellError("CORRUPT", `${file}: expected a JSON object`);
  const known: Record<string, unknown> = {};
  for (const [name, [isOf, what]] of Object.entries(METADATA)) {
    const value = (metadata as Record<string, unknown>)[name];
    if (value === undefined) continue;
    if (!isOf(value)) throw new UnitcellError("CORRUPT", `${file}: "${name}" must be ${what}`);
    known[name] = value;
  }
  return known;
}

const isText = (value: unknown) => typeof value === "string";
const isNumber = (value: unknown) => typeof value === "number";
/** What is used of a metadata file. */
const METADATA: Record<keyof Metadata, [isOf: (value: unknown) => boolean, what: string]> = {
  property: [isText, "text"],
  unit: [isText, "text"],
  limits: [isText, "text"],
  test_mae: [isNumber, "a number"],
  test_r2: [isNumber, "a number"],
  elements: [(value) => Array.isArray(value) && value.every(isText), "a list of symbols"],
};

export function parseModelOptions(args: ModelArguments): ModelOptions {
  const { "atom-init": table, normalizer, property, unit, "neighbor-policy": policy } = args;
  if (policy !== undefined && policy !== "upstream" && policy !== "symmetric")
    throw new UsageError(`--neighbor-policy is upstream or symmetric, found "${policy}"`);
  for (const [name, text] of Object.entries({ property, unit }))
    if (text?.trim() === "") throw new UsageError(`--${name} takes a name, found "${text}"`);
  return {
    ...(property !== undefined && { property }),
    ...(unit !== undefined && { unit }),
    ...(table !== undefined && { elements: withPath(table, () => parseElementTable(readText(table))) }),
    ...(normalizer !== undefined && { normalizer: parseNormalizer(normalizer) }),
    ...(policy !== undefined && { neighborPolicy: policy }),
  };
}

function parseNormalizer(text: string): { mean: number; std: number } {
  const [mean, std, ...rest] = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (rest.length || !Number.isFinite(mean) || !(std > 0 && Number.isFinite(std)))
    throw new UsageError(`--normalizer takes MEAN,STD (two numbers, the second positive), found "${text}"`);
  return { mean, std };
}

function parseCalibration(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const factor = text.trim() === "" ? Number.NaN : Number(text);
  if (!(factor > 0 && Number.isFinite(factor)))
    throw new UsageError(`--calibration takes a positive number, found "${text}"`);
  return factor;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new UnitcellError("NOT_FOUND", `no file ${path}`);
    throw new UnitcellError("CORRUPT", `cannot read ${path}: ${message}`, {}, { cause: error });
  }
}

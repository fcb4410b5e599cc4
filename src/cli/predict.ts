import { checkOptions } from "../batches.js";
import type { Ensemble } from "../ensemble.js";
import { isUnitcellError } from "../errors.js";
import type { Model } from "../models/model.js";
import { predictStream } from "../predict.js";
import type { PredictionCache } from "../prediction-cache.js";
import type { StructureFormat } from "../structures/parse.js";
import { openCache, saveCache } from "./cache.js";
import { eventTurns, listInputs, readInputs, readTexts } from "./inputs.js";
import { openModels } from "./models.js";
import { Notes } from "./notes.js";
import { Progress } from "./progress.js";
import { type OutputFormat, type Record, type RecordWriter, recordWriter } from "./records.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const PREDICT_HELP = `Usage: unitcell predict [options] FILES|FOLDERS|-

Predicts a property of every crystal structure, in order. Reads CIF, POSCAR, extended XYZ, and JSON of pymatgen,
OPTIMADE, JARVIS and ASE; a folder stands for the CIF, POSCAR and XYZ files below it, - for standard input.

Options:
  -m, --model PATH            PyTorch checkpoint of a CGCNN, ALIGNN or MEGNet: a file (.pt, .pth.tar, .ckpt), or a folder
                              or zip as ALIGNN and matgl write it. Several are one ensemble: their mean and spread.
                              Without it: small example models that ship with unitcell
  -f, --format FORMAT         cif, poscar, xyz, json (any kind), pymatgen, optimade, jarvis or ase, where the file's name
                              does not tell
      --table, --csv, --json, --jsonl
                              output; without it a table on a terminal, CSV elsewhere
      --tie-range             where neighbours tie, also the range of values over the ways to choose among them
      --atom-init FILE        element features the model was trained with (CGCNN's atom_init.json format)
      --normalizer=MEAN,STD   for a checkpoint without one: value = output * STD + MEAN
      --property NAME, --unit UNIT
                              what the models predict, where a checkpoint does not name it or not as you would
      --state N               for a MEGNet of several fidelities: which, from 0
      --neighbor-policy P     of ALIGNN's k-nearest graphs: upstream (as trained), or symmetric (no shell of equally
                              distant neighbours is cut)
      --no-lift               compute every atom and bond, also those that symmetry makes alike
      --calibration FACTOR    from an ensemble's spread to an error bar, worked out on data of known values
      --cache FILE            a file of predictions (ensemble_predictions.pt): those in it are not computed again, new
                              ones are added
      --workers N             predict on N threads, by default 1; auto or 0: one for each core
  -q, --quiet                 do not describe the models, list no warnings
  -h, --help                  this text

A record's id is the file's name without its ending; further structures of a file get #2, #3, ... Records of databases
keep their own ids.
A structure that fails gets an error record and the rest go on; then the exit code is 1.
`;

export const FORMATS: readonly string[] = [
  "cif",
  "poscar",
  "xyz",
  "json",
  "pymatgen",
  "optimade",
  "jarvis",
  "ase",
] satisfies StructureFormat[];

export async function predictCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      model: { type: "string", short: "m", multiple: true },
      format: { type: "string", short: "f" },
      table: { type: "boolean" },
      csv: { type: "boolean" },
      json: { type: "boolean" },
      jsonl: { type: "boolean" },
      "tie-range": { type: "boolean" },
      "atom-init": { type: "string" },
      normalizer: { type: "string" },
      property: { type: "string" },
      unit: { type: "string" },
      state: { type: "string" },
      "neighbor-policy": { type: "string" },
      "no-lift": { type: "boolean" },
      calibration: { type: "string" },
      cache: { type: "string" },
      workers: { type: "string" },
      quiet: { type: "boolean", short: "q" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(PREDICT_HELP);
    return 0;
  }
  if (positionals.length === 0) throw new UsageError("predict needs structure files; see unitcell predict --help");
  if (values.format !== undefined && !FORMATS.includes(values.format))
    throw new UsageError(`--format is one of ${FORMATS.join(", ")}, found "${values.format}"`);
  const output = chooseOutput(values);
  const workers = parseWorkers(values.workers);
  const { model, description } = await openModels(values.model, values);
  const state = parseState(model, values.state);
  const cache = values.cache === undefined ? undefined : await openCache(values.cache);
  if (!values.quiet) process.stderr.write(`${description.join("\n")}\n\n`);
  const files = await listInputs(positionals);
  const progress = new Progress(files.length, process.stderr);
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort()); // a second Ctrl-C ends the process as usual
  const { signal } = abort;
  const format = values.format as StructureFormat | undefined;
  const source = [files, format, (done: number) => progress.update(done), signal] as const;
  const options = {
    tieRange: values["tie-range"] ?? false,
    lift: !values["no-lift"],
    ...(state !== undefined && { state }),
    ...(cache && { cache }),
  };
  const pool =
    workers === 1
      ? undefined
      : await (await import("../pool/pool.js")).createPool(workers === "auto" ? {} : { workers });
  const records = pool
    ? pool.predictStream(model, readTexts(...source), { ...options, signal })
    : predictStream(model, readInputs(...source), options);
  const how = { progress, quiet: values.quiet ?? false, signal };
  try {
    return await report(untilAborted(records, signal), recordWriter(output, model), how);
  } finally {
    await pool?.close();
    if (cache) await keep(cache, values.cache!, how.quiet);
  }
}

/** @throws {UsageError} for what is no state of the model, or none where it needs one */
export function parseState(model: Model | Ensemble, text: string | undefined): number | undefined {
  if (text !== undefined && !/^\d{1,9}$/.test(text)) throw new UsageError(`--state takes a number, found "${text}"`);
  const state = text === undefined ? undefined : Number(text);
  try {
    checkOptions("members" in model ? model.members : [model], { ...(state !== undefined && { state }) });
  } catch (error) {
    if (isUnitcellError(error, "ARGUMENT")) throw new UsageError(`--state: ${error.message}`);
    throw error;
  }
  return state;
}

function parseWorkers(text = "1"): number | "auto" {
  if (text === "auto" || text === "0") return "auto";
  if (!/^[1-9]\d{0,2}$/.test(text))
    throw new UsageError(`--workers takes a number up to 999, or auto, found "${text}"`);
  return Number(text);
}

/** What was added, also when the run was stopped or ended early. */
async function keep(cache: PredictionCache, path: string, quiet: boolean): Promise<void> {
  await saveCache(cache, path);
  const { size, added, refused } = cache;
  if (quiet) return;
  const full = refused ? `; it is full, ${refused} found no room` : "";
  process.stderr.write(`\ncache: ${path}: ${added} added, ${size} in it${full}\n`);
}

function chooseOutput(values: { [name in OutputFormat]?: boolean | undefined }): OutputFormat {
  const chosen = (["table", "csv", "json", "jsonl"] as const).filter((format) => values[format]);
  if (chosen.length > 1) throw new UsageError(`--${chosen.join(" and --")} exclude each other`);
  return chosen[0] ?? (process.stdout.isTTY ? "table" : "csv");
}

/** The records so far when aborted; Ctrl-C is heard between them, and by a pool at any time. */
async function* untilAborted(records: AsyncIterable<Record>, signal: AbortSignal): AsyncGenerator<Record> {
  const turn = eventTurns();
  try {
    for await (const record of records) {
      if (signal.aborted) return;
      yield record;
      await turn();
    }
  } catch (error) {
    if (error !== signal.reason) throw error;
  }
}

/** Write the records as they come; what went wrong, and what to beware of, goes to stderr at the end. */
async function report(
  records: AsyncIterable<Record>,
  writer: RecordWriter,
  { progress, quiet, signal }: { progress: Progress; quiet: boolean; signal: AbortSignal },
): Promise<number> {
  const notes = new Notes();
  let failed = 0;
  let done = 0;
  await writeOut(writer.begin());
  for await (const record of records) {
    done++;
    if ("error" in record) {
      failed++;
      notes.add(`error: ${record.id}: ${record.error.code}: ${record.error.message}`);
    } else if (!quiet)
      for (const { message, member } of record.warnings) {
        const of = member === undefined ? "" : `${record.members![member].model.name}: `;
        notes.add(`warning: ${record.id}: ${of}${message}`);
      }
    const text = writer.record(record);
    if (!text) continue;
    progress.clear();
    await writeOut(text);
  }
  progress.clear();
  await writeOut(writer.end());
  notes.tell();
  if (signal.aborted) {
    process.stderr.write(`\nunitcell: stopped after ${done} predictions\n`);
    return 130;
  }
  return failed ? 1 : 0;
}

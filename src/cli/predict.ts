import { setImmediate } from "node:timers/promises";
import { predictStream } from "../predict.js";
import type { FailedPrediction, Prediction } from "../prediction.js";
import type { StructureFormat } from "../structures/parse.js";
import type { Structure, UnreadStructure } from "../structures/structure.js";
import { eventTurns, listInputs, readInputs } from "./inputs.js";
import { type NamedModel, openModels } from "./models.js";
import { Progress } from "./progress.js";
import { type OutputFormat, type Record, recordWriter } from "./records.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const PREDICT_HELP = `Usage: unitcell predict [options] FILES|FOLDERS|-

Predicts a property of every crystal structure, in order. Reads CIF, POSCAR, extended XYZ, and JSON of pymatgen,
OPTIMADE, JARVIS and ASE; a folder stands for the CIF, POSCAR and XYZ files below it, - for standard input.

Options:
  -m, --model FILE            PyTorch checkpoint (.pt, .pth.tar) of a CGCNN; may be given several times.
                              Without it: a small example model that ships with unitcell
  -f, --format FORMAT         cif, poscar, xyz, json (any kind), pymatgen, optimade, jarvis or ase, where the file's name
                              does not tell
      --table, --csv, --json, --jsonl
                              output; without it a table on a terminal, CSV elsewhere
      --tie-range             where neighbours tie, also the range of values over the ways to choose among them
      --atom-init FILE        element features the model was trained with (CGCNN's atom_init.json format)
      --normalizer MEAN,STD   for a checkpoint without one: value = output * STD + MEAN
  -q, --quiet                 do not describe the model, list no warnings
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

/** Structures, and atoms, taken from the input at a time for all models to predict. */
const CHUNK_STRUCTURES = 256;
const CHUNK_ATOMS = 4096;

/** Notes on stderr beyond this are counted; the records hold them all. */
const MAX_NOTES = 50;

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
  const models = await openModels(values.model, values);
  if (!values.quiet)
    process.stderr.write(
      models
        .flatMap((model) => model.description)
        .join("\n")
        .concat("\n\n"),
    );
  const files = await listInputs(positionals);
  const progress = new Progress(files.length, process.stderr);
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort()); // a second Ctrl-C ends the process as usual
  const { signal } = abort;
  const inputs = readInputs(
    files,
    values.format as StructureFormat | undefined,
    (done) => progress.update(done),
    signal,
  );
  const records = predictRecords(models, inputs, { tieRange: values["tie-range"] ?? false, signal });
  return report(records, output, progress, { quiet: values.quiet ?? false, signal });
}

function chooseOutput(values: { [name in OutputFormat]?: boolean | undefined }): OutputFormat {
  const chosen = (["table", "csv", "json", "jsonl"] as const).filter((format) => values[format]);
  if (chosen.length > 1) throw new UsageError(`--${chosen.join(" and --")} exclude each other`);
  return chosen[0] ?? (process.stdout.isTTY ? "table" : "csv");
}

/** Every structure with every model: all models of a structure next to each other. Stops early when aborted. */
async function* predictRecords(
  models: readonly NamedModel[],
  inputs: AsyncIterable<Structure | UnreadStructure>,
  options: { tieRange: boolean; signal: AbortSignal },
): AsyncGenerator<Record> {
  const { tieRange, signal } = options;
  for await (const chunk of chunks(inputs, signal)) {
    const columns: (Prediction | FailedPrediction)[][] = [];
    for (const { model } of models) columns.push(await collect(predictStream(model, chunk, { tieRange }), signal));
    if (signal.aborted) return;
    for (let i = 0; i < chunk.length; i++) for (const column of columns) yield column[i];
  }
}

/** All items; those so far when aborted. */
async function collect<T>(items: AsyncIterable<T>, signal: AbortSignal): Promise<T[]> {
  const all: T[] = [];
  const turn = eventTurns();
  for await (const item of items) {
    all.push(item);
    await turn();
    if (signal.aborted) break;
  }
  return all;
}

async function* chunks(
  items: AsyncIterable<Structure | UnreadStructure>,
  signal: AbortSignal,
): AsyncGenerator<(Structure | UnreadStructure)[]> {
  let chunk: (Structure | UnreadStructure)[] = [];
  let atoms = 0;
  for await (const item of items) {
    if (signal.aborted) return;
    chunk.push(item);
    atoms += "error" in item ? 0 : item.numbers.length;
    if (chunk.length < CHUNK_STRUCTURES && atoms < CHUNK_ATOMS) continue;
    yield chunk;
    await setImmediate();
    chunk = [];
    atoms = 0;
  }
  if (chunk.length && !signal.aborted) yield chunk;
}

/** Write the records as they come; what went wrong, and what to beware of, goes to stderr at the end. */
async function report(
  records: AsyncIterable<Record>,
  output: OutputFormat,
  progress: Progress,
  { quiet, signal }: { quiet: boolean; signal: AbortSignal },
): Promise<number> {
  const writer = recordWriter(output);
  const notes: string[] = [];
  let dropped = 0;
  const note = (text: string) => {
    if (notes.length < MAX_NOTES) notes.push(text);
    else dropped++;
  };
  let failed = 0;
  let done = 0;
  await writeOut(writer.begin());
  for await (const record of records) {
    done++;
    if ("error" in record) {
      failed++;
      note(`error: ${record.id}: ${record.error.code}: ${record.error.message}`);
    } else if (!quiet) for (const { message } of record.warnings) note(`warning: ${record.id}: ${message}`);
    const text = writer.record(record);
    if (!text) continue;
    progress.clear();
    await writeOut(text);
  }
  progress.clear();
  await writeOut(writer.end());
  if (notes.length) process.stderr.write(`\n${notes.join("\n")}\n`);
  if (dropped) process.stderr.write(`and ${dropped} more; the records hold them all\n`);
  if (signal.aborted) {
    process.stderr.write(`\nunitcell: stopped after ${done} predictions\n`);
    return 130;
  }
  return failed ? 1 : 0;
}

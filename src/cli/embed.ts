import { type Embedding, embedStream } from "../embed.js";
import { UnitcellError } from "../errors.js";
import { shareRuleOf } from "../models/atom-shares.js";
import type { Model } from "../models/model.js";
import type { FailedPrediction } from "../prediction.js";
import { SYMBOLS } from "../structures/elements.js";
import type { StructureFormat } from "../structures/parse.js";
import type { Structure, UnreadStructure } from "../structures/structure.js";
import { csvLine } from "./csv.js";
import { listInputs, readInputs } from "./inputs.js";
import { EXAMPLES, openModels } from "./models.js";
import { Notes } from "./notes.js";
import { FORMATS, parseState } from "./predict.js";
import { Progress } from "./progress.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const EMBED_HELP = `Usage: unitcell embed [options] FILES|FOLDERS|-

Crystals as vectors, for other models to start from: what a network makes of a structure before its last layers. Files
are read as by unitcell predict. Of CGCNN and ALIGNN a crystal's vector is the mean of its atoms' vectors after the last
convolution; of MEGNet it is [Set2Set of the atoms, Set2Set of the bonds, state].

Options:
  -m, --model PATH            PyTorch checkpoint: a file, or a folder or zip as ALIGNN and matgl write it. Without it: a
                              small example model that ships with unitcell
  -f, --format FORMAT         cif, poscar, xyz, json (any kind), pymatgen, optimade, jarvis or ase, where the file's name
                              does not tell
      --atoms                 also elements, vectors and shares of the atoms
      --csv                   id,formula,e0,e1,... instead of JSON Lines
      --shares                id,atom,element,share instead: each atom's part of the prediction, in its unit, adding up
                              to it. Atoms count from 0, in the file's order. Defined for regressions of ALIGNN with a
                              linear readout (its own terms) and of CGCNN (Aumann-Shapley along the straight path from 0
                              to the crystal's vector, since its last layers are not linear)
      --state N               of a model with several states (MEGNet's band gaps: 0 PBE, 1 GLLB-SC, 2 HSE, 3 SCAN)
      --atom-init FILE        element features the model was trained with (CGCNN's atom_init.json format)
      --normalizer=MEAN,STD   for a checkpoint without one: share = output * STD + MEAN, divided among the atoms
  -q, --quiet                 do not describe the model, list no warnings
  -h, --help                  this text

JSON Lines: {"id", "formula", "sites", "crystal": [...]}. Vectors have the nine digits that tell float32 numbers apart.
A structure that fails gets {"id", "error"} there, no row in CSV, and a line on stderr; then the exit code is 1.
`;

type Item = Embedding | FailedPrediction;

/** Text for one structure; of a structure that failed perhaps none. */
type Writer = (item: Item, numbers: Uint8Array) => string;

interface Options {
  readonly atoms: boolean;
  readonly csv: boolean;
  readonly shares: boolean;
}

export async function embedCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      model: { type: "string", short: "m" },
      format: { type: "string", short: "f" },
      atoms: { type: "boolean", default: false },
      csv: { type: "boolean", default: false },
      shares: { type: "boolean", default: false },
      state: { type: "string" },
      "atom-init": { type: "string" },
      normalizer: { type: "string" },
      quiet: { type: "boolean", short: "q", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(EMBED_HELP);
    return 0;
  }
  if (positionals.length === 0) throw new UsageError("embed needs structure files; see unitcell embed --help");
  const format = values.format as StructureFormat | undefined;
  if (format !== undefined && !FORMATS.includes(format))
    throw new UsageError(`--format is one of ${FORMATS.join(", ")}, found "${format}"`);
  const outputs = (["atoms", "csv", "shares"] as const).filter((name) => values[name]);
  if (outputs.length > 1) throw new UsageError(`--${outputs.join(" and --")} exclude each other`);
  const { model, description } = await openModels([values.model ?? EXAMPLES[0]], values);
  if ("members" in model) throw new Error("one path is one model");
  const state = parseState(model, values.state);
  if (values.shares) await checkShares(model);
  if (!values.quiet) process.stderr.write(`${description.join("\n")}\n\n`);
  const files = await listInputs(positionals);
  const progress = new Progress(files.length, process.stderr);
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort()); // a second Ctrl-C ends the process as usual
  const inputs = readInputs(files, format, (done) => progress.update(done), abort.signal);
  const shares = values.atoms || values.shares;
  const embedded = embedAlong(model, inputs, { shares, ...(state !== undefined && { state }) });
  return report(embedded, writerFor(values), progress, { quiet: values.quiet, signal: abort.signal });
}

/** @throws {UnitcellError} UNSUPPORTED */
async function checkShares(model: Model): Promise<void> {
  if (!(await shareRuleOf(model)))
    throw new UnitcellError(
      "UNSUPPORTED",
      `--shares: this ${model.architecture} ${model.config.task} has no shares by atom: they are defined for regressions ` +
        "of CGCNN, and of ALIGNN with a linear readout",
    );
}

/** Each result with the atomic numbers of its structure, which vectors do not hold. */
async function* embedAlong(
  model: Model,
  inputs: AsyncIterable<Structure | UnreadStructure>,
  options: { shares: boolean; state?: number },
): AsyncGenerator<[Item, Uint8Array]> {
  const waiting: Uint8Array[] = [];
  const noted = async function* () {
    for await (const input of inputs) {
      waiting.push("error" in input ? new Uint8Array() : input.numbers);
      yield input;
    }
  };
  for await (const item of embedStream(model, noted(), options)) yield [item, waiting.shift()!];
}

function writerFor({ atoms, csv, shares }: Options): Writer {
  if (csv) return crystalRows();
  if (shares) return shareRows();
  return (item, numbers) => {
    const json = "error" in item ? { id: item.id, error: item.error } : jsonOf(item, atoms ? numbers : undefined);
    return `${JSON.stringify(json)}\n`;
  };
}

/** Decimal digits that tell float32 numbers apart, and no more. */
const shortened = (vector: Float32Array): number[] => Array.from(vector, (x) => Number(x.toPrecision(9)));

/** @param numbers given where atoms are wanted */
function jsonOf({ id, formula, sites, crystal, ...rest }: Embedding, numbers: Uint8Array | undefined): object {
  const { atoms, atomColumns, shares, property, unit, state } = rest;
  const row = (i: number) => shortened(atoms.subarray(i * atomColumns, (i + 1) * atomColumns));
  const outputs = shares ? shares.length / sites : 0;
  return {
    id,
    formula,
    sites,
    ...(state !== undefined && { state }),
    crystal: shortened(crystal),
    ...(numbers && {
      elements: Array.from(numbers, (number) => SYMBOLS[number]),
      atoms: Array.from(numbers, (_, i) => row(i)),
    }),
    ...(shares && {
      ...(property && { property }),
      ...(unit && { unit }),
      // Of several outputs a row for each atom.
      shares:
        outputs === 1
          ? [...shares]
          : Array.from({ length: sites }, (_, i) => [...shares.subarray(i * outputs, (i + 1) * outputs)]),
    }),
  };
}

/** Crystals as rows; how many columns there are is known with the first. */
function crystalRows(): Writer {
  let header = true;
  return (item) => {
    if ("error" in item) return "";
    const first = header ? csvLine(["id", "formula", ...Array.from(item.crystal, (_, k) => `e${k}`)]) : "";
    header = false;
    return first + csvLine([item.id, item.formula, ...shortened(item.crystal)]);
  };
}

function shareRows(): Writer {
  let header = true;
  return (item, numbers) => {
    if ("error" in item) return "";
    const shares = item.shares!;
    const outputs = shares.length / item.sites;
    const names = outputs === 1 ? ["share"] : Array.from({ length: outputs }, (_, o) => `share${o}`);
    const first = header ? csvLine(["id", "atom", "element", ...names]) : "";
    header = false;
    const line = (number: number, i: number) =>
      csvLine([item.id, i, SYMBOLS[number], ...shares.subarray(i * outputs, (i + 1) * outputs)]);
    return first + Array.from(numbers, line).join("");
  };
}

/** Write the results as they come; what went wrong, and what to beware of, goes to stderr at the end. */
async function report(
  embedded: AsyncIterable<[Item, Uint8Array]>,
  writer: Writer,
  progress: Progress,
  { quiet, signal }: { quiet: boolean; signal: AbortSignal },
): Promise<number> {
  const notes = new Notes();
  let failed = false;
  let done = 0;
  for await (const [item, numbers] of embedded) {
    if (signal.aborted) break;
    done++;
    if ("error" in item) {
      failed = true;
      notes.add(`error: ${item.id}: ${item.error.code}: ${item.error.message}`);
    } else if (!quiet) for (const { message } of item.warnings) notes.add(`warning: ${item.id}: ${message}`);
    const text = writer(item, numbers);
    progress.clear();
    await writeOut(text);
  }
  progress.clear();
  notes.tell();
  if (signal.aborted) {
    process.stderr.write(`\nunitcell: stopped after ${done} structures\n`);
    return 130;
  }
  return failed ? 1 : 0;
}

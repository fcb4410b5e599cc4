import { batchFor } from "../batches.js";
import { UnitcellError } from "../errors.js";
import { npzBytes } from "../formats/npy.js";
import { buildGraph } from "../graphs/graph.js";
import { type AnyGraph, lift } from "../graphs/lift.js";
import { checkTriplets } from "../graphs/line-graph.js";
import { checkElements, type Model } from "../models/model.js";
import { feedsOf } from "../onnx/inputs.js";
import { programInputs } from "../onnx/program-onnx.js";
import type { StructureFormat } from "../structures/parse.js";
import type { Structure, UnreadStructure } from "../structures/structure.js";
import { type Crystal, crystalOf, describeGraphs, type Graphs, graphsJson } from "./graph-output.js";
import { eventTurns, listInputs, readInputs } from "./inputs.js";
import { openModels } from "./models.js";
import { checkFree, writeNewFile, writePieces } from "./new-file.js";
import { Notes } from "./notes.js";
import { FORMATS, parseState } from "./predict.js";
import { Progress } from "./progress.js";
import { counted, plural } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const GRAPH_HELP = `Usage: unitcell graph [options] --model MODEL FILES|FOLDERS|-

Crystals as a network sees them: all of them as one batch, in the arrays that unitcell convert MODEL OUT.onnx takes.
Files are read as by unitcell predict. Row i of the network's output belongs to the i-th structure.

Options:
  -m, --model PATH            PyTorch checkpoint of a CGCNN, ALIGNN or MEGNet: a file, or a folder or zip as ALIGNN and
                              matgl write it. It has the settings of its graphs, and says which arrays they are
  -o, --output FILE           where to, by default stdout
      --npz                   for numpy.load: int32 and float32 arrays under the names of the inputs, and no others
      --json                  {"inputs": {NAME: {"type", "dims", "data"}}, "structures": [{"id", "formula", "sites",
                              "cutoff", "warnings"}], "lifted", "model"}: type, data and dims are what ort.Tensor takes;
                              "model" has the settings of the graphs.
                              Without either the ending of FILE tells, and on stdout it is JSON
      --lift                  atoms, bonds and pairs of bonds that symmetry makes alike once, with multiplicities: fewer
                              rows, and the same output up to rounding
  -f, --format FORMAT         cif, poscar, xyz, json (any kind), pymatgen, optimade, jarvis or ase, where the file's name
                              does not tell
      --state N               for a MEGNet of several fidelities: which, from 0
      --atom-init FILE        element features the model was trained with (CGCNN's atom_init.json format)
      --neighbor-policy P     of ALIGNN's k-nearest graphs: upstream (as trained), or symmetric
      --force                 replaces FILE if it exists
  -q, --quiet                 do not describe the model, list no warnings
  -h, --help                  this text

The settings of the graphs are MODEL's: give the options that \`convert\` was given. All structures are one batch, in which
the network takes memory as for that many of the largest: sort structures of very different size into several files.

A structure that fails is told on stderr, all of them are; then nothing is written, since rows would belong to others,
and the exit code is 1.
`;

type Output = "npz" | "json";

export async function graphCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      model: { type: "string", short: "m", multiple: true },
      output: { type: "string", short: "o" },
      npz: { type: "boolean" },
      json: { type: "boolean" },
      lift: { type: "boolean" },
      format: { type: "string", short: "f" },
      state: { type: "string" },
      "atom-init": { type: "string" },
      "neighbor-policy": { type: "string" },
      force: { type: "boolean" },
      quiet: { type: "boolean", short: "q" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(GRAPH_HELP);
    return 0;
  }
  const { output: file, quiet = false } = values;
  const format = chooseOutput(values);
  const path = chooseModel(values.model);
  if (positionals.length === 0) throw new UsageError("graph needs structure files; see unitcell graph --help");
  if (values.format !== undefined && !FORMATS.includes(values.format))
    throw new UsageError(`--format is one of ${FORMATS.join(", ")}, found "${values.format}"`);
  if (file !== undefined) checkFree(file, values.force ?? false);
  const { model, description } = await openModels([path], values);
  if ("members" in model) throw new Error("one path is one model");
  const state = parseState(model, values.state);
  if (!quiet) process.stderr.write(`${description.join("\n")}\n\n`);
  const lifted = values.lift ?? false;
  const read = await readGraphs(positionals, model, {
    format: values.format as StructureFormat | undefined,
    lifted,
    quiet,
  });
  if (typeof read === "number") return read;
  const batch = batchFor({ state }, read.graphs);
  const feeds = feedsOf(programInputs(model.program), batch);
  const graphs: Graphs = { ...read, sizes: batch.sizes, feeds, lifted, model };
  if (file === undefined) {
    if (format === "npz") await writeOut(npzBytes(feeds));
    else for (const text of graphsJson(graphs)) await writeOut(text);
    return 0;
  }
  const size = await writeNewFile(file, values.force ?? false, async (next) => {
    if (format === "npz") await writePieces(next, npzBytes(feeds));
    else for (const text of graphsJson(graphs)) await writePieces(next, new TextEncoder().encode(text));
  });
  if (size === undefined) return 130;
  await writeOut(describeGraphs(file, size, graphs));
  return 0;
}

function chooseModel(paths: readonly string[] = []): string {
  if (paths.length === 1) return paths[0];
  throw new UsageError(
    paths.length === 0
      ? "graph needs --model: its settings are those of the graphs; see unitcell graph --help"
      : `graph takes one --model, found ${paths.length}: members of an ensemble have graphs of their own`,
  );
}

function chooseOutput({
  npz,
  json,
  output: file,
}: {
  npz?: boolean | undefined;
  json?: boolean | undefined;
  output?: string | undefined;
}): Output {
  if (npz && json) throw new UsageError("--npz and --json exclude each other");
  const asked = npz ? "npz" : json ? "json" : undefined;
  const ending = /\.(npz|json)$/i.exec(file ?? "")?.[1].toLowerCase() as Output | undefined;
  if (asked && ending && asked !== ending) throw new UsageError(`--${asked}, but the file is named "${file}"`);
  const format = asked ?? ending;
  if (file !== undefined && !format)
    throw new UsageError(`-o takes a name that ends in .npz or .json, or --npz or --json beside it, found "${file}"`);
  if (format === "npz" && file === undefined && process.stdout.isTTY)
    throw new UsageError("--npz is not for a terminal: -o FILE, or redirect the output");
  return format ?? "json";
}

interface ReadOptions {
  readonly format: StructureFormat | undefined;
  readonly lifted: boolean;
  readonly quiet: boolean;
}

/** Every structure with its graph; or the exit code where one failed or there was a Ctrl-C, and that is told. */
async function readGraphs(
  paths: readonly string[],
  model: Model,
  { format, lifted, quiet }: ReadOptions,
): Promise<Pick<Graphs, "crystals" | "graphs"> | number> {
  const files = await listInputs(paths);
  const progress = new Progress(files.length, process.stderr);
  const abort = new AbortController();
  const { signal } = abort;
  const interrupt = () => abort.abort();
  process.once("SIGINT", interrupt); // a second Ctrl-C ends the process as usual
  const turn = eventTurns();
  const warnings = new Notes();
  const errors = new Notes(Number.POSITIVE_INFINITY); // nothing else tells which failed
  const crystals: Crystal[] = [];
  const graphs: AnyGraph[] = [];
  let failed = 0;
  for await (const input of readInputs(files, format, (done) => progress.update(done), signal)) {
    if (signal.aborted) break;
    const made = graphOf(model, input, lifted);
    if ("error" in made) {
      failed++;
      errors.add(`error: ${input.id}: ${made.error.code}: ${made.error.message}`);
    } else {
      if (!quiet) for (const { message } of made.crystal.warnings) warnings.add(`warning: ${input.id}: ${message}`);
      crystals.push(made.crystal);
      graphs.push(made.graph);
    }
    await turn();
  }
  process.off("SIGINT", interrupt);
  progress.clear();
  warnings.tell();
  errors.tell();
  if (!signal.aborted && failed === 0) return { crystals, graphs };
  const why = signal.aborted
    ? "stopped"
    : `${counted(failed)} of ${plural(failed + graphs.length, "structure")} failed`;
  process.stderr.write(`\nunitcell: ${why}; nothing is written\n`);
  return signal.aborted ? 130 : 1;
}

/** The graph, and what is said of it; or what is wrong with the structure. */
function graphOf(
  model: Model,
  structure: Structure | UnreadStructure,
  lifted: boolean,
): { graph: AnyGraph; crystal: Crystal } | { error: UnitcellError } {
  if ("error" in structure) return structure;
  try {
    checkElements(model, structure);
    const whole = buildGraph(structure, model.config.graph);
    const graph = lifted ? lift(whole) : whole;
    if (!("rowOf" in graph) && graph.vectors) checkTriplets(graph);
    return { graph, crystal: crystalOf(model, structure, graph, lifted) };
  } catch (error) {
    if (error instanceof UnitcellError) return { error };
    throw error;
  }
}

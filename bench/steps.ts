/** The steps from files to values, each beside its counterpart in PyTorch and pymatgen. */
import { readFileSync } from "node:fs";
import { readCheckpointFiles } from "../src/cli/checkpoint-files.js";
import {
  buildGraph,
  loadCheckpoint,
  type Model,
  modelFromCheckpoint,
  type Prediction,
  predict,
  type Structure,
  wasmBackend,
} from "../src/index.js";
import { type Context, measure, rowOf, type Step, type Timing, time } from "./compare.js";
import { type Network, networkFiles } from "./networks.js";
import { acrossInputs, geometricMean, median, type Row, type SectionResult } from "./stats.js";
import { namedFiles, nameOf, readModel, readStructure } from "./structures.js";

/** Both sides must give the same value where they see the same graph; property units. */
const TOLERANCE = 2e-5;
const BATCH = 256;
/** Structures of a batch have at most so many atoms. */
const BATCH_ATOMS = 60;
/** Beside predict's own limit of atoms in a batch: how much that choice matters. */
const BATCH_LIMITS = [32, 128, 2048, 8192];
/** All rounds on one file, both sides, may take so long, ms: upstream's Python takes seconds of some. */
const FILE_MS = 400;
/** Warm-up of each structure's own call, ms: the step itself is warm by then. */
const SHORT_WARM_UP = 5;

export interface File {
  readonly path: string;
  readonly atoms: number;
  readonly structure: Structure;
}

export function readFiles({ inputs }: Context): File[] {
  return inputs.structures.map((path) => {
    const structure = readStructure(path);
    return { path, structure, atoms: structure.numbers.length };
  });
}

/** Checkpoint file to a network ready to run, weights in Wasm memory. */
export async function load(context: Context): Promise<SectionResult> {
  const { checkpoint } = context.inputs;
  const step: Step = {
    section: "load",
    step: "load checkpoint",
    size: checkpoint.slice(checkpoint.lastIndexOf("/") + 1),
    ours: async () => {
      const model = modelFromCheckpoint(await loadCheckpoint(readFileSync(checkpoint)));
      const session = await wasmBackend().createSession(model.program);
      session.dispose();
    },
    python: { step: "load_network", model: checkpoint },
  };
  return { rows: [await measure(context, step)] };
}

/** One step over many files: lines for files of named sizes, then the geometric mean over all. */
export async function overFiles(
  context: Context,
  files: readonly File[],
  make: (file: File) => Pick<Step, "section" | "step" | "ours" | "python" | "budgetMs" | "clock">,
): Promise<Row[]> {
  for (const file of files) await time({ ...context, rounds: 0 }, { ...make(file), size: "" }, SHORT_WARM_UP);
  const timings = new Map<File, Timing>();
  for (const file of files) timings.set(file, await time(context, { ...make(file), size: "" }, SHORT_WARM_UP));
  const rows = namedFiles(files).map((file) => {
    const size = `${file.atoms} ${file.atoms === 1 ? "atom" : "atoms"} (${nameOf(file.path)})`;
    return rowOf({ ...make(file), size }, timings.get(file)!);
  });
  const all = [...timings.values()];
  const ours = all.map((timing) => median(timing.ours));
  const python = context.native && all.map((timing) => median(timing.python!));
  const ratios = python?.map((ms, i) => ms / ours[i]);
  const { section, step } = make(files[0]);
  rows.push({
    section,
    step,
    size: `geometric mean of ${files.length} files`,
    unit: "ms",
    ours: acrossInputs(ours),
    ...(python && { python: acrossInputs(python), ratio: geometricMean(ratios!), ratioSpread: acrossInputs(ratios!) }),
  });
  return rows;
}

/** File to structure, for CIF: symmetry applied, sites checked. */
export async function parse(context: Context): Promise<SectionResult> {
  const files = readFiles(context).filter(({ path }) => path.endsWith(".cif"));
  const rows = await overFiles(context, files, ({ path }) => ({
    section: "parse",
    step: "parse CIF",
    ours: () => readStructure(path),
    python: { step: "parse", file: path },
  }));
  return { rows };
}

/**
 * Structure to graph: all that is done before the network, as upstream's CIFData does it. On Python's side that includes
 * the Gaussians and element rows, which unitcell works out in its forward step.
 */
export async function graphSteps(context: Context): Promise<Row[]> {
  const { config } = await readModel(context.inputs.checkpoint);
  const files = readFiles(context);
  const make = (name: string, step: string) => (file: File) => ({
    section: "graphs",
    step: name,
    ours: () => buildGraph(file.structure, config.graph),
    python: { step, file: file.path },
  });
  const rows = await overFiles(context, files, make("build graph", "graph"));
  if (context.native) rows.push(...(await overFiles(context, files, make("... pymatgen's array API", "array_graph"))));
  return rows;
}

function cycle<T>(items: readonly T[]): T[] {
  return Array.from({ length: BATCH }, (_, i) => items[i % items.length]);
}

/** CIF files to values in a warm process, one at a time, and 256 parsed structures to values; values compared. */
export async function predictFiles(context: Context): Promise<SectionResult> {
  const { checkpoint } = context.inputs;
  const model = await readModel(checkpoint);
  const files = readFiles(context);
  const single = await cifToPrediction(context, files);
  const rows = [...single.rows];
  const many = cycle(files.filter(({ atoms }) => atoms <= BATCH_ATOMS));
  const structures = many.map(({ structure }) => structure);
  rows.push(
    await measure(context, {
      section: "predict",
      step: `${model.architecture}, ${BATCH} structures to values`,
      size: `${structures.reduce((sum, { numbers }) => sum + numbers.length, 0)} atoms`,
      ours: () => predict(model, structures),
      python: { step: "predict_structures", model: checkpoint, files: many.map(({ path }) => path) },
    }),
  );
  for (const maxAtoms of BATCH_LIMITS)
    rows.push(
      await measure(context, {
        section: "predict",
        step: "... in other batches",
        size: `at most ${maxAtoms} atoms each`,
        ours: () => predict(model, structures, { maxAtoms }),
      }),
    );
  const compared = context.native && (await compareValues(context, model, files));
  return {
    rows,
    notes: [...(single.notes ?? []), ...(compared?.notes ?? [])],
    failures: [...(single.failures ?? []), ...(compared?.failures ?? [])],
  };
}

/** Beside each architecture's own way in Python: its reader of files, its loops that make graphs, its network. */
async function cifToPrediction(context: Context, all: readonly File[]): Promise<SectionResult> {
  const rows: Row[] = [];
  const notes: string[] = [];
  const failures: string[] = [];
  for (const { title, path, options } of networkFiles().filter((network) => inTable(context, network))) {
    const model = modelFromCheckpoint(await loadCheckpoint((await readCheckpointFiles(path)).files), options);
    const files: File[] = [];
    for (const file of all)
      if (file.path.endsWith(".cif") && (await isPredictable(model, file.structure))) files.push(file);
    rows.push(
      ...(await overFiles(context, files, (file) => ({
        section: "predict",
        step: `${title}, CIF to prediction`,
        ours: () => predict(model, [readStructure(file.path)]),
        python: { step: "network_predict", model: path, file: file.path },
        budgetMs: FILE_MS,
        clock: "processor",
      }))),
    );
    // CGCNN's ties need more than a difference: compareValues.
    if (!context.native || model.architecture === "CGCNN") continue;
    let worst = 0;
    for (const file of files) {
      const [output] = (await context.native.run({ step: "network_predict", model: path, file: file.path }))
        .result as number[];
      const value = output * (model.normalizer?.std ?? 1) + (model.normalizer?.mean ?? 0);
      worst = Math.max(worst, Math.abs((await predict(model, [file.structure]))[0].value - value));
    }
    const found = `${title}, CIF to prediction: ${files.length} values differ by at most ${worst.toExponential(1)}`;
    (worst <= TOLERANCE ? notes : failures).push(found);
  }
  return { rows, notes, failures };
}

/** The published networks as upstream uses them; where there are none, the examples. */
function inTable(context: Context, { title, options, slow }: Network): boolean {
  if (slow && context.quick) return false;
  return !options && /example/.test(title) === context.inputs.checkpoint.startsWith("examples/");
}

async function isPredictable(model: Model, structure: Structure): Promise<boolean> {
  try {
    await predict(model, [structure]);
    return true;
  } catch {
    return false; // a crystal without bonds has no MEGNet graph
  }
}

/** Where neighbours tie at the cut, Python's accident of a choice must lie among unitcell's range of choices. */
async function compareValues(context: Context, model: Model, files: readonly File[]) {
  const request = { step: "predict", model: context.inputs.checkpoint, files: files.map(({ path }) => path) };
  const python = (await context.native!.run(request)).result as number[];
  const ours = await predict(
    model,
    files.map(({ structure }) => structure),
    { tieRange: true },
  );
  const errors = ours.map((prediction, i) => ({ ...difference(prediction, python[i]), file: nameOf(files[i].path) }));
  const worst = (kind: string) =>
    errors.filter((error) => error.kind === kind).reduce((most, { by }) => Math.max(most, by), 0);
  const count = (kind: string) => errors.filter((error) => error.kind === kind).length;
  return {
    notes: [
      `values: ${count("direct")} structures differ by at most ${worst("direct").toExponential(1)}; ` +
        `${count("range")} with tied neighbours lie outside unitcell's range by at most ${worst("range").toExponential(1)}; ` +
        `${count("sampled")} have too many tie choices to try all`,
    ],
    failures: errors
      .filter(({ kind, by }) => kind !== "sampled" && !(by <= TOLERANCE))
      .map(({ file, by }) => `${file}: unitcell and Python differ by ${by}`),
  };
}

function difference({ value, tie }: Prediction, python: number): { kind: "direct" | "range" | "sampled"; by: number } {
  if (!tie) return { kind: "direct", by: Math.abs(value - python) };
  return { kind: tie.exhaustive ? "range" : "sampled", by: Math.max(tie.min - python, python - tie.max, 0) };
}

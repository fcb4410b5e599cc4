/** The worker of the page: files are opened, crystals predicted and checkpoints kept here, so that the page never waits. */
import { metadataName } from "../../cli/run-metadata.js";
import { sortFiles } from "../file-kinds.js";
import type { Answer, Calls, GivenFile, OpenSummary, Request, StructureRow, Told } from "../messages.js";
import { parseReferences } from "../references.js";
import { Checkpoints, cardOf } from "./checkpoints.js";
import { KeptCheckpoints } from "./library.js";
import { pause } from "./pause.js";
import { Predictions } from "./predictions.js";
import { problemOf } from "./problem.js";
import { crystalOf, Structures } from "./structures.js";

/** ms of reading files between messages. */
const TELL_EVERY = 250;

/** A worker's global scope, as far as it is used: TypeScript's own is a library that excludes the page's. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<Request>) => void) | null;
  postMessage(answer: Answer): void;
}
const scope = globalThis as unknown as WorkerScope;

const tell = (told: Told) => scope.postMessage({ told });
const checkpoints = new Checkpoints();
const kept = new KeptCheckpoints();
const predictions = new Predictions(tell);
let structures = new Structures();
/** Histories and metadata that were given, to be kept with their runs. */
const runFiles = new Map<string, GivenFile>();

type Async<T> = {
  [K in keyof T]: T[K] extends (...values: infer V) => infer R ? (...values: V) => R | Promise<R> : never;
};

let given: GivenFile[] = [];

const calls: Async<Calls> = {
  give(files) {
    given.push(...files);
  },
  open() {
    const files = given;
    given = [];
    return open(files);
  },
  async use(id, used) {
    checkpoints.get(id).used = used;
    await predictions.reset();
    tellCheckpoints();
  },
  async close(id) {
    checkpoints.close(id);
    await predictions.reset();
    tellCheckpoints();
  },
  async clearStructures() {
    await predictions.reset();
    structures = new Structures();
  },
  describe: (id) => checkpoints.describe(id),
  tree: (id, path, most) => checkpoints.tree(id, path, { most }),
  histogram: (id, tensor) => checkpoints.histogram(id, tensor),
  predict: (request) => predictions.run(checkpoints.models, structures.all, request),
  cancel: () => predictions.cancel(),
  forget: () => predictions.reset(),
  structure(index) {
    const { row, structure } = structures.all[index];
    const record = predictions.record(index);
    return {
      row,
      ...("error" in structure ? {} : { crystal: crystalOf(structure) }),
      prediction: record && !("error" in record) ? record : undefined,
      problem: row.problem ?? (record && "error" in record ? record.error : undefined),
    };
  },
  async shares(index, id, request) {
    const { structure } = structures.all[index];
    if ("error" in structure) throw structure.error;
    return predictions.shares(checkpoints.get(id), structure, request);
  },
  download: (format) => predictions.download(format),
  library: () => kept.view(),
  keep(id) {
    const { files } = checkpoints.get(id);
    const folder = folderOf(files[0].path);
    const beside = [...runFiles.values()].filter(({ path }) => folderOf(path) === folder);
    return kept.keep([...files, ...beside]);
  },
  openKept: async (key) => open(await kept.read(key)),
  pin: (key, pinned) => kept.pin(key, pinned),
  plan: (policy) => kept.plan(policy),
  prune: () => kept.prune(),
  undo: () => kept.undo(),
  emptyTrash: () => kept.emptyTrash(),
};

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);

function tellCheckpoints(): void {
  tell({ kind: "checkpoints", cards: checkpoints.all.map(cardOf) });
}

async function open(files: readonly GivenFile[]): Promise<OpenSummary> {
  const byPath = new Map(files.map((given) => [given.path, given]));
  const kinds = sortFiles([...byPath.keys()]);
  const found = { checkpoints: 0, structures: 0, references: 0, runFiles: kinds.runFiles.length };
  for (const path of kinds.runFiles) runFiles.set(path, byPath.get(path)!);
  for (const group of kinds.checkpoints) {
    const files = group.paths.map((path) => byPath.get(path)!);
    const [{ path, file }] = files;
    const metadata = runFiles.get(folderOf(path) + metadataName(file.name));
    const done = await attempt(group.name, () => checkpoints.open(group, files, metadata));
    if (!done) continue;
    found.checkpoints++;
    await predictions.reset();
    tellCheckpoints();
  }
  for (const path of kinds.references) {
    const values = await attempt(path, async () => parseReferences(await byPath.get(path)!.file.text()));
    if (!values) continue;
    found.references += values.length;
    tell({ kind: "references", values });
  }
  found.structures = await openStructures(kinds.structures.map((path) => byPath.get(path)!));
  return { ...found, ignored: kinds.ignored };
}

async function openStructures(files: readonly GivenFile[]): Promise<number> {
  let rows: StructureRow[] = [];
  let count = 0;
  let told = performance.now();
  for (const [i, given] of files.entries()) {
    const read = await attempt(given.path, () => structures.open(given));
    rows.push(...(read ?? []));
    count += read?.length ?? 0;
    if (performance.now() - told < TELL_EVERY && i + 1 < files.length) continue;
    tell({ kind: "structures", rows });
    tell({ kind: "opening", done: i + 1, total: files.length });
    rows = [];
    await pause();
    told = performance.now();
  }
  return count;
}

/** A file that cannot be opened is told by its name, and the others go on. */
async function attempt<T>(file: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    tell({ kind: "problem", file, problem: problemOf(error) });
    return undefined;
  }
}

scope.onmessage = async ({ data: { call, name, values } }) => {
  try {
    const run = calls[name] as (...values: readonly unknown[]) => unknown;
    scope.postMessage({ call, value: await run(...values) });
  } catch (error) {
    scope.postMessage({ call, problem: problemOf(error) });
  }
};

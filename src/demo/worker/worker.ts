/** The worker of the page: files are opened, crystals predicted and checkpoints kept here, so that the page never waits. */
import { sortFiles } from "../file-kinds.js";
import type { Answer, Calls, GivenFile, OpenSummary, Request, StructureRow, Told } from "../messages.js";
import { parseReferences } from "../references.js";
import { Checkpoints } from "./checkpoints.js";
import { KeptCheckpoints } from "./library.js";
import { pause } from "./pause.js";
import { Predictions } from "./predictions.js";
import { problemOf } from "./problem.js";
import { crystalOf, Structures } from "./structures.js";

/** ms of reading files between messages, and between looks at messages from the page. */
const TELL_EVERY = 250;
const PAUSE_EVERY = 30;

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
/** Of open structures, those that the page has not been told of. */
let untold: StructureRow[] = [];

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
  use: (id, used) =>
    predictions.reset(() => {
      checkpoints.get(id).used = used;
      tellCheckpoints();
    }),
  close: (id) =>
    predictions.reset(() => {
      checkpoints.close(id);
      tellCheckpoints();
    }),
  clearStructures: () =>
    predictions.reset(() => {
      structures = new Structures();
      untold = [];
      tell({ kind: "closed" });
    }),
  describe: (id) => checkpoints.describe(id),
  tree: (id, path, most) => checkpoints.tree(id, path, { most }),
  histogram: (id, tensor) => checkpoints.histogram(id, tensor),
  predict: (request) =>
    predictions.run(() => {
      // Results of structures that the page does not know would have no row.
      tellStructures();
      return { models: checkpoints.models, structures: structures.all };
    }, request),
  cancel: () => predictions.cancel(),
  forget: () => predictions.reset(),
  structure(index) {
    const { row, structure } = structures.get(index);
    const record = predictions.record(index);
    return {
      row,
      ...("error" in structure ? {} : { crystal: crystalOf(structure) }),
      prediction: record && !("error" in record) ? record : undefined,
      problem: row.problem ?? (record && "error" in record ? record.error : undefined),
    };
  },
  async shares(index, id, request) {
    const { structure } = structures.get(index);
    if ("error" in structure) throw structure.error;
    return predictions.shares(checkpoints.get(id), structure, request);
  },
  download: (format) => predictions.download(format),
  library: () => kept.view(),
  keep(id) {
    const { files, beside } = checkpoints.get(id);
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
  tell({ kind: "checkpoints", cards: checkpoints.cards });
}

async function open(files: readonly GivenFile[]): Promise<OpenSummary> {
  const byPath = new Map(files.map((given) => [given.path, given]));
  const kinds = sortFiles([...byPath.keys()]);
  const found = { checkpoints: 0, references: 0, runFiles: kinds.runFiles.length };
  for (const group of kinds.checkpoints) {
    const files = group.paths.map((path) => byPath.get(path)!);
    // Only what came together: a file of that path from elsewhere may be another run's.
    const beside = kinds.runFiles.filter((path) => folderOf(path) === folderOf(files[0].path));
    const given = { files, beside: beside.map((path) => byPath.get(path)!) };
    const done = await attempt(group.name, () => checkpoints.open(group, given));
    if (!done) continue;
    found.checkpoints++;
    await predictions.reset(tellCheckpoints);
  }
  for (const path of kinds.references) {
    const values = await attempt(path, async () => parseReferences(await byPath.get(path)!.file.text()));
    if (!values) continue;
    found.references += values.length;
    tell({ kind: "references", values });
  }
  const opened = await openStructures(kinds.structures.map((path) => byPath.get(path)!));
  return { ...found, structures: opened ?? 0, closed: opened === undefined, ignored: kinds.ignored };
}

/** @returns how many; undefined where all structures were closed meanwhile: the rest is then not read */
async function openStructures(files: readonly GivenFile[]): Promise<number | undefined> {
  const mine = structures;
  let count = 0;
  let told = performance.now();
  let paused = told;
  const breathe = async (done: number) => {
    const now = performance.now();
    if (now - paused < PAUSE_EVERY) return;
    if (now - told > TELL_EVERY) {
      tellStructures();
      tell({ kind: "opening", done, total: files.length });
      told = now;
    }
    await pause();
    paused = performance.now();
  };
  for (const [i, given] of files.entries()) {
    await attempt(given.path, async () => {
      for await (const row of mine.open(given)) {
        if (structures !== mine) return;
        untold.push(row);
        count++;
        await breathe(i);
        if (structures !== mine) return;
      }
    });
    if (structures !== mine) return undefined;
  }
  tellStructures();
  return count;
}

function tellStructures(): void {
  if (untold.length > 0) tell({ kind: "structures", rows: untold });
  untold = [];
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

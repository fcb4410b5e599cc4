import { join } from "node:path";
import type { Checkpoint } from "../checkpoint.js";
import { isUnitcellError, UnitcellError } from "../errors.js";
import type { CheckpointInfo } from "../runs/checkpoint-info.js";
import { type HistoryRow, isUnreadable, type TrainingHistory } from "../runs/history.js";
import { listCheckpoints } from "../runs/listing.js";
import { CheckpointManager } from "../runs/manager.js";
import { type Described, describeCheckpoint } from "../runs/restore.js";
import { byRun } from "../runs/retention.js";
import type { Part } from "../runs/training-state.js";
import type { ReadStore } from "../stores/store.js";
import { type CheckpointSummary, inspectCheckpoint } from "../summary.js";
import { withRow } from "./described.js";
import { checkRun, DIR_HELP, type Folder, openFolder } from "./folder.js";
import { modeOf } from "./metrics.js";
import { resumeInJavaScript, resumeInPython } from "./resume-lines.js";
import { brief, escaped, labelled, oneLine, plural, shownName, table, toJson } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const RESUME_INFO_HELP = `Usage: unitcell resume-info [options] [DIR]

Tells of every run which checkpoint is the latest, the best and the final one (each is read to its end; where it does
not load, the next that does is told), its epoch, which parts of a training state it has, what is missing to resume, and
the lines that resume it in Python and in JavaScript.
${DIR_HELP}
A part is "there", "none" (the file says that the training has none) or "missing" (the file does not say).

Options:
      --run RUN       only this run
      --metric NAME   what the best epoch is told by, and shown (default val_mae)
      --json          one JSON document
  -h, --help          this text
`;

const WHICH = ["latest", "best", "final"] as const;
const PARTS: readonly Part[] = ["optimizer", "scheduler", "rng", "epoch"];

/** One of a run's checkpoints, or why there is none. */
interface Candidate {
  readonly which: (typeof WHICH)[number];
  readonly info?: Described;
  readonly checkpoint?: Checkpoint;
  readonly skipped?: readonly CheckpointInfo[];
  readonly problem?: string;
}

interface RunInfo {
  readonly run: string;
  readonly epochs: number | undefined;
  readonly historyProblem: string | undefined;
  readonly candidates: readonly Candidate[];
  readonly missing: readonly Part[];
  readonly python: readonly string[];
  readonly javascript: readonly string[];
}

export async function resumeInfoCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      run: { type: "string" },
      metric: { type: "string" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(RESUME_INFO_HELP);
    return 0;
  }
  if (positionals.length > 1) throw new UsageError("resume-info takes one folder; see unitcell resume-info --help");
  const folder = openFolder(positionals[0]);
  if (values.run !== undefined) await checkRun(folder.store, values.run);
  const infos = (await listCheckpoints(folder.store)).filter(({ tag }) => tag !== "other");
  const runs = [...byRun(infos).keys()].filter((run) => values.run === undefined || run === values.run);
  const metric = values.metric ?? "val_mae";
  const found: RunInfo[] = [];
  for (const run of runs) {
    const info = await infoOf(folder, run, metric);
    found.push(info);
    if (!values.json) await writeOut(`${[...(found.length > 1 ? [""] : []), ...lines(info, metric)].join("\n")}\n`);
  }
  if (values.json) await writeOut(toJson({ folder: folder.path, runs: found.map(plain) }));
  else if (runs.length === 0) await writeOut(`${oneLine(folder.path)}: no checkpoints of a run\n`);
  return 0;
}

async function infoOf({ path, store }: Folder, run: string, metric: string): Promise<RunInfo> {
  const manager = new CheckpointManager(store, { run, metric, mode: modeOf(metric) });
  let history: TrainingHistory | undefined;
  let historyProblem: string | undefined;
  try {
    history = await manager.history();
  } catch (error) {
    if (!isUnitcellError(error) || !isUnreadable(error)) throw error;
    historyProblem = error.message;
  }
  const rows = history?.history ?? [];
  const epochs = rows.length || history?.epochs;
  const candidates: Candidate[] = [];
  for (const which of WHICH) candidates.push(await candidateOf(manager, store, which, rows));
  const [{ info, checkpoint }] = candidates;
  const missing = info ? PARTS.filter((part) => info.parts[part] === "missing") : [];
  return {
    run,
    epochs,
    historyProblem,
    candidates,
    missing,
    python:
      info && checkpoint ? resumeInPython(join(path, info.key), checkpoint, info, await inspect(store, info.key)) : [],
    javascript: info ? resumeInJavaScript(path, run, missing) : [],
  };
}

async function candidateOf(
  manager: CheckpointManager,
  store: ReadStore,
  which: Candidate["which"],
  rows: readonly HistoryRow[],
): Promise<Candidate> {
  try {
    const { info, checkpoint, skipped } = await manager.restore(which);
    return { which, info: withRow(await describeCheckpoint(store, info), rows), checkpoint, skipped };
  } catch (error) {
    if (isUnitcellError(error, "NOT_FOUND")) return { which };
    if (isUnitcellError(error, "CORRUPT")) return { which, problem: error.message };
    throw error;
  }
}

async function inspect(store: ReadStore, key: string): Promise<CheckpointSummary> {
  const source = await store.get(key);
  if (!source) throw new UnitcellError("NOT_FOUND", `${key} is gone since it was listed`, { key });
  try {
    return await inspectCheckpoint(source);
  } finally {
    source.close?.();
  }
}

function lines(
  { run, epochs, historyProblem, candidates, missing, python, javascript }: RunInfo,
  metric: string,
): string[] {
  const history =
    historyProblem !== undefined
      ? `history unreadable: ${escaped(historyProblem)}`
      : epochs === undefined
        ? "no history"
        : `history of ${plural(epochs, "epoch")}`;
  const columns = [
    { title: "" },
    { title: "file" },
    { title: "epoch", right: true },
    { title: escaped(metric, 24), right: true },
    { title: "optimizer" },
    { title: "scheduler" },
    { title: "rng" },
    { title: "" },
  ];
  const rows = candidates.map(({ which, info, skipped = [], problem }) => [
    which,
    info ? shownName(info.key) : "-",
    info?.epoch === undefined ? "-" : String(info.epoch),
    brief(info?.metrics?.[metric]),
    ...(["optimizer", "scheduler", "rng"] as const).map((part) => info?.parts[part] ?? "-"),
    problem !== undefined ? escaped(problem) : skipped.map(skippedText).join("; "),
  ]);
  const advice =
    missing.length === 0
      ? "nothing: the latest is a complete training state"
      : `${missing.join(", ")}: the lines below go on without`;
  return [
    `${shownName(run)}: ${history}`,
    ...table(columns, rows),
    ...(candidates[0].info ? labelled("  missing", advice) : []),
    ...code("  Python", python),
    ...code("  JavaScript", javascript),
  ];
}

function skippedText({ key, problem = "" }: CheckpointInfo): string {
  return `${shownName(key)} does not load: ${escaped(problem, 120)}`;
}

/** Not wrapped: lines to copy. */
function code(label: string, lines: readonly string[]): string[] {
  return lines.map((line, i) => (i === 0 ? label : "").padEnd(14) + line);
}

function plain({ candidates, ...rest }: RunInfo): unknown {
  return { ...rest, candidates: candidates.map(({ checkpoint, ...candidate }) => candidate) };
}

import type { CheckpointInfo } from "../runs/checkpoint-info.js";
import type { ReadStore, StoreEntry } from "../stores/store.js";
import { listDescribed } from "./described.js";
import { fileHash } from "./file-hash.js";
import { checkRun, DIR_HELP, openToRead, READ_HELP, type ReadFolder } from "./folder.js";
import { parseNames, rankMetrics } from "./metrics.js";
import { brief, type Column, dated, escaped, oneLine, plural, shownName, sized, table, toJson } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const LS_HELP = `Usage: unitcell ls [options] [DIR]

Lists the checkpoints of a folder and of those in it, by run and epoch.
${DIR_HELP}
${READ_HELP}
Runs, tags and epochs are told by the names: RUN_best.pt, RUN_final.pt, RUN_epochN.pt, and what CGCNN, ALIGNN, matgl and
Lightning write. Metrics are those of training_history.json and of the names; best, final and last files are opened for
theirs (where there are at most 200 of them), other files are not.

Options:
      --run RUN        only this run
      --metric NAMES   metrics to show, as val_mae,loss (default: the two that say most)
      --json           one JSON document with every file of the folder and all metrics (NaN and infinities as strings)
      --hash           with --json: also the SHA-256 of every file. Saved as index.json in the folder, it makes that
                       folder one which can be read from a web server
  -h, --help           this text
`;

/** A shell makes the file before this runs: it would hold itself, and empty. */
const INDEX = "index.json";
/** Columns of metrics where nobody said which. */
const MOST_METRICS = 2;

export async function lsCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      run: { type: "string" },
      metric: { type: "string" },
      json: { type: "boolean" },
      hash: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(LS_HELP);
    return 0;
  }
  if (positionals.length > 1) throw new UsageError("ls takes one folder; see unitcell ls --help");
  if (values.hash && !values.json) throw new UsageError("--hash goes with --json; see unitcell ls --help");
  const folder = openToRead(positionals[0]);
  if (values.run !== undefined) await checkRun(folder.store, values.run);
  const infos = await listDescribed(folder.store, values.run);
  if (values.json) {
    const others = values.run === undefined ? await othersThan(folder.store, infos) : [];
    await writeOut(toJson(await document(folder, infos, others, values.hash ?? false)));
  } else await writeOut(`${lines(folder, infos, parseNames(values.metric)).join("\n")}\n`);
  return 0;
}

async function othersThan(store: ReadStore, infos: readonly CheckpointInfo[]): Promise<StoreEntry[]> {
  const keys = new Set(infos.map(({ key }) => key));
  const others: StoreEntry[] = [];
  for await (const entry of store.list()) if (!keys.has(entry.key) && entry.key !== INDEX) others.push(entry);
  return others.sort((a, b) => (a.key < b.key ? -1 : 1));
}

async function document(
  { path, store }: ReadFolder,
  infos: readonly CheckpointInfo[],
  others: readonly StoreEntry[],
  hash: boolean,
): Promise<unknown> {
  const files: unknown[] = [];
  for (const { key, size, modified, version, ...rest } of [...infos, ...others]) {
    const sha256 = hash ? await hashOf(store, key) : undefined;
    files.push({ key, size, modified: modified.toISOString(), ...(sha256 !== undefined && { sha256 }), ...rest });
  }
  return { folder: path, files };
}

async function hashOf(store: ReadStore, key: string): Promise<string | undefined> {
  const source = await store.get(key);
  try {
    return source && (await fileHash(source));
  } finally {
    source?.close?.();
  }
}

function lines({ path }: ReadFolder, infos: readonly CheckpointInfo[], asked: string[] | undefined): string[] {
  const bytes = infos.reduce((sum, { size }) => sum + size, 0);
  if (infos.length === 0) return [`${oneLine(path)}: no checkpoints`];
  const metrics =
    asked ?? rankMetrics(infos.flatMap(({ metrics = {} }) => Object.keys(metrics))).slice(0, MOST_METRICS);
  const columns: Column[] = [
    { title: "file" },
    { title: "size", right: true },
    { title: "modified" },
    { title: "run" },
    { title: "tag" },
    { title: "epoch", right: true },
    ...metrics.map((name) => ({ title: escaped(name, MOST_TITLE), right: true })),
    { title: "" },
  ];
  const rows = infos.map((info) => [
    shownName(info.key),
    sized(info.size),
    dated(info.modified),
    shownName(info.run),
    info.tag,
    info.epoch === undefined ? "-" : String(info.epoch),
    ...metrics.map((name) => brief(info.metrics?.[name])),
    remark(info),
  ]);
  return [`${oneLine(path)}: ${plural(infos.length, "checkpoint")}, ${sized(bytes)}`, "", ...table(columns, rows)];
}

/** Characters of a metric's name above its column. */
const MOST_TITLE = 24;

function remark({ pinned, problem }: CheckpointInfo): string {
  return [
    ...(pinned ? ["pinned"] : []),
    ...(problem === undefined ? [] : [`does not open: ${escaped(problem, 120)}`]),
  ].join("; ");
}

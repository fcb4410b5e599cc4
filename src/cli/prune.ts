import { isUnitcellError } from "../errors.js";
import { type PlanOptions, type PruneResult, planStorePrune, pruneStore } from "../runs/prune.js";
import type { PrunePlan } from "../runs/prune-plan.js";
import type { RetentionPolicy } from "../runs/retention.js";
import { emptyTrash, listTrash } from "../runs/trash.js";
import { checkRun, DIR_HELP, type Folder, openFiles } from "./folder.js";
import { parseLimit } from "./inspect.js";
import { KEEP_HELP, notesOnKeep, parseKeep } from "./keep.js";
import { escaped, oneLine, plural, shownName, sized, table, toJson } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const PRUNE_HELP = `Usage: unitcell prune [options] [DIR] [FILE...]

Removes checkpoints: those of epochs that POLICY does not keep, and FILEs, named outright, whatever protects them.
Without --yes it only prints what would go, what stays, and why.
${DIR_HELP}
Removed files go to the trash in the folder: unitcell undo brings them back, unitcell prune --empty-trash frees the
space. Of every run that loses something, one checkpoint that stays has been read to its end and loads.

Options:
      --keep POLICY    what to keep of the epochs (see below)
      --run RUN        only this run
      --yes            do it
      --delete         delete at once in place of the trash; nothing can bring the files back
      --empty-trash    delete what is in the trash
      --limit N        files shown of those that go and of those that stay (default 40; 0: all)
      --json           one JSON document
  -h, --help           this text

${KEEP_HELP}`;

/** A plan's reasons in a person's words. */
const WHY: Readonly<Record<string, string>> = {
  policy: "by the policy",
  best: "always kept",
  final: "always kept",
  last: "always kept",
  other: "always kept: no run's",
  "last valid": "the last of its run",
};
/** Where FILEs are all that goes. */
const NOT_NAMED = { ...WHY, policy: "not named" };

/** With FILEs and without --keep nothing else goes. */
const KEEP_ALL: RetentionPolicy = (infos) => new Set(infos.map(({ key }) => key));

interface Settings {
  readonly policy: RetentionPolicy;
  readonly options: PlanOptions;
  readonly yes: boolean;
  readonly trash: boolean;
}

export async function pruneCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      keep: { type: "string" },
      run: { type: "string" },
      yes: { type: "boolean" },
      delete: { type: "boolean" },
      "empty-trash": { type: "boolean" },
      limit: { type: "string" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(PRUNE_HELP);
    return 0;
  }
  const limit = parseLimit(values.limit);
  const policy = values.keep === undefined ? undefined : parseKeep(values.keep);
  const { folder, keys } = openFiles(positionals);
  const yes = values.yes ?? false;
  if (values["empty-trash"]) {
    if (policy || keys.length > 0)
      throw new UsageError("--empty-trash goes without --keep and files; see unitcell prune --help");
    return freeTrash(folder, yes, values.json ?? false);
  }
  if (!policy && keys.length === 0)
    throw new UsageError(
      "prune needs --keep POLICY, as --keep best,final,latest=2, or files; see unitcell prune --help",
    );
  if (values.run !== undefined) await checkRun(folder.store, values.run);
  const { plan, result } = await planAndPrune(folder, {
    policy: policy ?? KEEP_ALL,
    options: { remove: keys, ...(values.run !== undefined && { run: values.run }) },
    yes,
    trash: !values.delete,
  });
  if (values.keep !== undefined)
    for (const note of notesOnKeep(values.keep, plan)) process.stderr.write(`unitcell: ${oneLine(note)}\n`);
  await writeOut(
    values.json
      ? toJson({ folder: folder.path, done: result !== undefined, batch: result?.batch, ...plan })
      : `${[...planLines(folder.path, plan, { limit, why: policy ? WHY : NOT_NAMED }), "", ...doneLines(folder, plan, result)].join("\n")}\n`,
  );
  return 0;
}

/** A training may save between the plan and its execution; what is done is what is shown. */
async function planAndPrune(
  { store }: Folder,
  { policy, options, yes, trash }: Settings,
): Promise<{ plan: PrunePlan; result?: PruneResult }> {
  for (let isRetry = false; ; isRetry = true) {
    const plan = await planStorePrune(store, policy, options);
    if (!yes || plan.remove.length === 0) return { plan };
    try {
      return { plan, result: await pruneStore(store, plan, { trash }) };
    } catch (error) {
      if (isRetry || !isUnitcellError(error, "MISMATCH")) throw error;
    }
  }
}

function planLines(
  path: string,
  { keep, remove }: PrunePlan,
  { limit, why }: { readonly limit: number; readonly why: Readonly<Record<string, string>> },
): string[] {
  const bytes = keep.reduce((sum, { size }) => sum + size, 0);
  const columns = [
    { title: "file" },
    { title: "size", right: true },
    { title: "tag" },
    { title: "epoch", right: true },
    { title: "" },
  ];
  const row = ({ key, size, tag, epoch, problem }: PrunePlan["remove"][number], why = "") => [
    shownName(key),
    sized(size),
    tag,
    epoch === undefined ? "-" : String(epoch),
    [why, ...(problem === undefined ? [] : [`does not load: ${escaped(problem, 120)}`])].filter(Boolean).join("; "),
  ];
  const list = (rows: string[][]) => [
    ...table(columns, rows.slice(0, limit)),
    ...(rows.length > limit ? [`  ... and ${plural(rows.length - limit, "file")} more; --limit 0 shows all`] : []),
  ];
  return [
    `${oneLine(path)}: ${plural(keep.length, "checkpoint")} of ${keep.length + remove.length} ${keep.length === 1 ? "stays" : "stay"}, ${sized(bytes)}`,
    ...(keep.length > 0
      ? ["", "stay, and why", ...list(keep.map((info) => row(info, why[info.because] ?? info.because)))]
      : []),
    ...(remove.length > 0 ? ["", "go", ...list(remove.map((info) => row(info)))] : []),
  ];
}

function doneLines({ argument }: Folder, { remove, bytesFreed }: PrunePlan, result: PruneResult | undefined): string[] {
  const what = `${plural(remove.length, "checkpoint")}, ${sized(bytesFreed)}`;
  if (remove.length === 0) return ["Nothing goes."];
  if (!result) return [`${what} would go. Nothing was removed; --yes does it.`];
  if (result.batch === undefined) return [`${what} deleted.`];
  return [
    `${what} moved to the trash as batch ${result.batch}.`,
    `unitcell undo${argument} brings them back; unitcell prune${argument} --empty-trash --yes frees the space.`,
  ];
}

async function freeTrash({ path, store }: Folder, yes: boolean, json: boolean): Promise<number> {
  const there = await listTrash(store);
  const batches = yes && there.length > 0 ? await emptyTrash(store) : there;
  const files = batches.flatMap((batch) => batch.files);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const what = `${plural(files.length, "file")}, ${sized(bytes)}`;
  const text = yes ? `${what} deleted.` : `${what} would be deleted. Nothing was; --yes does it.`;
  await writeOut(
    json
      ? toJson({ folder: path, done: yes, bytesFreed: bytes, batches })
      : `${oneLine(path)}: ${files.length === 0 ? "the trash is empty." : text}\n`,
  );
  return 0;
}

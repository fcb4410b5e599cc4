import type { CheckpointInfo, Tag } from "../runs/checkpoint-info.js";
import { type Amount, type Duplicates, type Growth, type StorageReport, storageReport } from "../runs/report.js";
import { listTrash } from "../runs/trash.js";
import { fileHash } from "./file-hash.js";
import { checkRun, DIR_HELP, openToRead, READ_HELP, type ReadFolder } from "./folder.js";
import { KEEP_HELP, notesOnKeep, parseKeep } from "./keep.js";
import { type Column, escaped, labelled, oneLine, plural, shownName, sized, table, toJson } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const DU_HELP = `Usage: unitcell du [options] [DIR]

Reports what the checkpoints of a folder take: by run and tag, what each epoch adds, what is there twice, what is in the
trash. ${DIR_HELP}
${READ_HELP}
Growth is from the files of epochs: their median size by the median step from one to the next. Of checkpoints of equal
size whose ends are equal too, the SHA-256 is compared.

Options:
      --run RUN        only this run's checkpoints
      --keep POLICY    also what unitcell prune --keep POLICY would free
      --check          also read every checkpoint to its end, and list those that do not load
      --json           one JSON document
  -h, --help           this text

${KEEP_HELP}`;

const TAGS: readonly Tag[] = ["best", "final", "last", "epoch", "other"];
/** Sets of duplicates that are listed. */
const MOST_SETS = 20;
/** Characters of why a file does not load; unitcell verify says all. */
const MOST_PROBLEM = 120;

export async function duCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      run: { type: "string" },
      keep: { type: "string" },
      check: { type: "boolean" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(DU_HELP);
    return 0;
  }
  if (positionals.length > 1) throw new UsageError("du takes one folder; see unitcell du --help");
  const policy = values.keep === undefined ? undefined : parseKeep(values.keep);
  const folder = openToRead(positionals[0]);
  const { path, store } = folder;
  if (values.run !== undefined) await checkRun(store, values.run);
  const report = await storageReport(store, {
    duplicates: true,
    broken: values.check ?? false,
    hash: fileHash,
    ...(values.run !== undefined && { run: values.run }),
    ...(policy && { policy }),
  });
  if (values.keep !== undefined && report.plan)
    for (const note of notesOnKeep(values.keep, report.plan)) process.stderr.write(`unitcell: ${oneLine(note)}\n`);
  if (values.json) {
    await writeOut(toJson({ folder: path, ...report }));
    return 0;
  }
  const batches = (await listTrash(store)).length;
  await writeOut(`${lines(folder, report, batches, values.keep).join("\n")}\n`);
  return 0;
}

function lines(
  { path, argument }: ReadFolder,
  report: StorageReport,
  batches: number,
  keep: string | undefined,
): string[] {
  const { checkpoints, others, trash, duplicates = [], broken, plan } = report;
  return [
    `${oneLine(path)}: ${plural(checkpoints.files, "checkpoint")}, ${sized(checkpoints.bytes)}`,
    ...(checkpoints.files > 0 ? ["", ...runLines(report)] : []),
    "",
    ...labelled("others", amountText(others)),
    ...labelled(
      "trash",
      trash.files > 0
        ? `${amountText(trash)} in ${plural(batches, "batch", "es")}; unitcell prune${argument} --empty-trash --yes frees it`
        : "empty",
    ),
    ...duplicateLines(duplicates),
    ...(broken ? brokenLines(broken) : []),
    ...(plan
      ? labelled(
          "prune",
          `--keep ${oneLine(keep!)} frees ${sized(plan.bytesFreed)}: ${plural(plan.remove.length, "checkpoint")} of ${plan.keep.length + plan.remove.length}`,
        )
      : []),
  ];
}

function runLines({ byRun, byTag, checkpoints }: StorageReport): string[] {
  const tags = TAGS.filter((tag) => byTag[tag]);
  const grows = byRun.some(({ growth }) => growth?.bytesPerEpoch !== undefined);
  const cells = (amount: Amount, ofTags: StorageReport["byTag"]) => [
    String(amount.files),
    sized(amount.bytes),
    ...tags.map((tag) => tagText(tag, ofTags[tag])),
  ];
  const columns: Column[] = [
    { title: "run" },
    { title: "files", right: true },
    { title: "size", right: true },
    ...tags.map((title) => ({ title, right: true })),
    ...(grows ? [{ title: "per epoch", right: true }] : []),
  ];
  const row = (name: string, amount: Amount, ofTags: StorageReport["byTag"], growth?: Growth) => [
    name,
    ...cells(amount, ofTags),
    ...(grows ? [growthText(growth)] : []),
  ];
  const rows = byRun.map((run) => row(shownName(run.run), run, run.byTag, run.growth));
  if (byRun.length > 1) rows.push(row("all", checkpoints, byTag));
  return table(columns, rows);
}

/** Of epochs there are many, of the others usually one. */
function tagText(tag: Tag, amount: Amount | undefined): string {
  if (!amount) return "-";
  return amount.files === 1 && tag !== "epoch"
    ? sized(amount.bytes)
    : `${amount.files} x ${sized(amount.bytes / amount.files)}`;
}

function growthText(growth: Growth | undefined): string {
  return growth?.bytesPerEpoch === undefined ? "-" : sized(growth.bytesPerEpoch);
}

function duplicateLines(sets: readonly Duplicates[]): string[] {
  if (sets.length === 0) return labelled("duplicates", "none");
  const wasted = sets.reduce((sum, { wastedBytes }) => sum + wastedBytes, 0);
  const shown = sets.slice(0, MOST_SETS).flatMap(({ keys, wastedBytes }) => {
    const names = keys.slice(0, 4).map(shownName).join(" = ");
    const more = keys.length > 4 ? ` and ${plural(keys.length - 4, "other")}` : "";
    return labelled("", `${sized(wastedBytes)}: ${names}${more}`);
  });
  const rest = sets.length > MOST_SETS ? labelled("", `... and ${plural(sets.length - MOST_SETS, "set")} more`) : [];
  return [...labelled("duplicates", `${sized(wasted)} in ${plural(sets.length, "set")}`), ...shown, ...rest];
}

function brokenLines(broken: readonly CheckpointInfo[]): string[] {
  if (broken.length === 0) return labelled("damaged", "none: every checkpoint was read to its end");
  return [
    ...labelled("damaged", plural(broken.length, "checkpoint")),
    ...broken.flatMap(({ key, problem = "" }) => labelled("", `${shownName(key)}: ${escaped(problem, MOST_PROBLEM)}`)),
  ];
}

function amountText({ files, bytes }: Amount): string {
  return files === 0 ? "none" : `${plural(files, "file")}, ${sized(bytes)}`;
}

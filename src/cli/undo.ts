import { UnitcellError } from "../errors.js";
import { listTrash, type TrashBatch, undoRemoval } from "../runs/trash.js";
import { DIR_HELP, type Folder, isFolder, openFolder } from "./folder.js";
import { dated, escaped, oneLine, plural, shownName, sized, table, toJson } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const UNDO_HELP = `Usage: unitcell undo [options] [DIR] [BATCH]

Brings back what unitcell prune (or a training that went on from an earlier epoch) moved to the trash: the last batch,
or the one with this number. Nothing is moved where a file of one of the names is there again.
${DIR_HELP}

Options:
      --list        what is in the trash
      --json        one JSON document
  -h, --help        this text
`;

const BATCH_DIGITS = 6;
/** Names of what came back. */
const MOST_LINES = 40;
/** Names in a line of --list. */
const MOST_NAMES = 3;

export async function undoCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      list: { type: "boolean" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(UNDO_HELP);
    return 0;
  }
  const isBatch = positionals.length > 0 && /^\d{1,9}$/.test(positionals.at(-1)!) && !isFolder(positionals.at(-1)!);
  const batch = isBatch ? positionals.pop()!.padStart(BATCH_DIGITS, "0") : undefined;
  if (positionals.length > 1)
    throw new UsageError("undo takes a folder and the number of a batch; see unitcell undo --help");
  const folder = openFolder(positionals[0]);
  if (values.list) return list(folder, values.json ?? false);
  // Where nothing was ever removed, nothing is written.
  if (batch === undefined && (await listTrash(folder.store)).length === 0)
    throw new UnitcellError("NOT_FOUND", "the trash is empty");
  const brought = await undoRemoval(folder.store, batch);
  await writeOut(
    values.json
      ? toJson({ folder: folder.path, ...brought })
      : `${oneLine(folder.path)}: ${filesOf(brought)} back from batch ${brought.id}\n${names(brought)}`,
  );
  return 0;
}

function names({ files }: TrashBatch): string {
  const lines = files.slice(0, MOST_LINES).map(({ key }) => `  ${shownName(key)}\n`);
  return (
    lines.join("") + (files.length > MOST_LINES ? `  ... and ${plural(files.length - MOST_LINES, "file")} more\n` : "")
  );
}

async function list({ path, store }: Folder, json: boolean): Promise<number> {
  const batches = await listTrash(store);
  if (json) {
    await writeOut(toJson({ folder: path, batches }));
    return 0;
  }
  const rows = batches.map((batch) => {
    const { id, date, files, why } = batch;
    const first = files.slice(0, MOST_NAMES).map(({ key }) => shownName(key));
    const more = files.length > MOST_NAMES ? ` and ${files.length - MOST_NAMES} more` : "";
    return [id, shownDate(date), filesOf(batch), escaped(why), `${first.join(", ")}${more}`];
  });
  const columns = [{ title: "batch" }, { title: "removed" }, { title: "files" }, { title: "why" }, { title: "" }];
  const header = `${oneLine(path)}: ${batches.length === 0 ? "the trash is empty" : `${plural(batches.length, "batch", "es")} in the trash`}`;
  await writeOut(`${[header, ...(rows.length > 0 ? ["", ...table(columns, rows)] : [])].join("\n")}\n`);
  return 0;
}

function filesOf({ files }: TrashBatch): string {
  return `${plural(files.length, "file")}, ${sized(files.reduce((sum, { size }) => sum + size, 0))}`;
}

/** A manifest is a file like any other, and may say anything. */
function shownDate(text: string): string {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? "unknown" : dated(date);
}

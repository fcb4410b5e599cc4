import { UnitcellError } from "../errors.js";
import { pinCheckpoint, readPins, unpinCheckpoint } from "../runs/pins.js";
import { type Folder, openFiles } from "./folder.js";
import { oneLine, plural, shownName, toJson } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const PIN_HELP = `Usage: unitcell pin [options] [DIR] FILE...
       unitcell pin --list [DIR]

Pins checkpoints, so that no policy of unitcell prune removes them. FILEs are in DIR, or named by their paths; without
DIR their folder is saved_models where they are in it, else the one they lie in. The list is .unitcell/pins.json there.

Options:
      --remove      undo a pin
      --list        the pinned files
      --json        with --list: as JSON
  -h, --help        this text
`;

export async function pinCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      remove: { type: "boolean" },
      list: { type: "boolean" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(PIN_HELP);
    return 0;
  }
  const { folder, keys } = openFiles(positionals);
  if (values.list) {
    if (keys.length > 0 || values.remove) throw new UsageError("--list takes a folder; see unitcell pin --help");
    return list(folder, values.json ?? false);
  }
  if (keys.length === 0) throw new UsageError("pin needs files; see unitcell pin --help");
  await checkThere(folder, keys, values.remove ?? false);
  for (const key of keys) {
    await (values.remove ? unpinCheckpoint(folder.store, key) : pinCheckpoint(folder.store, key));
    await writeOut(`${values.remove ? "unpinned" : "pinned"} ${shownName(key)} in ${oneLine(folder.path)}\n`);
  }
  return 0;
}

/** All or nothing: a misspelt name among several changes nothing. */
async function checkThere({ path, store }: Folder, keys: readonly string[], remove: boolean): Promise<void> {
  const pins = await readPins(store);
  for (const key of keys) {
    if (remove) {
      if (!pins.has(key)) throw new UnitcellError("NOT_FOUND", `${key} is not pinned in ${path}`, { key });
      continue;
    }
    const source = await store.get(key);
    if (!source) throw new UnitcellError("NOT_FOUND", `there is no file ${key} in ${path}`, { key });
    source.close?.();
  }
}

async function list({ path, store }: Folder, json: boolean): Promise<number> {
  const pins = [...(await readPins(store))].sort();
  const lines = [
    `${oneLine(path)}: ${plural(pins.length, "pinned file")}`,
    ...pins.map((key) => `  ${shownName(key)}`),
  ];
  await writeOut(json ? toJson({ folder: path, pins }) : `${lines.join("\n")}\n`);
  return 0;
}

import { readdir, readFile, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { addAbortSignal } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { UnitcellError } from "../errors.js";
import type { StructureText } from "../pool/pool.js";
import { parseEach, type StructureFormat } from "../structures/parse.js";
import type { Structure, UnreadStructure } from "../structures/structure.js";

/** Endings looked for in folders. JSON is left out: most of it is not structures, and naming a file still reads it. */
const STRUCTURE_ENDINGS = new Set([".cif", ".mcif", ".vasp", ".poscar", ".xyz", ".extxyz"]);

const STDIN = "-";

/** Longest time without a turn of the event loop, between the items of long work. */
const MAX_TURN_MS = 50;

/** A function to await between items: it lets the event loop turn now and then, so that Ctrl-C is heard. */
export function eventTurns(): () => Promise<void> {
  let turned = performance.now();
  return async () => {
    if (performance.now() - turned < MAX_TURN_MS) return;
    await setImmediate();
    turned = performance.now();
  };
}

/**
 * The files that arguments name: files themselves, folders as the structure files below them in name order, `-` for
 * standard input. An argument that is not there stays in the list and fails when it is read.
 */
export async function listInputs(paths: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    const isFolder = path !== STDIN && (await stat(path).catch(() => undefined))?.isDirectory();
    if (isFolder) files.push(...(await structureFiles(path)));
    else files.push(path);
  }
  return files;
}

async function structureFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch((cause: Error) => {
    throw new UnitcellError("NOT_FOUND", `cannot read the folder ${folder}: ${cause.message}`, {}, { cause });
  });
  const isStructure = (name: string) =>
    STRUCTURE_ENDINGS.has(extname(name).toLowerCase()) || /^(poscar|contcar)/i.test(name);
  const files = entries
    .filter((entry) => (entry.isFile() || entry.isSymbolicLink()) && isStructure(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
  if (files.length === 0) throw new UnitcellError("NOT_FOUND", `no structure files in ${folder}`);
  return files;
}

/**
 * The text of every file, in order; what cannot be read keeps its place as an error.
 * @param onFile called with the number of files finished so far
 * @param signal ends the reading, also while it waits for standard input
 */
export async function* readTexts(
  files: readonly string[],
  format: StructureFormat | undefined,
  onFile: (done: number) => void,
  signal: AbortSignal,
): AsyncGenerator<StructureText | UnreadStructure> {
  for (const [done, file] of files.entries()) {
    onFile(done);
    const text = await readText(file, signal);
    if (signal.aborted) return;
    if (text instanceof UnitcellError) yield { id: basename(file), error: text };
    else yield { text, filename: file === STDIN ? "stdin" : file, ...(format && { format }) };
  }
  onFile(files.length);
}

/** Every structure of every file that readTexts reads. */
export async function* readInputs(...files: Parameters<typeof readTexts>): AsyncGenerator<Structure | UnreadStructure> {
  const turn = eventTurns();
  for await (const input of readTexts(...files)) {
    if ("error" in input) {
      yield input;
      continue;
    }
    for (const structure of parseEach(input.text, input)) {
      yield structure;
      await turn();
    }
  }
}

async function readText(file: string, signal: AbortSignal): Promise<string | UnitcellError> {
  try {
    if (file !== STDIN) return await readFile(file, { encoding: "utf8", signal });
    process.stdin.setEncoding("utf8");
    let text = "";
    for await (const chunk of addAbortSignal(signal, process.stdin)) text += chunk;
    return text;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return new UnitcellError("NOT_FOUND", `no file ${file}`);
    return new UnitcellError("CORRUPT", `cannot read ${file}: ${message}`, {}, { cause: error });
  }
}

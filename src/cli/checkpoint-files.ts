/** The files of a checkpoint on disk: which of a folder's, or of those beside the one that is named, belong together. */
import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { DEFAULT_LIMITS, FileBytes, type Input } from "../bytes.js";
import type { CheckpointFiles } from "../checkpoint/bundle.js";
import { companionsOf, isWeights, stateDictFile } from "../checkpoint/file-names.js";
import { openZipFiles, ZippedFile } from "../checkpoint/zip-files.js";
import { reworded, UnitcellError } from "../errors.js";
import { checkSettingsSize } from "../formats/json-values.js";
import { sha256 } from "../sha256.js";
import { fileSource } from "../stores/fs.js";

/** A checkpoint in memory, for loadCheckpoint. */
export interface FilesRead {
  readonly files: CheckpointFiles;
  /** Of the state dict's file, as sha256sum prints it. */
  readonly sha256: string;
  /** What it goes by: the last part of the path. */
  readonly name: string;
}

/** Paths of a checkpoint's files by name, the state dict's first. */
export type FilePaths = ReadonlyMap<string, string>;

/**
 * Find the files of a checkpoint.
 * @param path a folder, or the state dict's file: what belongs to it is looked for beside it
 * @throws {UnitcellError} NOT_FOUND for a path or a folder without a checkpoint, ARGUMENT for one with several
 */
export function findCheckpointFiles(path: string): FilePaths {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const folder = isFolder ? path : dirname(path);
  const name = isFolder ? chooseIn(path) : basename(path);
  const beside = companionsOf(name).filter((other) => isFile(join(folder, other)));
  return new Map([
    [name, isFolder ? join(path, name) : path],
    ...beside.map((other) => [other, join(folder, other)] as const),
  ]);
}

/** Files of folders are not looked for deeper: a folder of folders holds several checkpoints. */
function chooseIn(folder: string): string {
  const names = readdirSync(folder).filter((name) => isWeights(name) && isFile(join(folder, name)));
  try {
    return stateDictFile(names.sort());
  } catch (error) {
    if (!(error instanceof UnitcellError)) throw error;
    const where = names.length === 0 ? "; folders inside it are not looked at" : "";
    throw reworded(error, `the folder ${folder}: ${error.message}${where}`);
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/**
 * Read the files of a checkpoint: a folder, a file and what belongs to it beside it, a plain zip as what is in it.
 * @throws {UnitcellError} as findCheckpointFiles and openZipFiles, and LIMIT for a file beyond wholeFileBytes or settings
 *   beyond settingsBytes
 */
export async function readCheckpointFiles(path: string): Promise<FilesRead> {
  const name = basename(path);
  const paths = findCheckpointFiles(path);
  const read = new Map<string, Input>();
  for (const [file, place] of paths) read.set(file, await readFile(file, place));
  const [first] = read.keys();
  const zipped = await openZipFiles(read.get(first)!, {});
  const files: CheckpointFiles = zipped ?? read;
  const chosen = files.get(zipped ? stateDictFile([...files.keys()]) : first)!;
  const bytes = new FileBytes(chosen instanceof ZippedFile ? await chosen.settle() : chosen);
  return { files, sha256: await sha256(await bytes.read(0, bytes.size)), name };
}

async function readFile(name: string, path: string): Promise<Uint8Array> {
  const source = fileSource(path);
  try {
    const { size } = source;
    if (name.endsWith(".json")) checkSettingsSize(size, path, DEFAULT_LIMITS);
    else if (size > DEFAULT_LIMITS.wholeFileBytes)
      throw new UnitcellError("LIMIT", `${path} has ${size} bytes, the limit is ${DEFAULT_LIMITS.wholeFileBytes}`, {
        size,
      });
    return await source.read(0, size);
  } finally {
    source.close();
  }
}

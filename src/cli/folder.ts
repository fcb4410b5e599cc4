/** Folders of checkpoints as the command line names them, and files in them. */
import { existsSync, statSync } from "node:fs";
import { dirname, join, normalize, relative, resolve, sep } from "node:path";
import { UnitcellError } from "../errors.js";
import { listCheckpoints } from "../runs/listing.js";
import { fsStore } from "../stores/fs.js";
import { httpStore } from "../stores/http-store.js";
import type { ReadStore, Store } from "../stores/store.js";
import { shownName } from "./shown.js";

export interface ReadFolder {
  /** As it was named, for headers and messages. */
  readonly path: string;
  /** What a command line needs to name it: " DIR", or nothing for the default. */
  readonly argument: string;
  readonly store: ReadStore;
}

export interface Folder extends ReadFolder {
  readonly store: Store;
}

/** What training scripts call it. */
const USUAL = "saved_models";
const NOTES = ".unitcell";
/** Names of runs in a message. */
const MOST_NAMES = 10;

/** For the help texts of what only looks. */
export const READ_HELP = "DIR may be an http(s) address with an index.json, as unitcell ls --json --hash writes it.";
/** For the help texts. */
export const DIR_HELP = `DIR is ${USUAL} where there is one, else the folder you are in.`;

/**
 * Open a folder that is there; nothing is made.
 * @throws {UnitcellError} NOT_FOUND, and ARGUMENT for a file
 */
export function openFolder(directory: string | undefined): Folder {
  const usual = isFolder(USUAL) ? USUAL : ".";
  const path = directory ?? usual;
  if (isAddress(path))
    throw new UnitcellError("ARGUMENT", `${path}: folders of web servers are for ls, du and history`, { path });
  if (!existsSync(path)) throw new UnitcellError("NOT_FOUND", `no folder ${path}`, { path });
  if (!isFolder(path)) throw new UnitcellError("ARGUMENT", `${path} is a file, not a folder of checkpoints`, { path });
  return { path, argument: path === usual ? "" : ` ${shownName(path)}`, store: fsStore(path) };
}

/** The same for what only looks: also an http(s) address that has an index.json. */
export function openToRead(directory: string | undefined): ReadFolder {
  if (directory === undefined || !isAddress(directory)) return openFolder(directory);
  return { path: directory, argument: ` ${shownName(directory)}`, store: httpStore(directory) };
}

/** @throws {UnitcellError} NOT_FOUND for a run without checkpoints, which may be a misspelt one; it says which there are */
export async function checkRun(store: ReadStore, run: string): Promise<void> {
  const runs = [...new Set((await listCheckpoints(store)).map((info) => info.run))];
  if (runs.includes(run)) return;
  const names = runs.slice(0, MOST_NAMES).map(shownName).join(", ");
  const more = runs.length > MOST_NAMES ? ` and ${runs.length - MOST_NAMES} more` : "";
  throw new UnitcellError("NOT_FOUND", `there is no run ${shownName(run)}; there are ${names || "none"}${more}`, {
    run,
  });
}

/**
 * "[DIR] FILE...": the folder and the keys of the files in it. Files may be named by key or, as a shell completes them, by
 * path; without DIR their folder is the nearest around the first one that has unitcell's notes, else the default, else its own.
 */
export function openFiles(args: readonly string[]): { folder: Folder; keys: string[] } {
  const [first, ...rest] = args;
  const isNamed = first !== undefined && (isFolder(first) || isAddress(first));
  const folder = openFolder(isNamed ? first : first === undefined ? undefined : folderAround(first));
  return { folder, keys: (isNamed ? rest : args).map((name) => keyIn(folder.path, name)) };
}

function isAddress(path: string): boolean {
  return /^https?:\/\//i.test(path);
}

export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** The folder that a file belongs to; undefined: the default. */
function folderAround(file: string): string | undefined {
  if (!existsSync(file) || (isFolder(USUAL) && inside(USUAL, file) !== undefined)) return undefined;
  const own = dirname(file);
  for (let at = own; inside(".", at) !== undefined || at === "."; at = dirname(at)) {
    if (existsSync(join(at, NOTES))) return at;
    if (at === ".") break;
  }
  return own;
}

function keyIn(folder: string, name: string): string {
  if (existsSync(join(folder, name))) return toKey(normalize(name));
  // Also of a file that is gone, but still pinned.
  return toKey(inside(folder, name) ?? name);
}

/** A path as seen from a folder; undefined for one that is not in it. */
function inside(folder: string, path: string): string | undefined {
  const from = relative(resolve(folder), resolve(path));
  return from === "" || from.split(sep)[0] === ".." || resolve(from) === from ? undefined : from;
}

function toKey(path: string): string {
  return path.split(sep).join("/");
}

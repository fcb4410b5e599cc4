/** A folder of Node, Deno or Bun as a store. */
import type { Dirent } from "node:fs";
import { lstat, mkdir, readdir, realpath, rename, stat, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UnitcellError } from "../errors.js";
import { codeOf, failure, fileSink, isAbsent, notAFile, openFile, syncFolder } from "./files.js";
import { isLeft, isPart, processLiveness } from "./parts.js";
import {
  type ChangeOptions,
  type Content,
  checkKey,
  isKey,
  type Liveness,
  type PutOptions,
  type Store,
  type StoreEntry,
} from "./store.js";

/** Files looked at together: more wait for the thread pool anyway, and fewer are told before the first is shown. */
const STAT_FILES = 64;
/** Where unitcell keeps its own files; `clean` looks into it, not into other folders that begin with a dot. */
const OWN_FOLDER = ".unitcell";

/**
 * A folder as a store; it is made with the first file. Keys are paths in it. A symbolic link to a file is that file to
 * `get`, `list` and `put`, a link to a folder is followed where a key names it and not in lists; `move` and `delete` act on
 * links themselves. Keys that differ in case only are one file where the file system says so. `ifAbsent` needs hard links,
 * which FAT does not have: BACKEND there.
 *
 * Errors have the path and the system's reason: BACKEND for a disk that is full, fails or may not be written or read,
 * ARGUMENT for a key that cannot be a file there (too long a name, a folder, below a file).
 */
export function fsStore(directory: string): Store {
  return new FsStore(resolve(directory));
}

class FsStore implements Store {
  readonly liveness: Liveness = processLiveness();
  private readonly root: string;
  /** Folders of which the disk is known to have the names. */
  private readonly lasting = new Set<string>();

  constructor(root: string) {
    this.root = root;
  }

  async get(key: string) {
    const path = this.path(key);
    try {
      return openFile(path, "BACKEND");
    } catch (error) {
      // Folders and devices are no files of the store, and no file has a name that is too long.
      const isNone = isAbsent(error) || ["ENAMETOOLONG", "ELOOP"].includes(codeOf(error) ?? "");
      if (isNone || error instanceof UnitcellError) return undefined;
      throw failure(path, error, "BACKEND", "read");
    }
  }

  async *list(folder = ""): AsyncIterable<StoreEntry> {
    if (folder !== "") checkKey(folder);
    for await (const [inside, names] of this.folders(folder, () => false)) {
      const files = names.filter((name) => (name.isFile() || name.isSymbolicLink()) && !isPart(name.name));
      const keys = files.map(({ name }) => inside + name).filter(isKey);
      for (let at = 0; at < keys.length; at += STAT_FILES) {
        const entries = await Promise.all(keys.slice(at, at + STAT_FILES).map((key) => this.entry(key)));
        for (const entry of entries) if (entry) yield entry;
      }
    }
  }

  async put(key: string, content: Content, { ifAbsent = false, durable = true }: PutOptions = {}): Promise<boolean> {
    const path = this.path(key);
    await this.makeFolder(dirname(path)).catch((error) => {
      throw failure(path, error, "BACKEND", "write");
    });
    // Saves the writing; what is decided later is decided by `close`.
    if (ifAbsent && (await this.entry(key))) return false;
    const sink = fileSink(path, { durable });
    try {
      if (typeof content === "function") await content(sink.write);
      else sink.write(content);
      return await sink.close({ ifAbsent });
    } finally {
      sink.abort();
    }
  }

  async move(from: string, to: string, { durable = true }: ChangeOptions = {}): Promise<void> {
    const [source, target] = [this.path(from), this.path(to)];
    try {
      const moved = await lstat(source);
      if (!moved.isFile() && !moved.isSymbolicLink())
        throw new UnitcellError("NOT_FOUND", `no file ${source}`, { path: source });
      await this.makeFolder(dirname(target));
      if (await this.isOver(target, moved.isSymbolicLink() ? source : undefined)) await unlink(source);
      else await rename(source, target);
      if (!durable) return;
      await syncFolder(dirname(target));
      if (dirname(source) !== dirname(target)) await syncFolder(dirname(source));
    } catch (error) {
      // A file on the way to the new name gives the same error of the system.
      if (isAbsent(error) && !(await exists(source)))
        throw new UnitcellError("NOT_FOUND", `no file ${source}`, { path: source }, { cause: error });
      throw failure(target, error, "BACKEND", "write");
    }
  }

  async delete(key: string, { durable = true }: ChangeOptions = {}): Promise<void> {
    const path = this.path(key);
    try {
      await unlink(path).catch(async (error) => {
        if (isAbsent(error)) return;
        const found = await lstat(path).catch(() => undefined);
        // Runtimes have several words for a folder, which is no file of the store (and Deno removes an empty one); where
        // nothing may be written, Linux does not look first whether there is one.
        if (found ? !found.isDirectory() : codeOf(error) !== "EROFS") throw error;
      });
      // Also where it was gone already: the one who removed it may not have come so far.
      if (durable) await syncFolder(dirname(path));
    } catch (error) {
      if (!isAbsent(error)) throw failure(path, error, "BACKEND", "remove");
    }
  }

  async clean(): Promise<number> {
    let removed = 0;
    for await (const [inside, names] of this.folders("", (name) => name === OWN_FOLDER))
      for (const { name } of names.filter((each) => each.isFile() && isPart(each.name))) {
        const path = join(this.root, inside + name);
        try {
          if (!isLeft(name, (await lstat(path)).mtimeMs)) continue;
          await unlink(path);
          removed++;
        } catch (error) {
          if (!isAbsent(error)) throw failure(path, error, "BACKEND", "remove");
        }
      }
    return removed;
  }

  private path(key: string): string {
    if (!isPart(checkKey(key))) return join(this.root, key);
    throw new UnitcellError("ARGUMENT", `${key} is named as an unfinished file, which would be removed`, { key });
  }

  /** A folder and those below it: what precedes the names of files in keys, and what is in it. Gone ones are left out. */
  private async *folders(
    folder: string,
    entersDotFolder: (name: string) => boolean,
  ): AsyncIterable<[inside: string, names: Dirent[]]> {
    const waiting = [folder];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const path = join(this.root, next);
      let names: Dirent[];
      try {
        names = await readdir(path, { withFileTypes: true });
      } catch (error) {
        if (isAbsent(error)) continue;
        throw failure(path, error, "BACKEND", "list");
      }
      const inside = next === "" ? "" : `${next}/`;
      for (const each of names)
        if (each.isDirectory() && (!each.name.startsWith(".") || entersDotFolder(each.name)))
          waiting.push(inside + each.name);
      yield [inside, names];
    }
  }

  /** A file as lists show it; undefined where it is none (any more). */
  private async entry(key: string): Promise<StoreEntry | undefined> {
    const path = join(this.root, key);
    try {
      const stats = await stat(path, { bigint: true });
      if (!stats.isFile()) return undefined;
      const { ino, size, mtimeNs, mtime } = stats;
      return { key, size: Number(size), modified: mtime, version: `${ino}-${size}-${mtimeNs}` };
    } catch (error) {
      // A link that leads round in a circle leads to no file.
      if (isAbsent(error) || codeOf(error) === "ELOOP") return undefined;
      throw failure(path, error, "BACKEND", "read");
    }
  }

  /**
   * Make a folder and those above it, each with its name on the disk. Others may be making the same ones: a folder that is
   * there already is flushed too, once. @throws the system's errors
   */
  private async makeFolder(path: string): Promise<void> {
    try {
      await mkdir(path);
    } catch (error) {
      const parent = dirname(path);
      if (codeOf(error) === "EEXIST") {
        // The store's own folder and what is above it were there before; others may not let us look in.
        if (path.length <= this.root.length || this.lasting.has(path)) return;
        await this.makeFolder(parent);
      } else if (codeOf(error) === "ENOENT" && parent !== path) {
        await this.makeFolder(parent);
        return this.makeFolder(path);
      } else throw error;
    }
    await syncFolder(dirname(path));
    this.lasting.add(path);
  }

  /**
   * Whether a link, if it is one that moves, points to the file that it would replace: that would be lost.
   * @throws {UnitcellError} ARGUMENT for a folder or device
   */
  private async isOver(target: string, link: string | undefined): Promise<boolean> {
    try {
      const stats = await lstat(target);
      if (!stats.isFile() && !stats.isSymbolicLink()) throw notAFile(target);
      return stats.isFile() && link !== undefined && (await realpath(link)) === (await realpath(target));
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** A store in the origin private file system: files of a site that the user never sees, in windows and workers. */
import type { Sink } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { type Content, checkKey, type Store, type StoreEntry, type StoreSource } from "./store.js";
import { isDomError, webFailure, webLiveness, webLocks } from "./web.js";

/** In browsers, and not yet in TypeScript's library. */
interface MovableFile extends FileSystemFileHandle {
  /** Another folder and name for a file, over another file of that name, in one step. */
  move(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
}

/** A file that is being written, beside its final name, and the one in which Chromium keeps what is written to that. */
const PART = /^.+\.[0-9a-f]{32}\.part(\.crswap)?$/;
/** Not listed, and no names for files; Chromium shows its own beside any file that is written. */
const UNFINISHED = /\.[0-9a-f]{32}\.part$|\.crswap$/;

/**
 * A folder of the origin private file system, made where there is none. A file is written beside its name, as
 * "NAME.RANDOM.part", and gets its name by one move, so that readers find the former file or the new one; writers hold a Web
 * Lock for what they write, which tells `clean` whether they still live. Whatever gives a name holds one lock of the site: a
 * folder may lie in another store's. How well a file survives a power failure is up to the browser.
 *
 * A source of a file that is replaced or deleted can no longer be read: MISMATCH.
 * @throws {UnitcellError} UNSUPPORTED where a browser has no such file system, or one that cannot write and move; ARGUMENT
 *   for a directory that is no key; methods: BACKEND
 */
export async function opfsStore(directory: string): Promise<Store> {
  checkKey(directory);
  const locks = webLocks();
  const root = await openRoot(directory);
  const liveness = await webLiveness();
  const partLock = (path: string) => `unitcell opfs ${directory}/${path}`;
  const exclusive = <T>(run: () => Promise<T>): Promise<T> => locks.request("unitcell opfs", run);

  return {
    liveness,

    async get(key) {
      const file = await stateOf(await findFile(root, checkKey(key)));
      return file && sourceOf(root, key, file);
    },

    async *list(folder = "") {
      if (folder !== "") checkKey(folder);
      const within = folder === "" ? root : await openFolder(root, folder.split("/"));
      if (!within) return;
      for await (const { path, handle } of walk(within, folder, false)) {
        const file = UNFINISHED.test(handle.name) ? undefined : await stateOf(handle);
        if (file) yield entryOf(path, file);
      }
    },

    async put(key, content, { ifAbsent = false } = {}) {
      checkName(key);
      if (ifAbsent && (await findFile(root, key))) return false;
      const part = `${key}.${crypto.randomUUID().replaceAll("-", "")}.part`;
      const what = `cannot write ${key}`;
      return locks.request(partLock(part), async () => {
        const handle = await makeFile(root, part, what);
        try {
          await writeFile(handle, content, what);
          return await exclusive(async () => {
            if (ifAbsent && (await findFile(root, key))) return false;
            return giveName(root, handle, key, what);
          });
        } finally {
          // After success it is there no more.
          await removeFile(root, part).catch(() => {});
        }
      });
    },

    async move(from, to) {
      checkKey(from);
      checkName(to);
      await exclusive(async () => {
        const handle = await findFile(root, from);
        if (!handle) throw new UnitcellError("NOT_FOUND", `no file ${from} in ${directory}`, { key: from });
        if (from !== to) await giveName(root, handle, to, `cannot move ${from} to ${to}`);
      });
    },

    async delete(key) {
      await removeFile(root, checkKey(key));
    },

    async clean() {
      let removed = 0;
      for await (const { path, handle } of walk(root, "", true)) {
        const [part, swap = ""] = PART.exec(handle.name) ?? [];
        if (!part) continue;
        const ofPart = path.slice(0, path.length - swap.length);
        const isLeft = await locks.request(partLock(ofPart), { ifAvailable: true }, async (lock) =>
          lock ? removeFile(root, path) : false,
        );
        if (isLeft && swap === "") removed++;
      }
      return removed;
    },
  };
}

/** @throws {UnitcellError} UNSUPPORTED, BACKEND */
async function openRoot(directory: string): Promise<FileSystemDirectoryHandle> {
  const unsupported = (what: string) =>
    new UnitcellError("UNSUPPORTED", `this runtime has no ${what}; indexedDbStore may do instead`);
  if (!globalThis.navigator?.storage?.getDirectory) throw unsupported("origin private file system");
  // Without a move a new file would first be an empty one.
  for (const method of ["createWritable", "move"])
    if (!(method in FileSystemFileHandle.prototype)) throw unsupported(`FileSystemFileHandle.${method}`);
  try {
    return await makeFolder(await navigator.storage.getDirectory(), directory.split("/"));
  } catch (error) {
    throw webFailure(error, `cannot open the folder ${directory}`);
  }
}

function checkName(key: string): void {
  if (UNFINISHED.test(checkKey(key)))
    throw new UnitcellError("ARGUMENT", `names as ${key} are kept for unfinished files`, { key });
}

/** What file systems say of a name that is not there, is a folder, or is below a file. */
const isMissing = (error: unknown) => isDomError(error, "NotFoundError", "TypeMismatchError");

async function makeFolder(
  root: FileSystemDirectoryHandle,
  parts: readonly string[],
): Promise<FileSystemDirectoryHandle> {
  let folder = root;
  for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: true });
  return folder;
}

async function openFolder(
  root: FileSystemDirectoryHandle,
  parts: readonly string[],
): Promise<FileSystemDirectoryHandle | undefined> {
  try {
    let folder = root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part);
    return folder;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw webFailure(error, `cannot open the folder ${parts.join("/")}`);
  }
}

/** "a/b/c.pt" as the folders and the name. */
function split(key: string): { folders: string[]; name: string } {
  const folders = key.split("/");
  return { name: folders.pop()!, folders };
}

async function findFile(root: FileSystemDirectoryHandle, key: string): Promise<FileSystemFileHandle | undefined> {
  const { folders, name } = split(key);
  const folder = await openFolder(root, folders);
  try {
    return await folder?.getFileHandle(name);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw webFailure(error, `cannot open ${key}`);
  }
}

async function makeFile(root: FileSystemDirectoryHandle, key: string, what: string): Promise<FileSystemFileHandle> {
  const { folders, name } = split(key);
  try {
    return await (await makeFolder(root, folders)).getFileHandle(name, { create: true });
  } catch (error) {
    throw webFailure(error, what);
  }
}

/** A file as it is now; undefined where it has gone meanwhile. */
async function stateOf(handle: FileSystemFileHandle | undefined): Promise<File | undefined> {
  try {
    return await handle?.getFile();
  } catch (error) {
    if (isDomError(error, "NotFoundError")) return undefined;
    throw webFailure(error, `cannot open ${handle?.name}`);
  }
}

function entryOf(key: string, { size, lastModified }: File): StoreEntry {
  return { key, size, modified: new Date(lastModified), version: `${lastModified} ${size}` };
}

/**
 * A File whose file was replaced cannot be read (NotReadableError in Chromium, AbortError in Firefox). Whatever a browser
 * makes of it, the file is looked at again after each reading.
 */
function sourceOf(root: FileSystemDirectoryHandle, key: string, file: File): StoreSource {
  const { version } = entryOf(key, file);
  const read = async (start: number, end: number) => {
    let failed: unknown;
    const bytes = await file
      .slice(start, end)
      .arrayBuffer()
      .catch((error) => {
        failed = error;
      });
    const now = await stateOf(await findFile(root, key));
    if (!now || entryOf(key, now).version !== version)
      throw new UnitcellError("MISMATCH", `${key} has changed while it was read`, { key }, { cause: failed });
    if (!bytes) throw webFailure(failed, `cannot read ${key}`);
    return bytes;
  };
  return { size: file.size, slice: (start, end) => ({ arrayBuffer: () => read(start, end) }) };
}

async function writeFile(handle: FileSystemFileHandle, content: Content, what: string): Promise<void> {
  const guard = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw webFailure(error, what);
    }
  };
  const writable = await guard(handle.createWritable());
  const write: Sink = (bytes) => {
    const written = guard(writable.write(bytes as Uint8Array<ArrayBuffer>));
    // One that nobody waits for fails in `close` again.
    written.catch(() => {});
    return written;
  };
  try {
    if (typeof content === "function") await content(write);
    else await write(content);
    await guard(writable.close());
  } catch (error) {
    await writable.abort().catch(() => {});
    throw error;
  }
}

/** Under the store's lock. @returns true */
async function giveName(
  root: FileSystemDirectoryHandle,
  handle: FileSystemFileHandle,
  key: string,
  what: string,
): Promise<true> {
  const { folders, name } = split(key);
  try {
    const former = await stateOf(await findFile(root, key));
    if (former) await makeYounger(handle, entryOf(key, former).version);
    await (handle as MovableFile).move(await makeFolder(root, folders), name);
    return true;
  } catch (error) {
    throw webFailure(error, what);
  }
}

/** Files of one size and one millisecond would be of one version: the new one is then written again. */
async function makeYounger(handle: FileSystemFileHandle, version: string): Promise<void> {
  for (;;) {
    const file = await handle.getFile();
    if (file.size === 0 || entryOf("", file).version !== version) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
    const writable = await handle.createWritable();
    await writable.write(file);
    await writable.close();
  }
}

/** @returns whether there was one */
async function removeFile(root: FileSystemDirectoryHandle, key: string): Promise<boolean> {
  const { folders, name } = split(key);
  // A folder of that name is no file, and stays.
  if (!(await findFile(root, key))) return false;
  try {
    await (await openFolder(root, folders))?.removeEntry(name);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw webFailure(error, `cannot delete ${key}`);
  }
}

interface Found {
  readonly path: string;
  readonly handle: FileSystemFileHandle;
}

/** All files below a folder; what is in folders whose names begin with a dot only if `hidden`. */
async function* walk(folder: FileSystemDirectoryHandle, path: string, hidden: boolean): AsyncGenerator<Found> {
  const handles: FileSystemHandle[] = [];
  try {
    for await (const handle of folder.values()) handles.push(handle);
  } catch (error) {
    throw webFailure(error, `cannot list ${path || "the store"}`);
  }
  for (const handle of handles) {
    const below = path === "" ? handle.name : `${path}/${handle.name}`;
    if (handle.kind === "file") yield { path: below, handle: handle as FileSystemFileHandle };
    else if (hidden || !handle.name.startsWith(".")) yield* walk(handle as FileSystemDirectoryHandle, below, hidden);
  }
}

/** A store in IndexedDB: slower than files, and everywhere where there is a browser. */
import { UnitcellError } from "../errors.js";
import { checkKey, collect, isListed, type Store } from "./store.js";
import { webFailure, webLiveness } from "./web.js";

/** What is known of a file; its contents are kept apart, so that a listing loads none. */
interface Entry {
  readonly key: string;
  readonly size: number;
  readonly modified: Date;
  /** The contents' number. The database gives each once only, so it is a version too. */
  readonly id: number;
}

/**
 * A database of that name. Contents are Blobs: read by range, and those of a source stay the same whatever happens to the
 * file. Each change is one transaction with strict durability; each `put` is in memory whole. Without Web Locks (a page that
 * came without https) there is no `liveness`.
 * @throws {UnitcellError} UNSUPPORTED where there is no IndexedDB, BACKEND where it cannot be opened; methods: BACKEND
 */
export async function indexedDbStore(name: string): Promise<Store> {
  const database = new Database(name);
  await database.open();
  const liveness = globalThis.navigator?.locks ? await webLiveness() : undefined;

  return {
    ...(liveness && { liveness }),

    async get(key) {
      checkKey(key);
      const what = `cannot read ${key}`;
      const blob = await database.run("readonly", what, async (entries, contents) => {
        const entry = await done<Entry | undefined>(entries.get(key));
        return entry && done<Blob>(contents.get(entry.id));
      });
      if (!blob) return undefined;
      const fail = (error: unknown) => {
        throw webFailure(error, what);
      };
      const slice = (start: number, end: number) => ({
        arrayBuffer: () => blob.slice(start, end).arrayBuffer().catch(fail),
      });
      return { size: blob.size, slice };
    },

    async *list(folder = "") {
      if (folder !== "") checkKey(folder);
      // "0" is what follows "/".
      const inside = folder === "" ? null : IDBKeyRange.bound(`${folder}/`, `${folder}0`, false, true);
      const found = await database.run("readonly", "cannot list", (entries) => done<Entry[]>(entries.getAll(inside)));
      for (const { id, ...entry } of found) if (isListed(entry.key, folder)) yield { ...entry, version: `${id}` };
    },

    async put(key, content, { ifAbsent = false } = {}) {
      checkKey(key);
      const blob = new Blob([(await collect(content)) as Uint8Array<ArrayBuffer>]);
      return database.run("readwrite", `cannot write ${key}`, async (entries, contents) => {
        const former = await done<Entry | undefined>(entries.get(key));
        if (former && ifAbsent) return false;
        const id = (await done(contents.add(blob))) as number;
        entries.put({ key, size: blob.size, modified: new Date(), id } satisfies Entry);
        if (former) contents.delete(former.id);
        return true;
      });
    },

    async move(from, to) {
      checkKey(from);
      checkKey(to);
      await database.run("readwrite", `cannot move ${from} to ${to}`, async (entries, contents) => {
        const entry = await done<Entry | undefined>(entries.get(from));
        if (!entry) throw new UnitcellError("NOT_FOUND", `no file ${from} in the database ${name}`, { key: from });
        if (from === to) return;
        const former = await done<Entry | undefined>(entries.get(to));
        if (former) contents.delete(former.id);
        entries.put({ ...entry, key: to });
        entries.delete(from);
      });
    },

    async delete(key) {
      checkKey(key);
      await database.run("readwrite", `cannot delete ${key}`, async (entries, contents) => {
        const entry = await done<Entry | undefined>(entries.get(key));
        if (!entry) return;
        contents.delete(entry.id);
        entries.delete(key);
      });
    },
  };
}

/** What a request gives, in time to make further ones in its transaction. */
function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

type Work<T> = (entries: IDBObjectStore, contents: IDBObjectStore) => Promise<T>;

class Database {
  private readonly name: string;
  private opened: Promise<IDBDatabase> | undefined;

  constructor(name: string) {
    this.name = name;
  }

  open(): Promise<IDBDatabase> {
    this.opened ??= this.openNow().catch((error) => {
      this.opened = undefined;
      throw webFailure(error, `cannot open the database ${this.name}`);
    });
    return this.opened;
  }

  /** One transaction: all of it happens, or nothing. What `work` throws is thrown, and then nothing has happened. */
  async run<T>(mode: IDBTransactionMode, what: string, work: Work<T>): Promise<T> {
    const database = await this.open();
    let transaction: IDBTransaction | undefined;
    try {
      transaction = database.transaction(["entries", "contents"], mode, { durability: "strict" });
      const end = ended(transaction);
      const result = await work(transaction.objectStore("entries"), transaction.objectStore("contents"));
      await end;
      return result;
    } catch (error) {
      // Its own error, such as a full disk, is the reason; its requests only know that it ended.
      const reason = transaction?.error ?? error;
      try {
        transaction?.abort();
      } catch {
        // It has ended.
      }
      throw webFailure(reason, what);
    }
  }

  private async openNow(): Promise<IDBDatabase> {
    if (!globalThis.indexedDB) throw new UnitcellError("UNSUPPORTED", "this runtime has no IndexedDB");
    const request = indexedDB.open(this.name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("entries", { keyPath: "key" });
      request.result.createObjectStore("contents", { autoIncrement: true });
    };
    const database = await done(request);
    const forget = () => {
      this.opened = undefined;
    };
    // The user clears the site's data; another tab deletes the database, which waits for this.
    database.onclose = forget;
    database.onversionchange = () => {
      forget();
      database.close();
    };
    return database;
  }
}

function ended(transaction: IDBTransaction): Promise<void> {
  const end = new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new DOMException("it was ended", "AbortError"));
  });
  // Whoever waits gets it; where `work` throws first, nobody does.
  end.catch(() => {});
  return end;
}

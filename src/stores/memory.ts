/** A store in memory: for tests, and for files that end with the program. */
import { UnitcellError } from "../errors.js";
import { type Content, checkKey, collect, isListed, type PutOptions, type Store, type StoreSource } from "./store.js";

interface MemoryFile {
  readonly bytes: Uint8Array;
  readonly modified: Date;
  readonly version: string;
}

/** An empty store. What `get` gave stays as it was then. */
export function memoryStore(): Store {
  const files = new Map<string, MemoryFile>();
  let writes = 0;
  const self = crypto.randomUUID();

  return {
    // Who wrote to it lives as long as it does.
    liveness: { self, isAlive: async (writer) => (writer === self ? true : undefined) },

    async get(key: string): Promise<StoreSource | undefined> {
      const bytes = files.get(checkKey(key))?.bytes;
      if (!bytes) return undefined;
      // Copies: readers swap the bytes of numbers in place.
      const read = (start: number, end: number) => bytes.slice(start, end);
      return {
        size: bytes.length,
        read,
        slice: (start, end) => ({ arrayBuffer: async () => read(start, end).buffer as ArrayBuffer }),
      };
    },

    async *list(folder = "") {
      if (folder !== "") checkKey(folder);
      for (const [key, { bytes, modified, version }] of [...files])
        if (isListed(key, folder)) yield { key, size: bytes.length, modified, version };
    },

    async put(key: string, content: Content, { ifAbsent = false }: PutOptions = {}): Promise<boolean> {
      checkKey(key);
      const given = await collect(content);
      // From here on nothing waits, so that the check and the writing are one step.
      if (ifAbsent && files.has(key)) return false;
      files.set(key, { bytes: new Uint8Array(given), modified: new Date(), version: `${++writes}` });
      return true;
    },

    async move(from: string, to: string): Promise<void> {
      const file = files.get(checkKey(from));
      checkKey(to);
      if (!file) throw new UnitcellError("NOT_FOUND", `no file ${from} in memory`, { key: from });
      files.delete(from);
      files.set(to, file);
    },

    async delete(key: string): Promise<void> {
      files.delete(checkKey(key));
    },
  };
}

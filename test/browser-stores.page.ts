/** What browser-stores.test.ts has done in pages and workers: this file is bundled for both. */
import { isUnitcellError } from "../src/errors.js";
import { indexedDbStore } from "../src/stores/indexeddb.js";
import { opfsStore } from "../src/stores/opfs.js";
import { readFile, type Store } from "../src/stores/store.js";
import { runCases, storeContract } from "./store.contract.js";

export type Kind = "opfs" | "indexedDb";

const open = (kind: Kind, name: string): Promise<Store> => (kind === "opfs" ? opfsStore(name) : indexedDbStore(name));
const text = (words: string) => new TextEncoder().encode(words);

/** Ids of the puts that have written their first piece, and wait for ever or for `finish`. */
const started = new Map<string, () => void>();

const tasks = {
  contract: (kind: Kind) => runCases(storeContract(kind, () => open(kind, `contract-${crypto.randomUUID()}`))),

  async put(kind: Kind, name: string, key: string, words: string, ifAbsent = false) {
    return (await open(kind, name)).put(key, text(words), { ifAbsent });
  },

  /** Puts each key if it is absent; which were. */
  async putAll(kind: Kind, name: string, keys: string[], words: string) {
    const store = await open(kind, name);
    return Promise.all(keys.map((key) => store.put(key, text(words), { ifAbsent: true })));
  },

  /** A put that stops halfway; returns when it has got there. */
  async startPut(kind: Kind, name: string, key: string) {
    const store = await open(kind, name);
    await new Promise<void>((resolve, reject) => {
      const content = async (sink: (bytes: Uint8Array) => unknown) => {
        await sink(new Uint8Array(2 ** 20));
        resolve();
        await new Promise<void>((finish) => started.set(key, finish));
        await sink(text("end"));
      };
      store.put(key, content).catch(reject);
    });
  },

  finishPut: async (key: string) => started.get(key)!(),

  /** Puts so many bytes; the error's code and message. */
  async putLarge(kind: Kind, name: string, key: string, size: number) {
    const store = await open(kind, name);
    try {
      await store.put(key, new Uint8Array(size).fill(1));
      return "written";
    } catch (error) {
      return isUnitcellError(error) ? `${error.code} ${error.message}` : String(error);
    }
  },

  async read(kind: Kind, name: string, key: string) {
    const bytes = await readFile(await open(kind, name), key);
    return bytes && new TextDecoder().decode(bytes);
  },

  async size(kind: Kind, name: string, key: string) {
    return (await (await open(kind, name)).get(key))?.size;
  },

  async list(kind: Kind, name: string) {
    const keys: string[] = [];
    for await (const { key } of (await open(kind, name)).list()) keys.push(key);
    return keys.sort();
  },

  clean: async (kind: Kind, name: string) => (await open(kind, name)).clean?.(),
  self: async (kind: Kind, name: string) => (await open(kind, name)).liveness?.self,
  isAlive: async (kind: Kind, name: string, writer: string) => (await open(kind, name)).liveness?.isAlive(writer),

  /** What is really in an OPFS folder. */
  async files(name: string) {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(name);
    const names: string[] = [];
    for await (const key of folder.keys()) names.push(key);
    return names.sort();
  },

  /** Versions of files of one size, where times have steps of 50 ms. */
  async coarseTimes(name: string) {
    const own = Object.getOwnPropertyDescriptor(File.prototype, "lastModified")!;
    const get = function (this: File) {
      return Math.floor(own.get!.call(this) / 50) * 50;
    };
    Object.defineProperty(File.prototype, "lastModified", { ...own, get });
    const versions: string[] = [];
    const contents: string[] = [];
    try {
      const store = await opfsStore(name);
      for (let i = 0; i < 8; i++) {
        // Every other one by a move over the former.
        await store.put(i % 2 ? "moved" : "x", text(`${i}`));
        if (i % 2) await store.move("moved", "x");
        for await (const { version } of store.list()) versions.push(version);
        contents.push(new TextDecoder().decode(await readFile(store, "x")));
      }
    } finally {
      Object.defineProperty(File.prototype, "lastModified", own);
    }
    return { versions: new Set(versions).size, contents: contents.join("") };
  },

  /** The errors of browsers that lack something. */
  async unsupported() {
    const errorOf = (run: () => Promise<unknown>) => run().then(String, (error) => `${error.code} ${error.message}`);
    const { prototype } = FileSystemFileHandle as unknown as { prototype: Record<string, unknown> };
    const errors: string[] = [];
    for (const method of ["move", "createWritable"]) {
      const own = prototype[method];
      delete prototype[method];
      errors.push(await errorOf(() => opfsStore("x")));
      prototype[method] = own;
    }
    return [...errors, await errorOf(() => opfsStore("../x"))];
  },
};

export type Tasks = typeof tasks;

const call = (task: keyof Tasks, values: unknown[]) => (tasks[task] as (...values: unknown[]) => unknown)(...values);

if (typeof document === "object") {
  const worker = new Worker("/page.js", { type: "module" });
  Object.assign(globalThis, {
    call,
    /** The same in the page's worker. */
    callWorker: (task: string, values: unknown[]) =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => ("error" in data ? reject(new Error(data.error)) : resolve(data.value));
        worker.postMessage([task, values]);
      }),
    stopWorker: () => worker.terminate(),
  });
} else
  addEventListener("message", async ({ data: [task, values] }) => {
    try {
      postMessage({ value: await call(task, values) });
    } catch (error) {
      postMessage({ error: String((error as Error).stack) });
    }
  });

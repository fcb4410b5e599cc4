/**
 * What every store promises, as plain cases over the Store interface: the same bundle runs in uvu, in Deno, in Bun and in a
 * page. Nothing here may import a runtime's or a test runner's modules.
 */
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { type ReadStore, readFile, type Store, type StoreEntry } from "../src/stores/store.js";

export interface ContractCase {
  readonly name: string;
  run(): Promise<void>;
}

interface Case<S> {
  readonly name: string;
  run(store: S): Promise<void>;
}

export interface ContractOptions {
  /** Equal contents have equal versions: those of ETags are made from the contents. */
  readonly versionsOfContents?: boolean;
}

/** @param makeStore gives an empty store, for each case another */
export function storeContract(
  name: string,
  makeStore: () => Store | Promise<Store>,
  { versionsOfContents = false }: ContractOptions = {},
): ContractCase[] {
  const filled = async () => {
    const store = await makeStore();
    for (const [key, bytes] of FILES) await store.put(key, bytes);
    return store;
  };
  const cases = versionsOfContents ? CASES.filter(({ name }) => name !== EVERY_WRITE) : CASES;
  return [...bind(name, filled, READ_CASES), ...bind(name, makeStore, cases)];
}

/** For stores that only read. @param makeStore gives a store that holds these files and no others */
export function readContract(
  name: string,
  makeStore: (files: ReadonlyMap<string, Uint8Array>) => ReadStore | Promise<ReadStore>,
): ContractCase[] {
  return bind(name, () => makeStore(FILES), READ_CASES);
}

/** Where there is no test runner: what failed, and how many cases did not. */
export async function runCases(cases: readonly ContractCase[]): Promise<{ passed: number; failed: string[] }> {
  const failed: string[] = [];
  for (const { name, run } of cases)
    await run().catch((error) => failed.push(`${name}: ${(error as Error)?.stack ?? error}`));
  return { passed: cases.length - failed.length, failed };
}

function bind<S>(name: string, make: () => S | Promise<S>, cases: readonly Case<S>[]): ContractCase[] {
  return cases.map((each) => ({ name: `${name}: ${each.name}`, run: async () => each.run(await make()) }));
}

/** Bytes that tell their place and whose they are. */
export function pattern(size: number, seed = 0): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (Math.imul(i, 2654435761) >>> 24) ^ seed;
  return bytes;
}

const text = (words: string) => new TextEncoder().encode(words);
const MIB = 2 ** 20;

/** Characters that paths, addresses, XML and patterns treat in their own ways; each is a name of its own. */
const ODD_KEYS = [
  "with space.pt",
  "with+plus.pt",
  "with%20percent.pt",
  "100%.pt",
  "number#1.pt",
  "what?x=1&y=2.pt",
  "it's (1) [2] {3}.pt",
  "a=b,c;d@e!f$g~h^i`j.pt",
  "Å/日本語/🙂.pt",
  " lead and trail .pt",
  "__proto__",
  "constructor",
  "CASE.pt",
  "-dash.pt",
  "a.b.c.pt",
];

const FILES: ReadonlyMap<string, Uint8Array> = new Map([
  ["best.pt", pattern(1000)],
  ["empty.pt", new Uint8Array(0)],
  [".hidden.pt", text("a dot file is no dot folder")],
  ["large.pt", pattern(5 * MIB + 17, 3)],
  ["run.pt", text("beside the folder")],
  ["run/a.pt", text("a")],
  ["run/deep/er/b.pt", text("b")],
  ["run/.unitcell/notes.json", text("{}")],
  ["run/.unitcell/deep/more.json", text("[1]")],
  ["run/.unitcell/.other/x.json", text("[2]")],
  ["run2/c.pt", text("c")],
  [".unitcell/pins.json", text("[]")],
  ...ODD_KEYS.map((key) => [key, text(key)] as const),
]);

const BAD_KEYS: unknown[] = [
  "",
  "/",
  "/absolute",
  "folder/",
  "a//b",
  ".",
  "..",
  "../outside",
  "a/../b",
  "a/./b",
  "a\\b",
  "a\0b",
  "a\nb",
  "a\u007fb",
  "a\u0085b",
  "half \ud83d of a pair",
  "x".repeat(1025),
  undefined,
  7,
];

/** What a store that only reads promises; it holds FILES. */
const READ_CASES: Case<ReadStore>[] = [
  {
    name: "every file is got whole",
    async run(store) {
      for (const [key, bytes] of FILES) same(await whole(store, key), bytes, key);
    },
  },
  {
    name: "ranges of a large file, and of an empty one",
    async run(store) {
      const bytes = FILES.get("large.pt")!;
      const source = found(await store.get("large.pt"), "large.pt");
      is(source.size, bytes.length, "size");
      const ranges = [0, 1, 7, 65_536, MIB, 4 * MIB + 3, bytes.length].flatMap((start, i, all) =>
        all.slice(i).map((end) => [start, end] as const),
      );
      for (const [start, end] of ranges) {
        const piece = new Uint8Array(await source.slice(start, end).arrayBuffer());
        same(piece, bytes.subarray(start, end), `bytes ${start} to ${end}`);
        if (source.read) same(await source.read(start, end), bytes.subarray(start, end), `read ${start} to ${end}`);
      }
      source.close?.();
      const empty = found(await store.get("empty.pt"), "empty.pt");
      is(empty.size, 0, "size");
      is((await empty.slice(0, 0).arrayBuffer()).byteLength, 0, "bytes of nothing");
      empty.close?.();
    },
  },
  {
    name: "what was read is the reader's to change",
    async run(store) {
      const source = found(await store.get("best.pt"), "best.pt");
      new Uint8Array(await source.slice(0, 10).arrayBuffer()).fill(255);
      if (source.read) (await source.read(0, 10)).fill(255);
      source.close?.();
      same(await whole(store, "best.pt"), FILES.get("best.pt")!, "after a change");
    },
  },
  {
    name: "what is missing is undefined; so is a folder",
    async run(store) {
      for (const key of [
        "missing.pt",
        "run",
        "run/deep",
        "run/missing.pt",
        "best.pt/below",
        "missing/x.pt",
        "BEST.PT2",
      ])
        is(await store.get(key), undefined, key);
    },
  },
  {
    name: "the list of everything leaves out dot folders",
    async run(store) {
      const keys = [...FILES.keys()].filter((key) => !key.includes(".unitcell/"));
      equal(await keysOf(store), keys.sort(), "keys");
    },
  },
  {
    name: "lists of folders",
    async run(store) {
      const rows: [folder: string, keys: string[]][] = [
        ["run", ["run/a.pt", "run/deep/er/b.pt"]],
        ["run/deep", ["run/deep/er/b.pt"]],
        ["run/.unitcell", ["run/.unitcell/deep/more.json", "run/.unitcell/notes.json"]],
        ["run/.unitcell/.other", ["run/.unitcell/.other/x.json"]],
        [".unitcell", [".unitcell/pins.json"]],
        ["Å", ["Å/日本語/🙂.pt"]],
        ["run2", ["run2/c.pt"]],
        ["ru", []],
        ["missing", []],
        ["missing/deep", []],
        ["best.pt", []],
      ];
      for (const [folder, keys] of rows) equal(await keysOf(store, folder), keys, `list ${folder}`);
    },
  },
  {
    name: "a listing tells sizes, times and versions, the same ones twice",
    async run(store) {
      const first = await entries(store);
      const second = await entries(store);
      for (const [key, { size, modified, version }] of first) {
        is(size, FILES.get(key)!.length, `size of ${key}`);
        is(modified instanceof Date && modified.getTime() > 0, true, `time of ${key}`);
        is(version.length > 0 && version, second.get(key)?.version, `version of ${key}`);
      }
    },
  },
  {
    name: "keys that are none are refused",
    async run(store) {
      for (const key of BAD_KEYS as string[]) {
        await throws(() => store.get(key), "ARGUMENT", `get ${JSON.stringify(key)}`);
        if (key !== "" && key !== undefined)
          await throws(() => keysOf(store, key), "ARGUMENT", `list ${JSON.stringify(key)}`);
      }
    },
  },
];

const EVERY_WRITE = "another version for every write, also of equal contents";

/** What a store promises besides; it is empty. */
const CASES: Case<Store>[] = [
  {
    name: "empty at first",
    async run(store) {
      equal(await keysOf(store), [], "keys");
      is(await store.get("x.pt"), undefined, "get");
    },
  },
  {
    name: "put, over another, and delete",
    async run(store) {
      for (const bytes of [text("first"), pattern(100_000), text("2"), new Uint8Array(0), text("last")]) {
        is(await store.put("a/b.pt", bytes), true, "put");
        same(await whole(store, "a/b.pt"), bytes, "what was put");
        equal(await keysOf(store), ["a/b.pt"], "keys");
      }
      await store.delete("a/b.pt");
      is(await store.get("a/b.pt"), undefined, "after delete");
      equal(await keysOf(store), [], "keys after delete");
      await store.delete("a/b.pt");
      await store.delete("never/was.pt");
      await store.delete("a");
      is(await store.put("a/b.pt", text("again")), true, "put after delete");
      same(await whole(store, "a/b.pt"), text("again"), "after delete and put");
    },
  },
  {
    name: "delete of a folder's name or of a name below a file touches nothing",
    async run(store) {
      await store.put("a/b.pt", text("b"));
      await store.delete("a");
      await store.delete("a/b.pt/c");
      same(await whole(store, "a/b.pt"), text("b"), "the file");
    },
  },
  {
    name: "later changes of the bytes that were put do not show",
    async run(store) {
      const bytes = pattern(5000).subarray(100, 4000);
      const before = new Uint8Array(bytes);
      await store.put("x.pt", bytes);
      bytes.fill(0);
      same(await whole(store, "x.pt"), before, "bytes");
    },
  },
  {
    name: "content written piece by piece, in memory used again",
    async run(store) {
      const bytes = pattern(3 * MIB + 5);
      const piece = new Uint8Array(100_000);
      await store.put("x.pt", async (sink) => {
        for (let at = 0; at < bytes.length; at += piece.length) {
          const part = bytes.subarray(at, at + piece.length);
          piece.set(part);
          await sink(piece.subarray(0, part.length));
          await sink(new Uint8Array(0));
        }
      });
      same(await whole(store, "x.pt"), bytes, "bytes");
      await store.put("x.pt", async () => {});
      is((await whole(store, "x.pt")).length, 0, "size of nothing");
    },
  },
  {
    name: "content of many pieces that nobody waits for",
    async run(store) {
      const bytes = pattern(300_000);
      await store.put("x.pt", async (sink) => {
        const written: unknown[] = [];
        for (let at = 0; at < bytes.length; at += 1000) written.push(sink(bytes.subarray(at, at + 1000)));
        await Promise.all(written);
      });
      same(await whole(store, "x.pt"), bytes, "bytes");
    },
  },
  {
    name: "content that throws midway leaves the former file, and no trace where there was none",
    async run(store) {
      const failure = new Error("the content's own");
      const failing = async (sink: (bytes: Uint8Array) => unknown) => {
        await sink(pattern(200_000));
        throw failure;
      };
      await store.put("kept.pt", text("former"));
      for (const key of ["kept.pt", "none.pt", "folder/none.pt"])
        for (const ifAbsent of [false, true]) {
          if (key === "kept.pt" && ifAbsent) continue;
          const thrown = await store.put(key, failing, { ifAbsent }).catch((error) => error);
          is(thrown, failure, "the error");
        }
      same(await whole(store, "kept.pt"), text("former"), "the former file");
      equal(await keysOf(store), ["kept.pt"], "keys");
      is(await store.put("none.pt", text("now"), { ifAbsent: true }), true, "put after a failure");
    },
  },
  {
    name: "nothing of an unfinished file shows",
    async run(store) {
      await store.put("x.pt", text("former"));
      await store.put("x.pt", async (sink) => {
        await sink(pattern(200_000));
        same(await whole(store, "x.pt"), text("former"), "while it is written");
        equal(await keysOf(store), ["x.pt"], "keys while it is written");
        await store.clean?.();
        await sink(text("end"));
      });
      is((await whole(store, "x.pt")).length, 200_003, "size");
    },
  },
  {
    name: "another version for other contents",
    async run(store) {
      const versions = new Set<string>();
      for (let i = 0; i < 30; i++) {
        await store.put("x.pt", pattern(1000, i));
        versions.add(found((await entries(store)).get("x.pt"), "x.pt").version);
      }
      is(versions.size, 30, "different versions");
    },
  },
  {
    name: EVERY_WRITE,
    async run(store) {
      const versions = new Set<string>();
      for (let i = 0; i < 30; i++) {
        await store.put("x.pt", text("the same size".repeat((i >> 4) + 1)));
        versions.add(found((await entries(store)).get("x.pt"), "x.pt").version);
      }
      is(versions.size, 30, "different versions");
    },
  },
  {
    name: "a source never mixes two files",
    async run(store) {
      const [former, later] = [pattern(3 * MIB), pattern(3 * MIB, 255)];
      await store.put("x.pt", former);
      const source = found(await store.get("x.pt"), "x.pt");
      same(new Uint8Array(await source.slice(0, 10).arrayBuffer()), former.subarray(0, 10), "before");
      await store.put("x.pt", later);
      // A store that cannot keep the former contents may only say so.
      const rest = await source.slice(10, former.length).arrayBuffer().catch(onlyMismatch);
      source.close?.();
      if (rest) same(new Uint8Array(rest), former.subarray(10), "after");
      same(await whole(store, "x.pt"), later, "anew");
    },
  },
  {
    name: "a source of a file that is deleted, or moved over",
    async run(store) {
      for (const change of [() => store.delete("x.pt"), () => store.move("y.pt", "x.pt")]) {
        await store.put("x.pt", pattern(100_000));
        await store.put("y.pt", pattern(100_000, 1));
        const source = found(await store.get("x.pt"), "x.pt");
        await change();
        const bytes = await source.slice(0, source.size).arrayBuffer().catch(onlyMismatch);
        source.close?.();
        if (bytes) same(new Uint8Array(bytes), pattern(100_000), "bytes");
      }
    },
  },
  {
    name: "move: to another name and folder, over another file, onto itself",
    async run(store) {
      await store.put("a.pt", text("a"));
      await store.put("b.pt", text("b"));
      await store.move("a.pt", "new/folder/c.pt");
      is(await store.get("a.pt"), undefined, "the former name");
      same(await whole(store, "new/folder/c.pt"), text("a"), "moved");
      await store.move("new/folder/c.pt", "b.pt");
      same(await whole(store, "b.pt"), text("a"), "moved over another");
      await store.move("b.pt", "b.pt");
      same(await whole(store, "b.pt"), text("a"), "moved onto itself");
      await store.move("b.pt", ".unitcell/trash/b %+.pt");
      equal(await keysOf(store), [], "keys");
      equal(await keysOf(store, ".unitcell/trash"), [".unitcell/trash/b %+.pt"], "keys in the dot folder");
    },
  },
  {
    name: "move of a missing file, or of a folder, is NOT_FOUND and touches nothing",
    async run(store) {
      await store.put("b.pt", text("b"));
      await store.put("folder/c.pt", text("c"));
      await throws(() => store.move("missing.pt", "b.pt"), "NOT_FOUND", "a missing file");
      await throws(() => store.move("missing.pt", "missing.pt"), "NOT_FOUND", "a missing file onto itself");
      await throws(() => store.move("folder", "other"), "NOT_FOUND", "a folder");
      await throws(() => store.move("b.pt/x", "other"), "NOT_FOUND", "below a file");
      equal(await keysOf(store), ["b.pt", "folder/c.pt"], "keys");
      same(await whole(store, "b.pt"), text("b"), "b.pt");
    },
  },
  {
    name: "ifAbsent: false where there is a file",
    async run(store) {
      is(await store.put("a/lock", text("first"), { ifAbsent: true }), true, "the first");
      is(await store.put("a/lock", text("second"), { ifAbsent: true }), false, "the second");
      is(
        await store.put("a/lock", async (sink) => void (await sink(text("third"))), { ifAbsent: true }),
        false,
        "third",
      );
      same(await whole(store, "a/lock"), text("first"), "contents");
      equal(await keysOf(store), ["a/lock"], "keys");
      await store.delete("a/lock");
      is(await store.put("a/lock", text("fourth"), { ifAbsent: true }), true, "after delete");
      same(await whole(store, "a/lock"), text("fourth"), "contents after delete");
      is(await store.put("a/lock", text("fifth"), { ifAbsent: false }), true, "without the condition");
    },
  },
  {
    name: "ifAbsent: one of 20 at once",
    async run(store) {
      for (const key of ["lock", "new/folder/lock"]) {
        const puts = Array.from({ length: 20 }, (_, i) => store.put(key, text(`writer ${i}`), { ifAbsent: true }));
        const won = (await Promise.all(puts)).flatMap((written, i) => (written ? [i] : []));
        is(won.length, 1, "winners");
        same(await whole(store, key), text(`writer ${won[0]}`), "contents");
      }
      equal(await keysOf(store), ["lock", "new/folder/lock"], "keys");
    },
  },
  {
    name: "puts to one key at once: one of them, whole; readers meanwhile see one whole",
    async run(store) {
      const size = 300_000;
      await store.put("x.pt", new Uint8Array(size).fill(200));
      let writing = true;
      const puts = Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          store.put("x.pt", async (sink) => {
            for (let at = 0; at < size; at += 100_000) await sink(new Uint8Array(100_000).fill(i));
          }),
        ),
      ).finally(() => {
        writing = false;
      });
      while (writing) {
        isUniform(await readFile(store, "x.pt").catch(onlyMismatch), size);
        // A store that answers at once would leave the writers no turn.
        await new Promise((turn) => setTimeout(turn, 0));
      }
      equal(await puts, Array(8).fill(true), "puts");
      isUniform(await whole(store, "x.pt"), size);
      equal(await keysOf(store), ["x.pt"], "keys");
    },
  },
  {
    name: "many keys at once, in folders that nobody made",
    async run(store) {
      const keys = Array.from({ length: 40 }, (_, i) => `f${i % 4}/g${i % 3}/${i}.pt`);
      await Promise.all(keys.map((key) => store.put(key, text(key))));
      equal(await keysOf(store), [...keys].sort(), "keys");
      for (const key of keys) same(await whole(store, key), text(key), key);
      await Promise.all(keys.map((key) => store.delete(key)));
      equal(await keysOf(store), [], "keys at the end");
    },
  },
  {
    name: "a listing during which files come and go",
    async run(store) {
      for (let i = 0; i < 30; i++) await store.put(`d/${i}.pt`, text(`${i}`));
      let at = 0;
      for await (const { key } of store.list()) {
        if (at++ > 0) continue;
        for (let i = 0; i < 30; i++) if (key !== `d/${i}.pt`) await store.delete(`d/${i}.pt`);
        await store.put("e.pt", text("e"));
      }
      equal((await keysOf(store)).length, 2, "files left");
    },
  },
  {
    name: "keys that are none are refused, and nothing is written",
    async run(store) {
      await store.put("x.pt", text("x"));
      for (const key of BAD_KEYS as string[]) {
        const name = JSON.stringify(key);
        await throws(() => store.put(key, text("bad")), "ARGUMENT", `put ${name}`);
        await throws(() => store.put(key, text("bad"), { ifAbsent: true }), "ARGUMENT", `put if absent ${name}`);
        await throws(() => store.delete(key), "ARGUMENT", `delete ${name}`);
        await throws(() => store.move(key, "y.pt"), "ARGUMENT", `move ${name}`);
        await throws(() => store.move("x.pt", key), "ARGUMENT", `move to ${name}`);
      }
      equal(await keysOf(store), ["x.pt"], "keys");
    },
  },
  {
    name: "clean leaves finished files, and this writer lives",
    async run(store) {
      await store.put("x.pt", text("x"));
      await store.put(".unitcell/x.json", text("{}"));
      is((await store.clean?.()) ?? 0, 0, "cleaned");
      equal([...(await keysOf(store)), ...(await keysOf(store, ".unitcell"))], ["x.pt", ".unitcell/x.json"], "keys");
      if (!store.liveness) return;
      is(await store.liveness.isAlive(store.liveness.self), true, "this writer");
      const another = await store.liveness.isAlive("a writer of another kind");
      is(another ?? false, false, "another writer is dead, or unknown");
    },
  },
];

async function entries(store: ReadStore, folder?: string): Promise<Map<string, StoreEntry>> {
  const every = new Map<string, StoreEntry>();
  for await (const entry of store.list(folder)) {
    is(every.has(entry.key), false, `${entry.key} listed twice`);
    every.set(entry.key, entry);
  }
  return every;
}

async function keysOf(store: ReadStore, folder?: string): Promise<string[]> {
  return [...(await entries(store, folder)).keys()].sort();
}

async function whole(store: ReadStore, key: string): Promise<Uint8Array> {
  return found(await readFile(store, key), key);
}

function onlyMismatch(error: unknown): undefined {
  if (!isUnitcellError(error, "MISMATCH")) throw error;
}

function isUniform(bytes: Uint8Array | undefined, size: number): void {
  if (!bytes) return;
  is(bytes.length, size, "size");
  is(
    bytes.every((byte) => byte === bytes[0]),
    true,
    "all of one writer",
  );
}

function found<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`${what} is missing`);
  return value;
}

function is(value: unknown, expected: unknown, what: string): void {
  if (!Object.is(value, expected)) throw new Error(`${what}: expected ${String(expected)}, found ${String(value)}`);
}

function equal(value: unknown, expected: unknown, what: string): void {
  is(JSON.stringify(value), JSON.stringify(expected), what);
}

function same(bytes: Uint8Array, expected: Uint8Array, what: string): void {
  is(bytes.length, expected.length, `length of ${what}`);
  for (let at = 0; at < bytes.length; at++)
    if (bytes[at] !== expected[at]) throw new Error(`${what}: byte ${at} is ${bytes[at]}, expected ${expected[at]}`);
}

async function throws(run: () => Promise<unknown>, code: ErrorCode, what: string): Promise<void> {
  const thrown = await run().then(
    () => undefined,
    (error) => error,
  );
  if (!isUnitcellError(thrown, code)) throw new Error(`${what}: expected ${code}, found ${String(thrown)}`);
}

/** What fs-faults.test.ts has other processes do: in small and read-only file systems, killed midway, many at once. */
import { existsSync } from "node:fs";
import { argv, exit, pid, stdout } from "node:process";
import { setTimeout as wait } from "node:timers/promises";
import { UnitcellError } from "../src/errors.js";
import { fsStore } from "../src/stores/fs.js";
import { type Content, readFile, type Store } from "../src/stores/store.js";

const [mode, folder, argument] = argv.slice(2);
const store = fsStore(folder);
const report: Record<string, unknown> = {};

/** Code and message of the error, or what came of it. */
async function said(name: string, run: () => Promise<unknown>): Promise<void> {
  report[name] = await run().then(
    (value) => value ?? "done",
    (error) => (error instanceof UnitcellError ? `${error.code} ${error.message}` : `NOT OURS ${error}`),
  );
}

async function shape(of: Store, key: string): Promise<string> {
  const bytes = await readFile(of, key);
  return bytes ? `${bytes.length} of ${bytes[0]}${bytes.every((byte) => byte === bytes[0]) ? "" : " MIXED"}` : "none";
}

const filled = (size: number, byte: number) => new Uint8Array(size).fill(byte);
const pieces =
  (size: number, byte: number): Content =>
  async (sink) => {
    for (let at = 0; at < size; at += 65536) await sink(filled(Math.min(65536, size - at), byte));
  };

const modes: Record<string, () => Promise<void>> = {
  async full() {
    await said("small", () => store.put("kept.pt", filled(300_000, 1)));
    await said("over", () => store.put("kept.pt", filled(2_000_000, 2)));
    await said("pieces", () => store.put("kept.pt", pieces(2_000_000, 3)));
    await said("new", () => store.put("folder/new.pt", pieces(2_000_000, 4)));
    await said("absent", () => store.put("absent.pt", filled(2_000_000, 5), { ifAbsent: true }));
    await said("kept", () => shape(store, "kept.pt"));
    await said("fill", () => store.put("fill.pt", filled(700_000, 6)));
    await said("move", () => store.move("kept.pt", "moved.pt"));
    await said("moved", () => shape(store, "moved.pt"));
    await said("delete", () => store.delete("fill.pt"));
    await said("again", () => store.put("moved.pt", filled(400_000, 7)));
    await said("last", () => shape(store, "moved.pt"));
  },
  /** No room for names, but for bytes. */
  async names() {
    await said("first", () => store.put("a.pt", filled(10, 1)));
    for (let i = 0; i < 20; i++) await store.put(`fill${i}`, filled(1, 0)).catch(() => {});
    await said("file", () => store.put("a.pt", filled(10, 2)));
    await said("folder", () => store.put("folder/b.pt", filled(10, 3)));
    await said("kept", () => shape(store, "a.pt"));
  },
  async fill() {
    await store.put("a.pt", filled(1000, 1));
    await store.put("folder/b.pt", filled(1000, 2));
  },
  async readonly() {
    await said("over", () => store.put("a.pt", filled(10, 9)));
    await said("new", () => store.put("folder/new.pt", filled(10, 9)));
    await said("folder", () => store.put("more/new.pt", filled(10, 9)));
    await said("absent", () => store.put("absent.pt", filled(10, 9), { ifAbsent: true }));
    await said("there", () => store.put("a.pt", filled(10, 9), { ifAbsent: true }));
    await said("move", () => store.move("a.pt", "folder/b.pt"));
    await said("delete", () => store.delete("a.pt"));
    await said("delete nothing", () => store.delete("nothing.pt"));
    await said("clean", () => store.clean!());
    await said("a", () => shape(store, "a.pt"));
    await said("b", () => shape(store, "folder/b.pt"));
    const keys: string[] = [];
    for await (const { key } of store.list()) keys.push(key);
    report.keys = keys.sort();
  },
  /** Write one file over and over until someone kills us. */
  async overwrite() {
    for (let i = Number(argument); ; i = (i + 1) % 256)
      await store.put("x.pt", async (sink) => {
        for (let piece = 0; piece < 20; piece++) {
          await sink(filled(10_000, i));
          if (piece === 3) stdout.write(".");
          await wait(0);
        }
      });
  },
  /** Write until the file "end" appears. */
  async hold() {
    await store.put("held.pt", async (sink) => {
      await sink(filled(1000, 1));
      stdout.write("begun");
      while (!existsSync(`${folder}/end`)) await wait(5);
    });
  },
  async race() {
    stdout.write("ready\n");
    while (!existsSync(`${folder}/go`)) await wait(1);
    const won: number[] = [];
    for (let i = 0; i < Number(argument); i++)
      if (await store.put(`locks/${i}`, new TextEncoder().encode(`${pid}`), { ifAbsent: true })) won.push(i);
    report.pid = pid;
    report.won = won;
  },
  async put() {
    await store.put("new folder/x.pt", pieces(100_000, 1));
    await store.put("new folder/x.pt", filled(10, 2));
  },
};

await modes[mode]();
stdout.write(`${JSON.stringify(report)}\n`, () => exit(0));

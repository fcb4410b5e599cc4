/**
 * node build/test/run.js [--full] [PATTERN]: every test file (whose name matches) by uvu in a process of its own, as many at
 * a time as there are cores, and how long each took. With --full, only the files of which else a part is run (scope.ts), in
 * full and one after the other: they have processes of their own, or a GPU that is made of all cores.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";

const FOLDER = "build/test";

/** Begun first, so that no core waits for one of them at the end. */
const LONG = [
  "docs",
  "resume",
  "cli-checkpoints",
  "browser-stores",
  "interop-write",
  "manager-stores",
  "runtimes",
  "demo",
  "slim-networks",
];

/** Files whose times are told. */
const MOST_TOLD = 16;

interface Outcome {
  readonly file: string;
  readonly seconds: number;
  readonly failed: boolean;
  readonly total: number;
  readonly passed: number;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { full: { type: "boolean" } } });
const full = values.full ?? false;
const pattern = new RegExp(positionals[0] ?? "");
const began = performance.now();
const files = readdirSync(FOLDER).filter(
  (file) => file.endsWith(".test.js") && pattern.test(file) && (!full || hasParts(file)),
);
const waiting = [...files.filter(isLong), ...files.filter((file) => !isLong(file))];
const outcomes: Outcome[] = [];
await Promise.all(Array.from({ length: full ? 1 : availableParallelism() }, work));

const sum = (of: "total" | "passed") => outcomes.reduce((all, outcome) => all + outcome[of], 0);
const slowest = outcomes.toSorted((a, b) => b.seconds - a.seconds).slice(0, MOST_TOLD);
const failed = outcomes.filter((outcome) => outcome.failed);
console.log(`slowest: ${slowest.map(({ file, seconds }) => `${file} ${seconds.toFixed(0)} s`).join(", ")}`);
console.log(
  `${sum("passed")} of ${sum("total")} tests in ${files.length} files passed, ${secondsSince(began).toFixed(0)} s`,
);
for (const { file } of failed) console.log(`FAILED ${file}`);
process.exitCode = failed.length > 0 || files.length === 0 ? 1 : 0;

function hasParts(file: string): boolean {
  return readFileSync(`test/${file.replace(/js$/, "ts")}`, "utf8").includes('"./scope.js"');
}

function isLong(file: string): boolean {
  return LONG.includes(file.replace(/\.test\.js$/, ""));
}

async function work(): Promise<void> {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) outcomes.push(await runFile(file));
}

async function runFile(file: string): Promise<Outcome> {
  const start = performance.now();
  const name = `^${file.replaceAll(".", "\\.")}$`;
  const child = spawn(process.execPath, ["node_modules/uvu/bin.js", "--no-color", FOLDER, name], {
    stdio: ["ignore", "pipe", "pipe"],
    env: full ? { ...process.env, UNITCELL_TESTS: "full" } : process.env,
  });
  const [printed, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  const count = (what: string) => Number(new RegExp(`${what}: +(\\d+)`).exec(printed)?.[1] ?? 0);
  // Where the file ended early there are no totals to leave out, and all is told.
  process.stdout.write(`${printed.replace(/\n +Total: .*$/s, "")}${errors}`);
  const [total, passed] = [count("Total"), count("Passed")];
  const missing = total === 0 && !/^skipped: /m.test(printed);
  return { file, seconds: secondsSince(start), failed: code !== 0 || missing, total, passed };
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}

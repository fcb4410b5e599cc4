/**
 * npm run bench [-- SECTION...] [--quick] [--json FILE] [--markdown FILE] [--svg FOLDER]
 * npm run bench -- --check             against bench/baseline.json; --update-baseline writes it
 * Progress goes to stderr, the table to stdout. The status is 1 when a size is beyond its budget, values of the two sides
 * differ or a stream's memory grows; without --quick also when a time is beyond its budget.
 */
import { writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { check } from "./check.js";
import { checkpoints } from "./checkpoints.js";
import { cold } from "./cold.js";
import type { Context } from "./compare.js";
import { gpu } from "./gpu.js";
import { graphs } from "./graphs.js";
import { growth } from "./growth.js";
import { kernels } from "./kernels.js";
import { NativeWorker, NEWER_PYTHON } from "./native.js";
import { levels, networks } from "./networks.js";
import { writePlots } from "./plots.js";
import { pool } from "./pool.js";
import { processorName } from "./processor.js";
import { runs } from "./runs.js";
import { size } from "./size.js";
import { start } from "./start.js";
import { type Row, type SectionResult, type Series, tables } from "./stats.js";
import { load, parse, predictFiles } from "./steps.js";
import { stream } from "./stream.js";
import { findInputs } from "./structures.js";

const SECTIONS: Readonly<Record<string, (context: Context) => Promise<SectionResult>>> = {
  load,
  checkpoints,
  runs,
  parse,
  graphs,
  networks,
  levels,
  growth,
  predict: predictFiles,
  cold,
  start,
  stream,
  pool,
  kernels,
  gpu,
  size,
};

const ROUNDS = 11;
const QUICK_ROUNDS = 3;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    markdown: { type: "string" },
    svg: { type: "string" },
    check: { type: "boolean", default: false },
    "update-baseline": { type: "boolean", default: false },
  },
});
const unknown = positionals.filter((name) => !Object.hasOwn(SECTIONS, name));
if (unknown.length) {
  console.error(`bench: no section ${unknown.join(", ")}; there are ${Object.keys(SECTIONS).join(", ")}`);
  process.exit(2);
}

// Before the first Wasm is compiled: Node 20 knows relaxed SIMD and hides it, later ones no longer know the flag.
const hidesRelaxed = Number.parseInt(process.versions.node, 10) < 21;
if (hidesRelaxed) setFlagsFromString("--experimental-wasm-relaxed-simd");

if (options.check || options["update-baseline"])
  process.exit((await check({ update: options["update-baseline"] })) > 0 ? 1 : 0);

const names = positionals.length ? positionals : Object.keys(SECTIONS);
const started = await NativeWorker.start();
const native = started instanceof NativeWorker ? started : undefined;
const startedNewer = native ? await NativeWorker.start(NEWER_PYTHON) : { missing: "" };
const newer = startedNewer instanceof NativeWorker ? [startedNewer] : [];
const context: Context = {
  native,
  newer,
  inputs: findInputs(options.quick),
  quick: options.quick,
  rounds: options.quick ? QUICK_ROUNDS : ROUNDS,
};
const machine = {
  machine: `${processorName()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
  node: `Node ${process.version}, V8 ${process.versions.v8}${hidesRelaxed ? ", --experimental-wasm-relaxed-simd set" : ""}`,
  python: started instanceof NativeWorker ? started.description : `no Python column: ${started.missing}`,
  "newer PyTorch": startedNewer instanceof NativeWorker ? startedNewer.description : startedNewer.missing,
  inputs: context.inputs.description,
  rounds: context.rounds,
};
for (const [name, value] of Object.entries(machine)) console.log(`${name}: ${value}`);

const rows: Row[] = [];
const notes: string[] = [];
const failures: string[] = [];
const slow: string[] = [];
const series: Series[] = [];
for (const name of names) {
  const began = performance.now();
  const result = await SECTIONS[name](context);
  rows.push(...result.rows);
  notes.push(...(result.notes ?? []));
  failures.push(...(result.failures ?? []));
  slow.push(...(result.slow ?? []));
  series.push(...(result.series ?? []));
  console.error(`  ${name}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
}
for (const worker of [native, ...newer]) await worker?.stop();

console.log(`\n${tables(rows)}\n`);
for (const note of notes) console.log(note);
for (const failure of failures) console.error(`FAILED ${failure}`);
for (const time of slow) console.error(`OVER BUDGET ${time}`);
if (options.markdown) writeFileSync(options.markdown, `${markdown()}\n`);
if (options.svg) for (const path of await writePlots(options.svg, series)) console.error(`  ${path}`);
if (options.json)
  writeFileSync(options.json, `${JSON.stringify({ ...machine, rows, notes, failures, slow, series }, undefined, 2)}\n`);
process.exitCode = failures.length || (slow.length && !options.quick) ? 1 : 0;

/** Everything that was printed, as a page of its own. */
function markdown(): string {
  const about = Object.entries(machine).map(([name, value]) => `- ${name}: ${value}`);
  const remarks = notes.map((note) => `- ${note}`);
  return [about.join("\n"), tables(rows), remarks.join("\n")].join("\n\n");
}

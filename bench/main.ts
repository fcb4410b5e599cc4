/**
 * npm run bench [-- SECTION...] [--quick] [--json FILE]
 * Progress goes to stderr, the table to stdout. The status is 1 when a size is beyond its budget, values of the two sides
 * differ or a stream's memory grows; without --quick also when a time is beyond its budget.
 */
import { writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { checkpoints } from "./checkpoints.js";
import { cold } from "./cold.js";
import type { Context } from "./compare.js";
import { graphs } from "./graphs.js";
import { kernels } from "./kernels.js";
import { NativeWorker } from "./native.js";
import { networks } from "./networks.js";
import { pool } from "./pool.js";
import { runs } from "./runs.js";
import { size } from "./size.js";
import { type Row, type SectionResult, table } from "./stats.js";
import { forward, load, parse, predictFiles } from "./steps.js";
import { stream } from "./stream.js";
import { findInputs } from "./structures.js";

const SECTIONS: Readonly<Record<string, (context: Context) => Promise<SectionResult>>> = {
  load,
  checkpoints,
  runs,
  parse,
  graphs,
  forward,
  networks,
  predict: predictFiles,
  cold,
  stream,
  pool,
  kernels,
  size,
};

const ROUNDS = 11;
const QUICK_ROUNDS = 3;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false }, json: { type: "string" } },
});
const unknown = positionals.filter((name) => !Object.hasOwn(SECTIONS, name));
if (unknown.length) {
  console.error(`bench: no section ${unknown.join(", ")}; there are ${Object.keys(SECTIONS).join(", ")}`);
  process.exit(2);
}

const names = positionals.length ? positionals : Object.keys(SECTIONS);
const started = await NativeWorker.start();
const native = started instanceof NativeWorker ? started : undefined;
const context: Context = {
  native,
  inputs: findInputs(options.quick),
  quick: options.quick,
  rounds: options.quick ? QUICK_ROUNDS : ROUNDS,
};
const processor = cpus();
const machine = {
  machine: `${processor[0].model.trim()}, ${processor.length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
  node: `Node ${process.version}, V8 ${process.versions.v8}`,
  python: started instanceof NativeWorker ? started.description : `no Python column: ${started.missing}`,
  inputs: context.inputs.description,
  rounds: context.rounds,
};
for (const [name, value] of Object.entries(machine)) console.log(`${name}: ${value}`);

const rows: Row[] = [];
const notes: string[] = [];
const failures: string[] = [];
const slow: string[] = [];
for (const name of names) {
  const start = performance.now();
  const result = await SECTIONS[name](context);
  rows.push(...result.rows);
  notes.push(...(result.notes ?? []));
  failures.push(...(result.failures ?? []));
  slow.push(...(result.slow ?? []));
  console.error(`  ${name}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
}
await native?.stop();

console.log(`\n${table(rows)}\n`);
for (const note of notes) console.log(note);
for (const failure of failures) console.error(`FAILED ${failure}`);
for (const time of slow) console.error(`OVER BUDGET ${time}`);
if (options.json)
  writeFileSync(options.json, `${JSON.stringify({ ...machine, rows, notes, failures, slow }, undefined, 2)}\n`);
process.exitCode = failures.length || (slow.length && !options.quick) ? 1 : 0;

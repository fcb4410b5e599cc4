#!/usr/bin/env -S deno run --allow-read
/** Predicts from structure files: a table, or with --json the records. Reads files and does nothing else. */
import { parseArgs } from "node:util";
import { ensemble, loadModel, parseEach, predictStream, UnitcellError } from "unitcell";

const SHIPPED = ["cgcnn", "alignn", "megnet"].map(
  (name) => new URL(`../saved_models/${name}_ionic_best.pt`, import.meta.url),
);
const USAGE = "Usage: deno run --allow-read predict.ts [--json] [--model CHECKPOINT]... FILES";

const { values: options, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean" }, model: { type: "string", short: "m", multiple: true } },
});
if (files.length === 0) {
  console.error(USAGE);
  Deno.exit(2);
}

const paths = options.model ?? SHIPPED;
const models = await Promise.all(
  paths.map(async (path) => loadModel(await Deno.readFile(path), { name: String(path).replace(/^.*\//, "") })),
);
const model = models.length === 1 ? models[0] : ensemble(models);

async function* structures() {
  for (const filename of files) {
    let text: string;
    try {
      text = await Deno.readTextFile(filename);
    } catch (error) {
      yield { id: filename, error: new UnitcellError("NOT_FOUND", String(error)) };
      continue;
    }
    yield* parseEach(text, { filename });
  }
}

let failed = false;
for await (const record of predictStream(model, structures())) {
  if ("error" in record) failed = true;
  if (options.json) console.log(JSON.stringify(record));
  else if ("error" in record) console.error(`${record.id}: ${record.error.code}: ${record.error.message}`);
  else {
    const { id = "", formula, sites, value, std } = record;
    const columns = [id.padEnd(20), formula.padEnd(10), String(sites).padStart(4), value.toFixed(4).padStart(10)];
    console.log(`${columns.join(" ")}${std === undefined ? "" : ` ± ${std.toFixed(4)}`}`);
  }
}
if (failed) Deno.exit(1);

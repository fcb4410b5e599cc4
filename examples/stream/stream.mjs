/**
 * node stream.mjs [--csv] FOLDER: every structure below a folder, a record each on stdout. Files are read as their turn
 * comes and no faster than somebody takes the records, so memory does not grow with the folder.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { loadModel, parseEach, predictStream, UnitcellError } from "unitcell";

const MAX_FILE_BYTES = 64 * 1024 * 1024;
const STRUCTURES = /\.(cif|mcif|vasp|poscar|xyz|extxyz|json|jsonl)$/i;

const { values: options, positionals: folders } = parseArgs({
  allowPositionals: true,
  options: { csv: { type: "boolean" } },
});
if (folders.length !== 1) {
  console.error("Usage: node stream.mjs [--csv] FOLDER");
  process.exit(2);
}

/** The structures of each file in turn; what cannot be read is an error in its place. */
async function* structuresIn(folder) {
  const entries = await readdir(folder, { recursive: true });
  for (const path of entries.filter((name) => STRUCTURES.test(name)).sort()) {
    const file = join(folder, path);
    try {
      const { size } = await stat(file);
      if (size > MAX_FILE_BYTES) throw new UnitcellError("LIMIT", `${size} bytes, the limit is ${MAX_FILE_BYTES}`);
      yield* parseEach(await readFile(file, "utf8"), { filename: path });
    } catch (error) {
      yield { id: path, error: error instanceof UnitcellError ? error : new UnitcellError("NOT_FOUND", error.message) };
    }
  }
}

async function* jsonLines(records) {
  for await (const record of records) yield `${JSON.stringify(noted(record))}\n`;
}

async function* csv(records) {
  yield "id,formula,value,unit,warnings,error\n";
  for await (const record of records) {
    const { id, formula, value, unit, warnings, error } = noted(record);
    const codes = warnings?.map(({ code }) => code).join(" ");
    yield `${[id, formula, value, unit, codes, error && `${error.code}: ${error.message}`].map(cell).join(",")}\n`;
  }
}

const cell = (value = "") => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

function noted(record) {
  if ("error" in record) process.exitCode = 1;
  return record;
}

const model = await loadModel(await readFile(new URL("../saved_models/cgcnn_ionic_best.pt", import.meta.url)), {
  unit: "eV/atom",
});

try {
  await pipeline(
    structuresIn(folders[0]),
    (structures) => predictStream(model, structures),
    options.csv ? csv : jsonLines,
    process.stdout,
  );
} catch (error) {
  if (error.code !== "EPIPE") throw error; // `| head` has what it wanted
}

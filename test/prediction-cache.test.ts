/** Cached predictions: what they depend on, what is computed, the file they lie in. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../src/backends/backend.js";
import { wasmBackend } from "../src/backends/wasm.js";
import { type Ensemble, ensemble } from "../src/ensemble.js";
import { type ErrorCode, isUnitcellError, UnitcellError } from "../src/errors.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { loadModel } from "../src/load-model.js";
import type { Model } from "../src/models/model.js";
import { type PredictOptions, predict, predictStream } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { PredictionCache } from "../src/prediction-cache.js";
import { predictionKey, recipeOf } from "../src/prediction-key.js";
import type { Structure } from "../src/structures/structure.js";
import { exampleStructures } from "./examples.js";
import { PYTHON_2, pytorch2 } from "./interop.js";

const structures = exampleStructures();
const [best, final] = await Promise.all(
  ["best", "final"].map((which) => loadModel(readFileSync(`examples/saved_models/cgcnn_ionic_${which}.pt`))),
);

/** The Wasm backend, counting. */
function countingBackend() {
  const counts = { runs: 0, crystals: 0 };
  const wasm = wasmBackend();
  const backend: Backend = {
    name: wasm.name,
    async createSession(program) {
      const session = await wasm.createSession(program);
      return {
        goodBytes: session.goodBytes,
        run: (batch) => {
          counts.runs++;
          counts.crystals += batch.sizes.B;
          return session.run(batch);
        },
        values: (batch, labels) => session.values(batch, labels),
        bytes: (sizes) => session.bytes(sizes),
        dispose: () => session.dispose(),
      };
    },
  };
  return { backend, counts };
}

test("hits compute nothing and are the same records but for id and cached", async () => {
  const { backend, counts } = countingBackend();
  const both = ensemble([best, final]);
  const cache = await PredictionCache.load();
  const first = await predict(both, structures, { backend, cache, tieRange: true });
  assert.ok(counts.runs > 0);
  assert.is(cache.added, structures.length);
  const before = { ...counts };
  const reread = await PredictionCache.load(cache.save());
  const renamed = structures.map((structure, i) => ({ ...structure, id: `s${i}` }));
  const second = await predict(both, renamed, { backend, cache: reread, tieRange: true });
  assert.equal(counts, before);
  assert.is(reread.added, 0);
  assert.equal(
    second,
    first.map((record, i) => ({ ...record, id: `s${i}`, cached: true })),
  );
  const [anonymous] = await predict(both, [{ ...structures[0], id: undefined! }], {
    backend,
    cache: reread,
    tieRange: true,
  });
  assert.is("id" in anonymous, false);
});

test("only what is not there is computed, and order is kept", async () => {
  const { backend, counts } = countingBackend();
  const cache = await PredictionCache.load();
  const some = structures.filter((_, i) => i % 3 === 1);
  await predict(best, some, { backend, cache });
  counts.crystals = 0;
  const all = await predict(best, structures, { backend, cache });
  assert.is(counts.crystals, structures.length - some.length);
  assert.equal(
    all.map(({ id, value }) => [id, value]),
    (await predict(best, structures)).map(({ id, value }) => [id, value]),
  );
  assert.equal(
    all.map(({ cached }) => cached ?? false),
    structures.map((_, i) => i % 3 === 1),
  );
});

test("failures are not stored", async () => {
  const cache = await PredictionCache.load();
  const broken = [
    { id: "unread", error: new UnitcellError("CORRUPT", "no lattice") },
    { ...structures[0], id: "no atoms", numbers: new Uint8Array(0) },
    { ...structures[0], id: "no such element", numbers: structures[0].numbers.map(() => 110) },
    structures[1],
  ];
  const failed: unknown[] = [];
  for await (const record of predictStream(best, broken, { cache })) failed.push("error" in record);
  assert.equal(failed, [true, true, true, false]);
  assert.is(cache.size, 1);
});

test("a model that does not know its file is refused", async () => {
  const { sha256: _, ...unknown } = best;
  for (const model of [unknown, { ...best, sha256: "" }, ensemble([best, unknown])])
    try {
      await predict(model, structures, { cache: await PredictionCache.load() });
      assert.unreachable();
    } catch (error) {
      assert.ok(isUnitcellError(error, "ARGUMENT"), `${error}`);
      assert.match((error as Error).message, /needs the SHA-256 .* loadModel gives it/);
    }
});

/** One table per type, with every field of it: a new field does not compile until it is here. */
type Changes<T> = { [Field in keyof Required<T>]: T | "same" | "not in a record" };
const [structure] = structures;
const moved = structure.fracCoords.slice();
moved[0] += 1e-12 / Math.hypot(structure.lattice[0], structure.lattice[1], structure.lattice[2]);
assert.is.not(moved[0], structure.fracCoords[0]);
const STRUCTURE: Changes<Structure> = {
  lattice: { ...structure, lattice: structure.lattice.map((x, i) => (i === 0 ? x + 1e-12 : x)) },
  pbc: { ...structure, pbc: [true, true, false] },
  numbers: { ...structure, numbers: structure.numbers.map((z, i) => (i === 0 ? 14 : z)) },
  fracCoords: { ...structure, fracCoords: moved },
  id: "same",
  notes: { ...structure, notes: ["the origin was assumed"] },
};
const other = "0".repeat(64);
const { columns, rows } = best.elements;
const MODEL: Changes<Model> = {
  config: { ...best, config: { ...best.config, graph: { select: "nearest", cutoff: 7, maxNeighbors: 12 } } as never },
  architecture: "not in a record", // by the config
  program: "not in a record", // by the checkpoint, the config and the version
  elements: { ...best, elements: { columns, rows: new Map(rows).set(13, rows.get(31)!) } },
  trainedOn: { ...best, trainedOn: new Set([8]) },
  normalizer: { ...best, normalizer: { mean: 0, std: 1 } },
  normalizes: "not in a record", // by the architecture
  property: { ...best, property: "gap" },
  unit: { ...best, unit: "K" },
  name: { ...best, name: "mine" },
  sha256: { ...best, sha256: other },
  found: "not in a record",
  assumed: { ...best, assumed: ["radius 8"] },
  loadReport: "not in a record", // by the checkpoint; tensors that are missing are in assumed
};
const both = ensemble([best, final], { calibration: 2 });
const ENSEMBLE: Changes<Ensemble> = {
  members: ensemble([final, best], { calibration: 2 }),
  calibration: ensemble([best, final], { calibration: 2.0000001 }),
  property: "not in a record", // by the members
  unit: "not in a record",
  name: ensemble([best, final], { calibration: 2, name: "two" }),
};
const OPTIONS: Changes<PredictOptions> = {
  backend: { backend: { ...wasmBackend(), name: "another" } },
  maxAtoms: "same",
  maxEdges: "same",
  tieRange: { tieRange: true },
  state: "not in a record", // below
  lift: { lift: false },
  cache: "same",
  signal: "same",
};

async function keyOf(model: Model | Ensemble, of = structure, options: PredictOptions = {}): Promise<string> {
  const { backend = wasmBackend(), tieRange = false, state, lift = true } = options;
  return predictionKey(await recipeOf(model, { backend: backend.name, tieRange, state, lift }), of);
}

const MISSES: [what: string, key: () => Promise<string>, from: () => Promise<string>][] = [
  ...rowsOf("structure", STRUCTURE, (changed) => keyOf(best, changed)),
  ...rowsOf("model", MODEL, (changed) => keyOf(changed)),
  ...rowsOf("options", OPTIONS, (changed) => keyOf(best, structure, changed)),
  ...rowsOf(
    "ensemble",
    ENSEMBLE,
    (changed) => keyOf(changed),
    () => keyOf(both),
  ),
  ["options.state", () => keyOf(best, structure, { state: 0 }), () => keyOf(best)],
  ["options.state 1", () => keyOf(best, structure, { state: 1 }), () => keyOf(best, structure, { state: 0 })],
  ["an ensemble of one's members", () => keyOf(both), () => keyOf(best)],
  ["no calibration", () => keyOf(ensemble([best, final])), () => keyOf(both)],
];
function rowsOf<T>(of: string, changes: Changes<T>, key: (changed: T) => Promise<string>, from = () => keyOf(best)) {
  return Object.entries(changes).flatMap(([field, changed]): typeof MISSES =>
    typeof changed === "string" ? [] : [[`${of}.${field}`, () => key(changed as T), from]],
  );
}
for (const [what, key, from] of MISSES)
  test(`another key: ${what}`, async () => {
    assert.is.not(await key(), await from());
    assert.match(await key(), /^[0-9a-f]{64}$/);
  });

test("the same key: ids, batch sizes, and arrays that are views of others", async () => {
  const offset = new Float64Array(structure.fracCoords.length + 2);
  offset.set(structure.fracCoords, 1);
  const same = { ...structure, id: "other", notes: [], fracCoords: offset.subarray(1, -1) };
  assert.is(await keyOf(best, same), await keyOf(best));
});

const RECORDS = ((await predict(best, structures)) as Prediction[]).slice(0, 3);
const KEYS = ["a", "b", "c", "d"].map((c) => c.repeat(64));

test("a full cache: the longest unused go first, what is in use stays and the new is not stored", async () => {
  const [record] = RECORDS;
  const roomy = await PredictionCache.load();
  for (const key of KEYS.slice(0, 3)) roomy.set(key, record);
  const cache = await PredictionCache.load(roomy.save(), { maxValues: 3 * count(record) });
  assert.ok(cache.get(KEYS[2]) && cache.get(KEYS[0]));
  cache.set(KEYS[3], record);
  assert.equal(
    KEYS.map((key) => cache.get(key) !== undefined),
    [true, false, true, true],
  );
  cache.set(KEYS[1], record);
  assert.is(cache.get(KEYS[1]), undefined);
  cache.set(KEYS[3], record);
  assert.equal([cache.size, cache.added, cache.refused], [3, 1, 1]);
});

/** Values of a record: dicts, lists, keys and items. */
function count(value: unknown): number {
  if (Array.isArray(value)) return value.reduce((sum, item) => sum + count(item), 1);
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce((sum: number, item) => sum + 1 + count(item), 1);
}

const FOREIGN: [what: string, file: () => Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["no torch file", () => new TextEncoder().encode("value,std\n1,2\n"), "UNSUPPORTED", /./],
  [
    "a checkpoint",
    () => readFileSync("examples/saved_models/cgcnn_ionic_best.pt"),
    "UNSUPPORTED",
    /"unitcell\.predictions"/,
  ],
  ["another version", () => saveTorch(file({ version: 2 })), "UNSUPPORTED", /version 1, found 2/],
  ["records that are no dict", () => saveTorch(file({ records: [] })), "CORRUPT", /records is no dict/],
  ["a key that is none", () => saveTorch(file({ records: new Map([["x", 1]]) })), "CORRUPT", /key "x" is no SHA-256/],
  [
    "a record that is none",
    () => saveTorch(file({ records: new Map([[KEYS[0], 1]]) })),
    "CORRUPT",
    /record a{8}: expected a dict/,
  ],
];
function file(changes: Record<string, TorchValue>): TorchValue {
  const usual = { format: "unitcell.predictions", version: 1, unitcell: "0.1.0", records: new Map(), table: new Map() };
  return new Map<TorchValue, TorchValue>(Object.entries({ ...usual, ...changes }));
}
for (const [what, bytes, code, message] of FOREIGN)
  test(`refused: ${what}`, async () => {
    try {
      await PredictionCache.load(bytes());
      assert.unreachable();
    } catch (error) {
      assert.ok(isUnitcellError(error, code), `${error}`);
      assert.match((error as Error).message, message);
    }
  });

test("a damaged file is refused", async () => {
  const cache = await PredictionCache.load();
  await predict(best, structures, { cache });
  const bytes = cache.save();
  for (const damaged of [bytes.slice(0, bytes.length / 2), bytes.map((b, i) => (i === 3000 ? b ^ 4 : b))])
    try {
      await PredictionCache.load(damaged);
      assert.unreachable();
    } catch (error) {
      assert.ok(isUnitcellError(error, "CORRUPT"), `${error}`);
    }
});

test("as many records as there is room for can be read again", async () => {
  const [record] = await predict(ensemble([best, final, best]), structures.slice(0, 1));
  const cache = await PredictionCache.load();
  for (let i = 0; cache.refused === 0; i++)
    cache.set(i.toString(16).padStart(64, "0"), { ...record, id: `s${i}`, formula: `F${i}`, value: i / 7 });
  const bytes = cache.save();
  const again = await PredictionCache.load(bytes);
  assert.is(again.size, cache.size);
  assert.ok(cache.size > 10_000, `${cache.size}`);
  console.log(`  ${cache.size} records of three models in ${(bytes.length / 1e6).toFixed(1)} MB`);
});

if (pytorch2())
  test("PyTorch reads the file with weights_only: nested dicts of floats, ints, text; a table of lists", async () => {
    const cache = await PredictionCache.load();
    const records = await predict(ensemble([best, final]), structures, { cache, tieRange: true });
    const folder = mkdtempSync(join(tmpdir(), "unitcell-cache-"));
    const path = join(folder, "ensemble_predictions.pt");
    writeFileSync(path, cache.save());
    const script = `
import json, sys, torch
f = torch.load(sys.argv[1], weights_only=True)
kinds = {type(f["records"][k][n]).__name__ for k in f["records"] for n in ("value", "std", "elapsedMs")}
print(json.dumps({"kinds": sorted(kinds), "file": f}))`;
    const found = JSON.parse(execFileSync(PYTHON_2, ["-c", script, path], { encoding: "utf8" }));
    rmSync(folder, { recursive: true });
    assert.equal(found.kinds, ["float"]);
    assert.equal([found.file.format, found.file.version], ["unitcell.predictions", 1]);
    assert.equal(Object.values(found.file.records), JSON.parse(JSON.stringify(records)));
    assert.equal(
      found.file.table.id,
      records.map(({ id }) => id),
    );
    assert.equal(
      found.file.table.value,
      records.map(({ value }) => value),
    );
    assert.equal(
      found.file.table.std,
      records.map(({ std }) => std),
    );
  });

test.run();

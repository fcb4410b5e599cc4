/** A prediction's bits depend on its structure alone; streams keep order, carry errors on and hold one batch at a time. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Backend, Session } from "../src/backends/backend.js";
import { wasmBackend } from "../src/backends/wasm.js";
import { type ErrorCode, isUnitcellError, UnitcellError } from "../src/errors.js";
import { type Batch, collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { predict, predictStream } from "../src/predict.js";
import type { FailedPrediction, Prediction } from "../src/prediction.js";
import { parseEach } from "../src/structures/parse.js";
import { makeStructure, type Structure } from "../src/structures/structure.js";
import { supercell } from "./crystals.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { throwsCode } from "./throws.js";

const model = await exampleModel();
const structures = exampleStructures();
const bits = (predictions: readonly Prediction[]) => [...new Float64Array(predictions.map((p) => p.value))];

test("the same bits alone, in any batch, in any order", async () => {
  const alone: Prediction[] = [];
  for (const structure of structures) alone.push(...(await predict(model, [structure])));
  for (const maxAtoms of [1, 7, 50, 1e6])
    assert.equal(bits(await predict(model, structures, { maxAtoms })), bits(alone));
  const reversed = await predict(model, [...structures].reverse());
  assert.equal(bits(reversed.reverse()), bits(alone));
});

test("a stream keeps order and gives one record for each input, errors in their place", async () => {
  const [good] = structures;
  const heavy: Structure = { ...good, id: "heavy", numbers: good.numbers.map(() => 101) };
  const unread = { id: "unread", error: new UnitcellError("CORRUPT", "line 3: no number") };
  const records: (Prediction | FailedPrediction)[] = [];
  for await (const record of predictStream(model, [good, heavy, unread, { ...good, id: "last" }])) records.push(record);
  assert.equal(
    records.map((record) => record.id),
    [good.id, "heavy", "unread", "last"],
  );
  assert.equal((records[1] as FailedPrediction).error, {
    code: "UNSUPPORTED",
    message: "the model's element table has no Md",
  });
  assert.equal((records[2] as FailedPrediction).error, { code: "CORRUPT", message: "line 3: no number" });
  assert.is((records[3] as Prediction).value, (records[0] as Prediction).value);
});

test("predict throws the first error, with the structure's id", async () => {
  const heavy = { ...structures[0], id: "heavy", numbers: structures[0].numbers.map(() => 101) };
  try {
    await predict(model, [structures[1], heavy]);
    assert.unreachable();
  } catch (error) {
    assert.ok(isUnitcellError(error, "UNSUPPORTED"));
    assert.match((error as Error).message, /^heavy: /);
  }
});

test("tied neighbours that cannot be tried fail alone: what follows keeps its own value", async () => {
  const real = wasmBackend();
  let calls = 0;
  const failing: Backend = {
    name: "fails in its second run, the first tie range",
    createSession: async (program) => {
      const session = await real.createSession(program);
      const run: Session["run"] = (batch) => {
        if (++calls === 2) throw new UnitcellError("BACKEND", "no memory");
        return session.run(batch);
      };
      const { goodBytes } = session;
      return {
        goodBytes,
        run,
        values: session.values,
        bytes: (sizes) => session.bytes(sizes),
        dispose: session.dispose,
      };
    },
  };
  const tied = structures.find((structure) => buildGraph(structure, model.config.graph).warnings.length > 0)!;
  const last = structures.find((structure) => structure.id === "CsCl")!;
  const records: (Prediction | FailedPrediction)[] = [];
  for await (const record of predictStream(model, [tied, last], { backend: failing, tieRange: true }))
    records.push(record);
  assert.is((records[0] as FailedPrediction).error.code, "BACKEND");
  assert.is((records[1] as Prediction).value, (await predict(model, [last]))[0].value);
});

const badStructures: [name: string, change: (good: Structure) => object, code: ErrorCode, message: RegExp][] = [
  ["NaN coordinate", (s) => ({ fracCoords: s.fracCoords.map(() => Number.NaN) }), "CORRUPT", /coordinate x is NaN/],
  ["NaN lattice", (s) => ({ lattice: s.lattice.map(() => Number.NaN) }), "CORRUPT", /nine finite numbers/],
  ["flat lattice", (s) => ({ lattice: s.lattice.map(() => 1) }), "CORRUPT", /no volume/],
  ["float32 lattice", (s) => ({ lattice: Float32Array.from(s.lattice) }), "ARGUMENT", /found Float32Array/],
  ["plain arrays", (s) => ({ fracCoords: [...s.fracCoords] }), "ARGUMENT", /found Float64Array, Uint8Array, Array/],
  ["too few coordinates", (s) => ({ fracCoords: s.fracCoords.slice(3) }), "MISMATCH", /atoms but/],
  ["short lattice", (s) => ({ lattice: s.lattice.slice(3) }), "MISMATCH", /lattice \[9\]/],
  ["no pbc", () => ({ pbc: undefined }), "MISMATCH", /pbc \[3\], found \[9\], \[undefined\]/],
  ["atoms in one place", (s) => ({ fracCoords: s.fracCoords.map(() => 0) }), "CORRUPT", /overlap: 0.* Å apart/],
  ["images in one place", (s) => ({ lattice: s.lattice.map((x) => x / 1e4) }), "CORRUPT", /overlap/],
  ["Z = 0", (s) => ({ numbers: s.numbers.map(() => 0) }), "UNSUPPORTED", /no Z=0$/],
];
for (const [name, change, code, message] of badStructures)
  test(`made by hand: ${name}`, () =>
    throwsCode(() => predict(model, [{ ...structures[0], ...change(structures[0]) } as Structure]), code, message));

const badInputs: [name: string, input: string, data: (good: Float32Array | Int32Array) => object, message: RegExp][] = [
  ["an index of the wrong type", "source", (good) => Float32Array.from(good), /must be Int32Array, found Float32Array/],
  [
    "lengths of the wrong type",
    "lengths",
    (good) => Float64Array.from(good),
    /must be Float32Array, found Float64Array/,
  ],
  ["NaN length", "lengths", (good) => good.map(() => Number.NaN), /holds NaN/],
  [
    "edges of another atom",
    "receiver",
    (good) => good.map((_, e) => (e === 3 ? 1 : 0)),
    /"receiver" must be 0 at 3 by/,
  ],
  [
    "edges that end early",
    "edgeStart",
    (good) => good.map((at) => Math.min(at, 3)),
    /must go from 0 to \d+, found 0 to 3/,
  ],
  ["crystals that begin late", "crystalStart", (good) => good.map((at) => Math.max(at, 1)), /found 1 to/],
];
for (const [name, input, data, message] of badInputs)
  test(`batch made by hand: ${name}`, async () => {
    const session = await wasmBackend().createSession(model.program);
    const batch = collate([buildGraph(structures[0], model.config.graph)]);
    const inputs = new Map([...batch.inputs, [input, data(batch.inputs.get(input)!)]]) as Batch["inputs"];
    await throwsCode(() => session.run({ ...batch, inputs }), "MISMATCH", message);
  });

test("parseEach feeds a stream", async () => {
  const text = "data_a\nloop_\n_atom_site_label\nNa1\n";
  const records: (Prediction | FailedPrediction)[] = [];
  for await (const record of predictStream(model, parseEach(text, { filename: "x.cif" }))) records.push(record);
  assert.is(records.length, 1);
  assert.is(records[0].id, "x");
  assert.ok("error" in records[0]);
});

test("a stream reads its input a batch at a time", async () => {
  let read = 0;
  function* endless() {
    for (;;) {
      read++;
      yield structures[read % structures.length];
    }
  }
  let done = 0;
  for await (const _ of predictStream(model, endless(), { maxAtoms: 100 })) if (++done === 50) break;
  assert.ok(read < 50 + 100, `${read} structures read for ${done} predictions`);
});

test("a stream of errors is not held back", async () => {
  let read = 0;
  function* broken() {
    for (;;) yield { id: `${read++}`, error: new UnitcellError("CORRUPT", "no") };
  }
  for await (const { id } of predictStream(model, broken(), { maxAtoms: 20 })) {
    assert.ok(read <= 21, `${read} read before the first record`);
    if (id === "3") break;
  }
});

test("an aborted stream stops", async () => {
  const abort = new AbortController();
  let done = 0;
  try {
    for await (const _ of predictStream(model, structures, { maxAtoms: 1, signal: abort.signal }))
      if (++done === 2) abort.abort();
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
  assert.is(done, 2);
});

test("one atom, and 5,000 and more", async () => {
  const copper = makeStructure({
    lattice: Float64Array.of(0, 1.8, 1.8, 1.8, 0, 1.8, 1.8, 1.8, 0),
    pbc: [true, true, true],
    numbers: Uint8Array.of(29),
    fracCoords: Float64Array.of(0, 0, 0),
  });
  const large = supercell(copper, 18);
  assert.is(large.numbers.length, 5832);
  const [one, many] = await predict(model, [copper, large]);
  assert.ok(Math.abs(one.value - many.value) < 1e-5, `${one.value} ${many.value}`);
});

test.run();

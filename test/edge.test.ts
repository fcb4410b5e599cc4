/** The HTTP handler of unitcell/edge: records, statuses, limits; and kernels given as modules. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { predictionHandler, useKernels } from "../src/edge.js";
import { UnitcellError } from "../src/errors.js";
import { buildGraph } from "../src/graphs/graph.js";
import { createPool } from "../src/pool/pool.js";
import { predict } from "../src/predict.js";
import { parseStructures } from "../src/structures/parse.js";
import { exampleModel } from "./examples.js";
import { throwsCode } from "./throws.js";

const models = await Promise.all(["cgcnn", "alignn", "megnet"].map((name) => exampleModel(`${name}_ionic_best.pt`)));
const [model] = models;
const text = readFileSync("examples/structures/CsCl.cif", "utf8");
const [expected] = await predict(model, parseStructures(text, { filename: "CsCl.cif" }));

const URL = "https://example.org/predict";
const post = (body: BodyInit | null, query = "", init: RequestInit = {}) =>
  new Request(URL + query, { method: "POST", body, ...init });
const handler = predictionHandler(model);

test("a CIF gives its record", async () => {
  const response = await handler(post(text, "?filename=CsCl.cif"));
  assert.is(response.status, 200);
  assert.is(response.headers.get("content-type"), "application/json; charset=utf-8");
  const record = await response.json();
  assert.equal({ ...record, elapsedMs: 0 }, JSON.parse(JSON.stringify({ ...expected, elapsedMs: 0 })));
});

test("the format is told by the content; without a name there is no id", async () => {
  for (const file of ["CsCl.cif", "Cu2O-cuprite.vasp", "MgO-displaced.extxyz"]) {
    const record = await (await handler(post(readFileSync(`examples/structures/${file}`, "utf8")))).json();
    assert.type(record.value, "number", file);
    assert.not.ok("id" in record);
  }
});

test("an ensemble, from a function that loads it", async () => {
  let loads = 0;
  const { ensemble } = await import("../src/ensemble.js");
  const answer = predictionHandler(async () => {
    if (loads++ === 0) throw new Error("not yet");
    return ensemble(models);
  });
  await answer(post(text)).then(
    () => assert.unreachable(),
    ({ message }) => assert.is(message, "not yet"),
  );
  const records = await Promise.all([0, 1].map(async () => (await answer(post(text))).json()));
  for (const record of records) assert.is(record.members.length, models.length);
  assert.is(loads, 2);
});

const loneAtom = '1\nLattice="20 0 0 0 20 0 0 0 20" Properties=species:S:1:pos:R:3\nHe 0 0 0\n';
const disordered = text.replace(/_atom_site_occupancy[\s\S]*$/, (tail) => tail.replace(/ 1(\.0)?\s*$/gm, " 0.5"));

/** An atom and its own image. */
const squeezed = "x\n1\n0.05 0 0\n0 20 0\n0 0 20\nFe\n1\nDirect\n0 0 0\n";

const rows: [what: string, request: () => Request, status: number, code: string, message: RegExp][] = [
  ["a GET", () => new Request(URL), 405, "ARGUMENT", /POST/],
  ["nothing", () => post(null), 400, "CORRUPT", /empty/],
  ["no structure", () => post("hello"), 422, "UNSUPPORTED", /no supported format/],
  ["a damaged CIF", () => post("data_x\n_cell_length_a 1\nloop_\n", "?filename=x.cif"), 400, "CORRUPT", /./],
  ["bytes that are no text", () => post(Uint8Array.of(0xff, 0xfe, 0)), 400, "CORRUPT", /UTF-8/],
  ["several structures", () => post(loneAtom + loneAtom, "?filename=a.xyz"), 400, "CORRUPT", /one structure/],
  [
    "a name of JavaScript's own",
    () => post("hello", "?filename=x.constructor"),
    422,
    "UNSUPPORTED",
    /no supported format/,
  ],
  ["a cell of nothing but overlap", () => post(squeezed), 400, "CORRUPT", /overlap/],
  ["partial occupancy", () => post(disordered), 422, "UNSUPPORTED", /occup/],
  ["a body beyond the limit", () => post(`${text}${"#".repeat(2 ** 20)}`), 413, "LIMIT", /1048576/],
];

for (const [what, request, status, code, message] of rows)
  test(`${what}: ${status} ${code}`, async () => {
    const response = await handler(request());
    assert.is(response.status, status);
    const record = await response.json();
    assert.equal(Object.keys(record), ["schema", "error"]);
    assert.is(record.error.code, code);
    assert.match(record.error.message, message);
    if (status === 405) assert.is(response.headers.get("allow"), "POST");
  });

test("a stream is read no further than the limit", async () => {
  let pulled = 0;
  let cancelled = false;
  const body = new ReadableStream({
    pull(controller) {
      pulled++;
      controller.enqueue(new Uint8Array(1000).fill(35));
    },
    cancel() {
      cancelled = true;
    },
  });
  const limited = predictionHandler(model, { maxBodyBytes: 10_000 });
  const response = await limited(post(body, "", { duplex: "half" } as RequestInit));
  assert.is(response.status, 413);
  assert.ok(pulled < 20, `${pulled} parts were read`);
  assert.ok(cancelled);
});

test("too many atoms: 413, before anything is computed", async () => {
  const small = predictionHandler(() => assert.unreachable() as never, { maxSites: 1 });
  const response = await small(post(text));
  assert.is(response.status, 413);
  assert.match((await response.json()).error.message, /2 atoms, the limit is 1/);
});

test("atoms as close as allowed, in a column without end: 413 before it takes seconds", async () => {
  const megnet = await exampleModel("megnet_ionic_best.pt");
  const atoms = Array.from({ length: 400 }, (_, i) => `${((i * 3) % 8) * 0.126} ${((i * 5) % 8) * 0.126} ${i * 0.125}`);
  const column = `x\n1\n1.01 0 0\n0 1.01 0\n0 0 800\nNa\n400\nCartesian\n${atoms.join("\n")}\n`;
  const response = await predictionHandler(megnet)(post(column));
  assert.is(response.status, 413);
  assert.match((await response.json()).error.message, /at most 262144 edges/);
  assert.is((await predictionHandler(megnet)(post(text))).status, 200);
  const few = predictionHandler(model, { maxEdges: 20 });
  const { error } = await (await few(post(text))).json();
  assert.equal(error, { code: "LIMIT", message: "expected at most 20 edges, the graph has 24" });
  await throwsCode(() => predictionHandler(model, { maxEdges: 0 }), "ARGUMENT", /maxEdges/);
});

test("pages of other origins, where that is allowed", async () => {
  const open = predictionHandler(model, { allowOrigin: "*" });
  assert.is((await open(post(text))).headers.get("access-control-allow-origin"), "*");
  assert.is((await open(post(""))).headers.get("access-control-allow-origin"), "*");
  const preflight = await open(new Request(URL, { method: "OPTIONS" }));
  assert.is(preflight.status, 204);
  assert.is(preflight.headers.get("access-control-allow-methods"), "POST");
  assert.is(preflight.headers.get("access-control-allow-headers"), "content-type");
  assert.is((await handler(post(text))).headers.get("access-control-allow-origin"), null);
  assert.is((await handler(new Request(URL, { method: "OPTIONS" }))).status, 405);
});

test("what only the host can mend rejects", async () => {
  await throwsCode(() => predictionHandler(model, { maxBodyBytes: 0 }), "ARGUMENT", /maxBodyBytes/);
  await predictionHandler(model, { state: 3 })(post(text)).then(
    () => assert.unreachable(),
    (error) => assert.instance(error, UnitcellError),
  );
});

test("kernels given as modules run in place of the embedded ones", async () => {
  await throwsCode(() => useKernels({} as WebAssembly.Module), "ARGUMENT", /unitcell.wasm/);
  const empty = await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  await throwsCode(() => useKernels(empty), "ARGUMENT", /unitcell.wasm/);
  if (WebAssembly.validate(readFileSync("dist/unitcell.relaxed.wasm"))) {
    const relaxed = await WebAssembly.compile(readFileSync("dist/unitcell.relaxed.wasm"));
    await throwsCode(() => useKernels(relaxed), "ARGUMENT", /unitcell.wasm/);
  }
  useKernels(await WebAssembly.compile(readFileSync("dist/unitcell.wasm")));
  await throwsCode(() => createPool({ workers: 1 }), "ARGUMENT", /embedded kernels/);
  const [structure] = parseStructures(text, { filename: "CsCl.cif" });
  assert.ok(buildGraph(structure, model.config.graph).numEdges > 0);
  const [record] = await predict(model, [structure]);
  assert.is(record.backend, "wasm");
});

test.run();

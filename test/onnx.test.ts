/**
 * Every published and shared checkpoint as an ONNX file: it passes ONNX's own checker, and gives the goldens in both
 * onnxruntimes, crystals one by one, compressed ones among others, and in padded batches.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bucketed } from "../src/backends/buckets.js";
import { ensemble } from "../src/ensemble.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { collate } from "../src/graphs/batch.js";
import { type AnyGraph, lift } from "../src/graphs/lift.js";
import { loadModel } from "../src/load-model.js";
import { type Model, outputRow } from "../src/models/model.js";
import { exportOnnx, onnxMetadata } from "../src/onnx/export.js";
import { type FeedSizes, feedSizes } from "../src/onnx/inputs.js";
import { type ProgramOnnx, programOnnx } from "../src/onnx/program-onnx.js";
import { SYMBOLS } from "../src/structures/elements.js";
import { exampleModel } from "./examples.js";
import { fixtureBytes, fixtureNames, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, publishedModel, TOLERANCE } from "./goldens.js";
import { alignnModel } from "./goldens-alignn.js";
import { type GoldenModel, goldenModels } from "./onnx-models.js";
import { OnnxSession, onnxRuntimes } from "./onnx-runtimes.js";
import { randomCgcnn } from "./random-models.js";
import { inFull, isFull } from "./scope.js";

/** Of the same crystal alone and in a padded batch, relative to max(1, |value|). */
const TOGETHER = 1e-6;

const PYTHON = process.env.UNITCELL_PYTHON ?? "/usr/bin/python3";

const models = goldenModels();
const runtimes = await onnxRuntimes();

/** In onnxruntime-web, of each architecture and kind one. */
const SOME = ["band-gap", "megnet", "alignn_small_extra", "variants/multi_output"];

inFull("ALIGNN of default size, most networks in onnxruntime-web");
for (const golden of models)
  for (const runtime of runtimes) {
    const isSome = runtime.name === "onnxruntime-node" ? golden.name !== "alignn_default" : SOME.includes(golden.name);
    if (!isFull && !isSome) continue;
    // The same network, fed with other numbers of rows and with weights; on whole graphs it takes a minute.
    const isLifted = runtime.name === "onnxruntime-web";
    const graphs = isLifted ? "compressed graphs" : "graphs";
    test(`${golden.name} in ${runtime.name}: all ${graphs} within ${TOLERANCE} of float64, in padded batches within ${TOGETHER} of that`, async () => {
      const model = await golden.load();
      const exported = programOnnx(model.program);
      const session = await OnnxSession.open(runtime, exported);
      const crystals = Array.from(golden.graphs(model), ([id, graph]): [string, AnyGraph] => [
        id,
        isLifted ? lift(graph) : graph,
      ]);
      let worst = { id: "", error: 0 };
      for (const [id, graph] of crystals) {
        const batch = collate([graph]);
        const { output } = await session.run(batch);
        const error = golden.error(id, model, batch, output, 0);
        if (!(error <= worst.error)) worst = { id, error };
      }
      const together = await differenceTogether(golden, model, { session, exported }, crystals);
      console.log(
        `  ${golden.name}, ${runtime.name}: ${crystals.length} ${graphs}, largest error ${worst.error.toExponential(2)} ` +
          `(${worst.id}), in batches ${together.toExponential(1)}`,
      );
      assert.ok(worst.error <= TOLERANCE, `${worst.id}: ${worst.error}`);
      assert.ok(together <= TOGETHER, `${together}`);
      await session.close();
    });
  }

/** Some small crystals, every other compressed, alone and together: the largest difference. */
async function differenceTogether(
  golden: GoldenModel,
  model: Model,
  { session, exported }: { session: OnnxSession; exported: ProgramOnnx },
  crystals: readonly (readonly [id: string, graph: AnyGraph])[],
): Promise<number> {
  const some = crystals
    .filter(([, { numAtoms, numEdges }]) => numAtoms <= 12 && numEdges <= 250)
    .filter((_, i) => i % 4 === 0)
    .map(([id, graph], i) => [id, i % 2 === 0 && !("rowOf" in graph) ? lift(graph) : graph] as const);
  assert.ok(some.length >= 6, `${some.length} small crystals`);
  const batch = collate(some.map(([, graph]) => graph));
  const { output } = await session.run(batch, wider(bucketed(feedSizes(exported.inputs, batch))));
  const live = output.subarray(0, batch.sizes.B * model.config.outputs);
  let most = 0;
  for (const [b, [id, graph]] of some.entries()) {
    const single = collate([graph]);
    const alone = outputRow(model, single, (await session.run(single)).output, 0);
    const found = outputRow(model, batch, live, b);
    assert.ok(golden.error(id, model, batch, live, b) <= TOLERANCE, id);
    for (const [o, x] of alone.entries())
      most = Math.max(most, Math.abs(found[o] - x) / Math.max(1, Math.abs(x)) || Number(found[o] !== x));
  }
  return most;
}

/** A batch may be of a bucket's size already. */
function wider({ rows: { B, N, E, T }, slots }: FeedSizes): FeedSizes {
  return {
    rows: { B: B + 1, N: N + 2, E: E + 3, T: T + 5 },
    slots: new Map([...slots].map(([name, count]) => [name, count + 1])),
  };
}

if (haveFixtures("cgcnn"))
  for (const file of ["formation-energy-per-atom.full.zip.pt", "formation-energy-per-atom.zip.pt"])
    test(`${file}: the ONNX file of the published one, byte for byte`, async () => {
      const published = await publishedModel(`${CHECKPOINTS[0]}.pth.tar`);
      const resaved = await publishedModel(file, { normalizer: published.normalizer! });
      assert.equal(programOnnx(resaved.program), programOnnx(published.program));
    });

if (haveFixtures("alignn"))
  for (const file of fixtureNames("alignn/variants/multi_output").filter((name) => /^fmt_.*\.(pt|zip)$/.test(name)))
    test(`multi_output/${file}: the ONNX file of best_model.pt, byte for byte`, async () => {
      const model = await loadModel(fixtureBytes(`alignn/variants/multi_output/${file}`));
      const best = await alignnModel("variants/multi_output");
      assert.equal(programOnnx(model.program).bytes, programOnnx(best.program).bytes);
    });

/** What check_onnx.py tells of a file. */
interface Checked {
  readonly ir: number;
  readonly opsets: readonly [domain: string, version: number][];
  readonly producer: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly inputs: readonly [name: string, type: string, shape: readonly (string | number)[], description: string][];
  readonly outputs: readonly [name: string, shape: readonly (string | number)[]][];
  readonly nodes: number;
  /** Values whose shape strict inference did not find. */
  readonly unknown: readonly string[];
  readonly weights: number;
}

function pythonOnnx(...args: string[]): string {
  return execFileSync(PYTHON, ["test/check_onnx.py", ...args], { encoding: "utf8", stdio: "pipe" });
}

function onnxVersion(): string | undefined {
  try {
    if (!existsSync(PYTHON)) throw new Error("absent");
    return JSON.parse(pythonOnnx("--version"));
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr;
    console.log(
      `skipped: no ONNX checker (${PYTHON}: ${(stderr || (error as Error).message).trim().split("\n").at(-1)})`,
    );
    return undefined;
  }
}

const version = onnxVersion();
if (version !== undefined) {
  const sources: [name: string, load: () => Promise<Model>][] = ["cgcnn", "alignn", "megnet"].map((name) => [
    `the example ${name}`,
    () => exampleModel(`${name}_ionic_best.pt`),
  ]);
  for (const { name, load } of models) sources.push([name, load]);

  test(`ONNX ${version}'s checker, strict, and its shape inference accept ${sources.length} models, which say what they are`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-onnx-"));
    try {
      const written: { model: Model; weights: "f32" | "f16"; file: string; name: string }[] = [];
      for (const [i, [name, load]] of sources.entries())
        for (const weights of i < 3 ? (["f32", "f16"] as const) : (["f32"] as const)) {
          const model = await load();
          const file = join(folder, `${written.length}.onnx`);
          writeFileSync(file, exportOnnx(model, { weights }));
          written.push({ name: `${name}, ${weights}`, model, weights, file });
        }
      const lines = pythonOnnx(...written.map(({ file }) => file)).trim();
      const checked = lines.split("\n").map((line) => JSON.parse(line) as Checked);
      assert.is(checked.length, written.length);
      for (const [i, one] of written.entries()) checkFile(one, checked[i]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

function checkFile(
  { name, model, weights }: { readonly name: string; readonly model: Model; readonly weights: "f32" | "f16" },
  { ir, opsets, producer, metadata, ...file }: Checked,
): void {
  assert.is(ir, 8, name);
  assert.equal(opsets, [["", 17]], name);
  assert.is(producer, "unitcell", name);
  assert.equal(file.unknown, [], `${name}: shapes of all values are known`);
  assert.equal(file.outputs, [["output", ["crystals", model.config.outputs]]], name);
  for (const [input, type, shape, description] of file.inputs) {
    assert.match(type, /^(FLOAT|INT32)$/, `${name}: ${input}`);
    assert.type(shape[0], "string", `${name}: ${input} has any number of rows`);
    assert.ok(description.length > 10, `${name}: ${input} is not described`);
  }
  assert.equal(metadata, Object.fromEntries(onnxMetadata(model, weights)), name);
  assert.is(metadata["unitcell.weights"], weights, name);
  assert.equal(JSON.parse(metadata["unitcell.graph"]), model.config.graph, name);
  assert.is(metadata["unitcell.architecture"], model.architecture);
  assert.is(metadata["unitcell.task"], model.config.task);
  if (model.normalizer) assert.equal(JSON.parse(metadata["unitcell.normalizer"]), model.normalizer);
  const elements: Record<string, number[]> = JSON.parse(metadata["unitcell.elements"]);
  assert.equal(
    Object.keys(elements),
    Array.from(model.elements.rows.keys(), (number) => SYMBOLS[number]),
  );
}

test("what cannot be exported is said", async () => {
  const model = await exampleModel("cgcnn_ionic_best.pt");
  const refused = (make: () => unknown, code: ErrorCode, message: RegExp) =>
    assert.throws(make, (error: unknown) => isUnitcellError(error, code) && message.test(error.message));
  refused(
    () => exportOnnx(model, { weights: "float16" as "f16" }),
    "ARGUMENT",
    /weights are f32 or f16, found "float16"/,
  );
  refused(
    () => exportOnnx(ensemble([model, model]) as unknown as Model),
    "ARGUMENT",
    /found an ensemble: export each of its members/,
  );
  const large = randomCgcnn();
  large.program.params.get("fc_out.weight")!.data[1] = -1e5;
  assert.ok(exportOnnx(large).length > 0);
  refused(() => exportOnnx(large, { weights: "f16" }), "LIMIT", /^fc_out\.weight has -100000, float16 ends at 65504/);
});

test.run();

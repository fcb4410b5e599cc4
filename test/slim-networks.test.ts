/**
 * What half precision and pruning do to the predictions of nine networks, three of each architecture where the shared
 * fixtures are: printed, bounded, and for published networks against the float64 numbers of the original code.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { type Checkpoint, type CheckpointFiles, loadCheckpoint, saveCheckpoint } from "../src/checkpoint.js";
import { castTensor } from "../src/formats/cast.js";
import { collate } from "../src/graphs/batch.js";
import type { CrystalGraph } from "../src/graphs/graph.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import { decodeOutput, outputRow } from "../src/models/model.js";
import { comparePredictions } from "../src/prediction-change.js";
import { type SlimDType, type SlimOptions, slimCheckpoint } from "../src/slim.js";
import type { Structure } from "../src/structures/structure.js";
import { exampleStructures } from "./examples.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, goldens, storedGraph } from "./goldens.js";
import { alignnGoldens, alignnGraphs } from "./goldens-alignn.js";
import { megnetGoldens, megnetGraph } from "./goldens-megnet.js";
import { storedStructures } from "./stored-structures.js";

type Input = Uint8Array | CheckpointFiles;

interface Row {
  readonly name: string;
  readonly input: () => Input;
  /** Of the published networks the float64 value of every stored graph. */
  readonly golden?: () => [CrystalGraph, number][];
}

const bundle = (folder: string, ...names: string[]) =>
  new Map(names.map((name) => [name, fixtureBytes(`${folder}/${name}`)] as const));

const ROWS: Row[] = ["cgcnn", "alignn", "megnet"].map((name) => ({
  name: `example ${name}`,
  input: () => readFileSync(`examples/saved_models/${name}_ionic_best.pt`),
}));
if (haveFixtures("cgcnn"))
  for (const name of CHECKPOINTS)
    ROWS.push({
      name: `cgcnn ${name}`,
      input: () => fixtureBytes(`cgcnn/${name}.pth.tar`),
      golden: () => [...goldens(name)].map(([id, { f64 }]) => [storedGraph(id), f64]),
    });
if (haveFixtures("megnet"))
  ROWS.push({
    name: "megnet",
    input: () => bundle("megnet", "state.pt", "model.pt", "model.json"),
    golden: () => megnetGoldens().flatMap(({ id, f64, nan }) => (nan ? [] : [[megnetGraph(id), f64]])),
  });
if (haveFixtures("alignn"))
  for (const name of ["alignn_default", "atomwise_graph"])
    ROWS.push({
      name,
      input: () => bundle(`alignn/${name}`, "best_model.pt", "config.json"),
      golden: () => {
        const { predictions } = alignnGoldens().get(name)!;
        return [...alignnGraphs("knn")].map(([id, graph]) => [graph, [predictions[id].f64].flat(2)[0]]);
      },
    });

/** Crystals of up to 60 atoms; those of the fixtures for all but ALIGNN, whose own graphs take longer. */
function structuresFor(name: string): Structure[] {
  if (!haveShared || name.includes("alignn") || name.startsWith("example")) return exampleStructures();
  return [...storedStructures().values()].filter(({ numbers }) => numbers.length <= 60);
}
const haveShared = haveFixtures("structures");

/** Written, read again, as a model. */
async function slimModel(checkpoint: Checkpoint, options: SlimOptions, format: "torch" | "safetensors" = "torch") {
  const { checkpoint: slim } = slimCheckpoint(checkpoint, options);
  return modelFromCheckpoint(await loadCheckpoint(saveCheckpoint(slim, format)));
}

/** Every floating-point tensor rounded, what slimCheckpoint does not do. */
function roundedWhole(checkpoint: Checkpoint, dtype: SlimDType): Checkpoint {
  const stateDict = new Map(
    [...checkpoint.stateDict].map(([name, tensor]) => [
      name,
      tensor.dtype === "f32" ? castTensor(tensor, dtype) : tensor,
    ]),
  ); // prettier-ignore
  return { ...checkpoint, stateDict };
}

const brief = (x: number) => x.toExponential(1);

/** Largest mean change that a network may show, in its own unit: twice what was measured, to notice when it grows. */
const MOST = { f16: 0.005, bf16: 0.05 };

for (const { name, input } of ROWS)
  test(`${name}: slim changes nothing, float16 little, and less than with biases and norms rounded`, async () => {
    const original = await loadCheckpoint(input());
    const model = modelFromCheckpoint(original);
    const structures = structuresFor(name);
    const changed = async (other: typeof model) => {
      const { largest, mean, structures: rows } = await comparePredictions(model, other, structures);
      // Crystals beyond a network's elements or range fail before and after alike.
      assert.equal(
        rows.filter((row) => "error" in row && row.failed !== "both"),
        [],
      );
      return { largest, mean };
    };
    for (const format of ["torch", "safetensors"] as const)
      assert.equal(await changed(await slimModel(original, {}, format)), { largest: 0, mean: 0 });
    const line: string[] = [];
    for (const dtype of ["f16", "bf16"] as const) {
      const kept = await changed(await slimModel(original, { dtype }));
      const whole = await changed(modelFromCheckpoint(roundedWhole(original, dtype)));
      line.push(`${dtype} ${brief(kept.largest)} ${brief(kept.mean)} (all rounded ${brief(whole.mean)})`);
      assert.ok(kept.mean <= MOST[dtype], `${dtype}: ${kept.mean}`);
      if (dtype === "f16") assert.ok(kept.mean < whole.mean, `${kept.mean}, all rounded ${whole.mean}`);
    }
    for (const sparsity of [0.1, 0.3]) {
      const { largest, mean } = await changed(await slimModel(original, { sparsity }));
      line.push(`${100 * sparsity} % zero ${brief(largest)} ${brief(mean)}`);
    }
    console.log(`  ${name}: ${line.join("; ")} (largest, mean)`);
  });

for (const { name, input, golden } of ROWS)
  if (golden)
    test(`${name}: slim files against the original code's float64 values`, async () => {
      const original = await loadCheckpoint(input());
      const expected = golden();
      const worst: number[] = [];
      for (const options of [{}, { dtype: "f16" }, { dtype: "bf16" }] as const) {
        const model = await slimModel(original, options);
        const session = await wasmBackend().createSession(model.program);
        let error = 0;
        for (const [graph, f64] of expected) {
          const batch = collate([graph]);
          const { value } = decodeOutput(model, outputRow(model, batch, await session.run(batch), 0));
          error = Math.max(error, Math.abs(value - f64) / Math.max(1, Math.abs(f64)));
        }
        session.dispose();
        worst.push(error);
      }
      console.log(
        `  ${name}, ${expected.length} graphs: error ${worst.map(brief).join(", ")} of float32, float16, bfloat16`,
      );
      const [lossless, f16, bf16] = worst;
      assert.ok(lossless <= 2e-5 && f16 <= 0.02 && bf16 <= 0.3, worst.join(", "));
    });

test.run();

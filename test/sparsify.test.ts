/** Magnitude pruning: counts, ties, what is left alone; the zeros of torch.nn.utils.prune. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { castTensor } from "../src/formats/cast.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { Float, type TorchValue } from "../src/formats/values.js";
import { sparsify } from "../src/sparsify.js";
import { type StateDict, type Tensor, toFloat32 } from "../src/tensor.js";
import { pytorch1, pytorch2 } from "./interop.js";
import { throwsCode } from "./throws.js";

function matrix(rows: readonly (readonly number[])[]): Tensor {
  const data = new Uint8Array(Float32Array.from(rows.flat()).buffer);
  return { dtype: "f32", shape: [rows.length, rows[0].length], data };
}
const dict = (entries: Record<string, Tensor>): StateDict => new Map(Object.entries(entries));
const numbers = (stateDict: StateDict, name: string) => [...toFloat32(stateDict.get(name)!)];

const ROWS: [what: string, sparsity: number, scope: "global" | "tensor", a: number[], b: number[]][] = [
  ["nothing", 0, "global", [1, -2, 3, 4], [0, 0.5, -0.25, 8]],
  ["everything", 1, "global", [0, 0, 0, 0], [0, 0, 0, 0]],
  ["half of all together", 0.5, "global", [0, -2, 3, 4], [0, 0, 0, 8]],
  ["half of each", 0.5, "tensor", [0, 0, 3, 4], [0, 0.5, 0, 8]],
  ["a zero that was one already counts", 0.125, "global", [1, -2, 3, 4], [0, 0.5, -0.25, 8]],
  ["half a weight goes to the even count, as in torch", 0.1875, "global", [1, -2, 3, 4], [0, 0.5, 0, 8]],
];
for (const [what, sparsity, scope, a, b] of ROWS)
  test(`zeros: ${what}`, () => {
    const before = dict({
      "a.weight": matrix([
        [1, -2],
        [3, 4],
      ]),
      "b.weight": matrix([[0, 0.5, -0.25, 8]]),
    }); // prettier-ignore
    const { stateDict, report } = sparsify(before, { sparsity, scope });
    assert.equal([numbers(stateDict, "a.weight"), numbers(stateDict, "b.weight")], [a, b]);
    assert.equal([report.elements, report.zerosBefore], [8, 1]);
    assert.is(report.zerosAfter, [...a, ...b].filter((x) => x === 0).length);
    assert.equal(numbers(before, "a.weight"), [1, -2, 3, 4]);
  });

test("of equal magnitudes the first become zero, exactly as many as asked for", () => {
  const { stateDict, report } = sparsify(
    dict({ "a.weight": matrix([[1, -1, 1]]), "b.weight": matrix([[1, 1, -1, 1, 0]]) }),
    { sparsity: 0.5 },
  );
  assert.equal(numbers(stateDict, "a.weight"), [0, 0, 0]);
  assert.equal(numbers(stateDict, "b.weight"), [1, 1, -1, 1, 0]);
  assert.equal(report.tensors, [
    { name: "a.weight", shape: [1, 3], elements: 3, zerosBefore: 0, zerosAfter: 3, threshold: 1 },
    { name: "b.weight", shape: [1, 5], elements: 5, zerosBefore: 1, zerosAfter: 1, threshold: 0 },
  ]);
});

test("what is no weight matrix is the same object, and the report says why", async () => {
  const { stateDict } = await loadCheckpoint(readFileSync("examples/saved_models/megnet_ionic_best.pt"));
  const some = dict({
    "bn.weight": { dtype: "f32", shape: [2], data: new Uint8Array(8) },
    "bn.running_var": { dtype: "f32", shape: [2], data: new Uint8Array(8) },
    "bn.num_batches_tracked": { dtype: "i64", shape: [], data: new Uint8Array(8) },
    "rbf.centers": { dtype: "f32", shape: [2, 1], data: new Uint8Array(8) },
    "embedding.weight": matrix([[1, 2]]),
    "embedding.bias": { dtype: "f32", shape: [1], data: new Uint8Array(4) },
    "table.node_embedding.weight": matrix([[1, 2]]),
    "lstm.weight_hh_l0": matrix([[1, 2]]),
  });
  const { stateDict: pruned, report } = sparsify(some, { sparsity: 0.5 });
  const norm = "a bias, norm or buffer: fewer than two dimensions";
  assert.equal(report.left, [
    { name: "bn.weight", reason: norm },
    { name: "bn.running_var", reason: norm },
    { name: "bn.num_batches_tracked", reason: "not of floating-point numbers" },
    { name: "rbf.centers", reason: "not named as a weight" },
    { name: "embedding.bias", reason: norm },
    { name: "table.node_embedding.weight", reason: "a table of embeddings" },
  ]);
  for (const { name } of report.left) assert.is(pruned.get(name), some.get(name));
  // A linear layer that is called embedding has a bias.
  assert.equal(
    report.tensors.map(({ name }) => name),
    ["embedding.weight", "lstm.weight_hh_l0"],
  );
  const left = sparsify(stateDict, { sparsity: 0.5 }).report.left.filter(({ reason }) => /table/.test(reason));
  assert.equal(
    left.map(({ name }) => name.replace(/^.*embedding\.l/, "l")),
    ["layer_node_embedding.weight"],
  );
});

test("tied weights are pruned once and stay one", () => {
  const weight = matrix([[1, 2, 3, 4]]);
  const { stateDict, report } = sparsify(dict({ "in.weight": weight, "out.weight": { ...weight } }), { sparsity: 0.5 });
  assert.is(stateDict.get("in.weight"), stateDict.get("out.weight"));
  assert.equal([report.elements, report.zerosAfter], [4, 2]);
  assert.equal(report.left, [{ name: "out.weight", reason: "tied to in.weight" }]);
});

for (const dtype of ["f64", "f16", "bf16"] as const)
  test(`weights of ${dtype} keep their dtype`, () => {
    const { stateDict } = sparsify(dict({ "a.weight": castTensor(matrix([[3, -1, 2]]), dtype) }), { sparsity: 0.4 });
    assert.is(stateDict.get("a.weight")!.dtype, dtype);
    assert.equal(numbers(stateDict, "a.weight"), [3, 0, 2]);
  });

for (const sparsity of [-0.1, 1.1, Number.NaN])
  test(`refused: a sparsity of ${sparsity}`, () =>
    throwsCode(() => sparsify(new Map(), { sparsity }), "ARGUMENT", /a share from 0 to 1, found/));

test("refused: NaN among the weights, by name and place; infinities are the largest", async () => {
  await throwsCode(
    () =>
      sparsify(
        dict({
          "a.weight": matrix([
            [1, 2],
            [3, Number.NaN],
          ]),
        }),
        { sparsity: 0.5 },
      ), // prettier-ignore
    "MISMATCH",
    /weight "a\.weight" is NaN at element 3/,
  );
  const infinite = dict({ "a.weight": matrix([[Number.NEGATIVE_INFINITY, 1]]) });
  assert.equal(numbers(sparsify(infinite, { sparsity: 0.5 }).stateDict, "a.weight"), [Number.NEGATIVE_INFINITY, 0]);
});

for (const torch of [pytorch2(), pytorch1()])
  if (torch)
    test(`the zeros of torch.nn.utils.prune, torch ${torch.version}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "unitcell-sparsify-"));
      const args: string[] = [];
      for (const name of ["cgcnn", "alignn", "megnet"]) {
        const { stateDict } = await loadCheckpoint(readFileSync(`examples/saved_models/${name}_ionic_best.pt`));
        for (const scope of ["global", "tensor"] as const)
          for (const sparsity of [0, 0.1, 0.37, 0.5, 0.9, 1]) {
            const { stateDict: after, report } = sparsify(stateDict, { sparsity, scope });
            const names = report.tensors.map((tensor) => tensor.name);
            const value: [string, TorchValue][] = [
              ["before", stateDict],
              ["after", after],
              ["names", names],
              ["amount", new Float(sparsity)],
              ["scope", scope],
            ];
            const file = join(folder, `${args.length}.pt`);
            writeFileSync(file, saveTorch(new Map(value)));
            args.push(file, "lambda d: __import__('interop_slim').pruned_alike(d)");
          }
      }
      const found = torch.run<(boolean | string)[]>("check", ...args);
      rmSync(folder, { recursive: true });
      assert.equal(
        found,
        found.map(() => true),
      );
      console.log(`  torch ${torch.version}: ${found.length} prunings with the same zeros`);
    });

test.run();

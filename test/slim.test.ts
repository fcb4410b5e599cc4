/** Slim checkpoints and the files made of them: what stays, what goes, the same predictions; PyTorch reads them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, loadCheckpoint, saveCheckpoint } from "../src/checkpoint.js";
import { castTensor } from "../src/formats/cast.js";
import { saveSafetensors } from "../src/formats/safetensors-save.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import {
  Float,
  isFloatAt,
  NumpyDtype,
  NumpyScalar,
  PythonObject,
  TorchConstant,
  type TorchValue,
} from "../src/formats/values.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import { predict } from "../src/predict.js";
import { slimCheckpoint } from "../src/slim.js";
import { inspectCheckpoint } from "../src/summary.js";
import { type Tensor, toFloat32 } from "../src/tensor.js";
import { exampleStructures } from "./examples.js";
import { pytorch1, pytorch2 } from "./interop.js";
import { throwsCode } from "./throws.js";

const EXAMPLES = ["cgcnn", "alignn", "megnet"].map((name) => `examples/saved_models/${name}_ionic_best.pt`);
const structures = exampleStructures();

const valuesOf = async (checkpoint: Checkpoint) =>
  (await predict(modelFromCheckpoint(checkpoint), structures)).map(({ value, warnings }) => [value, warnings]);

for (const path of EXAMPLES)
  for (const format of ["torch", "safetensors"] as const)
    test(`${path}, as ${format}: the parts of the original, the same predictions to the bit, no optimizer`, async () => {
      const original = await loadCheckpoint(readFileSync(path));
      const { checkpoint, report } = slimCheckpoint(original);
      assert.equal(report.stripped, ["optimizer"]);
      assert.equal(report.leftOut, []);
      assert.is(report.tensorBytes.before, report.tensorBytes.after);
      const bytes = saveCheckpoint(checkpoint, format);
      assert.ok(bytes.byteLength < 0.45 * readFileSync(path).byteLength, `${bytes.byteLength}`);
      const read = await loadCheckpoint(bytes);
      assert.is(read.layout, format === "torch" ? "training" : "metadata");
      for (const part of ["normalizer", "args", "epoch", "metrics"] as const) assert.equal(read[part], original[part]);
      assert.equal(read.extra, new Map());
      // The tensors of safetensors are in the order of their dtypes and names.
      assert.equal([...read.stateDict.keys()].sort(), [...original.stateDict.keys()].sort());
      for (const [name, { dtype, shape, data }] of read.stateDict) {
        const expected = original.stateDict.get(name)!;
        assert.equal([dtype, shape, Buffer.compare(data, expected.data)], [expected.dtype, expected.shape, 0], name);
      }
      assert.equal(await valuesOf(read), await valuesOf(original));
      const summary = await inspectCheckpoint(bytes);
      assert.equal([summary.epoch, summary.problem], [original.epoch, undefined]);
      assert.equal(summary.args, original.args);
    });

const floats = (shape: number[], ...values: number[]): Tensor => ({
  dtype: "f32",
  shape,
  data: new Uint8Array(Float32Array.from(values).buffer),
});
const bare = (entries: Record<string, Tensor>): Checkpoint => ({
  stateDict: new Map(Object.entries(entries)),
  layout: "plain",
  extra: new Map(),
});

test("a cast rounds matrices; what is too large stays and is named, what is wide or narrow already too", () => {
  const { checkpoint, report } = slimCheckpoint(
    bare({
      "a.weight": floats([1, 3], 1.0004883, 65504, 1e-9),
      "b.weight": floats([1, 2], 65520, 1),
      "c.bias": floats([1], 1.0004883),
      "d.weight": castTensor(floats([1, 1], 1 / 3), "f64"),
      "e.weight": castTensor(floats([1, 1], 1 / 3), "bf16"),
      "f.weight": floats([1, 2], Number.POSITIVE_INFINITY, Number.NaN),
      steps: { dtype: "i64", shape: [1, 1], data: new Uint8Array(8) },
    }),
    { dtype: "f16" },
  );
  const dtypes = [...checkpoint.stateDict].map(([name, { dtype }]) => [name, dtype]);
  assert.equal(Object.fromEntries(dtypes), {
    "a.weight": "f16",
    "b.weight": "f32",
    "c.bias": "f32",
    "d.weight": "f16",
    "e.weight": "bf16",
    "f.weight": "f16",
    steps: "i64",
  });
  assert.equal([...toFloat32(checkpoint.stateDict.get("a.weight")!)], [1, 65504, 0]);
  assert.equal(report.cast, {
    dtype: "f16",
    cast: 3,
    kept: [
      { name: "b.weight", reason: "65520 is too large for float16" },
      { name: "c.bias", reason: "a bias, norm or buffer: fewer than two dimensions" },
    ],
    underflows: 1,
  });
});

test("tied weights stay one through pruning, cast and file; a strided view becomes dense", async () => {
  const storage = new Storage("0", "f32", 6, "cpu", new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer));
  const turned = TorchTensor.over(storage, { dtype: "f32", shape: [2, 2], strides: [1, 3], offset: 0 });
  const tied = floats([2, 2], 1, 2, 3, 4);
  const { checkpoint, report } = slimCheckpoint(
    bare({ "a.weight": tied, "b.weight": { ...tied }, "t.weight": turned }),
    {
      sparsity: 0.25,
      scope: "tensor",
      dtype: "bf16",
    },
  );
  assert.equal(report.tensorBytes, { before: 32, after: 16 });
  const read = await loadCheckpoint(saveCheckpoint(checkpoint, "torch"));
  const [a, b, t] = ["a", "b", "t"].map((name) => read.stateDict.get(`${name}.weight`) as TorchTensor);
  assert.is(a.storage, b.storage);
  assert.equal([...toFloat32(a)], [0, 2, 3, 4]);
  assert.equal([...toFloat32(t)], [0, 4, 2, 5]);
  assert.is(t.storage!.byteLength, 8);
});

test("settings become plain: Namespaces, numpy, dtypes and sets change, objects and tensors are left out by path", async () => {
  const namespace = new PythonObject("argparse.Namespace", "newobj", []);
  namespace.state = new Map<TorchValue, TorchValue>([
    ["lr", new NumpyScalar(new NumpyDtype("f8", "<"), new Uint8Array(Float64Array.of(2).buffer), 2)],
    ["device", new TorchConstant("device", "cuda:0")],
    ["inner", new Map<TorchValue, TorchValue>([["fn", new PythonObject("my.Fn", "reduce", [])]])],
    ["tuple", Object.freeze([1, new Float(2)]) as TorchValue],
    ["bad", [floats([1], 1)]],
    ["kinds", new Set(["a"])],
    ["big", 2n ** 60n],
    ["limit", Number.POSITIVE_INFINITY],
  ] as [string, TorchValue][]);
  const file = saveTorch(
    new Map<TorchValue, TorchValue>([
      ["state_dict", new Map([["w", floats([1], 1)]])],
      ["args", namespace],
      ["scheduler", new Map()],
    ]),
  );
  const original = await loadCheckpoint(file, { unknownClasses: "inert" });
  const { checkpoint, report } = slimCheckpoint(original);
  assert.equal(report.stripped, ["scheduler"]);
  assert.equal(report.leftOut, ["args.inner.fn", "args.bad.0", "args.bad"]);
  const plain = [
    ["lr", 2],
    ["device", "cuda:0"],
    ["inner", new Map()],
    ["tuple", [1, 2]],
    ["kinds", ["a"]],
    ["big", 2n ** 60n],
    ["limit", Number.POSITIVE_INFINITY],
  ];
  const args = (await loadCheckpoint(saveCheckpoint(checkpoint, "torch"))).args!;
  assert.equal([...args], plain);
  assert.ok(isFloatAt(args, "lr") && isFloatAt(args.get("tuple") as object, 1));
  assert.ok(Object.isFrozen(args.get("tuple")));
  const bytes = saveCheckpoint(checkpoint, "safetensors");
  // JSON numbers are doubles here; the digits are all in the file.
  assert.equal([...(await loadCheckpoint(bytes)).args!].slice(0, 5), plain.slice(0, 5));
  assert.match(Buffer.from(bytes).toString("latin1"), '{\\"lr\\":2.0,\\"device\\":\\"cuda:0\\"');
  assert.match(Buffer.from(bytes).toString("latin1"), "1152921504606846976");
});

test("refused: quantized and complex weights, an optimizer in safetensors", async () => {
  const complex: Tensor = { dtype: "c64", shape: [1], data: new Uint8Array(8) };
  await throwsCode(() => slimCheckpoint(bare({ w: complex })), "UNSUPPORTED", /"w" is complex64, no real numbers/);
  const original = await loadCheckpoint(readFileSync(EXAMPLES[0]));
  await throwsCode(() => saveCheckpoint(original, "safetensors"), "UNSUPPORTED", /cannot hold "optimizer"/);
  // A .pt has room for it.
  const again = await loadCheckpoint(saveCheckpoint(original, "torch"));
  assert.equal([...again.extra.keys()], ["optimizer"]);
});

const KEY = "unitcell.checkpoint";
const METADATA: [what: string, metadata: Record<string, string>, code: "CORRUPT" | "MISMATCH", message: RegExp][] = [
  ["a list that is no JSON", { [KEY]: "normalizer" }, "CORRUPT", /metadata unitcell\.checkpoint: expected/],
  ["a list that is none", { [KEY]: '{"a":1}' }, "CORRUPT", /expected a list of names/],
  ["a value that is not there", { [KEY]: '["args"]' }, "MISMATCH", /lists "args" as a value, and does not hold it/],
  ["a value that is no JSON", { [KEY]: '["args"]', args: "{'lr': 1}" }, "CORRUPT", /metadata "args": expected/],
  ["one key twice", { [KEY]: '["args"]', args: '{"a":1,"a":2}' }, "CORRUPT", /the key "a" twice/],
  ["args that are none", { [KEY]: '["args"]', args: "3" }, "MISMATCH", /args should be a dict/],
  [
    "half a normalizer",
    { [KEY]: '["normalizer"]', normalizer: '{"mean":1}' },
    "MISMATCH",
    /normalizer std should be a/,
  ],
  ["an epoch in words", { [KEY]: '["epoch"]', epoch: '"last"' }, "MISMATCH", /epoch should be a number/],
];
for (const [what, metadata, code, message] of METADATA)
  test(`safetensors metadata is refused: ${what}`, async () => {
    const file = saveSafetensors(new Map([["w", floats([1], 1)]]), new Map(Object.entries(metadata)));
    await throwsCode(() => loadCheckpoint(file), code, message);
    const { problem, tensors } = await inspectCheckpoint(file);
    assert.is(tensors.length, 1);
    if (code === "CORRUPT" || !/should be/.test(String(message))) assert.match(problem!, message);
  });

test("safetensors metadata of others is let alone, and so are keys that the list does not name", async () => {
  const tensors = new Map([["w", floats([1], 1)]]);
  const foreign = new Map([
    ["format", "pt"],
    ["epoch", "last"],
    ["normalizer", '{"mean":1,"std":2}'],
  ]);
  const { layout, normalizer, epoch, extra } = await loadCheckpoint(saveSafetensors(tensors, foreign));
  assert.equal([layout, normalizer, epoch, extra.size], ["plain", undefined, undefined, 0]);
  const listed = new Map([...foreign, [KEY, '["normalizer","hyper_parameters","other"]'], ["other", "[1]"]]);
  listed.set("hyper_parameters", '{"radius":6.5}');
  const read = await loadCheckpoint(saveSafetensors(tensors, listed));
  assert.equal([read.layout, read.normalizer, read.epoch], ["metadata", { mean: 1, std: 2 }, undefined]);
  assert.equal([read.args, read.extra], [new Map([["radius", 6.5]]), new Map([["other", [1]]])]);
});

for (const torch of [pytorch2(), pytorch1()])
  if (torch)
    test(`torch ${torch.version} loads slim files: the weights of tensor.to(dtype)`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "unitcell-slim-"));
      const args: string[] = [];
      for (const path of EXAMPLES)
        for (const dtype of [undefined, "f16", "bf16"] as const) {
          const { checkpoint } = slimCheckpoint(await loadCheckpoint(readFileSync(path)), dtype ? { dtype } : {});
          const file = join(folder, `${args.length}.pt`);
          writeFileSync(file, saveCheckpoint(checkpoint, "torch"));
          const name = dtype && { f16: "'float16'", bf16: "'bfloat16'" }[dtype];
          args.push(
            path,
            `lambda d: __import__('interop_slim').slimmed(${JSON.stringify(file)}, ${name ?? "None"}, d)`,
          );
        }
      const { checkpoint } = slimCheckpoint(
        { ...bare({ w: floats([1, 1], 1) }), epoch: 3, args: new Map([["n", 2]]) },
        { dtype: "bf16" },
      );
      const whole = join(folder, "whole.pt");
      writeFileSync(whole, saveCheckpoint(checkpoint, "torch"));
      args.push(whole, `lambda d: __import__('interop_slim').without_floats(${JSON.stringify(whole)})`);
      const found = torch.run<(boolean | string)[]>("check", ...args);
      rmSync(folder, { recursive: true });
      assert.equal(
        found,
        found.map(() => true),
      );
    });

test.run();

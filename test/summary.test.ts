/** inspectCheckpoint: what it tells, and that it reads no tensors and refuses no file for what it names. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { saveSafetensors } from "../src/formats/safetensors-save.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import { OrderedDict, PythonGlobal, PythonObject, type TorchValue } from "../src/formats/values.js";
import { inspectCheckpoint } from "../src/summary.js";
import type { Tensor } from "../src/tensor.js";
import { call, global, ops, str, torchZip } from "./build-files.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";
import { throwsCode } from "./throws.js";

function zeros(...shape: number[]): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return { dtype: "f32", shape, data: new Uint8Array(4 * count) };
}

function view(storage: Storage | undefined, shape: number[], strides: number[], offset = 0): TorchTensor {
  return TorchTensor.over(storage, { dtype: "f32", shape, strides, offset });
}

const dict = (entries: Record<string, TorchValue>) => new Map<TorchValue, TorchValue>(Object.entries(entries));

test("a training checkpoint: state dict, epoch, metrics, arguments, the rest", async () => {
  const args = dict({ lr: 0.01, optim: "SGD" });
  const bytes = saveTorch(
    dict({
      epoch: 12,
      state_dict: dict({ "fc.weight": zeros(3, 4), "fc.bias": zeros(3) }),
      best_mae_error: 0.25,
      optimizer: dict({ state: dict({ buffer: zeros(3, 4) }) }),
      seed: 7,
      args,
    }),
  );
  const found = await inspectCheckpoint(bytes);
  assert.equal(
    [found.format, found.layout, found.stateDict, found.bytes],
    ["torch", "training", "state_dict", bytes.length],
  );
  assert.equal([found.parameters, found.epoch, found.metrics], [15, 12, { best_mae_error: 0.25 }]);
  assert.equal(found.args, args);
  assert.equal(
    found.tensors.map(({ name, key, shape, bytes }) => [name, key, shape, bytes]),
    [
      ["state_dict.fc.weight", "fc.weight", [3, 4], 48],
      ["state_dict.fc.bias", "fc.bias", [3], 12],
      ["optimizer.state.buffer", undefined, [3, 4], 48],
    ],
  );
  assert.equal([found.unsafeGlobals, found.info.get("byteorder"), found.bytesRead], [[], "little", 0]);
});

test("tied weights and views: counted once, with the first name; contiguous ones have no strides", async () => {
  const shared = new Storage("0", "f32", 12, "cpu", new Uint8Array(48));
  const parameter = view(shared, [3, 4], [4, 1]);
  Object.assign(parameter, { isParameter: true, requiresGrad: true });
  const state = new OrderedDict([
    ["embed", parameter],
    ["out", view(shared, [3, 4], [4, 1])],
    ["turned", view(shared, [4, 3], [1, 4])],
    ["row", view(shared, [4], [1], 8)],
    ["other", zeros(2)],
    ["meta", view(undefined, [5], [1])],
  ] as [string, TorchValue][]);
  const { parameters, tensors, layout } = await inspectCheckpoint(saveTorch(state));
  assert.equal([layout, parameters], ["plain", 12 + 2 + 5]);
  const rows = tensors.map(({ name, tiedTo, strides, offset, device }) => [name, tiedTo, strides, offset, device]);
  assert.equal(rows, [
    ["embed", undefined, undefined, undefined, "cpu"],
    ["out", "embed", undefined, undefined, "cpu"],
    ["turned", "embed", [1, 4], 0, "cpu"],
    ["row", "embed", [1], 8, "cpu"],
    ["other", undefined, undefined, undefined, "cpu"],
    ["meta", undefined, undefined, undefined, "meta"],
  ]);
  assert.equal([tensors[0].parameter, tensors[0].requiresGrad, tensors[1].parameter], [true, true, false]);
});

test("one tensor under two names of a state dict is tied to itself", async () => {
  const tensor = view(new Storage("0", "f32", 2, "cpu", new Uint8Array(8)), [2], [1]);
  const { tensors, parameters } = await inspectCheckpoint(saveTorch(dict({ a: tensor, b: tensor })));
  assert.equal([tensors.map(({ tiedTo }) => tiedTo), parameters], [[undefined, "a"], 2]);
});

test("other places of a state dict, and files without one", async () => {
  const rows: [value: TorchValue, stateDict: string | undefined, layout: string | undefined, parameters: number][] = [
    [dict({ model_state_dict: dict({ w: zeros(2) }), step: zeros(3) }), "model_state_dict", "training", 2],
    [dict({ model: dict({ w: zeros(2) }) }), "model", "training", 2],
    [dict({ model: dict({ w: zeros(2) }), trainer: dict({ iteration: 6 }) }), "model", "ignite", 2],
    [dict({ "pytorch-lightning_version": "2.2.0", state_dict: dict({ w: zeros(2) }) }), "state_dict", "lightning", 2],
    [dict({ model: dict({ name: "x" }), w: zeros(3) }), undefined, undefined, 3],
    [dict({ w: zeros(2) }), "", "plain", 2],
    [[zeros(2), zeros(3)], undefined, undefined, 5],
    [zeros(4), undefined, undefined, 4],
    [null, undefined, undefined, 0],
  ];
  for (const [value, stateDict, layout, parameters] of rows) {
    const found = await inspectCheckpoint(saveTorch(value));
    assert.equal([found.stateDict, found.layout, found.parameters], [stateDict, layout, parameters]);
  }
});

test("a whole module goes by the names its state dict would have", async () => {
  const linear = new PythonObject("my.Net", "newobj", []);
  linear.state = dict({
    _parameters: dict({ weight: zeros(2, 2) }),
    _buffers: dict({ mean: zeros(2) }),
    _modules: dict({}),
  });
  const { layout, tensors, unsafeGlobals } = await inspectCheckpoint(saveTorch(linear));
  assert.equal([layout, tensors.map(({ name }) => name)], ["module", ["weight", "mean"]]);
  assert.equal(unsafeGlobals, ["my.Net"]);
});

test("names of code are listed, not refused; also in a file that breaks after them", async () => {
  const pickle = call(global("os", "system"), str("true"));
  const found = await inspectCheckpoint(torchZip(ops("EMPTY_LIST", pickle, "APPEND"), {}));
  assert.equal([found.globals, found.unsafeGlobals], [["os.system"], ["os.system"]]);
  await throwsCode(() => inspectCheckpoint(torchZip(ops(pickle, [0xff]), {})), "UNSAFE", /os\.system/);
  const value = new PythonGlobal("subprocess.Popen");
  assert.equal((await inspectCheckpoint(saveTorch([value]))).unsafeGlobals, ["subprocess.Popen"]);
});

test("safetensors: metadata, no layout but the plain one", async () => {
  const bytes = saveSafetensors(new Map([["w", zeros(2, 3)]]), new Map([["epoch", "12"]]));
  const found = await inspectCheckpoint(bytes);
  assert.equal([found.format, found.layout, found.parameters], ["safetensors", "plain", 6]);
  assert.equal(found.info.get("metadata"), new Map([["epoch", "12"]]));
});

test("a file of 64 MB is told for less than 200 kB, none of it tensor data", async () => {
  const state = new Map<TorchValue, TorchValue>();
  for (let i = 0; i < 4; i++) state.set(`layer${i}`, zeros(2048, 2048));
  const bytes = saveTorch(state);
  const source = {
    size: bytes.length,
    slice: (start: number, end: number) => ({ arrayBuffer: async () => bytes.slice(start, end).buffer as ArrayBuffer }),
  };
  const { parameters, bytesRead } = await inspectCheckpoint(source);
  assert.is(parameters, 4 * 2048 * 2048);
  assert.ok(bytesRead > 0 && bytesRead < 200_000, `${bytesRead}`);
});

if (haveFixtures("cgcnn"))
  test("the published formation-energy network", async () => {
    const found = await inspectCheckpoint(fixtureBytes("cgcnn/formation-energy-per-atom.pth.tar"));
    assert.equal([found.format, found.layout, found.epoch, found.parameters], ["torch-legacy", "training", 968, 98177]);
    assert.equal(found.metrics, { best_mae_error: 0.03972001800748568 });
    assert.is(found.args?.get("atom_fea_len"), 64);
    assert.is(found.tensors[0].device, "cuda:0");
    assert.equal(found.unsafeGlobals, []);
  });

test.run();

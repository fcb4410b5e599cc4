import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, loadCheckpoint } from "../src/checkpoint.js";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchTensor } from "../src/formats/torch-tensors.js";
import { NumpyArray, NumpyDtype, NumpyScalar, PythonObject, type TorchValue } from "../src/formats/values.js";
import { call, global, int, ops, storage, str, tensor, torchZip, tuple } from "./build-files.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";
import { sha256 } from "./tagged.js";
import { throwsCode } from "./throws.js";

function own(name: string): Promise<Checkpoint> {
  return loadCheckpoint(new Uint8Array(readFileSync(`test/fixtures/torch/${name}`)));
}

const one = tensor(storage("Float", "0", 1), 0, [1], [1]);

/** A torch zip of a dict with these entries; storage "0" holds one float32. */
function dictFile(entries: readonly (readonly [key: string, value: readonly number[]])[]): Uint8Array {
  const items = entries.flatMap(([key, value]) => [...str(key), ...value]);
  return torchZip(ops("EMPTY_DICT", "MARK", items, "SETITEMS"), { 0: [0, 0, 192, 63] });
}

function dict(...entries: (readonly [key: string, value: readonly number[]])[]): number[] {
  return ops("EMPTY_DICT", "MARK", ...entries.flatMap(([key, value]) => [str(key), value]), "SETITEMS");
}

/** What numpy's tobytes gives, in hex: IEEE 754 and two's complement. */
const NUMPY_NUMBERS: [code: string, order: string, bytes: string, number: number][] = [
  ["f2", "<", "0041", 2.5],
  ["f2", ">", "4100", 2.5],
  ["f4", "<", "00002040", 2.5],
  ["f4", ">", "40200000", 2.5],
  ["f8", "<", "0000000000000440", 2.5],
  ["f8", ">", "4004000000000000", 2.5],
  ["i1", "|", "fd", -3],
  ["i2", ">", "fffd", -3],
  ["i4", "<", "fdffffff", -3],
  ["i8", "<", "fdffffffffffffff", -3],
  ["i8", ">", "0020000000000001", 2 ** 53],
  ["u1", "|", "fd", 253],
  ["u2", "<", "fdff", 65533],
  ["u4", ">", "fffffffd", 2 ** 32 - 3],
  ["u8", "<", "ffffffffffffffff", 2 ** 64],
];
for (const [code, order, hex, number] of NUMPY_NUMBERS)
  test(`epochs of numpy's ${order}${code}: arrays of one element and scalars`, async () => {
    const dtype = new NumpyDtype(code, order);
    const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
    const state = new Map([["w", { dtype: "f32", shape: [1], data: new Uint8Array(4) } as const]]);
    for (const epoch of [
      new NumpyScalar(dtype, bytes, undefined),
      ...[[], [1], [1, 1]].map((shape) => new NumpyArray(dtype, shape, false, bytes)),
    ]) {
      const file = saveTorch(
        new Map<string, TorchValue>([
          ["state_dict", state],
          ["epoch", epoch],
        ]),
      );
      assert.is((await loadCheckpoint(file)).epoch, number);
    }
  });

test("epochs of numpy that are no number", async () => {
  const state = new Map([["w", { dtype: "f32", shape: [1], data: new Uint8Array(4) } as const]]);
  for (const [code, size] of [
    ["b1", 1],
    ["c8", 8],
    ["U1", 4],
    ["S2", 2],
    ["M8", 8],
  ] as const) {
    const epoch = new NumpyArray(new NumpyDtype(code, "|"), [], false, new Uint8Array(size));
    const file = saveTorch(
      new Map<string, TorchValue>([
        ["state_dict", state],
        ["epoch", epoch],
      ]),
    );
    await throwsCode(() => loadCheckpoint(file), "MISMATCH", /epoch should be a number/);
  }
});

for (const container of ["zip", "legacy", "deflated"])
  test(`loadCheckpoint: cgcnn.${container}.pt, with tensors where upstream has tensors`, async () => {
    const checkpoint = await own(`cgcnn.${container}.pt`);
    assert.is(checkpoint.layout, "training");
    assert.is(checkpoint.epoch, 3);
    assert.equal(checkpoint.metrics, { best_mae_error: 0.125 });
    assert.equal(checkpoint.normalizer, { mean: Math.fround(-1.7), std: Math.fround(1.05) });
    assert.is(checkpoint.args!.get("n_conv"), 3);
    assert.equal([...checkpoint.extra.keys()], ["optimizer"]);
    assert.equal([...checkpoint.stateDict.keys()].slice(0, 2), ["0.weight", "0.bias"]);
    assert.is(checkpoint.stateDict.size, 7);
  });

test("loadCheckpoint: a bare state dict is plain", async () => {
  const checkpoint = await loadCheckpoint(
    dictFile([
      ["a.weight", one],
      ["a.bias", one],
    ]),
  );
  assert.is(checkpoint.layout, "plain");
  assert.equal([...checkpoint.stateDict.keys()], ["a.weight", "a.bias"]);
  const storageOf = (name: string) => (checkpoint.stateDict.get(name) as TorchTensor).storage;
  assert.ok(storageOf("a.weight") === storageOf("a.bias"), "tied weights share their storage");
  assert.is(checkpoint.normalizer, undefined);
});

test("loadCheckpoint: a dict with nothing but a state dict is read", async () => {
  const checkpoint = await loadCheckpoint(dictFile([["state_dict", dict(["w", one])]]));
  assert.equal([...checkpoint.stateDict.keys()], ["w"]);
  assert.equal(Object.keys(checkpoint).sort(), ["extra", "layout", "stateDict"]);
});

test("loadCheckpoint: names stay as in the file, wrappers' prefixes too", async () => {
  const names = ["module.a", "module._orig_mod.b"];
  const { stateDict } = await loadCheckpoint(
    dictFile([["state_dict", dict(...names.map((name) => [name, one] as const))]]),
  );
  assert.equal([...stateDict.keys()], names);
});

for (const key of ["model_state_dict", "model", "module", "net", "weights", "params"])
  test(`loadCheckpoint: a state dict under "${key}", the rest as in a training dict`, async () => {
    const found = await loadCheckpoint(
      dictFile([
        ["epoch", int(4)],
        [key, dict(["w", one])],
        ["config", dict(["lr", int(1)])],
        ["step", int(7)],
      ]),
    );
    assert.equal([found.layout, found.epoch, [...found.stateDict.keys()]], ["training", 4, ["w"]]);
    assert.equal([found.args, found.extra], [new Map([["lr", 1]]), new Map([["step", 7]])]);
  });

test("loadCheckpoint: what is called config and is no dict of names stays in extra", async () => {
  const { args, extra } = await loadCheckpoint(
    dictFile([
      ["state_dict", dict(["w", one])],
      ["config", str("a.yaml")],
    ]),
  );
  assert.equal([args, extra], [undefined, new Map([["config", "a.yaml"]])]);
});

const expected = JSON.parse(readFileSync("test/fixtures/bundles/expected.json", "utf8"));
const bundled = (name: string) => new Uint8Array(readFileSync(`test/fixtures/bundles/${name}`));

/** Shapes and bytes of a state dict, as expected.json has them. */
function weightsOf({ stateDict }: Checkpoint, prefix = ""): Record<string, [number[], string]> {
  return Object.fromEntries(
    [...stateDict].map(([name, { shape, data }]) => {
      assert.ok(name.startsWith(prefix), name);
      return [name.slice(prefix.length), [[...shape], Buffer.from(data).toString("hex")]];
    }),
  );
}

test("loadCheckpoint: an ignite file of torch 1.13 that holds its scheduler and optimizer whole", async () => {
  const checkpoint = await loadCheckpoint(bundled("alignn/checkpoint_4.pt"));
  assert.equal([checkpoint.layout, checkpoint.epoch], ["ignite", 4]);
  assert.equal(weightsOf(checkpoint), expected.weights);
  assert.equal([...checkpoint.extra.keys()], ["optimizer", "lr_scheduler", "trainer"]);
  await throwsCode(
    () => loadTorch(bundled("alignn/checkpoint_4.pt")),
    "UNSAFE",
    /__builtin__\.getattr, torch\.optim\.lr_scheduler\.OneCycleLR, torch\.optim\.adamw\.AdamW;/,
  );
  await throwsCode(() => loadCheckpoint(bundled("alignn/checkpoint_4.pt"), { unknownClasses: "refuse" }), "UNSAFE");
});

test("loadCheckpoint: a Lightning checkpoint", async () => {
  const checkpoint = await loadCheckpoint(bundled("lightning.ckpt"));
  assert.equal([checkpoint.layout, checkpoint.epoch], ["lightning", 7]);
  assert.equal(weightsOf(checkpoint, "model."), expected.weights);
  assert.equal([...checkpoint.args!], Object.entries({ lr: 0.001, loss: "mse_loss" }));
  assert.ok(checkpoint.extra.has("global_step"));
});

const scheduler = global("torch.optim.lr_scheduler", "OneCycleLR");
const getattr = (owner: readonly number[], name: string) => call(global("__builtin__", "getattr"), owner, str(name));
const made = (type: readonly number[]) => ops(type, "EMPTY_TUPLE", "NEWOBJ");
/** An ignite checkpoint with this in place of its scheduler. */
const withState = (state: readonly number[], extra: Parameters<typeof torchZip>[2] = []) =>
  torchZip(
    dict(["model", dict(["w", one])], ["lr_scheduler", state], ["trainer", dict(["iteration", int(6)])]),
    { 0: [0, 0, 192, 63] },
    extra,
  );

const TRAINING: [what: string, state: number[]][] = [
  ["a static method, as torch 2.0 to 2.3 wrote", getattr(scheduler, "_annealing_linear")],
  ["a bound method", getattr(made(scheduler), "_annealing_cos")],
  ["CyclicLR", getattr(made(global("torch.optim.lr_scheduler", "CyclicLR")), "_triangular_scale_fn")],
  ["an optimizer", made(global("torch.optim.sgd", "SGD"))],
];
for (const [what, state] of TRAINING)
  test(`training classes: ${what} is an inert object`, async () => {
    const { extra, stateDict } = await loadCheckpoint(withState(state));
    assert.instance(extra.get("lr_scheduler"), PythonObject);
    assert.is(stateDict.size, 1);
    await throwsCode(() => loadTorch(withState(state)), "UNSAFE");
  });

const HOSTILE: [what: string, bytes: Uint8Array, message: RegExp][] = [
  ["os.system", withState(call(global("os", "system"), str("true"))), /os\.system/],
  [
    "os.system in a value that is dropped",
    withState(ops(call(global("os", "system"), str("true")), "POP", "NONE")),
    /os/,
  ],
  ["builtins.eval", withState(call(global("__builtin__", "eval"), str("1"))), /eval/],
  [
    "another class of the scheduler's module",
    withState(made(global("torch.optim.lr_scheduler", "LambdaLR"))),
    /LambdaLR/,
  ],
  ["a dotted name", withState(global("torch.optim.lr_scheduler", "OneCycleLR.__init__")), /OneCycleLR\.__init__/],
  ["another attribute of a listed class", withState(getattr(scheduler, "__init__")), /OneCycleLR\.__init__/],
  ["of an object of one", withState(getattr(made(scheduler), "__class__")), /OneCycleLR\.__class__/],
  [
    "of a listed method",
    withState(getattr(getattr(scheduler, "_annealing_cos"), "__globals__")),
    /getattr\.__globals__/,
  ],
  [
    "of what that gives when called",
    withState(getattr(call(getattr(scheduler, "_annealing_cos")), "x")),
    /_annealing_cos\.x/,
  ],
  ["of a dict's type", withState(getattr(global("__builtin__", "dict"), "get")), /dict\.get/],
  ["a name that is no text", withState(call(global("__builtin__", "getattr"), scheduler, int(1))), /getattr/],
  [
    "getattr called as a class",
    withState(ops(global("__builtin__", "getattr"), tuple(scheduler, str("mro")), "NEWOBJ")),
    /mro/,
  ],
  [
    "another pickle of the archive",
    withState(ops("NONE"), [{ name: "archive/x.pkl", data: ops(getattr(scheduler, "__init__"), "STOP") }]),
    /OneCycleLR\.__init__/,
  ],
];
for (const [what, bytes, message] of HOSTILE)
  test(`loadCheckpoint refuses as loadTorch does: ${what}`, async () => {
    await throwsCode(() => loadCheckpoint(bytes), "UNSAFE", message);
    await throwsCode(() => loadCheckpoint(bytes, { unknownClasses: ["my.Net"] }), "UNSAFE", message);
    await throwsCode(() => loadTorch(bytes), "UNSAFE");
  });

test("unknownClasses: a list makes these names inert, and no other", async () => {
  const bytes = torchZip(ops("EMPTY_LIST", "MARK", made(global("my", "Net")), made(global("my", "Other")), "APPENDS"));
  await throwsCode(() => loadTorch(bytes, { unknownClasses: ["my.Net"] }), "UNSAFE", /plain data: my\.Other;/);
  const found = (await loadTorch(bytes, { unknownClasses: ["my.Other", "my.Net"] })) as PythonObject[];
  assert.equal(
    found.map(({ type }) => type),
    ["my.Net", "my.Other"],
  );
});

const mismatches: [name: string, entries: [string, number[]][], message: RegExp][] = [
  ["a normalizer without std", [["normalizer", dict(["mean", one])]], /normalizer std should be a number, found None/],
  ["a normalizer that is a string", [["normalizer", str("none")]], /mean and std, found a string/],
  ["an epoch that is a string", [["epoch", str("3")]], /epoch should be a number/],
  ["args that are a list", [["args", ops("EMPTY_LIST")]], /args should be a dict/],
];
for (const [name, entries, message] of mismatches)
  test(`loadCheckpoint: ${name} is MISMATCH`, () =>
    throwsCode(() => loadCheckpoint(dictFile([["state_dict", dict(["w", one])], ...entries])), "MISMATCH", message));

test("loadCheckpoint: a state dict entry that is no tensor is named", () =>
  throwsCode(() => loadCheckpoint(dictFile([["state_dict", dict(["w", one], ["v", str("x")])]])), "MISMATCH", /: v$/));

test("loadCheckpoint: an unknown dict is UNSUPPORTED and its keys are listed", () =>
  throwsCode(
    () =>
      loadCheckpoint(
        dictFile([
          ["tensors", dict(["w", one])],
          ["lr", str("x")],
        ]),
      ),
    "UNSUPPORTED",
    /"tensors", "lr"/,
  ));

test("loadCheckpoint: a tensor alone is UNSUPPORTED", () =>
  throwsCode(() => loadCheckpoint(torchZip(one, { 0: [0, 0, 0, 0] })), "UNSUPPORTED", /a tensor of shape \[1\]/));

if (haveFixtures("cgcnn")) {
  const published: [file: string, epoch: number, best: number, mean: number, std: number][] = [
    ["formation-energy-per-atom", 968, 0.03972001800748568, -1.699178719088435, 1.0563029540802564],
    ["band-gap", 457, 0.3689685452196309, 2.353832203000784, 1.4802391239920374],
    ["semi-metal-classification", 92, 0.958599858597622, 0, 1],
  ];
  for (const [file, epoch, best, mean, std] of published)
    test(`published: ${file}.pth.tar`, async () => {
      const checkpoint = await loadCheckpoint(fixtureBytes(`cgcnn/${file}.pth.tar`));
      assert.is(checkpoint.epoch, epoch);
      assert.equal(checkpoint.metrics, { best_mae_error: best });
      assert.equal(checkpoint.normalizer, { mean, std });
      assert.is(checkpoint.args!.get("atom_fea_len"), 64);
      assert.equal([...checkpoint.extra.keys()], ["optimizer"]);
      assert.equal(checkpoint.stateDict.get("embedding.weight")!.shape, [64, 92]);
    });

  for (const file of ["full.zip.pt", "zip.pt"])
    test(`published: ${file} has the legacy file's tensors, bit for bit`, async () => {
      const legacy = await loadCheckpoint(fixtureBytes("cgcnn/formation-energy-per-atom.pth.tar"));
      const zipped = await loadCheckpoint(fixtureBytes(`cgcnn/formation-energy-per-atom.${file}`));
      assert.is(legacy.stateDict.size, 46);
      for (const [name, tensor] of legacy.stateDict) {
        const other = zipped.stateDict.get(name)!;
        assert.equal([other.dtype, other.shape], [tensor.dtype, tensor.shape], name);
        assert.is(sha256(other.data), sha256(tensor.data), name);
      }
      const added = [...zipped.stateDict.keys()].filter((name) => !legacy.stateDict.has(name));
      assert.ok(added.every((name) => name.endsWith("num_batches_tracked")));
    });
}

test.run();

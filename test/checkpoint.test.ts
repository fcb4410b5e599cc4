import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, loadCheckpoint } from "../src/checkpoint.js";
import type { TorchTensor } from "../src/formats/torch-tensors.js";
import { ops, storage, str, tensor, torchZip } from "./build-files.js";
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

for (const container of ["zip", "legacy", "deflated"])
  test(`loadCheckpoint: cgcnn.${container}.pt, with tensors where upstream has tensors`, async () => {
    const checkpoint = await own(`cgcnn.${container}.pt`);
    assert.is(checkpoint.layout, "cgcnn");
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
          ["weights", dict(["w", one])],
          ["lr", str("x")],
        ]),
      ),
    "UNSUPPORTED",
    /"weights", "lr"/,
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

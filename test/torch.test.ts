import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isUnitcellError } from "../src/errors.js";
import { loadTorch, type TorchValue } from "../src/formats/torch.js";
import type { Tensor } from "../src/tensor.js";
import { ops, storage, str, tensor, torchZip, tuple, utf8 } from "./build-files.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { type Tagged, TaggedComparison, type TaggedTensor } from "./tagged.js";
import { throwsCode } from "./throws.js";

/** expected.json: tensors as { dtype, shape, hex }, dicts as { dict: pairs }, see make-torch.py. */
const expected: Record<string, unknown> = JSON.parse(readFileSync("test/fixtures/torch/expected.json", "utf8"));

function ownFixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(`test/fixtures/torch/${name}`));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** A loaded value in the JSON of make-torch.py. */
function describe(value: TorchValue): unknown {
  if (value instanceof Map) return { dict: [...value].map(([key, item]) => [describe(key), describe(item)]) };
  if (Array.isArray(value)) return value.map(describe);
  if (value instanceof Uint8Array) return { bytes: hex(value) };
  if (typeof value === "bigint") return { int: String(value) };
  if (typeof value !== "object" || value === null) return value;
  const { dtype, shape, data } = value as Tensor;
  return { dtype, shape: [...shape], hex: hex(data) };
}

for (const name of Object.keys(expected))
  for (const container of ["zip", "legacy", "deflated"])
    test(`loadTorch: ${name}.${container}.pt`, async () =>
      assert.equal(describe(await loadTorch(ownFixture(`${name}.${container}.pt`))), expected[name]));

for (const container of ["zip", "legacy", "deflated"])
  test(`loadTorch: ${container}: tied tensors are one object, other views are not`, async () => {
    const views = (await loadTorch(ownFixture(`views.${container}.pt`))) as Map<TorchValue, TorchValue>;
    assert.is(views.get("tied"), views.get("block"));
    assert.is(views.get("tied_view"), views.get("block"));
    assert.is.not(views.get("offset"), views.get("block"));
  });

test("loadTorch: aligned zip tensors are views of the input", async () => {
  const bytes = ownFixture("views.zip.pt");
  const views = (await loadTorch(bytes)) as Map<TorchValue, TorchValue>;
  assert.is((views.get("block") as Tensor).data.buffer, bytes.buffer);
});

test("loadTorch: a Blob gives what its bytes give", async () => {
  const bytes = ownFixture("dtypes.zip.pt");
  assert.equal(await loadTorch(new Blob([bytes as Uint8Array<ArrayBuffer>])), await loadTorch(bytes));
});

const pair = tensor(storage("Float", "0", 2), 0, [2], [1]);
const little = new Uint8Array(Float32Array.of(1.5, -2).buffer);
const big = Uint8Array.of(0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0);

test("loadTorch: big-endian records are swapped", async () => {
  const file = torchZip(pair, { 0: big }, [{ name: "archive/byteorder", data: utf8("big") }]);
  assert.equal([...((await loadTorch(file)) as Tensor).data], [...little]);
});

test("loadTorch: shape, stride and size are not confused", async () => {
  const block = new Uint8Array(Int16Array.of(0, 1, 2, 3, 4, 5).buffer);
  const file = torchZip(tensor(storage("Short", "0", 6), 1, [2, 2], [1, 3]), { 0: block });
  const { data, shape } = (await loadTorch(file)) as Tensor;
  assert.equal(shape, [2, 2]);
  assert.equal([...new Int16Array(data.slice().buffer)], [1, 4, 2, 5]);
});

test("loadTorch: a nested Map keeps integer and string keys apart", async () => {
  const file = torchZip(ops("EMPTY_DICT", "MARK", "BININT1", [0], str("int"), str("0"), str("text"), "SETITEMS"));
  assert.equal(
    await loadTorch(file),
    new Map<TorchValue, TorchValue>([
      [0, "int"],
      ["0", "text"],
    ]),
  );
});

const others: [name: string, bytes: number[], hint: string][] = [
  ["a git-lfs pointer", utf8("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"), "git-lfs-pointer"],
  ["a web page", utf8("\n<!DOCTYPE html><html></html>"), "html"],
  ["a JSON error", utf8('{"error":"not found"}'), "json"],
  ["gzip", [0x1f, 0x8b, 8, 0, 0, 0], "gzip"],
  ["HDF5", [0x89, ...utf8("HDF\r\n")], "hdf5"],
  ["safetensors", [2, 0, 0, 0, 0, 0, 0, 0, ...utf8("{}")], "safetensors"],
  ["a bare pickle", ops("PROTO", [2], "NONE", "STOP"), "pickle"],
  ["a TorchScript archive", [...torchZip(tuple(), {}, [{ name: "archive/constants.pkl", data: [] }])], "torchscript"],
];
for (const [name, bytes, hint] of others)
  test(`loadTorch: ${name} is UNSUPPORTED and says what it is`, () =>
    throwsCode(() => loadTorch(Uint8Array.from(bytes)), "UNSUPPORTED", {
      check: (error) => assert.is(error.detail.hint, hint),
    }));

for (const [name, bytes] of [
  ["empty", []],
  ["all zeros", new Array(64).fill(0)],
] as [string, number[]][])
  test(`loadTorch: ${name} is CORRUPT`, () => throwsCode(() => loadTorch(Uint8Array.from(bytes)), "CORRUPT"));

for (const container of ["zip", "legacy", "deflated"])
  test(`loadTorch: ${container} cut after any number of bytes is refused`, async () => {
    const whole = ownFixture(`views.${container}.pt`);
    for (let size = 0; size < whole.length; size += 7)
      await loadTorch(whole.subarray(0, size)).then(
        () => assert.unreachable(`loaded from ${size} of ${whole.length} bytes`),
        (error) => assert.ok(isUnitcellError(error), `${size} bytes: ${error.stack}`),
      );
  });

if (haveFixtures("torch")) {
  interface GoodFile {
    format: string;
    root: Tagged;
    tensors: TaggedTensor[];
  }
  const { files } = fixtureJson<{ files: Record<string, GoodFile> }>("torch/manifest.json");
  /** Containers of the later issue, and pickles and safetensors, which are no torch files. */
  const OTHER_FORMATS = ["torchscript", "tar", "pickle", "safetensors", "virtual-zip"];
  /** Well-made files whose content is no TorchValue yet: complex, quantized, sparse, meta, new dtypes, storages as values. */
  const UNSUPPORTED =
    "dtypes.pt scalars_empty.pt conj_neg.pt rng_state.pth containers.pt numpy.pt proto_1.pt proto_2.pt proto_3.pt proto_4.pt " +
    "proto_5.pt storages.pt sparse_coo.pt sparse_csr.pt quantized.pt meta.pt legacy_dtypes.pt big_endian.pt " +
    "torch2/new_dtypes.pt torch2/dtypes.pt torch2/views_v3.pt torch2/parameter_state.pt torch2/sparse.pt " +
    "torch2/ckpt_adamw.pt torch2/quantized.pt";
  /** Files that name classes of the program that wrote them: whole modules, custom objects, bound methods. */
  const UNSAFE =
    "ckpt_adamw_groups.pt python_objects.pt custom_objects.pt custom_objects_proto2.pt module_main.pt module_foreign.pt " +
    "legacy_module.pt training_args.bin lightning.ckpt";
  /** Marked optional in the manifest: torch refuses leading bytes as well. */
  const CORRUPT = "zip_prefix.pt";
  const refused = new Map<string, string>();
  for (const [code, names] of Object.entries({ UNSUPPORTED, UNSAFE, CORRUPT }))
    for (const name of names.split(" ")) refused.set(name, code);
  const counts: Record<string, number> = {};
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1;
  };

  for (const [name, file] of Object.entries(files)) {
    if (file.format === "virtual-zip") continue;
    test(`corpus: ${name}`, async () => {
      const bytes = fixtureBytes(`torch/${name}`);
      if (OTHER_FORMATS.includes(file.format) || refused.has(name)) {
        const error = await loadTorch(bytes).then(
          () => undefined,
          (reason) => reason,
        );
        assert.ok(isUnitcellError(error), String(error));
        assert.is(error.code, refused.get(name) ?? (/proto[01]\.pkl$/.test(name) ? "CORRUPT" : "UNSUPPORTED"));
        count(error.code);
        return;
      }
      new TaggedComparison(file.tensors).same(file.root, await loadTorch(bytes));
      count("read right");
    });
  }

  test("corpus: counts", () => console.log(`\ncorpus, good files: ${JSON.stringify(counts)}`));
}

test.run();

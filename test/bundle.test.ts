/** Checkpoints of several files: which is which, what they say together, and what of them is refused. */
import { readFileSync } from "node:fs";
import { deflateSync } from "fflate";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, type Input } from "../src/bytes.js";
import { type Checkpoint, type CheckpointFiles, loadCheckpoint } from "../src/checkpoint.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { castTensor } from "../src/formats/cast.js";
import { parseSettings } from "../src/formats/json-values.js";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { seededRandom } from "../src/random.js";
import { inspectCheckpoint } from "../src/summary.js";
import type { Tensor } from "../src/tensor.js";
import { call, global, ops, str, torchZip, utf8, type ZipPart, zip } from "./build-files.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { throwsCode } from "./throws.js";

const own = (name: string) => new Uint8Array(readFileSync(`test/fixtures/bundles/${name}`));
const expected = JSON.parse(readFileSync("test/fixtures/bundles/expected.json", "utf8"));
const text = (value: unknown) => Uint8Array.from(utf8(typeof value === "string" ? value : JSON.stringify(value)));
const files = (entries: Record<string, Input>): CheckpointFiles => new Map(Object.entries(entries));

const floats: Tensor = { dtype: "f32", shape: [2], data: new Uint8Array(Float32Array.of(1, 2).buffer) };
const dict = (entries: Record<string, TorchValue>) => new Map<TorchValue, TorchValue>(Object.entries(entries));
const weights = saveTorch(dict({ w: floats }));

function weightsOf({ stateDict }: Checkpoint, prefix = ""): Record<string, [number[], string]> {
  return Object.fromEntries(
    [...stateDict].map(([name, { shape, data }]) => [
      name.replace(prefix, ""),
      [[...shape], Buffer.from(data).toString("hex")],
    ]),
  );
}

/** Bytes as a file that is read by range, and how many were. */
function counting(bytes: Uint8Array) {
  const source = {
    size: bytes.length,
    fetched: 0,
    slice: (start: number, end: number) => ({
      arrayBuffer: async () => {
        source.fetched += end - start;
        return bytes.slice(start, end).buffer as ArrayBuffer;
      },
    }),
  };
  return source;
}

const alignn = () => ({ "best_model.pt": own("alignn/best_model.pt"), "config.json": own("alignn/config.json") });
const matgl = () => ({
  "state.pt": own("matgl/state.pt"),
  "model.pt": own("matgl/model.pt"),
  "model.json": own("matgl/model.json"),
});

test("ALIGNN's folder: the state dict with its config as args", async () => {
  const checkpoint = await loadCheckpoint(files(alignn()));
  assert.equal([checkpoint.file, checkpoint.layout, checkpoint.normalizer], ["best_model.pt", "plain", undefined]);
  assert.equal(weightsOf(checkpoint), expected.weights);
  const args = checkpoint.args!;
  assert.equal([args.get("cutoff"), args.get("use_canonize"), args.get("n_train")], [8, true, null]);
  assert.ok(Number.isNaN(args.get("classification_threshold")), "Python writes NaN");
  assert.is((args.get("model") as Map<string, unknown>).get("alignn_layers"), 1);
});

test("ALIGNN's download: the same in a zip, with the epoch of the checkpoint", async () => {
  for (const input of [own("alignn.zip"), counting(own("alignn.zip")), files({ "any.zip": own("alignn.zip") })]) {
    const checkpoint = await loadCheckpoint(input);
    assert.equal([checkpoint.file, checkpoint.layout, checkpoint.epoch], ["checkpoint_4.pt", "ignite", 4]);
    assert.equal(weightsOf(checkpoint), expected.weights);
    assert.is(checkpoint.args!.get("max_neighbors"), 12);
  }
});

test("matgl's folder: normalizer to the last bit, the inner model's arguments", async () => {
  const checkpoint = await loadCheckpoint(files(matgl()));
  assert.equal([checkpoint.file, checkpoint.layout], ["state.pt", "plain"]);
  assert.equal(checkpoint.normalizer, { mean: expected.mean, std: expected.std });
  assert.equal(weightsOf(checkpoint, "model."), expected.weights);
  assert.equal([...checkpoint.args!.keys()].slice(0, 2), ["dim_node_embedding", "hidden_layer_sizes_input"]);
  assert.equal([...(checkpoint.args!.get("hidden_layer_sizes_input") as number[])], [64, 32]);
});

test("matgl's folder without its text; a state dict alone has no normalizer", async () => {
  const { "model.json": _, ...two } = matgl();
  assert.is((await loadCheckpoint(files(two))).normalizer!.mean, expected.mean);
  const alone = await loadCheckpoint(files({ "state.pt": own("matgl/state.pt") }));
  assert.equal([alone.file, alone.args, alone.normalizer], ["state.pt", undefined, undefined]);
});

test("a matgl model that is not wrapped: all of model.pt is its arguments", async () => {
  const args = { "state.pt": weights, "model.pt": saveTorch(dict({ cutoff: 5, dim: 3 })) };
  const found = await loadCheckpoint(
    files({ ...args, "model.json": text({ "@class": "MEGNet", kwargs: { cutoff: 5.0, dim: 3 } }) }),
  );
  assert.equal(
    [found.args, found.normalizer],
    [
      new Map([
        ["cutoff", 5],
        ["dim", 3],
      ] as const),
      undefined,
    ],
  );
});

test("a file's own args come before a config.json, which may then be anything", async () => {
  const training = saveTorch(dict({ state_dict: dict({ w: floats }), args: dict({ n_conv: 3 }) }));
  const found = await loadCheckpoint(files({ "a.pt": training, "config.json": text("not JSON") }));
  assert.equal([...found.args!], [["n_conv", 3]]);
});

test("a config.json of another program is kept as it is", async () => {
  const config = { architectures: ["BertModel"], vocab: { "0": 1.5 } };
  const { args } = await loadCheckpoint(files({ "model.safetensors.pt": weights, "config.json": text(config) }));
  assert.equal([...args!.keys()], ["architectures", "vocab"]);
});

const CHOSEN: [names: string[], chosen: string][] = [
  [["checkpoint_7.pt"], "checkpoint_7.pt"],
  [["weights.bin"], "weights.bin"],
  [["a.pth", "config.json", "notes.txt"], "a.pth"],
  [["checkpoint_7.pt", "best_model.pt", "last_model.pt"], "best_model.pt"],
  [["checkpoint.pth.tar", "model_best.pth.tar"], "model_best.pth.tar"],
];
for (const [names, chosen] of CHOSEN)
  test(`of ${names.join(", ")}: ${chosen}`, async () => {
    const content = (name: string) => (name.endsWith(".json") ? text({ a: 1 }) : weights);
    const found = await loadCheckpoint(new Map(names.map((name) => [name, content(name)])));
    assert.is(found.file, chosen);
  });

const inZip = (...parts: [name: string, data: Uint8Array][]) => zip(parts.map(([name, data]) => ({ name, data })));
const bomb = { name: "x/best_model.pt", data: [], raw: deflateSync(new Uint8Array(1000)), method: 8, size: 2 ** 30 };

/** A torch zip whose one record inflates to `size` zeros, about a thousandth as long itself. */
function inflating(size: number): Uint8Array {
  const data = new Uint8Array(size);
  const part: ZipPart = { name: "archive/data/0", data, raw: deflateSync(data), method: 8 };
  const pickle = ops("PROTO", [2], "EMPTY_DICT", "STOP");
  return zip([{ name: "archive/data.pkl", data: pickle }, part, { name: "archive/version", data: utf8("3\n") }]);
}

const named = (module: string, name: string) => call(global(module, name), str("true"));
const modelPt = (transformer: readonly number[]) =>
  torchZip(ops("EMPTY_DICT", str("target_transformer"), transformer, "SETITEM"));
const REFUSED: [what: string, input: () => Input | CheckpointFiles, code: ErrorCode, message: RegExp][] = [
  ["no files", () => new Map(), "NOT_FOUND", /expected a checkpoint .* found none$/],
  [
    "no checkpoint",
    () => files({ "a.txt": text(""), "b.txt": text(""), "config.json": text({}) }),
    "NOT_FOUND",
    /"a\.txt", "b\.txt", "config\.json"/,
  ],
  ["one file that is none", () => files({ "a.txt": text("a"), "config.json": text({}) }), "UNSUPPORTED", /^a\.txt: /],
  [
    "several checkpoints",
    () => files({ "cgcnn_best.pt": weights, "alignn_best.pt": weights, "config.json": text({}) }),
    "ARGUMENT",
    /found 2: "cgcnn_best\.pt", "alignn_best\.pt"; name the file/,
  ],
  [
    "two that are called best",
    () => files({ "best_model.pt": weights, "model_best.pth.tar": weights }),
    "ARGUMENT",
    /found 2/,
  ],
  [
    "several in a zip",
    () => inZip(["x/checkpoint_1.pt", weights], ["x/checkpoint_2.pt", weights]),
    "ARGUMENT",
    /"checkpoint_1\.pt", "checkpoint_2\.pt"/,
  ],
  [
    "two of one name in a zip",
    () => inZip(["x/a.pt", weights], ["y/a.pt", weights]),
    "UNSUPPORTED",
    /"x\/a\.pt" and "y\/a\.pt"/,
  ],
  ["a zip of other things", () => inZip(["x/readme.txt", text("")]), "UNSUPPORTED", /no <folder>\/data\.pkl/],
  [
    "a zip in a zip",
    () => inZip(["x/a.pt", inZip(["y/b.pt", weights])]),
    "UNSUPPORTED",
    /^a\.pt: .*an archive of other files/,
  ],
  ["a bomb", () => zip([bomb]), "LIMIT", /inflated size to 1073741824/],
  [
    "a name that leaves the folder",
    () => inZip(["../a.pt", weights]),
    "CORRUPT",
    /"\.\.\/a\.pt" is not a plain relative path/,
  ],
  [
    "a wrong checksum in the zip",
    () => zip([{ name: "x/a.pt", data: weights, crc: 1 }]),
    "CORRUPT",
    /^zip entry "x\/a\.pt" has CRC-32/,
  ],
  [
    "damage in the chosen file",
    () => files({ ...alignn(), "best_model.pt": weights.subarray(0, 300) }),
    "CORRUPT",
    /^best_model\.pt: /,
  ],
  [
    "a config that is no JSON",
    () => files({ ...alignn(), "config.json": text("{'a': 1}") }),
    "CORRUPT",
    /^config\.json: expected/,
  ],
  [
    "a config that is a list",
    () => files({ ...alignn(), "config.json": text([1]) }),
    "CORRUPT",
    /^config\.json: expected "\{"/,
  ],
  ["a key twice", () => files({ ...alignn(), "config.json": text('{"a":1,"a":2}') }), "CORRUPT", /the key "a" twice/],
  [
    "a deep config",
    () => files({ ...alignn(), "config.json": text(`{"a":${"[".repeat(200)}`) }),
    "LIMIT",
    /nests deeper/,
  ],
  [
    "a large config",
    () => files({ ...alignn(), "config.json": text(`{"a":"${"x".repeat(DEFAULT_LIMITS.settingsBytes)}"}`) }),
    "LIMIT",
    /^config\.json has 1048\d+ bytes, the limit for settings is 1048576/,
  ],
  [
    "model.json against model.pt",
    () => {
      const other = readFileSync("test/fixtures/bundles/matgl/model.json", "utf8").replace(
        '"cutoff": 4.0',
        '"cutoff": 5.0',
      );
      return files({ ...matgl(), "model.json": text(other.replace("64,", "63,")) });
    },
    "MISMATCH",
    /model\.pt and model\.json say different things of hidden_layer_sizes_input, cutoff$/,
  ],
  [
    "model.json speaks of a transformer that is not there",
    () => files({ "state.pt": weights, "model.json": own("matgl/model.json") }),
    "NOT_FOUND",
    /whose numbers are in model\.pt/,
  ],
  [
    "another transformer of matgl's",
    () => files({ ...matgl(), "model.pt": own("log.pt") }),
    "UNSUPPORTED",
    /^model\.pt: the target transformer an object of matgl\.data\.transformer\.LogTransformer is not understood/,
  ],
  [
    "model.pt is the state dict",
    () => files({ "state.pt": weights, "model.pt": weights }),
    "MISMATCH",
    /found a state dict; name the file/,
  ],
  [
    "a transformer as text",
    () => files({ ...matgl(), "model.pt": modelPt(str("x")) }),
    "UNSUPPORTED",
    /transformer a string/,
  ],
  [
    "a Normalizer without numbers",
    () =>
      files({
        ...matgl(),
        "model.pt": modelPt(ops(global("matgl.data.transformer", "Normalizer"), "EMPTY_TUPLE", "NEWOBJ")),
      }),
    "MISMATCH",
    /the Normalizer should be a dict with mean and std, found None/,
  ],
  [
    "os.system as the transformer",
    () => files({ ...matgl(), "model.pt": modelPt(named("os", "system")) }),
    "UNSAFE",
    /^model\.pt: .*os\.system; nothing was run/,
  ],
  [
    "a method of the Normalizer",
    () => files({ ...matgl(), "model.pt": modelPt(global("matgl.data.transformer", "Normalizer.__init__")) }),
    "UNSAFE",
    /Normalizer\.__init__/,
  ],
  [
    "a module of matgl's",
    () => files({ ...matgl(), "model.pt": modelPt(named("matgl.data.transformer.os", "system")) }),
    "UNSAFE",
    /os\.system/,
  ],
  [
    "os.system in the state dict's file",
    () => files({ ...alignn(), "best_model.pt": torchZip(named("os", "system")) }),
    "UNSAFE",
    /^best_model\.pt: .*os\.system/,
  ],
];
for (const [what, input, code, message] of REFUSED)
  test(`refused: ${what}`, () => throwsCode(() => loadCheckpoint(input()), code, message));

test("refused: a bomb of two stages, each within its own ratio", async () => {
  // 24 MB of zeros from 24 kB is more than 16 MiB and 100 times the file, but not of a file of 1 MB inflated from 2 kB.
  const inner = inflating(24e6);
  const padded = zip([
    { name: "x/a.pt", data: inner, raw: deflateSync(inner), method: 8 },
    { name: "x/padding", data: new Uint8Array(15e5), raw: deflateSync(new Uint8Array(15e5)), method: 8 },
  ]);
  await throwsCode(() => loadCheckpoint(padded), "LIMIT", /^a\.pt: .*inflated size to 24000000/);
});

test("macOS's shadows and other files of a zip are left alone", async () => {
  const found = await loadCheckpoint(
    inZip(
      ["x/", text("")],
      ["x/a.pt", weights],
      ["__MACOSX/x/._a.pt", text("")],
      ["x/._b.pt", text("")],
      ["x/history.json", text("[")],
    ),
  );
  assert.is(found.file, "a.pt");
});

test("a stored file in a zip is read where it lies, by range", async () => {
  const data = new Uint8Array(4 * 2 ** 21);
  const large = saveTorch(dict({ w: { dtype: "f32", shape: [2 ** 21], data } as Tensor }));
  const source = counting(inZip(["x/a.pt", large], ["x/config.json", text({ a: 1 })]));
  const found = await inspectCheckpoint(source);
  assert.equal([found.file, found.layout, found.parameters], ["a.pt", "plain", 2 ** 21]);
  assert.equal([...found.args!], [["a", 1]]);
  assert.ok(source.fetched < 500_000, `${source.fetched}`);
  assert.is((await loadCheckpoint(source)).stateDict.get("w")!.data.length, data.length);
});

test("inspectCheckpoint of a bundle: its files, and what is wrong with them without refusing", async () => {
  const found = await inspectCheckpoint(files({ ...matgl(), "other.pt": weights }));
  assert.is(found.file, "state.pt");
  assert.equal(found.beside, [
    { name: "model.pt", bytes: own("matgl/model.pt").length },
    { name: "model.json", bytes: own("matgl/model.json").length },
  ]);
  assert.equal([found.args!.get("cutoff"), found.problem], [4, undefined]);
  const hostile = await inspectCheckpoint(files({ ...matgl(), "model.pt": modelPt(named("os", "system")) }));
  assert.match(hostile.problem!, /^UNSAFE: model\.pt: .*os\.system/);
});

test("settings: Python's JSON as values", () => {
  const value = '{"b": [1, -2.5e3, null, true, {"c": "\\u00e5"}], "a": -Infinity, "1": Infinity, "0": NaN, "e": {}}';
  const found = parseSettings(text(value), "it", DEFAULT_LIMITS);
  assert.equal([...found.keys()], ["b", "a", "1", "0", "e"]);
  assert.equal(found.get("b"), [1, -2500, null, true, new Map([["c", "å"]])]);
  assert.equal([found.get("a"), found.get("1"), found.get("e")], [-1 / 0, 1 / 0, new Map()]);
});
for (const bad of [
  "",
  "{",
  '{"a": nan}',
  '{"a": -NaN}',
  '{"a": 1,}',
  '{"a": 1} x',
  '{"a": tru}',
  "{a: 1}",
  '{"a": 01}',
])
  test(`settings: ${bad || "nothing"} is no JSON`, () =>
    throwsCode(() => parseSettings(text(bad), "it", DEFAULT_LIMITS), "CORRUPT", /^it: expected/));

test("mutated bundles: a checkpoint or a UnitcellError, and soon", async () => {
  const random = seededRandom(11);
  const mutate = (bytes: Uint8Array) => {
    const copy = bytes.slice();
    for (let n = 1 + Math.floor(random() * 3); n > 0; n--)
      copy[Math.floor(random() * copy.length)] = random() < 0.5 ? Math.floor(random() * 256) : 0x20;
    return random() < 0.1 ? copy.subarray(0, Math.floor(random() * copy.length)) : copy;
  };
  const folder = matgl();
  const outcomes = new Map<string, number>();
  for (let i = 0; i < 1500; i++) {
    const name = Object.keys(folder)[i % 3] as keyof typeof folder;
    const input = i % 4 === 3 ? mutate(own("alignn.zip")) : files({ ...folder, [name]: mutate(folder[name]) });
    const outcome = await loadCheckpoint(input, { checkCrc: i % 2 === 0 }).then(
      () => "ok",
      (error) => (isUnitcellError(error) ? error.code : assert.unreachable(`${error.stack}`)),
    );
    outcomes.set(outcome as string, (outcomes.get(outcome as string) ?? 0) + 1);
  }
  console.log([...outcomes].map(([code, count]) => `${code} ${count}`).join(", "));
  for (const code of ["ok", "CORRUPT", "UNSUPPORTED", "MISMATCH"]) assert.ok(outcomes.has(code), code);
});

/** Bytes of float32 tensors and integers by name, wrapper prefixes taken off. */
function bytesOf(stateDict: Checkpoint["stateDict"]): Record<string, string> {
  return Object.fromEntries(
    [...stateDict].map(([name, tensor]) => {
      const narrow = tensor.dtype === "f64" ? castTensor(tensor, "f32") : tensor;
      return [name.replace(/^module\./, ""), Buffer.from(narrow.data).toString("base64")];
    }),
  );
}

if (haveFixtures("alignn")) {
  const folder = "alignn/variants/multi_output";
  const best = bytesOf((await loadCheckpoint(fixtureBytes(`${folder}/best_model.pt`))).stateDict);
  const forms: [name: string, layout: string, epoch: number | undefined][] = [
    ["checkpoint_6.pt", "ignite", 6],
    ["fmt_cuda_location.pt", "plain", undefined],
    ["fmt_ddp_module_prefix.pt", "plain", undefined],
    ["fmt_figshare_like.zip", "ignite", 6],
    ["fmt_float64.pt", "plain", undefined],
    ["fmt_ignite_lambdalr.pt", "ignite", 6],
    ["fmt_ignite_torch2_static_anneal.pt", "ignite", 6],
    ["fmt_ignite_torch24_anneal_type.pt", "ignite", 6],
    ["fmt_legacy_model_only_ignite.pt", "ignite", 6],
    ["fmt_legacy_tar.pt", "plain", undefined],
    ["fmt_shared_storage_strided.pt", "plain", undefined],
  ];
  for (const [name, layout, epoch] of forms)
    test(`ALIGNN: ${name} has the weights of best_model.pt, bit for bit`, async () => {
      const found = await loadCheckpoint(fixtureBytes(`${folder}/${name}`));
      assert.equal([found.layout, found.epoch], [layout, epoch]);
      assert.equal(bytesOf(found.stateDict), best);
    });

  test("ALIGNN: checkpoint_8.pt has the weights of best_model.pt", async () => {
    const load = async (name: string) =>
      loadCheckpoint(fixtureBytes(`alignn/alignn_small_classification/${name}`)).then(({ stateDict }) => stateDict);
    assert.equal(bytesOf(await load("checkpoint_8.pt")), bytesOf(await load("best_model.pt")));
  });

  test("ALIGNN: the download's config, and the folder's, are the args", async () => {
    const zipped = await loadCheckpoint(fixtureBytes(`${folder}/fmt_figshare_like.zip`));
    assert.is(zipped.file, "checkpoint_6.pt");
    const inFolder = await loadCheckpoint(
      files({
        "best_model.pt": fixtureBytes(`${folder}/best_model.pt`),
        "checkpoint_6.pt": fixtureBytes(`${folder}/checkpoint_6.pt`),
        "config.json": fixtureBytes(`${folder}/config.json`),
      }),
    );
    assert.is(inFolder.file, "best_model.pt");
    const plain = (value: unknown): unknown =>
      value instanceof Map ? Object.fromEntries([...value].map(([key, item]) => [key, plain(item)])) : value;
    assert.equal(plain(inFolder.args), fixtureJson(`${folder}/config.json`));
    const { name, output_features } = plain(zipped.args!.get("model")) as Record<string, unknown>;
    assert.equal([name, output_features], ["alignn", 5]);
  });
}

if (haveFixtures("megnet"))
  test("matgl's published folder", async () => {
    const names = ["state.pt", "model.pt", "model.json"];
    const found = await loadCheckpoint(new Map(names.map((name) => [name, fixtureBytes(`megnet/${name}`)])));
    assert.equal([found.stateDict.size, found.normalizer], [106, { mean: -1.65459073, std: 1.07266128 }]);
    const { args } = found;
    assert.equal([args!.get("cutoff"), args!.get("niters_set2set"), args!.get("element_types")], [4, 2, null]);
    await throwsCode(() => loadTorch(fixtureBytes("megnet/model.pt")), "UNSAFE", /Normalizer/);
  });

test.run();

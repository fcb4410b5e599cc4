/** inspect, verify, convert and diff: the built command as a user runs it, and each over the whole shared corpus. Run after a build. */
import { execFile, spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { convertCommand } from "../src/cli/convert.js";
import { diffCommand } from "../src/cli/diff.js";
import { inspectCommand } from "../src/cli/inspect.js";
import { oneLine } from "../src/cli/shown.js";
import { verifyCommand } from "../src/cli/verify.js";
import { isUnitcellError } from "../src/errors.js";
import { loadTorch, openTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import { Float, NumpyDtype, NumpyScalar, OrderedDict, PythonGlobal, type TorchValue } from "../src/formats/values.js";
import type { Tensor } from "../src/tensor.js";
import { call, global, ops, str, torchZip, utf8, zip } from "./build-files.js";
import { fixtureJson, fixturesRoot, haveFixtures } from "./fixtures.js";

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function unitcell(...args: string[]): Outcome {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["dist/cli.js", ...args], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  return { stdout, stderr, status };
}

/** A command in this process, which is quicker for hundreds of files; what src/cli.ts does with errors included. */
async function inProcess(command: (args: string[]) => Promise<number>, ...args: string[]): Promise<Outcome> {
  const [{ write: toOut }, { write: toError }] = [process.stdout, process.stderr];
  let [stdout, stderr] = ["", ""];
  process.stdout.write = (text: string | Uint8Array) => {
    stdout += text;
    return true;
  };
  process.stderr.write = (text: string | Uint8Array) => {
    stderr += text;
    return true;
  };
  try {
    return { status: await command(args), stdout, stderr };
  } catch (error) {
    if (!isUnitcellError(error)) throw error;
    return { status: 1, stdout, stderr: `${stderr}unitcell: ${error.code}: ${oneLine(error.message)}\n` };
  } finally {
    process.stdout.write = toOut;
    process.stderr.write = toError;
    process.removeAllListeners("SIGINT");
  }
}

let scratch: string;
const at = (name: string) => join(scratch, name);
test.before(() => {
  scratch = mkdtempSync(join(tmpdir(), "unitcell-"));
});
test.after(() => rmSync(scratch, { recursive: true }));

const dict = (entries: Record<string, TorchValue>) => new Map<TorchValue, TorchValue>(Object.entries(entries));

function floats(...values: number[]): Tensor {
  return { dtype: "f32", shape: [values.length], data: new Uint8Array(Float32Array.from(values).buffer) };
}

/** A training checkpoint with tied weights, a strided view, module versions and all that training adds. */
function checkpoint(): Map<TorchValue, TorchValue> {
  const storage = new Storage("0", "f32", 6, "cpu", new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6.5).buffer));
  const over = (strides: number[]) =>
    TorchTensor.over(storage, { dtype: "f32", shape: strides[0] === 1 ? [3, 2] : [2, 3], strides, offset: 0 });
  const state = new OrderedDict([
    ["module.embed.weight", over([3, 1])],
    ["module.out.weight", over([3, 1])],
    ["module.turned", over([1, 3])],
    ["module.steps", { dtype: "i64", shape: [], data: new Uint8Array(8).fill(1) }],
  ] as [string, TorchValue][]);
  state.attributes = dict({ _metadata: dict({ "": dict({ version: 1 }), "module.embed": dict({ version: 2 }) }) });
  return dict({
    epoch: 3,
    state_dict: state,
    best_mae_error: new NumpyScalar(new NumpyDtype("f8", "<"), new Uint8Array(Float64Array.of(0.5).buffer), 0.5),
    optimizer: dict({ state: dict({ momentum: floats(1, 2) }), lr: new Float(1) }),
    args: dict({ lr: 0.1, name: "a", layers: [1, 2] }),
  });
}

function save(name: string, value: TorchValue): string {
  writeFileSync(at(name), saveTorch(value));
  return at(name);
}

/** A file's value with its tensors, read back. */
async function load(path: string): Promise<Map<TorchValue, TorchValue>> {
  return (await loadTorch(readFileSync(path), { unknownClasses: "inert" })) as Map<TorchValue, TorchValue>;
}

const sub = (value: Map<TorchValue, TorchValue>, key: string) => value.get(key) as Map<TorchValue, TorchValue>;

test("inspect: header, values, tensors", () => {
  const { stdout, stderr, status } = unitcell("inspect", save("a.pt", checkpoint()));
  assert.equal([status, stderr], [0, ""]);
  assert.match(
    stdout,
    /^file {8}\S+a\.pt, [\d,]+ bytes\nformat {6}torch, version 3, byteorder little; layout training\n/,
  );
  assert.match(stdout, "parameters  7 in 4 tensors of state_dict; 1 other tensor\n");
  assert.match(stdout, "epoch       3\nmetrics     best_mae_error 0.5\n");
  assert.match(stdout, "  state_dict: OrderedDict of 4\n");
  assert.match(stdout, "    lr: 1.0\n");
  assert.match(stdout, /module\.out\.weight +float32 +\[2, 3\] +24 {2}tied to state_dict\.module\.embed\.weight\n/);
  assert.match(stdout, /module\.turned .*\n {4}tied to state_dict\.module\.embed\.weight, strides \[1, 3\]\n/);
  assert.match(stdout, /\n {2}5 tensors, 40 bytes\n$/);
  for (const line of stdout.split("\n")) assert.ok(line.length <= 120, line);
});

test("inspect --tree, --limit and --stats", () => {
  const file = save("a.pt", checkpoint());
  const tree = unitcell("inspect", "--tree", file).stdout;
  assert.match(tree, "      _metadata: dict of 2\n");
  assert.match(tree, "    module.out.weight: tensor float32 [2, 3]\n");
  const short = unitcell("inspect", "--limit", "2", file).stdout;
  assert.match(short, "  ... and 3 more\n");
  assert.match(short, "  ... and 3 more (--limit 0)\n");
  const stats = unitcell("inspect", "--stats", file).stdout;

  assert.match(stats, /tensor +dtype +shape +min +max +mean +NaN +Inf\n/);
  assert.match(stats, /embed\.weight\s+float32 +\[2, 3\] +1 +6\.5 +3\.5833 +0 +0\n/);
});

test("inspect --json: one document, what JSON lacks as strings, ASCII only", () => {
  const file = save(
    "odd.pt",
    dict({ w: floats(Number.NaN, Number.POSITIVE_INFINITY), loss: Number.NaN, "\u202e": 2n ** 70n }),
  );
  const { stdout } = unitcell("inspect", "--json", "--stats", file);
  assert.not.match(stdout, /[^\n\x20-\x7e]/);
  const found = JSON.parse(stdout);
  assert.equal(found.metrics, { loss: "NaN" });
  const { stats } = found.tensors[0];
  assert.equal([stats.max, stats.nan, stats.positiveInfinity], ["Infinity", 1, 1]);
  assert.equal(found.values.children[2].text, "1180591620717411303424");
  assert.equal([found.format, found.bytes, found.unsafeGlobals], ["torch", readFileSync(file).length, []]);
});

test("inspect: names of code are shown with a warning, hostile text is escaped", () => {
  const hostile = "a\x1b[2J\u0007\u202eb\u009b\nc\u0430\u2028";
  const pickle = ops(
    "EMPTY_DICT",
    str(hostile),
    str(hostile),
    "SETITEM",
    str("x"),
    call(global("os", "system"), str("true")),
    "SETITEM",
  );
  writeFileSync(at("hostile.pt"), torchZip(pickle, {}));
  const { stdout, stderr, status } = unitcell("inspect", at("hostile.pt"));
  assert.equal([status, stderr], [0, ""]);
  assert.match(
    stdout.replace(/\s+/g, " "),
    "WARNING names code: os.system; unitcell runs nothing, PyTorch with weights_only=False would",
  );
  assert.match(stdout, '"a\\u{1b}[2J\\u{7}\\u{202e}b\\u{9b}\\u{a}c\\u{430}\\u{2028}": ');
  assert.match(stdout, '  x: object of os.system\n    (argument 0): "true"\n');
  assert.not.match(stdout, /[^\n\x20-\x7e]/);
});

test("inspect: cycles, shared values, depth and width are bounded", async () => {
  const cycle: TorchValue[] = [1];
  cycle.push(cycle as TorchValue);
  let deep: TorchValue = [];
  for (let i = 0; i < 10_000; i++) deep = [deep];
  const wide = Array.from({ length: 20_000 }, (_, i) => i);
  const file = save("shapes.pt", dict({ cycle, again: cycle, deep, wide }));
  for (const args of [[], ["--tree"], ["--tree", "--limit", "0"], ["--json", "--limit", "0"]]) {
    const { stdout, status } = unitcell("inspect", ...args, file);
    assert.is(status, 0);
    assert.ok(stdout.length < 2e6, `${stdout.length}`);
  }
  const { stdout } = unitcell("inspect", file);
  assert.match(
    stdout,
    "  cycle: list of 2\n    0: 1\n    1: list (the same as cycle)\n  again: list (the same as cycle)\n",
  );
});

test("inspect over HTTP reads ranges; a missing file is NOT_FOUND", async () => {
  const state = Object.fromEntries(
    Array.from({ length: 8 }, (_, i) => [`w${i}`, floats(...new Array(2 ** 16).fill(i))]),
  );
  const bytes = saveTorch(dict(state));
  let sent = 0;
  const server = createServer((request, response) => {
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "")!.map(Number);
    if (request.url !== "/m.pt") return void response.writeHead(404).end();
    const end = Math.min(last + 1, bytes.length);
    sent += end - first;
    response
      .writeHead(206, { "Content-Range": `bytes ${first}-${end - 1}/${bytes.length}` })
      .end(bytes.slice(first, end));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const run = promisify(execFile);
  try {
    const { stdout } = await run(process.execPath, ["dist/cli.js", "inspect", `${base}/m.pt`]);
    assert.match(stdout, /parameters {2}524,288 in 8 tensors/);
    assert.match(stdout, /read {8}[\d,]+ bytes of 2,1\d\d,\d\d\d\n/);
    assert.ok(sent < 200_000, `${sent}`);
    const failed = await run(process.execPath, ["dist/cli.js", "inspect", `${base}/no.pt`]).catch((error) => error);
    assert.equal([failed.code, failed.stdout], [1, ""]);
    assert.match(failed.stderr, /^unitcell: NOT_FOUND: http\S+no\.pt: the server answers 404 Not Found\n$/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("a file of 5 GB, mostly holes: inspect reads some hundred kB", () => {
  // safetensors: one header, then 5 GB of zeros that take no room on the disk.
  const bytes = 5 * 2 ** 30;
  const header = JSON.stringify({ w: { dtype: "F32", shape: [bytes / 4], data_offsets: [0, bytes] } });
  const head = Buffer.alloc(8 + header.length);
  head.writeBigUInt64LE(BigInt(header.length));
  head.write(header, 8);
  writeFileSync(at("big.safetensors"), head);
  truncateSync(at("big.safetensors"), head.length + bytes);
  const { stdout, status } = unitcell("inspect", at("big.safetensors"));
  rmSync(at("big.safetensors"));
  assert.is(status, 0);
  assert.match(stdout, "parameters  1,342,177,280 in 1 tensor\n");
  const [, read] = /read +([\d,]+) bytes of/.exec(stdout)!;
  assert.ok(Number(read.replaceAll(",", "")) < 300_000, read);
});

test("verify: checksums, NaN and infinities, --finite", () => {
  const good = save("good.pt", checkpoint());
  const odd = save("nan.pt", dict({ w: floats(1, Number.NaN, Number.NEGATIVE_INFINITY), b: floats(1) }));
  const found = unitcell("verify", good, odd);
  assert.equal([found.status, found.stderr], [0, ""]);
  assert.match(found.stdout, /good\.pt: ok, torch, 5 tensors, \d+ records checked\n/);
  assert.match(found.stdout, /nan\.pt: ok, .*\n {2}1 NaN, 1 infinite in w\n$/);
  assert.is(unitcell("verify", "--finite", odd).status, 1);
  assert.is(unitcell("verify", "--finite", good).status, 0);
});

test("verify: a flipped bit in a tensor is found, and the other files are still looked at", () => {
  const good = save("good.pt", checkpoint());
  const bytes = readFileSync(good);
  const storage = bytes.indexOf(Buffer.from(Float32Array.of(1, 2, 3).buffer));
  bytes[storage + 2] ^= 1;
  writeFileSync(at("flipped.pt"), bytes);
  const { stdout, stderr, status } = unitcell("verify", at("flipped.pt"), good);
  assert.is(status, 1);
  assert.match(stderr, /^unitcell: CORRUPT: .*flipped\.pt: zip entry "archive\/data\/0" has CRC-32 [^\n]*\n$/);
  assert.match(stdout, /flipped\.pt: FAILED\n.*good\.pt: ok/);
});

test("verify --hash: the weights have one hash in every container, another when one bit differs", () => {
  const a = save("a.pt", checkpoint());
  unitcell("convert", a, at("h.safetensors"));
  unitcell("convert", at("h.safetensors"), at("h.pt"));
  const hashes = (...files: string[]) =>
    [...unitcell("verify", "--hash", ...files).stdout.matchAll(/weights ([0-9a-f]{64})\n/g)].map(([, hash]) => hash);
  const [first, ...others] = hashes(a, at("h.safetensors"), at("h.pt"));
  assert.equal(others, [first, first]);
  const changed = checkpoint();
  sub(changed, "state_dict").set("module.steps", { dtype: "i64", shape: [], data: new Uint8Array(8) } as Tensor);
  assert.is.not(hashes(save("changed.pt", changed))[0], first);
  if (!haveFixtures("cgcnn")) return;
  const published = ["pth.tar", "full.zip.pt"].map((end) =>
    join(fixturesRoot, `cgcnn/formation-energy-per-atom.${end}`),
  );
  assert.equal(new Set(hashes(...published)).size, 1);
});

test("convert .pt to .pt: everything is kept, tied weights too", async () => {
  const a = save("a.pt", checkpoint());
  const { stdout, stderr, status } = unitcell("convert", a, at("b.pt"));
  assert.equal([status, stderr], [0, ""]);
  assert.match(stdout, /a\.pt -> \S+b\.pt: [\d,]+ bytes\n/);
  assert.is(Buffer.compare(readFileSync(at("b.pt")), readFileSync(a)), 0);
  assert.is(unitcell("diff", a, at("b.pt")).status, 0);
});

test("convert --dtype: the state dict is cast, ties and strides stay, the optimizer does too", async () => {
  const a = save("a.pt", checkpoint());
  const { stderr } = unitcell("convert", "--dtype", "bf16", a, at("cast.pt"));
  assert.match(stderr, "note: cast 3 tensors to bf16");
  const root = await load(at("cast.pt"));
  const [embed, out, turned, steps] = [...sub(root, "state_dict").values()] as TorchTensor[];
  assert.equal([embed.dtype, turned.dtype, steps.dtype], ["bf16", "bf16", "i64"]);
  assert.ok(embed.storage === out.storage && out.storage === turned.storage);
  assert.equal([...new Uint16Array(turned.data.slice().buffer)], [0x3f80, 0x4080, 0x4000, 0x40a0, 0x4040, 0x40d0]);
  assert.is((sub(sub(root, "optimizer"), "state").get("momentum") as Tensor).dtype, "f32");
  unitcell("convert", "--dtype", "bf16", a, at("cast.safetensors"));
  const { stdout } = unitcell("diff", "--json", at("cast.pt"), at("cast.safetensors"));
  assert.equal([JSON.parse(stdout).tensors, JSON.parse(stdout).equalTensors], [[], 4]);
});

test("convert --strip and --rename: names, and the module versions beside them", async () => {
  const a = save("a.pt", checkpoint());
  const { status, stderr } = unitcell(
    "convert",
    "--strip",
    "optimizer",
    "--rename",
    "module.=>",
    "--rename",
    "out.=>head.",
    a,
    at("r.pt"),
  );
  assert.equal([status, stderr], [0, "note: stripped optimizer\n"]);
  const root = await load(at("r.pt"));
  assert.equal([...root.keys()], ["epoch", "state_dict", "best_mae_error", "args"]);
  const state = sub(root, "state_dict") as OrderedDict;
  assert.equal([...state.keys()], ["embed.weight", "head.weight", "turned", "steps"]);
  assert.equal([...sub(state.attributes!, "_metadata").keys()], ["", "embed"]);
});

test("convert to .safetensors: tensors, plain values as metadata, the rest listed; back again tied", async () => {
  const a = save("a.pt", checkpoint());
  const { stderr, status } = unitcell("convert", "--metadata", "by=me", a, at("s.safetensors"));
  assert.is(status, 0);
  assert.match(stderr, "note: in the metadata: epoch, best_mae_error, args\nnote: left out: optimizer (dict)\n");
  const file = await openTorch(readFileSync(at("s.safetensors")));
  const metadata = file.info.get("metadata") as Map<string, string>;
  assert.equal(Object.fromEntries([...metadata].filter(([key]) => key !== "unitcell.shared")), {
    "unitcell.checkpoint": '["epoch","best_mae_error","args"]',
    epoch: "3",
    best_mae_error: "0.5",
    args: '{"lr":0.1,"name":"a","layers":[1,2]}',
    by: "me",
  });
  const back = unitcell("convert", at("s.safetensors"), at("back.pt"));
  assert.match(back.stderr, "note: tied 1 tensor again that were written apart\n");
  assert.match(unitcell("inspect", at("back.pt")).stdout, /module\.out\.weight .* tied to module\.embed\.weight\n/);
});

test("convert: a file that names code is refused, kept when asked, and left behind by .safetensors", async () => {
  const file = save("code.pt", dict({ state_dict: dict({ w: floats(1) }), cls: new PythonGlobal("my.Net") }));
  const refused = unitcell("convert", file, at("code2.pt"));
  assert.is(refused.status, 1);
  assert.match(refused.stderr, /^unitcell: UNSAFE: .*my\.Net; nothing was run; [^\n]*--keep-unknown-classes [^\n]*\n$/);
  assert.not.ok(existsSync(at("code2.pt")));
  assert.is(unitcell("convert", "--keep-unknown-classes", file, at("code2.pt")).status, 0);
  assert.is(unitcell("diff", file, at("code2.pt")).status, 0);
  const safe = unitcell("convert", file, at("code.safetensors"));
  assert.match(safe.stderr, "note: left out: cls (class or function)\nnote: left out, names of code: my.Net\n");
  assert.equal((await openTorch(readFileSync(at("code.safetensors")))).globals, []);
});

test("convert: IN may be OUT; OUT is replaced only with --force, and stays as it was after an error", () => {
  const a = save("same.pt", checkpoint());
  const before = readFileSync(a);
  assert.match(unitcell("convert", a, a).stderr, /^unitcell: ARGUMENT: .* exists; --force replaces it\n$/);

  assert.is(unitcell("convert", "--force", "--rename", "module.=>", a, a).status, 0);
  assert.match(unitcell("inspect", a).stdout, "state_dict.embed.weight");
  writeFileSync(a, before);
  for (const args of [
    ["--rename", "nothing=>"],
    ["--strip", "nothing"],
  ]) {
    assert.is(unitcell("convert", "--force", ...args, a, a).status, 1);
    assert.is(Buffer.compare(readFileSync(a), before), 0);
  }
  assert.equal(
    readdirSync(scratch).filter((name) => name.endsWith(".part")),
    [],
  );
});

const REFUSED: [what: string, args: string[], message: RegExp][] = [
  [
    "names that become one",
    ["--rename", "module.embed=>module.out"],
    /MISMATCH: "?module\.embed\.weight"? and .* would both be named/,
  ],
  [
    "a prefix no name has",
    ["--rename", "model.=>"],
    /NOT_FOUND: no tensor's name starts with model\.: module\.embed\.weight,/,
  ],
  [
    "a key that is not there",
    ["--strip", "scheduler"],
    /NOT_FOUND: .* no top-level key scheduler; there are epoch, state_dict,/,
  ],
];
for (const [what, args, message] of REFUSED)
  test(`convert refuses ${what}`, () => {
    const { status, stderr } = unitcell("convert", ...args, save("a.pt", checkpoint()), at("refused.pt"));
    assert.is(status, 1);
    assert.match(stderr, message);
    assert.not.ok(existsSync(at("refused.pt")));
  });

test("convert: a damaged tensor is an error, not a sound file with other numbers", () => {
  const bytes = readFileSync(save("a.pt", checkpoint()));
  bytes[bytes.indexOf(Buffer.from(Float32Array.of(1, 2, 3).buffer)) + 2] ^= 1;
  writeFileSync(at("damaged.pt"), bytes);
  const { status, stderr } = unitcell("convert", at("damaged.pt"), at("sound.pt"));
  assert.is(status, 1);
  assert.match(stderr, /^unitcell: CORRUPT: .*damaged\.pt: zip entry "archive\/data\/0" has CRC-32 /);
  assert.not.ok(existsSync(at("sound.pt")));
});

test("convert: Ctrl-C leaves nothing behind", async () => {
  const a = save("long.pt", dict({ w: { dtype: "f32", shape: [2 ** 25], data: new Uint8Array(2 ** 27) } as Tensor }));
  const child = spawn(process.execPath, ["dist/cli.js", "convert", "--dtype", "f64", a, at("stopped.pt")]);
  const wait = setInterval(() => {
    if (!readdirSync(scratch).some((name) => name.startsWith("stopped.pt."))) return;
    clearInterval(wait);
    child.kill("SIGINT");
  }, 5);
  assert.is(await new Promise((resolve) => child.on("close", resolve)), 130);
  assert.equal(
    readdirSync(scratch).filter((name) => name.startsWith("stopped")),
    [],
  );
});

test("diff: keys, shapes, dtypes, numbers, values; tolerance and exit codes", () => {
  const a = save("d1.pt", checkpoint());
  const other = checkpoint();
  const state = sub(other, "state_dict");
  state.set("module.turned", floats(1, 2));
  state.set("module.new", floats(1));
  state.set("module.out.weight", {
    dtype: "f32",
    shape: [2, 3],
    data: new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6.25).buffer),
  } as Tensor);
  other.set("epoch", 4);
  sub(other, "args").set("name", "b");
  const b = save("d2.pt", other);
  const { stdout, status } = unitcell("diff", a, b);
  assert.is(status, 1);
  assert.match(stdout, "only in B: 1 tensor\n  module.new\n");
  assert.match(stdout, /module\.out\.weight +float32 +\[2, 3\] +1 of 6 +0\.25 +0\.038462\n/);
  assert.match(stdout, /module\.turned +float32 +\[3, 2\] \/ \[2\] +- +- +-\n/);
  assert.match(stdout, '  epoch: 3, 4\n  args.name: "a", "b"\n');
  assert.match(stdout, /different: 3 tensors equal, 2 not\n$/);
  const close = checkpoint();
  sub(close, "state_dict").set("module.out.weight", state.get("module.out.weight")!);
  const c = save("d3.pt", close);
  assert.equal(
    [0.2, 0.25].map((t) => unitcell("diff", "--tolerance", String(t), a, c).status),
    [1, 0],
  );
});

test("diff: NaN equals NaN at its place, 0 equals -0, 64-bit integers are exact, order does not matter", () => {
  const integers = (value: bigint) =>
    ({ dtype: "i64", shape: [1], data: new Uint8Array(BigInt64Array.of(value).buffer) }) as Tensor;
  const a = save("n1.pt", dict({ w: floats(Number.NaN, 0, 1), n: integers(2n ** 60n) }));
  assert.is(
    unitcell("diff", a, save("n2.pt", dict({ n: integers(2n ** 60n), w: floats(Number.NaN, -0, 1) }))).status,
    0,
  );
  const { stdout } = unitcell(
    "diff",
    "--tolerance",
    "1e9",
    a,
    save("n3.pt", dict({ w: floats(0, 0, Number.NaN), n: integers(2n ** 60n) })),
  );
  assert.match(stdout, /w +float32 +\[3\] +2 of 3, 2 NaN +0 +0\n/);
  const exact = JSON.parse(
    unitcell("diff", "--json", a, save("n4.pt", dict({ w: floats(Number.NaN, 0, 1), n: integers(2n ** 60n + 1n) })))
      .stdout,
  );
  assert.equal([exact.tensors.length, exact.tensors[0].differing, exact.tensors[0].largest], [1, 1, 1]);
});

test("diff: a hint where only a prefix keeps the names apart", () => {
  const a = save("p1.pt", dict({ "module.w": floats(1), "module.b": floats(2) }));
  const b = save("p2.pt", dict({ w: floats(1), b: floats(2) }));
  const hint =
    /hint: every name in A starts with "module\."; without it 2 names would be in B \(unitcell convert --rename 'module\.=>'\)/;
  assert.match(unitcell("diff", a, b).stdout, hint);
});

const USAGE: [args: string[], message: RegExp][] = [
  [["inspect"], /inspect takes one file, found 0/],
  [["inspect", "--limit", "x", "a.pt"], /--limit takes a number of entries, found "x"/],
  [["verify"], /verify needs files/],
  [["convert", "a.pt"], /convert takes IN and OUT, found 1/],
  [["convert", "a.pt", "b.tflite"], /OUT ends in .*found "b\.tflite"/],
  [["convert", "--dtype", "int8", "a.pt", "b.pt"], /--dtype is one of f32, f16, bf16, f64/],
  [["convert", "--rename", "a", "a.pt", "b.pt"], /--rename takes 'FROM=>TO'/],
  [["convert", "--metadata", "a=b", "a.pt", "b.pt"], /--metadata is for \.safetensors/],
  [["diff", "a.pt"], /diff takes two files, found 1/],
  [["diff", "--tolerance", "-1x", "a.pt", "b.pt"], /tolerance/],
  [["inspect", "--nope", "a.pt"], /Unknown option/],
];
for (const [args, message] of USAGE)
  test(`usage: ${args.join(" ")}`, () => {
    const { stdout, stderr, status } = unitcell(...args);
    assert.equal([status, stdout], [2, ""]);
    assert.match(stderr, message);
    assert.not.match(stderr, /\n\s+at /);
  });

test("help of every command", () => {
  for (const verb of ["inspect", "verify", "convert", "diff"]) {
    const { stdout, status } = unitcell(verb, "--help");
    assert.is(status, 0);
    assert.match(stdout, `Usage: unitcell ${verb} [options]`);
    assert.is(unitcell("help", verb).stdout, stdout);
    assert.match(unitcell("--help").stdout, `\n  ${verb} `);
  }
});

const PLAIN_WORDS: [what: string, bytes: string | Uint8Array, message: RegExp][] = [
  [
    "a git-lfs pointer",
    "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n",
    /a git-lfs pointer.*`git lfs pull`/,
  ],
  ["a web page", "<!DOCTYPE html><html>404</html>", /a web page, perhaps a download error/],
  ["an empty file", "", /an empty file/],
  ["half a file", saveTorch(checkpoint()).subarray(0, 900), /cut short, perhaps a download that stopped/],
];
for (const [what, bytes, message] of PLAIN_WORDS)
  test(`in plain words: ${what}`, () => {
    writeFileSync(at("words.pt"), bytes);
    for (const args of [["inspect"], ["verify"], ["convert", "--force"], ["diff", at("words.pt")]]) {
      const { stderr, status } = unitcell(...args, at("words.pt"), ...(args[0] === "convert" ? [at("no.pt")] : []));
      assert.is(status, 1);
      assert.match(stderr, message);
      assert.is(stderr.trimEnd().split("\n").length, 1);
    }
  });

test("folders and indices of shards", () => {
  const folder = at("sharded");
  mkdirSync(folder);
  assert.match(unitcell("inspect", folder).stderr, /^unitcell: NOT_FOUND: the folder \S+ holds none of /);
  writeFileSync(join(folder, "one.bin"), saveTorch(dict({ a: floats(1, 2) })));
  writeFileSync(join(folder, "two.bin"), saveTorch(dict({ b: floats(3) })));
  const index = join(folder, "pytorch_model.bin.index.json");
  writeFileSync(index, JSON.stringify({ weight_map: { b: "two.bin", a: "one.bin" } }));
  const whole = save("whole.pt", dict({ a: floats(1, 2), b: floats(3) }));
  for (const name of [folder, index]) {
    assert.match(unitcell("inspect", name).stdout, "shards 2");
    assert.is(unitcell("diff", name, whole).status, 0);
    assert.is(unitcell("verify", name).status, 0);
  }
  assert.is(unitcell("convert", folder, at("joined.safetensors")).status, 0);
  assert.is(unitcell("diff", at("joined.safetensors"), whole).status, 0);
  rmSync(join(folder, "two.bin"));
  assert.match(unitcell("inspect", folder).stderr, /^unitcell: NOT_FOUND: .*two\.bin\n$/);
});

test("ALIGNN's and matgl's folders, and a zip: the state dict's file, what belongs to it, in every command", () => {
  const bundles = "test/fixtures/bundles";
  const folder = unitcell("inspect", `${bundles}/alignn`).stdout;
  assert.match(
    folder,
    /^file {8}\S+alignn, [\d,]+ bytes in best_model\.pt\nwith {8}config\.json, 355 bytes\nformat .* layout plain\n/,
  );
  const zipped = unitcell("inspect", `${bundles}/alignn.zip`).stdout;
  assert.match(zipped, /bytes in checkpoint_4\.pt\nwith {8}config\.json, 355 bytes\nformat .* layout ignite\n/);
  assert.match(zipped, /WARNING {5}names code: __builtin__\.getattr, torch\.optim\.lr_scheduler\.OneCycleLR/);
  const matgl = JSON.parse(unitcell("inspect", "--json", `${bundles}/matgl`).stdout);
  assert.equal([matgl.stateDictFile, matgl.problem], ["state.pt", undefined]);
  assert.equal(
    matgl.beside.map(({ name }: { name: string }) => name),
    ["model.pt", "model.json"],
  );
  assert.match(unitcell("verify", "--hash", `${bundles}/matgl`).stdout, / {2}sha256 [0-9a-f]{64} {2}state\.pt\n/);
  assert.is(unitcell("verify", `${bundles}/alignn.zip`).status, 0);
  assert.is(unitcell("convert", "--force", `${bundles}/alignn`, at("alignn.pt")).status, 0);
  assert.is(unitcell("diff", at("alignn.pt"), `${bundles}/alignn/best_model.pt`).status, 0);
});

test("a folder of several checkpoints lists them; what is wrong beside a state dict is told, not refused", () => {
  const folder = at("several");
  mkdirSync(folder);
  for (const name of ["a_best.pt", "b_best.pt"]) writeFileSync(join(folder, name), saveTorch(checkpoint()));
  const { status, stderr } = unitcell("inspect", folder);
  assert.equal([status, stderr.includes("ARGUMENT"), stderr.includes('"a_best.pt", "b_best.pt"')], [1, true, true]);
  rmSync(join(folder, "b_best.pt"));
  writeFileSync(join(folder, "a_best.pt"), saveTorch(dict({ w: floats(1) })));
  writeFileSync(join(folder, "config.json"), "<html>");
  const shown = unitcell("inspect", folder);
  assert.is(shown.status, 0);
  assert.match(shown.stdout, /\nPROBLEM {5}CORRUPT: config\.json: expected "\{", found "<" at character 0\n/);
});

test("verify finds damage in a zip around a checkpoint, where no record of the checkpoint has it", () => {
  const inner = readFileSync(save("inner.pt", checkpoint()));
  const bytes = zip([
    { name: "x/inner.pt", data: inner },
    { name: "x/notes.txt", data: utf8("notes") },
  ]);
  bytes[Buffer.from(bytes).indexOf("x/notes.txt") + "x/notes.txt".length] ^= 1;
  writeFileSync(at("around.zip"), bytes);
  const { status, stderr } = unitcell("verify", at("around.zip"));
  assert.is(status, 1);
  assert.match(stderr, /CORRUPT: .*zip entry "x\/notes\.txt" has CRC-32/);
});

/** Files of the corpus that the writer or safetensors cannot hold, by what says so. */
const NOT_TORCH = /external reference|TorchScript/;
const NOT_SAFETENSORS = /holds no tensors|cannot hold|lone surrogate|two tensors of the file are named|meta device/;

if (haveFixtures("torch")) {
  const printable = ({ stdout, stderr }: Outcome, name: string) =>
    assert.not.match(stdout + stderr, /[^\n\x20-\x7e]/, name);
  const oneError = (outcome: Outcome, name: string) => {
    printable(outcome, name);
    if (outcome.status === 1) assert.match(outcome.stderr, /^unitcell: [A-Z_]+: [^\n]+\n$/, name);
    else assert.equal([outcome.status, outcome.stderr], [0, ""], name);
  };

  test("corpus: every bad file is inspected, or refused in one line; verify finds what inspect cannot see", async () => {
    const { files } = fixtureJson<{ files: Record<string, { class: string; may_succeed?: boolean }> }>(
      "torch/bad/manifest.json",
    );
    let shown = 0;
    for (const [name, { class: kind, may_succeed }] of Object.entries(files)) {
      const path = join(fixturesRoot, "torch/bad", name);
      const inspected = await inProcess(inspectCommand, path);
      oneError(inspected, name);
      if (inspected.status === 0) shown++;
      oneError(await inProcess(inspectCommand, "--json", "--tree", path), name);
      const verified = await inProcess(verifyCommand, path);
      oneError(verified, name);
      // What names code may be whole otherwise; an unknown dtype is such a name too.
      if (!may_succeed && !/unsafe-global|unsupported-dtype/.test(kind)) assert.is(verified.status, 1, name);
    }
    console.log(`\n${Object.keys(files).length} bad files: ${shown} inspected, the others refused`);
  });

  test("corpus: every good file is inspected, verified, converted and equal to itself afterwards", async () => {
    const { files } = fixtureJson<{ files: Record<string, { format: string }> }>("torch/manifest.json");
    const counts = { pt: 0, safetensors: 0, all: 0 };
    for (const [name, { format }] of Object.entries(files)) {
      if (format === "virtual-zip") continue;
      const path = join(fixturesRoot, "torch", name);
      counts.all++;
      for (const args of [[], ["--tree", "--stats"], ["--json"]]) {
        const outcome = await inProcess(inspectCommand, ...args, path);
        assert.equal([outcome.status, outcome.stderr], [0, ""], name);
        printable(outcome, name);
      }
      assert.is((await inProcess(verifyCommand, "--hash", path)).status, 0, name);
      const torch = await inProcess(convertCommand, "--force", "--keep-unknown-classes", path, at("corpus.pt"));
      if (torch.status === 0) {
        counts.pt++;
        const { status, stdout } = await inProcess(diffCommand, path, at("corpus.pt"));
        assert.is(status, 0, `${name}: ${stdout}`);
      } else assert.match(torch.stderr, NOT_TORCH, name);
      const safe = await inProcess(convertCommand, "--force", path, at("corpus.safetensors"));
      if (safe.status === 0) {
        counts.safetensors++;
        const weights = async (file: string) =>
          /weights (\w+)/.exec((await inProcess(verifyCommand, "--hash", file)).stdout)?.[1];
        assert.is(await weights(at("corpus.safetensors")), await weights(path), name);
      } else assert.match(safe.stderr, NOT_SAFETENSORS, name);
    }
    console.log(`\n${counts.all} good files: ${counts.pt} converted to .pt, ${counts.safetensors} to .safetensors`);
  });

  test("a zip64 archive of 4.3 GB: inspected for some hundred kB", () => {
    const { size, segments } = fixtureJson<{ size: number; segments: [number, string][] }>(
      "torch/torch2/zip64_big.json",
    );
    const path = at("zip64.pt");
    const fd = openSync(path, "w");
    for (const [offset, hex] of segments) writeSync(fd, Buffer.from(hex, "hex"), 0, hex.length / 2, offset);
    truncateSync(path, size);
    const { stdout, status } = unitcell("inspect", path);
    rmSync(path);
    assert.is(status, 0);
    const [, read] = /read +([\d,]+) bytes of/.exec(stdout)!;
    assert.ok(Number(read.replaceAll(",", "")) < 300_000, read);
  });
}

for (const file of [
  "cgcnn/band-gap.pth.tar",
  "alignn/alignn_default/best_model.pt",
  "megnet/state.pt",
  "megnet/model.pt",
])
  if (haveFixtures(file))
    test(`published: ${file}`, () => {
      const path = join(fixturesRoot, file);
      const { stdout, status } = unitcell("inspect", "--stats", path);
      assert.is(status, 0);
      assert.match(stdout, /parameters {2}[\d,]+ in/);
      assert.is(unitcell("verify", "--finite", path).status, 0);
      copyFileSync(path, at("published.pt"));
      assert.is(unitcell("convert", "--force", "--keep-unknown-classes", path, at("published.pt")).status, 0);
      assert.is(unitcell("diff", path, at("published.pt")).status, 0);
    });

test.run();

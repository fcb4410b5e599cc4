/** `unitcell slim` as a user runs it, and `predict` of what it and `convert` write. Run after a build. */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { PythonGlobal, type TorchValue } from "../src/formats/values.js";
import type { Tensor } from "../src/tensor.js";

const CGCNN = "examples/saved_models/cgcnn_ionic_best.pt";
const STRUCTURES = ["CsCl", "NaCl-rocksalt"].map((name) => `examples/structures/${name}.cif`);

const scratch = mkdtempSync(join(tmpdir(), "unitcell-slim-"));
const at = (name: string) => join(scratch, name);
test.after(() => rmSync(scratch, { recursive: true }));

function unitcell(...args: string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["dist/cli.js", ...args], { encoding: "utf8" });
  return { stdout, stderr, status };
}
const slim = (...args: string[]) => unitcell("slim", ...args);

/** Ids and values as predict prints them. */
function predicted(...args: string[]): [string, number][] {
  const { stdout, status, stderr } = unitcell("predict", "--json", ...args);
  assert.is(status, 0, stderr);
  return (JSON.parse(stdout) as { id: string; value: number }[]).map(({ id, value }) => [id, value]);
}

const state = new Map<TorchValue, TorchValue>([
  ["w", { dtype: "f32", shape: [1, 1], data: new Uint8Array(4) } satisfies Tensor],
]);

for (const out of ["cgcnn.pt", "cgcnn.safetensors"])
  test(`${out}: nothing lost that predictions need, nothing asked`, () => {
    const { stdout, stderr, status } = slim(CGCNN, "-o", at(out));
    assert.is(status, 0, stderr);
    assert.match(stdout, /^stripped {4}optimizer\ntensors {5}38,452 bytes before, 38,452 after\nfile {8}147,007 bytes/);
    assert.match(stdout, new RegExp(`\\n${CGCNN} -> \\S+${out.replace(".", "\\.")}\\n$`));
    assert.match(stderr, /^note: cgcnn_ionic_metadata\.json is no part of OUT; predict looks for cgcnn_metadata\.json/);
    assert.equal(predicted("-m", at(out), ...STRUCTURES), predicted("-m", CGCNN, ...STRUCTURES));
    assert.match(
      unitcell("inspect", at(out)).stdout,
      /settings {4}radius 8, .*\nepoch {7}221\nmetrics {5}best_mae_error/,
    );
  });

for (const name of ["alignn", "matgl"])
  test(`${name}: settings from beside the weights are in the one file`, async () => {
    const { stderr, status } = slim(`test/fixtures/bundles/${name}`, "-o", at(`${name}.pt`));
    assert.is(status, 0, stderr);
    const { args, normalizer } = await loadCheckpoint(readFileSync(at(`${name}.pt`)));
    assert.ok(args!.size > 3);
    assert.is(normalizer !== undefined, name === "matgl");
    assert.equal(slim(`test/fixtures/bundles/${name}`, "-o", at(`${name}.safetensors`)).status, 0);
    assert.equal((await loadCheckpoint(readFileSync(at(`${name}.safetensors`)))).args!.size, args!.size);
  });

test("--check: both models' values, the second those of the file; the change in the property's unit", () => {
  const out = at("checked.pt");
  const { stdout, stderr, status } = slim(CGCNN, "-o", out, "--f16", "--check", ...STRUCTURES);
  assert.is(status, 0, stderr);
  assert.match(stdout, "rounded     6 tensors to float16\n");
  assert.match(
    stdout,
    /\n {12}30 tensors stayed \(a bias, norm or buffer: fewer than two dimensions\): embedding\.bias,/,
  );
  const [old, now] = [predicted("-m", CGCNN, ...STRUCTURES), predicted("-m", out, ...STRUCTURES)];
  const json = JSON.parse(slim(CGCNN, "-o", out, "--force", "--json", "--f16", "--check", ...STRUCTURES).stdout);
  assert.equal(
    json.change.structures.map(({ id, before, after }: { [key: string]: unknown }) => [id, before, after]),
    old.map(([id, value], i) => [id, value, now[i][1]]),
  );
  const largest = Math.max(...old.map(([, value], i) => Math.abs(now[i][1] - value)));
  assert.is(json.change.largest, largest);
  assert.equal([json.written, json.bytes.after, json.cast.cast], [true, readFileSync(out).length, 6]);
  const inOneLine = stdout.replace(/\n {12}/g, " ");
  assert.match(
    inOneLine,
    /\nchange {6}electrostatic energy .*, eV\/atom: 0\.00\d+ at most, 0\.00\d+ in the mean of 2 /,
  );
  assert.match(stdout, /\n {2}structure +formula +before +after +difference\n {2}CsCl +CsCl +-3\.6311/);
  assert.ok(stdout.includes(` ${old[0][1].toFixed(6)}  ${now[0][1].toFixed(6)} `), stdout);
  for (const line of stdout.split("\n")) assert.ok(line.length <= 110, line);
});

test("--sparsity: a row a matrix, and no promise of a smaller file", () => {
  const args = [CGCNN, "-o", at("sparse.safetensors"), "--sparsity", "0.5", "--check", "examples/structures"];
  const { stdout, stderr, status } = slim(...args);
  assert.is(status, 0, stderr);
  assert.match(stdout, /sparsity {4}4,444 of 8,888 weights are zero \(50\.0 %, 0 were before\): the smallest of all/);
  assert.match(stdout, /\n {2}convs\.0\.fc_full\.weight +\[32, 73\] +0 +[\d,]+ +\d\d\.\d % +0\.1\d+\n/);
  assert.match(stdout.replace(/\n +/g, " "), /zeros are stored as numbers, only deflating gains from them/);
  assert.match(stdout, /in the mean of 13\s+structures/);
  const each = JSON.parse(slim(...args, "--force", "--scope", "tensor", "--json").stdout);
  for (const { elements, zerosAfter } of each.sparsity.tensors) assert.is(zerosAfter, elements / 2);
  assert.ok(each.bytes.afterDeflated < each.bytes.after);
});

test("--tolerance: a change above it is told with its excess, and nothing is written; --json has the numbers", () => {
  const args = [CGCNN, "-o", at("strict.pt"), "--bf16", "--check", "examples/structures", "--tolerance"];
  const refused = slim(...args, "1e-3");
  assert.is(refused.status, 1);
  assert.match(
    refused.stderr,
    /^unitcell: MISMATCH: predictions change by up to 0\.0\d+ eV\/atom, 0\.0\d+ above the tolerance of 0\.001; \S+strict\.pt is not written\n$/,
  );
  assert.match(refused.stdout, "; tolerance 0.001\n");
  assert.not.match(refused.stdout, " -> ");
  const json = JSON.parse(slim(...args, "1e-3", "--json").stdout);
  assert.equal([json.written, json.change.accepted], [false, false]);
  assert.not.ok(existsSync(at("strict.pt")));
  assert.is(slim(...args, "1").status, 0);
  assert.ok(existsSync(at("strict.pt")));
});

test("a structure that cannot be compared, or none at all, keeps it from being written", () => {
  writeFileSync(at("bad.cif"), "data_x\n");
  const out = at("broken.pt");
  const { stdout, stderr, status } = slim(
    CGCNN,
    "-o",
    out,
    "--f16",
    "--check",
    STRUCTURES[0],
    at("bad.cif"),
    at("no.cif"),
  );
  assert.is(status, 1);
  assert.match(
    stderr,
    /MISMATCH: 2 of 3 structures cannot be compared \(bad(\.cif)?: .*\); \S+broken\.pt is not written\n$/,
  );
  assert.match(stdout, /\n {2}no\.cif +- +- +-\s+NOT_FOUND: no file /);
  mkdirSync(at("empty"));
  assert.match(slim(CGCNN, "-o", out, "--check", at("empty")).stderr, /NOT_FOUND: no structure files in/);
  assert.not.ok(existsSync(out));
});

test("--unchecked goes without; a file without a network can be slimmed, not checked", () => {
  assert.is(slim(CGCNN, "-o", at("unchecked.pt"), "--bf16", "--unchecked").status, 0);
  const file = at("other.pt");
  writeFileSync(
    file,
    saveTorch(
      new Map<TorchValue, TorchValue>([
        ["state_dict", state],
        ["optimizer", new Map()],
      ]),
    ),
  ); // prettier-ignore
  assert.is(slim(file, "-o", at("other-slim.pt")).status, 0);
  const checked = slim(file, "-o", at("other-slim.pt"), "--force", "--check", STRUCTURES[0]);
  assert.match(checked.stderr, /^unitcell: UNSUPPORTED: \S+other\.pt: /);
});

test("names of code go with what is stripped", async () => {
  const file = at("code.pt");
  writeFileSync(
    file,
    saveTorch(
      new Map<TorchValue, TorchValue>([
        ["state_dict", state],
        ["net", new PythonGlobal("my.Net")],
      ]),
    ),
  ); // prettier-ignore
  const { stdout, status } = slim(file, "-o", at("plain.pt"));
  assert.is(status, 0);
  assert.match(stdout, /^stripped {4}net\n/);
  assert.equal(
    [...((await loadTorch(readFileSync(at("plain.pt")))) as Map<string, TorchValue>).keys()],
    ["state_dict"],
  );
});

test("IN is never replaced, nor a file beside it; another OUT only with --force", () => {
  const file = at("in.pt");
  copyFileSync(CGCNN, file);
  symlinkSync(file, at("link.pt"));
  for (const out of ["in.pt", "link.pt"]) {
    const { stderr, status } = slim(file, "-o", at(out), "--force");
    assert.is(status, 1);
    assert.match(
      stderr,
      /^unitcell: ARGUMENT: \S+ is IN, or a part of it: slim does not replace what it was made from\n$/,
    );
  }
  mkdirSync(at("bundle"));
  for (const name of ["best_model.pt", "config.json"])
    copyFileSync(`test/fixtures/bundles/alignn/${name}`, at(`bundle/${name}`));
  assert.match(slim(at("bundle"), "-o", at("bundle/best_model.pt"), "--force").stderr, /is IN, or a part of it/);
  writeFileSync(at("there.pt"), "x");
  assert.match(
    slim(file, "-o", at("there.pt")).stderr,
    /^unitcell: ARGUMENT: \S+there\.pt exists; --force replaces it\n$/,
  );
  assert.is(readFileSync(at("there.pt"), "utf8"), "x");
  assert.is(slim(file, "-o", at("there.pt"), "--force").status, 0);
  assert.equal(readFileSync(file), readFileSync(CGCNN));
});

test("a network with states is checked with the one asked for", () => {
  const args = ["test/fixtures/megnet/states.pt", "-o", at("states.pt"), "--f16", "--check", STRUCTURES[0]];
  assert.match(slim(...args).stderr, /^unitcell: --state: the model predicts for one of 4 states/);
  assert.is(slim(...args, "--state", "2").status, 0);
});

const USAGE: [args: string[], message: RegExp][] = [
  [[], /slim takes one IN, found 0/],
  [["a.pt", "b.pt", "-o", "c.pt"], /slim takes one IN, found 2/],
  [["a.pt"], /slim needs -o OUT/],
  [["a.pt", "-o", "c.onnx"], /OUT ends in .*found "c\.onnx"/],
  [
    ["a.pt", "-o", "c.pt", "--f16"],
    /--f16, --bf16 and --sparsity change predictions: --check STRUCTURES .*--unchecked/,
  ],
  [["a.pt", "-o", "c.pt", "--sparsity", "0.1"], /change predictions/],
  [["a.pt", "-o", "c.pt", "--f16", "--bf16", "--unchecked"], /--f16 and --bf16 exclude/],
  [["a.pt", "-o", "c.pt", "--check", "x.cif", "--unchecked"], /--check and --unchecked exclude/],
  [["a.pt", "-o", "c.pt", "--sparsity", "50", "--unchecked"], /a share from 0 to 1, found "50"/],
  [["a.pt", "-o", "c.pt", "--sparsity", "", "--unchecked"], /a share from 0 to 1, found ""/],
  [["a.pt", "-o", "c.pt", "--sparsity", "0.5", "--scope", "all", "--unchecked"], /--scope is global or tensor/],
  [["a.pt", "-o", "c.pt", "--scope", "tensor"], /--scope is about --sparsity/],
  [["a.pt", "-o", "c.pt", "--tolerance", "1"], /--tolerance is about the structures of --check/],
  [["a.pt", "-o", "c.pt", "--check", "x.cif", "--tolerance", "-1x"], /argument|tolerance/],
  [["a.pt", "-o", "c.pt", "--check", "x.cif", "-f", "pdb"], /--format is one of/],
];
for (const [args, message] of USAGE)
  test(`usage: slim ${args.join(" ")}`, () => {
    const { stdout, stderr, status } = slim(...args);
    assert.equal([status, stdout], [2, ""]);
    assert.match(stderr, message);
  });

test("help", () => {
  const { stdout, status } = slim("--help");
  assert.is(status, 0);
  assert.match(stdout, "Usage: unitcell slim [options] IN -o OUT");
  assert.is(unitcell("help", "slim").stdout, stdout);
  assert.match(unitcell("--help").stdout, "\n  slim ");
  for (const line of stdout.split("\n")) assert.ok(line.length <= 120, line);
});

test("convert to .safetensors: predict reads the normalizer, of tensors too, and the settings back", () => {
  assert.is(unitcell("convert", CGCNN, at("converted.safetensors")).status, 0);
  assert.equal(predicted("-m", at("converted.safetensors"), ...STRUCTURES), predicted("-m", CGCNN, ...STRUCTURES));
  // Again, from the .safetensors; what the user names is text from then on.
  assert.is(unitcell("convert", at("converted.safetensors"), at("again.safetensors")).status, 0);
  assert.equal(predicted("-m", at("again.safetensors"), ...STRUCTURES), predicted("-m", CGCNN, ...STRUCTURES));
  assert.is(unitcell("convert", CGCNN, at("named.safetensors"), "--metadata", "epoch=last").status, 0);
  assert.match(unitcell("inspect", at("named.safetensors")).stdout, /metadata {4}epoch: last\n/);
  assert.equal(predicted("-m", at("named.safetensors"), ...STRUCTURES), predicted("-m", CGCNN, ...STRUCTURES));
});

test.run();

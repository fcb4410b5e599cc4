/** Which files of a disk make a checkpoint, and the hash it goes by. */
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { readCheckpointFiles } from "../src/cli/checkpoint-files.js";
import { openCheckpoint } from "../src/cli/open.js";
import type { ErrorCode } from "../src/errors.js";
import { sha256 } from "../src/sha256.js";
import { readBeside, summarize } from "../src/summary.js";
import { throwsCode } from "./throws.js";

const BUNDLES = "test/fixtures/bundles";
const hashOf = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

let scratch: string;
const at = (name: string) => join(scratch, name);
test.before(() => {
  scratch = mkdtempSync(join(tmpdir(), "unitcell-"));
});
test.after(() => rmSync(scratch, { recursive: true }));

const MATGL = ["state.pt", "model.pt", "model.json"];
const READ: [path: string, files: string[], hashed: string, name: string][] = [
  ["alignn", ["best_model.pt", "config.json"], "alignn/best_model.pt", "alignn"],
  ["alignn/", ["best_model.pt", "config.json"], "alignn/best_model.pt", "alignn"],
  ["alignn/checkpoint_4.pt", ["checkpoint_4.pt", "config.json"], "alignn/checkpoint_4.pt", "checkpoint_4.pt"],
  ["alignn.zip", ["config.json", "checkpoint_4.pt"], "alignn/checkpoint_4.pt", "alignn.zip"],
  ["matgl", MATGL, "matgl/state.pt", "matgl"],
  ["matgl/state.pt", MATGL, "matgl/state.pt", "state.pt"],
  ["lightning.ckpt", ["lightning.ckpt"], "lightning.ckpt", "lightning.ckpt"],
];
for (const [path, names, hashed, name] of READ)
  test(`${path}: ${names.join(", ")}`, async () => {
    const found = await readCheckpointFiles(`${BUNDLES}/${path}`);
    assert.equal([[...found.files.keys()], found.name, found.sha256], [names, name, hashOf(`${BUNDLES}/${hashed}`)]);
    assert.is((await loadCheckpoint(found.files)).stateDict.size, 9);
  });

test("a file of any ending, and a zip, with settings beside it", async () => {
  mkdirSync(at("beside"));
  writeFileSync(at("beside/config.json"), '{"cutoff": 5}');
  copyFileSync(`${BUNDLES}/alignn/best_model.pt`, at("beside/model.bin"));
  copyFileSync(`${BUNDLES}/alignn.zip`, at("beside/model.zip"));
  const args = async (file: string) => (await loadCheckpoint((await readCheckpointFiles(at(file))).files)).args;
  assert.equal(await args("beside/model.bin"), new Map([["cutoff", 5]]));
  const inZip = await args("beside/model.zip");
  assert.ok(inZip && inZip.size > 1, "a zip's own settings count");
});

test("inspect takes the settings beside a file into account, as predict does", async () => {
  const inspected = async (path: string, beside: boolean) => {
    const opened = await openCheckpoint(path, { unknownClasses: "inert", beside });
    const found = summarize(opened.file, opened.bundle && (await readBeside(opened.bundle)));
    opened.close();
    return [found.file, found.beside.map(({ name }) => name), found.args?.size ?? 0];
  };
  const size = 9;
  const alignn = `${BUNDLES}/alignn/best_model.pt`;
  assert.equal(await inspected(alignn, true), ["best_model.pt", ["config.json"], size]);
  assert.equal(await inspected(alignn, false), [undefined, [], 0]);
  assert.equal(await inspected(at("beside/model.bin"), true), ["model.bin", ["config.json"], 1]);
  assert.equal(await inspected(at("beside/model.zip"), true), ["checkpoint_4.pt", ["config.json"], size]);
});

const FAILS: [what: string, path: () => string, code: ErrorCode, message: RegExp][] = [
  ["a path that is not there", () => at("nothing.pt"), "NOT_FOUND", /nothing\.pt/],
  [
    "an empty folder",
    () => at("empty"),
    "NOT_FOUND",
    /the folder .*empty: expected a checkpoint .* found none; folders inside .*$/,
  ],
  ["a folder with settings only", () => at("settings"), "NOT_FOUND", /found none; folders inside/],
  [
    "a folder of folders",
    () => BUNDLES.replace("/bundles", ""),
    "NOT_FOUND",
    /found none; folders inside it are not looked at$/,
  ],
  ["a folder with several", () => at("several"), "ARGUMENT", /found 2: "a\.pt", "b\.ckpt"; name the file/],
  ["settings beyond the limit", () => at("large/a.pt"), "LIMIT", /config\.json has 2097152 bytes/],
];
for (const [what, path, code, message] of FAILS)
  test(`refused: ${what}`, async () => {
    for (const folder of ["empty", "settings", "several", "large"]) mkdirSync(at(folder), { recursive: true });
    for (const file of ["settings/config.json", "settings/model.json", "large/config.json"])
      writeFileSync(at(file), "{}");
    for (const file of ["several/a.pt", "several/b.ckpt", "large/a.pt"])
      copyFileSync(`${BUNDLES}/lightning.ckpt`, at(file));
    truncateSync(at("large/config.json"), 2 ** 21);
    await throwsCode(() => readCheckpointFiles(path()), code, message);
  });

test("sha256: the standard's examples", async () => {
  const rows: [text: string, hash: string][] = [
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
  ];
  for (const [text, hash] of rows) assert.is(await sha256(new TextEncoder().encode(text)), hash);
  const view = new TextEncoder().encode("xabcx").subarray(1, 4);
  assert.is(await sha256(view), rows[1][1]);
});

test.run();

/** The one-call way to a model: same as in two calls, with the file's hash and name. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { isUnitcellError } from "../src/errors.js";
import { loadModel } from "../src/load-model.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import { predict } from "../src/predict.js";
import { fileSource } from "../src/stores/fs.js";
import { exampleStructures } from "./examples.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";

const BEST = "examples/saved_models/cgcnn_ionic_best.pt";
const bytes = readFileSync(BEST);
const hash = (of: Uint8Array) => createHash("sha256").update(of).digest("hex");

test("bytes: the model of loadCheckpoint and modelFromCheckpoint, and the hash of the file", async () => {
  const model = await loadModel(bytes);
  const { sha256, name, ...rest } = model;
  assert.equal(rest, modelFromCheckpoint(await loadCheckpoint(bytes)));
  assert.is(sha256, hash(bytes));
  assert.is(name, undefined);
  const [{ model: info }] = await predict(model, exampleStructures().slice(0, 1));
  assert.equal(info, { sha256: hash(bytes), architecture: "CGCNN" });
});

test("a File's name, an open file's, and one's own", async () => {
  assert.is((await loadModel(new File([bytes], "mine.pt"))).name, "mine.pt");
  const source = fileSource(BEST);
  const model = await loadModel(source);
  source.close();
  assert.is(model.name, "cgcnn_ionic_best.pt");
  assert.is(model.sha256, hash(bytes));
  assert.is((await loadModel(new File([bytes], "mine.pt"), { name: "band gaps", unit: "K" })).name, "band gaps");
});

test("a file too large to hash is refused", async () => {
  const limits = { wholeFileBytes: bytes.length - 1 };
  try {
    await loadModel(bytes, { limits });
    assert.unreachable();
  } catch (error) {
    assert.ok(isUnitcellError(error, "LIMIT"), `${error}`);
    assert.match((error as Error).message, `${bytes.length} bytes, the limit is ${bytes.length - 1}`);
  }
});

if (haveFixtures("megnet"))
  test("several files: the hash and name of the state dict's, settings from beside it", async () => {
    const files = ["model.json", "model.pt", "state.pt"].map((name) => [name, fixtureBytes(`megnet/${name}`)] as const);
    const model = await loadModel(new Map(files));
    assert.is(model.architecture, "MEGNet");
    assert.is(model.name, "state.pt");
    assert.is(model.sha256, hash(fixtureBytes("megnet/state.pt")));
    assert.equal(model.assumed, []);
  });

test.run();

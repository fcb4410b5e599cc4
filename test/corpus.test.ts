/** Every good file of the shared torch corpus: structure, dtypes, shapes, strides, sharing and bytes as its manifest says. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openTorch } from "../src/formats/torch.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { canonical, describeValue } from "./tagged.js";

interface GoodFile {
  format: string;
  globals: string[];
  root: unknown;
  tensors: unknown[];
  storages: unknown[];
}

if (haveFixtures("torch")) {
  const { files } = fixtureJson<{ files: Record<string, GoodFile> }>("torch/manifest.json");
  let right = 0;
  for (const [name, expected] of Object.entries(files)) {
    if (expected.format === "virtual-zip") continue;
    test(`corpus: ${name}`, async () => {
      const file = await openTorch(fixtureBytes(`torch/${name}`), { unknownClasses: "inert" });
      assert.equal(file.globals, expected.globals, "globals");
      await file.load();
      const found = describeValue(file.root);
      assert.equal(canonical(found.root), canonical(expected.root), "root");
      assert.equal(canonical(found.tensors), canonical(expected.tensors), "tensors");
      assert.equal(canonical(found.storages), canonical(expected.storages), "storages");
      right++;
    });
  }
  test("corpus: counts", () => console.log(`\ncorpus: ${right} of ${Object.keys(files).length} good files read right`));
}

test.run();

/** Every good file of the shared torch corpus: structure, dtypes, shapes, strides, sharing and bytes as its manifest says. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openTorch } from "../src/formats/torch.js";
import type { TorchTensor } from "../src/formats/torch-tensors.js";
import { TORCH_DTYPES } from "../src/tensor.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { canonical, describeValue } from "./tagged.js";
import { VirtualFile } from "./virtual-files.js";

interface GoodFile {
  format: string;
  globals: string[];
  root: unknown;
  tensors: unknown[];
  storages: unknown[];
}

interface VirtualTensor {
  path: [string];
  dtype: string;
  shape: number[];
  nbytes: number;
}

/** A file of gigabytes given as its bytes that are not zero: its description; test/lazy.test.ts reads its data by range. */
async function checkVirtual(name: string, expected: VirtualTensor[]): Promise<void> {
  const { size, segments } = fixtureJson<{ size: number; segments: [number, string][] }>(`torch/${name}`);
  const parts = segments.map(([offset, hex]): [number, Uint8Array] => [offset, Buffer.from(hex, "hex")]);
  const file = await openTorch(new VirtualFile(size, parts));
  const found = [...(file.root as Map<string, TorchTensor>)].map(([path, { dtype, shape, storage }]) => ({
    path: [path],
    dtype: TORCH_DTYPES[dtype],
    shape,
    nbytes: storage!.byteLength,
  }));
  assert.equal(
    found,
    expected.map(({ path, dtype, shape, nbytes }) => ({ path, dtype, shape, nbytes })),
  );
}

if (haveFixtures("torch")) {
  const { files } = fixtureJson<{ files: Record<string, GoodFile> }>("torch/manifest.json");
  let right = 0;
  for (const [name, expected] of Object.entries(files)) {
    if (expected.format === "virtual-zip") {
      test(`corpus: ${name}`, async () => {
        await checkVirtual(name, expected.tensors as VirtualTensor[]);
        right++;
      });
      continue;
    }
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

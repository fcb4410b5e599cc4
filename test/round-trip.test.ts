/** What was read is written back equal: every good file of the shared corpus, read, saved, read again. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { canonical, describeValue } from "./tagged.js";

/** A file of another program's container has no pickle to write, or names things that only that container means. */
const NOT_PICKLES = new Map([["pickle_zoo_objects.pkl", "a persistent id of unknown meaning"]]);

async function read(bytes: Uint8Array): Promise<TorchValue> {
  const file = await openTorch(bytes, { unknownClasses: "inert" });
  await file.load();
  return file.root;
}

/** Keys count storages anew, all are in CPU memory, and a slice of a storage is written as a view of it. */
function written(value: TorchValue): unknown {
  const { root, tensors, storages } = describeValue(value);
  return canonical({
    root,
    tensors: tensors.map(({ storage_view, offset, ...rest }) => ({
      ...rest,
      offset: (offset as number) + ((storage_view as { offset: number } | undefined)?.offset ?? 0),
    })),
    storages: storages.map(({ nbytes, sha256 }) => ({ nbytes, sha256 })),
  });
}

if (haveFixtures("torch")) {
  const { files } = fixtureJson<{ files: Record<string, { format: string }> }>("torch/manifest.json");
  let equal = 0;
  for (const [name, { format }] of Object.entries(files)) {
    if (format === "virtual-zip" || NOT_PICKLES.has(name)) continue;
    test(`round trip: ${name}`, async () => {
      const value = await read(fixtureBytes(`torch/${name}`));
      const saved = saveTorch(value);
      const again = await read(saved);
      assert.equal(written(again), written(value));
      assert.equal(Buffer.compare(saveTorch(again), saved), 0, "saved twice, the same bytes");
      equal++;
    });
  }
  test("round trip: counts", () => console.log(`\n${equal} files written back equal`));
}

test.run();

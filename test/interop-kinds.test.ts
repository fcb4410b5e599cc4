/**
 * Values that random ones do not have (whole modules, optimizers, classes, numpy of every kind), saved by real PyTorch,
 * read and written back here as inert objects, and loaded by PyTorch: equal to what it saved.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { pytorch1, pytorch2 } from "./interop.js";

const folder = mkdtempSync(join(tmpdir(), "unitcell-kinds-"));
test.after(() => rmSync(folder, { recursive: true }));

for (const torch of [pytorch2(), pytorch1()])
  if (torch)
    test(`kinds of values: torch ${torch.version}`, async () => {
      const [theirs, ours] = ["theirs", "ours"].map((name) => join(folder, torch.version, name));
      for (const path of [theirs, ours]) mkdirSync(path, { recursive: true });
      const names = torch.run<string[]>("kinds", theirs);
      for (const name of names) {
        const value = await loadTorch(readFileSync(join(theirs, name)), { unknownClasses: "inert" });
        writeFileSync(join(ours, name), saveTorch(value));
      }
      const pairs = names.flatMap((name) => [join(ours, name), join(theirs, name)]);
      const differences = torch.run<(string | null)[]>("same", ...pairs);
      assert.equal(
        names.flatMap((name, i) => (differences[i] === null ? [] : [`${name}: ${differences[i]}`])),
        [],
      );
      console.log(`  torch ${torch.version}: ${names.length} files written back equal`);
    });

test.run();

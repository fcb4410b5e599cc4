/** Which network a summary says that a checkpoint is of, without its tensors' data; the same as the model itself says. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ArchitectureSummary, summarizeArchitecture } from "../src/architecture-summary.js";
import type { Input } from "../src/bytes.js";
import type { CheckpointFiles } from "../src/checkpoint.js";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { loadModel } from "../src/load-model.js";
import { inspectCheckpoint } from "../src/summary.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";

const BEST = "examples/saved_models/cgcnn_ionic_best.pt";
const best = new Uint8Array(readFileSync(BEST));

const MODELS: [name: string, input: () => Input | CheckpointFiles][] = [["the example", () => best]];
const files = (folder: string, ...names: string[]) =>
  new Map(names.map((name) => [name, fixtureBytes(`${folder}/${name}`)]));
if (haveFixtures("cgcnn"))
  for (const name of ["band-gap", "semi-metal-classification"])
    MODELS.push([name, () => fixtureBytes(`cgcnn/${name}.pth.tar`)]);
if (haveFixtures("alignn")) {
  MODELS.push(["ALIGNN with its config", () => files("alignn/alignn_default", "best_model.pt", "config.json")]);
  MODELS.push(["ALIGNN without", () => fixtureBytes("alignn/alignn_default/best_model.pt")]);
}
if (haveFixtures("megnet")) MODELS.push(["MEGNet", () => files("megnet", "state.pt", "model.pt", "model.json")]);

for (const [name, input] of MODELS)
  test(`${name}: what the model says`, async () => {
    const { architecture, config, found, assumed } = await loadModel(input());
    const { property, ...rest } = summarizeArchitecture(await inspectCheckpoint(input()))!;
    assert.equal(rest, { name: architecture, task: config.task, found, assumed, problem: undefined });
  });

test("no tensor's data is fetched", async () => {
  const source = new Blob([best, new Uint8Array(0)]);
  let fetched = 0;
  const counting = {
    size: source.size,
    slice: (start: number, end: number) => {
      fetched += end - start;
      return source.slice(start, end);
    },
  };
  const summary = await inspectCheckpoint(counting);
  const before = fetched;
  assert.is(summarizeArchitecture(summary)!.name, "CGCNN");
  assert.is(fetched, before);
});

/** The example with its dicts changed. */
async function changed(change: (root: Map<TorchValue, TorchValue>) => void): Promise<Uint8Array> {
  const root = (await loadTorch(best)) as Map<TorchValue, TorchValue>;
  change(root);
  return saveTorch(root);
}
const dict = (root: Map<TorchValue, TorchValue>, key: string) => root.get(key) as Map<TorchValue, TorchValue>;

const PROBLEMS: [what: string, file: () => Promise<Uint8Array>, expected: Partial<ArchitectureSummary> | undefined][] =
  [
    [
      "a tensor of CGCNN less",
      () => changed((root) => dict(root, "state_dict").delete("embedding.weight")),
      { name: undefined, problem: "nearest is CGCNN, which would also have embedding.weight" },
    ],
    [
      "nothing of any",
      async () => saveTorch(new Map([["x", dict((await loadTorch(best)) as never, "state_dict").get("fc_out.bias")!]])),
      { name: undefined, problem: undefined },
    ],
    [
      "settings that contradict the tensors",
      () => changed((root) => dict(root, "args").set("n_conv", 4)),
      { name: "CGCNN", task: undefined, problem: "MISMATCH: n_conv is 4 in the arguments, 3 by the tensors" },
    ],
    ["no state dict", async () => saveTorch(new Map([["epoch", 1]])), undefined],
  ];
for (const [what, file, expected] of PROBLEMS)
  test(`${what} is no failure`, async () => {
    const found = summarizeArchitecture(await inspectCheckpoint(await file()));
    if (!expected) assert.is(found, undefined);
    else
      for (const [field, value] of Object.entries(expected))
        assert.is(found![field as keyof ArchitectureSummary], value);
  });

test("unitcell inspect has lines of it, and JSON", async () => {
  const folder = mkdtempSync(join(tmpdir(), "unitcell-"));
  const inspect = async (file: () => Promise<Uint8Array>, ...args: string[]) => {
    const path = join(folder, "file.pt");
    writeFileSync(path, await file());
    const { stdout, status } = spawnSync(process.execPath, ["dist/cli.js", "inspect", ...args, path], {
      encoding: "utf8",
    });
    assert.is(status, 0);
    return stdout;
  };
  assert.match(
    await inspect(async () => best),
    "\nmodel       CGCNN, regression\nsettings    radius 8, max_num_nbr 12, dmin 0, step 0.2\n",
  );
  assert.match(
    await inspect(PROBLEMS[0][1]),
    "\nmodel       architecture not known (nearest is CGCNN, which would also have embedding.weight)\n",
  );
  assert.match(await inspect(PROBLEMS[1][1]), "\nmodel       architecture not known\n");
  assert.match(await inspect(PROBLEMS[2][1]), "\nmodel       CGCNN, but MISMATCH: n_conv is 4");
  assert.not.match(await inspect(PROBLEMS[3][1]), "\nmodel ");
  const { architecture } = JSON.parse(await inspect(async () => best, "--json"));
  assert.equal([architecture.name, architecture.task, architecture.assumed], ["CGCNN", "regression", []]);
  rmSync(folder, { recursive: true });
});

test.run();

/** ls, du, history, prune, undo, pin, resume-info and verify on folders: the built command as a user runs it. Run after a build. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Curve, curvesOf } from "../src/cli/curves.js";
import { duCommand } from "../src/cli/du.js";
import { historyCommand } from "../src/cli/history.js";
import { parseKeep } from "../src/cli/keep.js";
import { lsCommand } from "../src/cli/ls.js";
import { pinCommand } from "../src/cli/pin.js";
import { pruneCommand } from "../src/cli/prune.js";
import { resumeInfoCommand } from "../src/cli/resume-info.js";
import { lasted, oneLine, sized, table } from "../src/cli/shown.js";
import { svgChart } from "../src/cli/svg-chart.js";
import { textChart } from "../src/cli/text-chart.js";
import { undoCommand } from "../src/cli/undo.js";
import { UsageError } from "../src/cli/usage.js";
import { verifyCommand } from "../src/cli/verify.js";
import { isUnitcellError } from "../src/errors.js";
import { NumpyDtype, NumpyScalar, PythonObject, type TorchValue } from "../src/formats/values.js";
import type { CheckpointInfo } from "../src/runs/checkpoint-info.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { fsStore } from "../src/stores/fs.js";
import { fixturesRoot, haveFixtures } from "./fixtures.js";
import { damaged, trained, trainedRun, weights } from "./folders.js";
import { rngState } from "./training-states.js";
import { sendRange, startServer } from "./web-server.js";

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const command = resolve("dist/cli.js");
let scratch: string;
let count = 0;
test.before(() => {
  scratch = mkdtempSync(join(tmpdir(), "unitcell-"));
});
test.after(() => rmSync(scratch, { recursive: true }));

/** The built command. @param cwd where it runs; paths in what it prints are then short */
function spawned(cwd: string, ...args: string[]): Outcome {
  const { stdout, stderr, status } = spawnSync(process.execPath, [command, ...args], {
    cwd,
    encoding: "utf8",
    maxBuffer: 2 ** 27,
  });
  return { stdout, stderr, status };
}

const COMMANDS: Readonly<Record<string, (args: string[]) => Promise<number>>> = {
  ls: lsCommand,
  du: duCommand,
  history: historyCommand,
  prune: pruneCommand,
  undo: undoCommand,
  pin: pinCommand,
  "resume-info": resumeInfoCommand,
  verify: verifyCommand,
};

/** The same in this process, which is quicker; what src/cli.ts does with errors included. */
async function unitcell(cwd: string, verb: string, ...args: string[]): Promise<Outcome> {
  const [{ write: toOut }, { write: toError }, before] = [process.stdout, process.stderr, process.cwd()];
  let [stdout, stderr] = ["", ""];
  process.stdout.write = (text: string | Uint8Array) => {
    stdout += text;
    return true;
  };
  process.stderr.write = (text: string | Uint8Array) => {
    stderr += text;
    return true;
  };
  process.chdir(cwd);
  try {
    return { status: await COMMANDS[verb](args), stdout, stderr };
  } catch (error) {
    if (error instanceof UsageError) return { status: 2, stdout, stderr: `unitcell: ${oneLine(error.message)}\n` };
    if (!isUnitcellError(error)) throw error;
    return { status: 1, stdout, stderr: `${stderr}unitcell: ${error.code}: ${oneLine(error.message)}\n` };
  } finally {
    process.chdir(before);
    process.stdout.write = toOut;
    process.stderr.write = toError;
  }
}

async function ok(cwd: string, verb: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await unitcell(cwd, verb, ...args);
  assert.is(status, 0, `${verb} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** A new folder with a folder of these files in it. */
function place(files: Iterable<[string, Uint8Array | string]>, name = "saved_models"): string {
  const cwd = join(scratch, String(++count));
  mkdirSync(join(cwd, name), { recursive: true });
  for (const [key, bytes] of files) {
    mkdirSync(dirname(join(cwd, name, key)), { recursive: true });
    writeFileSync(join(cwd, name, key), bytes);
  }
  return cwd;
}

function examples(): string {
  const cwd = place([]);
  cpSync("examples/saved_models", join(cwd, "saved_models"), { recursive: true });
  return cwd;
}

/** Every file with its hash. Locks are not looked at: who took one leaves its ticket. */
function snapshot(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath ?? entry.path, entry.name)).sort();
  return Object.fromEntries(
    paths
      .filter((path) => !path.includes("locks"))
      .map((path) => [path.slice(folder.length + 1), createHash("sha256").update(readFileSync(path)).digest("hex")]),
  );
}

test("ls: the examples, grouped by run, with epochs and metrics from the files and the history", async () => {
  const lines = (await ok(examples(), "ls")).trimEnd().split("\n");
  assert.match(lines[0], /^saved_models: 8 checkpoints, 1\.0 MB$/);
  assert.match(lines[2], /^ {2}file +size +modified +run +tag +epoch +val_mae +loss$/);
  const row = lines.find((line) => line.includes("cgcnn_ionic_best.pt"));
  assert.match(row ?? "", /147 kB {2}\d{4}-\d\d-\d\d \d\d:\d\d {2}cgcnn_ionic +best +221 +0\.2199 /);
  assert.match(lines.find((line) => line.includes("epoch50")) ?? "", / epoch +50 +0\.6667 /);
  for (const line of lines) assert.ok(line.length <= 100, line);
  assert.equal((await ok(examples(), "ls", "--run", "alignn_ionic")).match(/\S+\.pt/g), [
    "alignn_ionic_best.pt",
    "alignn_ionic_final.pt",
  ]);
});

test("ls --json --hash is the index of a folder on a web server: every file, hashes that hold", async () => {
  const cwd = examples();
  const { folder, files } = JSON.parse(await ok(cwd, "ls", "--json", "--hash"));
  assert.is(folder, "saved_models");
  assert.equal(files.map(({ key }: { key: string }) => key).sort(), readdirSync(join(cwd, "saved_models")).sort());
  const hashes = snapshot(join(cwd, "saved_models"));
  for (const { key, size, modified, sha256 } of files) {
    assert.is(sha256, hashes[key], key);
    assert.is(size, readFileSync(join(cwd, "saved_models", key)).length);
    assert.ok(!Number.isNaN(Date.parse(modified)));
  }
  assert.is(files.find(({ key }: { key: string }) => key === "cgcnn_ionic_best.pt").metrics.val_mae, 0.2199);
});

test("ls, du and history of a folder on a web server, by the index that ls writes", async () => {
  const cwd = examples();
  const folder = join(cwd, "saved_models");
  writeFileSync(join(folder, "index.json"), ""); // as a shell does before the command runs
  const index = await ok(cwd, "ls", "--json", "--hash");
  assert.not.match(index, /index\.json/);
  writeFileSync(join(folder, "index.json"), index);
  const server = await startServer((request, response) => {
    const path = join(folder, decodeURIComponent(request.url!));
    if (existsSync(path)) sendRange(request, response, readFileSync(path));
    else response.writeHead(404).end();
  });
  try {
    assert.is(await ok(cwd, "ls", server.origin), (await ok(cwd, "ls")).replace("saved_models", server.origin));
    assert.is(await ok(cwd, "history", server.origin), await ok(cwd, "history"));
    assert.match(
      await ok(cwd, "du", server.origin, "--keep", "best"),
      /: 8 checkpoints[\s\S]*frees 147 kB: 1 checkpoint of 8/,
    );
  } finally {
    server.stop();
  }
  assert.match((await unitcell(cwd, "ls", `${server.origin}/absent`)).stderr, /^unitcell: BACKEND: /);
});

test("the folder is saved_models where there is one, else the one the user is in, else what is named", async () => {
  const cwd = place([["a_best.pt", weights(1)]]);
  assert.match(await ok(cwd, "ls"), /^saved_models: 1 checkpoint,/);
  assert.match(await ok(join(cwd, "saved_models"), "ls"), /^\.: 1 checkpoint,/);
  assert.match(await ok(cwd, "ls", "."), /^\.: 1 checkpoint,[\s\S]*saved_models\/a_best\.pt/);
});

const VERBS = ["ls", "du", "history", "resume-info"];

test("the built command says the same", async () => {
  const cwd = examples();
  for (const [verb, ...args] of [
    ...VERBS.map((each) => [each]),
    ["prune", "--keep", "best"],
    ["verify", "saved_models"],
  ])
    assert.equal(spawned(cwd, verb, ...args), { status: 0, stdout: await ok(cwd, verb, ...args), stderr: "" });
  assert.equal(spawned(cwd, "ls", "absent"), await unitcell(cwd, "ls", "absent"));
});

test("a folder on a web server is for looking only", async () => {
  for (const [verb, ...args] of [["resume-info"], ["prune", "--keep", "best"], ["undo"], ["pin"]]) {
    const { status, stderr } = await unitcell(scratch, verb, "http://127.0.0.1:9/", ...args);
    assert.is(status, 1);
    assert.match(stderr, /ARGUMENT: http:\/\/127\.0\.0\.1:9\/: folders of web servers are for ls, du and history\n/);
  }
});

test("an empty folder is said to be empty; a missing one is an error, a file too; nothing is made", async () => {
  const cwd = place([["file", "x"]]);
  mkdirSync(join(cwd, "empty"));
  for (const verb of VERBS) {
    assert.match(await ok(cwd, verb, "empty"), /^empty: (no |0 )/, verb);
    assert.equal(await unitcell(cwd, verb, "absent"), {
      status: 1,
      stdout: "",
      stderr: "unitcell: NOT_FOUND: no folder absent\n",
    });
    assert.match(
      (await unitcell(cwd, verb, "saved_models/file")).stderr,
      /^unitcell: ARGUMENT: .* is a file, not a folder/,
    );
    assert.is((await unitcell(cwd, verb, "empty", "more")).status, 2, verb);
  }
  assert.match(await ok(cwd, "prune", "empty", "--keep", "best"), /Nothing goes\.\n$/);
  assert.match((await unitcell(cwd, "undo", "empty", "3")).stderr, /NOT_FOUND: there is no batch 000003/);
  assert.match((await unitcell(cwd, "verify", "empty")).stderr, /NOT_FOUND/);
  assert.equal(
    readdirSync(join(cwd, "empty")).filter((name) => name !== ".unitcell"),
    [],
  );
});

test("looking changes nothing", async () => {
  const cwd = place(trainedRun("a"));
  const before = snapshot(cwd);
  for (const verb of VERBS) await ok(cwd, verb);
  await ok(cwd, "du", "--check", "--keep", "best");
  await ok(cwd, "prune", "--keep", "best");
  await ok(cwd, "prune", "--empty-trash");
  await ok(cwd, "undo", "--list");
  await ok(cwd, "pin", "--list");
  await ok(cwd, "verify", "saved_models");
  assert.equal(snapshot(cwd), before);
  assert.not(existsSync(join(cwd, "saved_models/.unitcell")));
});

test("du: by run and tag, growth, duplicates, what a policy frees, what is damaged", async () => {
  const files = trainedRun("a", 20);
  files.set("a_epoch16.pt", damaged(files.get("a_epoch16.pt")!));
  const cwd = place([...files, ["other/b_best.pt", weights(1)], ["other/b_final.pt", weights(1)]]);
  const text = await ok(cwd, "du", "--check", "--keep", "latest=1");
  assert.match(text, /^saved_models: 14 checkpoints, \d+ kB\n/);
  assert.match(text, / a +12 +\S+ kB +\S+ kB +\S+ kB +10 x \S+ kB +\d+ bytes\n/);
  assert.match(text, /duplicates {2}\S+ kB in 3 sets\n/);
  assert.match(text, /other\/b_best\.pt = other\/b_final\.pt\n/);
  assert.match(text, /damaged +1 checkpoint\n +a_epoch16\.pt: CORRUPT: /);
  assert.match(text, /prune +--keep latest=1 frees \d+ kB: 9 checkpoints of 14\n/);
  const report = JSON.parse(await ok(cwd, "du", "--json"));
  assert.is(report.checkpoints.files, 14);
  assert.is(report.byRun[0].growth.epochsPerFile, 2);
});

test("prune shows, and does nothing; --yes moves exactly that to the trash; undo brings back the same bytes", async () => {
  const cwd = place(trainedRun("a"));
  const before = snapshot(cwd);
  const plan = await ok(cwd, "prune", "--keep", "best,latest=1");
  assert.match(plan, /4 checkpoints, .* would go\. Nothing was removed; --yes does it\.\n$/);
  assert.match(plan, /a_epoch10\.pt +\S+ kB +epoch +10 +by the policy\n/);
  assert.match(plan, /a_final\.pt .* always kept\n/);
  assert.equal(snapshot(cwd), before);
  assert.match(
    await ok(cwd, "prune", "--keep", "best,latest=1", "--yes"),
    /moved to the trash as batch 000001\.\nunitcell undo /,
  );
  const left = readdirSync(join(cwd, "saved_models")).filter((name) => name.endsWith(".pt"));
  assert.equal(left.sort(), ["a_best.pt", "a_epoch10.pt", "a_final.pt"]);
  assert.match(await ok(cwd, "undo", "--list"), /000001 +\d{4}-.* 4 files, .* prune/);
  assert.match(await ok(cwd, "du"), /trash +4 files, .* in 1 batch; /);
  assert.match(await ok(cwd, "undo"), /4 files, .* back from batch 000001\n {2}a_epoch2\.pt\n/);
  assert.equal(snapshot(cwd), before);
  assert.match((await unitcell(cwd, "undo")).stderr, /NOT_FOUND: the trash is empty/);
});

test("prune --delete is for good; --empty-trash needs --yes too", async () => {
  const cwd = place(trainedRun("a"));
  assert.match(await ok(cwd, "prune", "--keep", "latest=4", "--yes", "--delete"), /1 checkpoint, .* deleted\.\n$/);
  assert.is((await unitcell(cwd, "undo")).status, 1);
  await ok(cwd, "prune", "--keep", "latest=2", "--yes");
  assert.match(await ok(cwd, "prune", "--empty-trash"), /2 files, .* would be deleted\. Nothing was/);
  assert.match(await ok(cwd, "prune", "--empty-trash", "--yes"), /2 files, .* deleted\.\n/);
  assert.match(await ok(cwd, "prune", "--empty-trash"), /the trash is empty/);
});

test("prune FILE removes what is named, by key or path, best and pinned files too, and nothing else", async () => {
  const cwd = place(trainedRun("a"));
  await ok(cwd, "pin", "saved_models/a_epoch4.pt");
  const plan = await ok(cwd, "prune", "a_best.pt", "saved_models/a_epoch4.pt");
  assert.match(plan, /go\n.*\n {2}a_best\.pt.*\n {2}a_epoch4\.pt.*\n\n2 checkpoints/);
  assert.match(plan, /a_epoch2\.pt .* {2}not named\n/);
  await ok(cwd, "prune", "saved_models", "a_best.pt", "a_epoch4.pt", "--yes");
  assert.not(existsSync(join(cwd, "saved_models/a_best.pt")));
  assert.match((await unitcell(cwd, "prune", "a_best.pt")).stderr, /NOT_FOUND: there is no checkpoint a_best\.pt/);
});

test("pins: by path or key, kept by every policy, listed, taken back", async () => {
  const cwd = place(trainedRun("a"));
  assert.is(
    (await ok(cwd, "pin", "saved_models/a_epoch2.pt", "a_epoch4.pt")).split("\n")[1],
    "pinned a_epoch4.pt in saved_models",
  );
  assert.is(await ok(cwd, "pin", "--list"), "saved_models: 2 pinned files\n  a_epoch2.pt\n  a_epoch4.pt\n");
  assert.match(await ok(cwd, "ls"), /a_epoch2\.pt .* pinned\n/);
  const { remove } = JSON.parse(await ok(cwd, "prune", "--keep", "best", "--json"));
  assert.equal(
    remove.map(({ key }: { key: string }) => key),
    ["a_epoch6.pt", "a_epoch8.pt", "a_epoch10.pt"],
  );
  await ok(cwd, "pin", "--remove", "a_epoch2.pt");
  assert.match((await unitcell(cwd, "pin", "--remove", "a_epoch2.pt")).stderr, /NOT_FOUND: a_epoch2\.pt is not pinned/);
  const missing = await unitcell(cwd, "pin", "a_epoch6.pt", "a_epoch7.pt");
  assert.match(missing.stderr, /NOT_FOUND: there is no file a_epoch7\.pt in saved_models/);
  assert.is(missing.stdout, "", "one misspelt name: nothing is pinned");
  assert.is((await unitcell(cwd, "pin")).status, 2);
});

test("pin finds the folder of a file elsewhere: its own, or the one around it with unitcell's notes", async () => {
  const cwd = place(
    [
      ["a/x_best.pt", weights(1)],
      ["a/x_final.pt", weights(2)],
    ],
    "runs",
  );
  assert.is(await ok(cwd, "pin", "runs/a/x_best.pt"), "pinned x_best.pt in runs/a\n");
  rmSync(join(cwd, "runs/a/.unitcell"), { recursive: true });
  await ok(cwd, "pin", "runs", "a/x_best.pt");
  assert.is(await ok(cwd, "pin", "runs/a/x_final.pt"), "pinned a/x_final.pt in runs\n");
});

const wrongRules = [
  "besst",
  "latest",
  "latest=x",
  "latest=-1",
  "best=2:",
  "every=0",
  "younger=7",
  "within=5",
  "",
  "best,",
  "tag=best",
];
for (const rule of wrongRules)
  test(`--keep "${rule}" is wrong usage, and says what there is`, async () => {
    const there = /^--keep has no rule "[^"]*"; there are best, final, last, latest=N, best=N/;
    assert.throws(
      () => parseKeep(rule),
      (error: unknown) => error instanceof UsageError && there.test(error.message),
    );
  });

test("--keep with a typo ends before anything is read", async () => {
  const { status, stderr, stdout } = spawned(scratch, "prune", "--keep", "best,lastest=2", "--yes");
  assert.equal([status, stdout], [2, ""]);
  assert.match(stderr, /^unitcell: --keep has no rule "lastest=2"; there are /);
});

test("a metric that no epoch has keeps them all, and is told", async () => {
  const cwd = place(trainedRun("a"));
  const { stderr, stdout } = await unitcell(cwd, "prune", "--keep", "latest=1,best=1:val_maee:max");
  assert.is(stderr, "unitcell: no epoch has the metric val_maee, so all of them stay; they have loss, val_mae\n");
  assert.match(stdout, /Nothing goes\.\n$/);
  assert.is((await unitcell(cwd, "prune", "--keep", "best=1:loss+every=2,best=2")).stderr, "");
});

test("what a policy's best cannot mean is told, by prune and du: a run without a best file, an unknown metric", async () => {
  const cwd = place([
    ["a-epoch=1-val_mae=0.1.ckpt", trained(1)],
    ["a-epoch=2-val_mae=0.2.ckpt", trained(2)],
    ...[...trainedRun("b", 4)].filter(([key]) => key.endsWith(".pt")),
  ]);
  for (const verb of ["prune", "du"]) {
    const rows: [keep: string, told: string][] = [
      ["best,latest=1", 'unitcell: there is no best file of a, which "best" would keep; best=1 keeps the best epoch\n'],
      ["best=1", ""],
      ["best=1,best", ""],
      ["best,latest=5", ""],
      ["best=1:r2:max", "unitcell: no epoch has the metric r2, so all of them stay; they have val_mae\n"],
    ];
    for (const [keep, told] of rows)
      assert.is((await unitcell(cwd, verb, "--keep", keep)).stderr, told, `${verb} ${keep}`);
  }
});

for (const [verb, ...args] of [["ls"], ["du"], ["resume-info"], ["prune", "--keep", "latest=1"]])
  test(`${verb} --run: one that is not there may be a misspelt one`, async () => {
    const { status, stdout, stderr } = await unitcell(place(trainedRun("a", 4)), verb, ...args, "--run", "b");
    assert.equal([status, stdout], [1, ""]);
    assert.is(stderr, "unitcell: NOT_FOUND: there is no run b; there are a\n");
  });

test("undo and --empty-trash where nothing was removed write nothing", async () => {
  const cwd = place(trainedRun("a", 4));
  assert.match((await unitcell(cwd, "undo")).stderr, /NOT_FOUND: the trash is empty/);
  assert.match(await ok(cwd, "prune", "--empty-trash", "--yes"), /the trash is empty/);
  assert.not.ok(existsSync(join(cwd, "saved_models/.unitcell")));
});

test("pin --remove of a file that is gone, by its path", async () => {
  const cwd = place(trainedRun("a", 4));
  await ok(cwd, "pin", "saved_models/a_epoch2.pt");
  rmSync(join(cwd, "saved_models/a_epoch2.pt"));
  assert.match(
    await ok(cwd, "pin", "--remove", "saved_models/a_epoch2.pt"),
    /^unpinned a_epoch2\.pt in saved_models\n$/,
  );
});

test("verify goes on after a name that the system refuses", () => {
  const cwd = place([["a_epoch1.pt", trained(1)]]);
  const name = "n".repeat(300);
  const { status, stdout, stderr } = spawned(cwd, "verify", name, "saved_models/a_epoch1.pt");
  assert.is(status, 1);
  assert.match(stdout, /^n+: FAILED\nsaved_models\/a_epoch1\.pt: ok/);
  assert.match(stderr, /^unitcell: BACKEND: cannot read n+: ENAMETOOLONG.*\n$/);
});

test("prune without a policy and without files is wrong usage", async () => {
  const cwd = place(trainedRun("a"));
  for (const args of [[], ["--yes"], ["saved_models", "--yes"]]) {
    const { status, stderr } = await unitcell(cwd, "prune", ...args);
    assert.is(status, 2);
    assert.match(stderr, /^unitcell: prune needs --keep POLICY, as --keep best,final,latest=2, or files/);
  }
  assert.is((await unitcell(cwd, "prune", "--empty-trash", "--keep", "best")).status, 2);
});

const NOW = new Date("2024-01-10T00:00:00Z");
const epochFiles: CheckpointInfo[] = Array.from({ length: 10 }, (_, i) => ({
  key: `a_epoch${i + 1}.pt`,
  run: "a",
  tag: "epoch",
  epoch: i + 1,
  metrics: { val_mae: Math.abs(i + 1 - 4), auc: i + 1 },
  size: 1e6,
  modified: new Date(NOW.getTime() - (10 - i) * 86_400_000),
  version: "1",
  pinned: false,
}));
const rules: [rule: string, epochs: number[]][] = [
  ["best", []],
  ["best,final,last", []],
  ["latest=2", [9, 10]],
  ["latest=0", []],
  ["best=1", [4]],
  ["best=3:val_mae", [3, 4, 5]],
  ["best=2:auc:max", [9, 10]],
  ["every=5", [5, 10]],
  ["younger=2d", [10]],
  ["younger=49h", [9, 10]],
  ["younger=90s", []],
  ["within=3MB", [8, 9, 10]],
  ["within=2MiB", [9, 10]],
  ["within=1.5gb", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
  ["latest=1,best=1,every=7", [4, 7, 10]],
  ["latest=4+every=2", [8, 10]],
  ["best=1, latest=4 + within=2MB", [4, 9, 10]],
];
for (const [rule, epochs] of rules)
  test(`--keep ${rule}`, async () => {
    const kept = parseKeep(rule, NOW)(epochFiles);
    assert.equal(
      epochFiles.filter(({ key }) => kept.has(key)).map(({ epoch }) => epoch),
      epochs,
    );
  });

test("history: the best row and the last ones, time, metadata, a chart for each metric where there is no terminal", async () => {
  const cwd = examples();
  const text = await ok(cwd, "history", "--run", "cgcnn_ionic");
  assert.match(
    text,
    /^cgcnn_ionic: 240 epochs, 4 min 42 s, best val_mae 0\.2199 at epoch 221, training_history\.json\n/,
  );
  assert.match(text, / metadata {2}model_type cgcnn, n_train 1593, /);
  assert.equal(text.match(/^ +\d+ /gm)?.map(Number), [221, 236, 237, 238, 239, 240]);
  assert.match(text, /^ +221 .* best val_mae$/m);
  assert.not.match(text, /┤/);
  const charts = await ok(cwd, "history", "--run", "cgcnn_ionic", "--chart", "--metric", "val_mae,loss");
  assert.is(charts.match(/by epoch/g)?.length, 2);
  assert.not.ok(charts.includes("\x1b"));
  for (const line of charts.split("\n")) assert.ok(line.length <= 100, line);
  assert.is((await ok(cwd, "history", "--run", "cgcnn_ionic", "--last", "0")).match(/^ +\d+ /gm)?.length, 240);
});

test("history --csv and --json have every row", async () => {
  const cwd = examples();
  const rows = (await ok(cwd, "history", "--csv")).trimEnd().split("\n");
  assert.is(rows.length, 1 + 240 + 300 + 300);
  assert.is(rows[0], "run,epoch,lr,loss,train_mae,val_mae");
  assert.is(rows.at(-1), "megnet_ionic,300,0.0001,0.0001179,0.09566,0.15");
  const { runs } = JSON.parse(await ok(cwd, "history", "--json"));
  assert.equal(runs[1].best, { metric: "val_mae", value: 0.2199, epoch: 221 });
  assert.is(runs[1].rows.length, 240);
  assert.is((await unitcell(cwd, "history", "--csv", "--json")).status, 2);
});

test("history: one run as an object without rows, as the README of saved_models has it", async () => {
  const described = { model_name: "cgcnn_materials_project", epochs: 100, best_val_mae: 0.285, training_time: 3600 };
  const cwd = place([["training_history.json", JSON.stringify(described)]]);
  assert.is(
    await ok(cwd, "history", "--chart"),
    "cgcnn_materials_project: 100 epochs, 1 h, best val_mae 0.285, training_history.json\n",
  );
  assert.is((await unitcell(cwd, "history", "--svg", "x.svg")).status, 2);
});

test("history: ALIGNN's files, rows and columns; Lightning's names", async () => {
  const cwd = place([
    ["alignn/history_val.json", "[[0.5,0.5,0,0],[0.3,0.3,0,0],[NaN,0.4,0,0]]"],
    ["alignn/history_train.json", "[[0.6,0.5,0,0],[0.2,0.3,0,0],[0.1,0.4,0,0]]"],
    ["old/history_val.json", '{"loss":[3,2,1],"mae":[0.3,0.1,0.2]}'],
    ["lit/epoch=0-step=10-val_loss=0.5.ckpt", weights(1)],
    ["lit/epoch=1-step=20-val_loss=0.25.ckpt", weights(2)],
  ]);
  const text = await ok(cwd, "history");
  assert.match(text, /^alignn: 3 epochs, best val_mae 0\.3 at epoch 2, "alignn\/history_\*\.json"\n/);
  assert.match(text, /\nold: +3 epochs, best val_mae 0\.1 at epoch 2, /);
  assert.match(text, /\nlit: +2 epochs, best val_loss 0\.25 at epoch 1, names of checkpoints\n/);
});

test("history: JSON that cannot be read is told, the others are shown, exit code 1", async () => {
  const files = trainedRun("a");
  const cwd = place([...files, ["b/training_history.json", "{oops"], ["c_metadata.json", "[1]"]]);
  const { status, stdout, stderr } = await unitcell(cwd, "history");
  assert.is(status, 1);
  assert.match(stdout, /^a: +10 epochs/);
  assert.match(
    stderr,
    /^unitcell: CORRUPT: b\/training_history\.json is no JSON.*\nunitcell: CORRUPT: c_metadata\.json: /,
  );
  for (const verb of ["ls", "du"])
    assert.is((await unitcell(cwd, verb)).status, 0, "what only describes stops nothing");
});

/** Throws for XML that is not well-formed, as far as an SVG of ours uses it; how often each element occurs. */
function elements(xml: string): Map<string, number> {
  const [open, counts]: [string[], Map<string, number>] = [[], new Map()];
  const rest = xml.replace(
    /<(\/?)([a-z]+)((?: [a-zA-Z0-9:-]+="[^"<]*")*)(\/?)>/g,
    (_, close, name, _attributes, empty) => {
      if (close) assert.is(open.pop(), name);
      else {
        counts.set(name, (counts.get(name) ?? 0) + 1);
        if (!empty) open.push(name);
      }
      return "";
    },
  );
  assert.equal(open, []);
  assert.not.match(rest, /[<>]|&(?!(?:amp|lt|gt|quot);)/);
  return counts;
}

test("history --svg: well-formed, alone, a point for every value", async () => {
  const cwd = examples();
  await ok(cwd, "history", "--svg", "h.svg");
  const svg = readFileSync(join(cwd, "h.svg"), "utf8");
  const counts = elements(svg);
  assert.is(counts.get("polyline"), 9);
  const points = [...svg.matchAll(/points="([^"]+)"/g)].map(([, text]) => text.split(" ").length);
  assert.equal(points.sort(), [240, 240, 240, 300, 300, 300, 300, 300, 300]);
  assert.is(counts.get("circle"), 3, "the best epochs");
  assert.not.match(svg, /script|href|url\(|NaN|Infinity/);
});

const curve = (name: string, ...values: number[]): Curve => ({
  name,
  points: values.map((value, i) => [i + 1, value]),
});

test("SVG: gaps, single points, equal values, names that are markup", async () => {
  const svg = svgChart([
    { title: "<b>&\u0000", curves: [curve('"x"', 1, Number.NaN, 2, 3, Number.POSITIVE_INFINITY)], best: undefined },
    { title: "flat", curves: [curve("y", 5, 5), curve("z", 0, -5)], best: { metric: "y", value: 5, epoch: 1 } },
  ]);
  const counts = elements(svg);
  assert.is(counts.get("polyline"), 3);
  assert.is(counts.get("circle"), 2);
  assert.match(svg, />&lt;b&gt;&amp;\?</);
  assert.not.match(svg, /NaN|Infinity/);
});

test("SVG: many long names have rows of a legend, within the picture; the seventh curve is not the first's twin", () => {
  const curves: Curve[] = Array.from({ length: 7 }, (_, i) => ({
    name: `validation_${i}_of_the_formation_energy`,
    points: [1, 2].map((epoch) => [epoch, i + epoch] as const),
  }));
  const svg = svgChart([
    { title: "a".repeat(200), curves, best: undefined },
    { title: "b", curves: curves.slice(0, 1), best: undefined },
  ]);
  assert.is(elements(svg).get("polyline"), 8);
  const [first, second] = [...svg.matchAll(/<g transform="translate\(0 (\d+)\)">\n<text/g)].map(([, y]) => Number(y));
  assert.equal([first, second], [0, 380 + 3 * 18]);
  assert.match(svg, new RegExp(`height="${2 * 380 + 3 * 18}"`));
  for (const [, x] of svg.matchAll(/ x1="([-\d.]+)"/g)) assert.ok(Number(x) >= 0, x);
  assert.is([...svg.matchAll(/<polyline class="c0 again"/g)].length, 1);
  assert.match(svg, />a{73}…</);
});

test("a table keeps within a line as far as it can: long names, then all names, stand above their rows", () => {
  const columns = [{ title: "file" }, { title: "size", right: true }, { title: "note" }];
  const rows = [
    ["a-name-of-24-characters.pt", "1 kB", "n".repeat(30)],
    ["short", "2 kB", ""],
  ];
  assert.equal(
    table(columns, rows, 80).map((line) => line.length),
    [40, 66, 34],
  );
  assert.equal(table(columns, rows, 50).slice(1), [
    "  a-name-of-24-characters.pt",
    `              1 kB  ${"n".repeat(30)}`,
    "  short       2 kB",
  ]);
});

test("text chart: the width is kept, gaps are gaps, curves are told apart by colour", async () => {
  const long = curve("loss", ...Array.from({ length: 1000 }, (_, i) => 1000 / (i + 1)));
  const plain = textChart([long], { width: 80, height: 10, log: true, color: false });
  for (const line of plain) assert.ok(line.length <= 80, line);
  assert.match(plain[0], /loss by epoch, logarithmic$/);
  assert.match(plain.at(-1)!, /^ +1 +1000$/);
  const gap = curve("g", ...Array.from({ length: 60 }, (_, i) => (i >= 20 && i < 40 ? Number.NaN : i)));
  for (const line of textChart([gap], { width: 72, height: 10, log: false, color: false }).slice(1, -1))
    assert.is(line.slice(34, 50).trim(), "", line);
  const colored = textChart([long, curve("mae", 5, 4, 3)], { width: 80, height: 10, log: false, color: true }).join(
    "\n",
  );
  assert.ok(colored.includes("\x1b[36m── loss\x1b[0m   \x1b[33m── mae\x1b[0m by epoch\n"));
  assert.is(
    textChart([curve("flat", 1, 1)], { width: 80, height: 10, log: false, color: false })
      .join()
      .match(/─/g)?.length,
    60,
  );
});

test("curves: what says most, without the learning rate; asked ones in their order; nothing for all NaN", async () => {
  const rows = [1, 2].map((epoch) => ({ epoch, lr: 1, acc: 1, loss: 2, val_mae: 3, bad: Number.NaN }));
  assert.equal(
    curvesOf(rows, undefined).map(({ name }) => name),
    ["val_mae", "loss", "acc"],
  );
  assert.equal(
    curvesOf(rows, ["loss", "absent", "bad"]).map(({ name }) => name),
    ["loss"],
  );
});

test("resume-info: latest, best and final, what each has, and lines that resume", async () => {
  const cwd = place(trainedRun("a"));
  const text = await ok(cwd, "resume-info");
  assert.match(text, /^a: history of 10 epochs\n/);
  assert.match(text, / latest {2}a_epoch10\.pt +10 +0\.1 +there +none +there\n/);
  assert.match(text, / best {4}a_best\.pt +8 +0\.125 /);
  assert.match(text, / missing +nothing: the latest is a complete training state\n/);
  assert.match(text, / Python +checkpoint = torch\.load\("saved_models\/a_epoch10\.pt", map_location="cpu"\)\n/);
  assert.match(
    text,
    /optimizer\.load_state_dict\(checkpoint\["optimizer"\]\)\n +torch\.set_rng_state\(checkpoint\["rng_state"\]\)\n/,
  );
  assert.match(text, /new CheckpointManager\(fsStore\("saved_models"\), \{ run: "a" \}\);\n.*resume\("latest"\);\n$/);
  const manager = new CheckpointManager(fsStore(join(cwd, "saved_models")), { run: "a" });
  assert.is((await manager.resume("latest")).state.epoch, 10);
  await manager.close();
});

test("resume-info: a final file without metrics is the latest all the same", async () => {
  const text = await ok(examples(), "resume-info");
  assert.match(text, / latest {2}cgcnn_ionic_final\.pt +240 +0\.2363 /);
  assert.match(text, / best {4}alignn_ionic_best\.pt +295 +0\.2147 /);
});

test("resume-info: what does not load is told, with what is taken instead; parts that are missing", async () => {
  const files = trainedRun("a", 6);
  files.set("a_final.pt", damaged(files.get("a_final.pt")!));
  files.set("a_epoch6.pt", trained(6, { optimizer: undefined, rng_state: undefined }));
  const cwd = place(files);
  const text = await ok(cwd, "resume-info");
  assert.match(text, / latest {2}a_epoch6\.pt +6 +0\.16667 +missing +none +missing\n/);
  assert.match(text, / final .*\n +a_final\.pt does not load: CORRUPT: /);
  assert.match(text, / missing +optimizer, rng: the lines below go on without\n/);
  assert.match(text, /resume\("latest", \{ without: \["optimizer", "rng"\] \}\)/);
  const [run] = JSON.parse(await ok(cwd, "resume-info", "--json")).runs;
  assert.equal(run.missing, ["optimizer", "rng"]);
  assert.is(run.candidates[2].skipped[0].key, "a_final.pt");
});

test("resume-info: a run of which nothing loads; one whose history cannot be read", async () => {
  const cwd = place([
    ["a_best.pt", damaged(trained(1))],
    ["b/b_best.pt", trained(1)],
    ["b/training_history.json", "{"],
  ]);
  const text = await ok(cwd, "resume-info");
  assert.match(text, /^a: no history\n[\s\S]* latest {2}- [\s\S]*no checkpoint loads \(a_best\.pt: CORRUPT: /);
  assert.match(text, /\nb\/b: history unreadable: b\/training_history\.json is no JSON/);
});

const NAMESPACE = new PythonObject("argparse.Namespace", "newobj", []);
NAMESPACE.state = new Map([["lr", 0.1]]);
const LIGHTNING = { "pytorch-lightning_version": "2.1.0", global_step: 10 };
/** What a program saves besides, and what the lines for Python then are. */
const pythonLines: [name: string, rest: Record<string, TorchValue>, lines: RegExp][] = [
  [
    "milestones of a scheduler",
    { milestones: new PythonObject("collections.Counter", "reduce", [new Map([[3, 1]])]) },
    /map_location="cpu"\)\n/,
  ],
  [
    "a metric of numpy",
    { val_mae: new NumpyScalar(new NumpyDtype("f8"), new Uint8Array(8), 0) },
    /# it is plain data, but weights_only=True refuses numpy\.[\w.]+\n.*map_location="cpu", weights_only=False\)\n/,
  ],
  ["argparse's settings", { args: NAMESPACE }, /weights_only=True refuses argparse\.Namespace\n/],
  [
    "generators of several libraries",
    {
      rng_state: new Map<TorchValue, TorchValue>([
        ["torch", rngState(1)],
        ["python", [3, "x"]],
        [0, 1],
      ]),
    },
    /torch\.set_rng_state\(checkpoint\["rng_state"\]\["torch"\]\)\n +# also to be restored, of other generators: "python", 0 in checkpoint\["rng_state"\]\n/,
  ],
  ["Lightning", { ...LIGHTNING, optimizer_states: [new Map()] }, /Python +trainer\.fit\(model, ckpt_path="[^"]+"\)\n/],
  ["what went on from Lightning's", LIGHTNING, /model\.load_state_dict\(checkpoint\["state_dict"\]\)\n/],
  [
    "states in lists",
    { optimizer: [new Map()], scheduler: [new Map(), new Map()] },
    / optimizer\.load_state_dict\(checkpoint\["optimizer"\]\[0\]\)\n +for each, saved in zip\(schedulers, checkpoint\["scheduler"\]\): each\.load_state_dict\(saved\)\n/,
  ],
  [
    "generators in a list",
    { rng_state: [1, 2] },
    /\n +# to be restored, of other generators: states in checkpoint\["rng_state"\]\n/,
  ],
];
for (const [name, rest, lines] of pythonLines)
  test(`resume-info: lines for ${name}`, async () => {
    assert.match(await ok(place([["a_epoch1.pt", trained(1, rest)]]), "resume-info"), lines);
  });

const programs: [name: string, folder: string, latest: RegExp][] = [
  [
    "ALIGNN's",
    "test/fixtures/bundles/alignn",
    / latest {2}checkpoint_4\.pt +4 [\s\S]*weights_only=False[\s\S]*from: "\."/,
  ],
  [
    "matgl's",
    "test/fixtures/bundles/matgl",
    / latest {2}state\.pt +- [\s\S]*without: \["optimizer", "scheduler", "rng", "epoch"\]/,
  ],
];
for (const [name, folder, latest] of programs)
  test(`${name} folder, as it is and as one of several`, async () => {
    const cwd = place([]);
    cpSync(folder, join(cwd, "saved_models"), { recursive: true });
    assert.match(await ok(cwd, "resume-info"), latest);
    assert.match(await ok(cwd, "verify", "saved_models"), /^saved_models: ok, torch, [^\n]*\n/);
    for (const verb of ["ls", "du", "history"]) await ok(cwd, verb);
    cpSync(folder, join(cwd, "saved_models/sub"), { recursive: true });
    assert.match(await ok(cwd, "ls"), /\n {2}sub\/\w+\.pt .* sub {2}/);
  });

test("CGCNN's folder: best and last, which no policy removes", async () => {
  const state = { best_mae_error: 0.5, optimizer: new Map() };
  const cwd = place([
    ["model_best.pth.tar", trained(3, state)],
    ["checkpoint.pth.tar", trained(9, state)],
  ]);
  const text = await ok(cwd, "ls", "--metric", "best_mae_error");
  assert.match(text, /checkpoint\.pth\.tar .* last +9 +0\.5\n/);
  assert.match(text, /model_best\.pth\.tar .* best +3 +0\.5\n/);
  assert.match(await ok(cwd, "prune", "--keep", "best"), /checkpoint\.pth\.tar .* always kept\n[\s\S]*Nothing goes\./);
  assert.match(
    await ok(cwd, "resume-info"),
    / latest {2}checkpoint\.pth\.tar +9 [\s\S]*run: "NEW_NAME" \}\);\n.*from: "\."/,
  );
});

if (haveFixtures("cgcnn"))
  test("published CGCNN, ALIGNN and MEGNet checkpoints in one folder: listed and verified", async () => {
    const cwd = place([]);
    for (const [from, to] of [
      ["cgcnn/band-gap.pth.tar", "cgcnn/model_best.pth.tar"],
      ["alignn/alignn_default", "alignn"],
      ["megnet/state.pt", "megnet/state.pt"],
      ["megnet/model.pt", "megnet/model.pt"],
      ["megnet/model.json", "megnet/model.json"],
    ])
      cpSync(join(fixturesRoot, from), join(cwd, "saved_models", to), { recursive: true });
    const infos = await listCheckpoints(fsStore(join(cwd, "saved_models")));
    assert.equal(
      infos.map(({ run, tag }) => `${run} ${tag}`),
      ["alignn best", "cgcnn best", "megnet final"],
    );
    assert.match(await ok(cwd, "ls"), /cgcnn\/model_best\.pth\.tar .* best +\d+ /);
    assert.match(await ok(cwd, "verify", "saved_models"), /\nsaved_models: 3 checkpoints, all ok\n$/);
  });

test("Lightning's folder: epochs and metrics by name, pruned by them", async () => {
  const names = [
    "epoch=0-step=10-val_loss=0.50",
    "epoch=1-step=20-val_loss=0.20",
    "epoch=2-step=30-val_loss=0.30",
    "last",
  ];
  const cwd = place(names.map((name, i) => [`${name}.ckpt`, weights(i)]));
  assert.match(await ok(cwd, "ls"), /"epoch=1-step=20-val_loss=0\.20\.ckpt"\n? .* epoch +1 +0\.2\n/);
  const { remove } = JSON.parse(await ok(cwd, "prune", "--keep", "best=1:val_loss", "--json"));
  assert.equal(
    remove.map(({ epoch }: { epoch: number }) => epoch),
    [0, 2],
  );
});

test("verify: every checkpoint of a folder, a line each, exit code 1 when one is damaged", async () => {
  const files = trainedRun("a", 4);
  const cwd = place([...files, ["sub/b_best.pt", damaged(trained(1))], ["odd_predictions.pt", trained(3)]]);
  const { status, stdout, stderr } = await unitcell(cwd, "verify", "saved_models");
  assert.is(status, 1);
  assert.match(stdout, /saved_models\/a_best\.pt: ok, torch, 2 tensors, /);
  assert.match(stdout, /saved_models\/sub\/b_best\.pt: FAILED\nsaved_models: 6 checkpoints, 1 FAILED, 5 ok\n$/);
  assert.match(stderr, /^unitcell: CORRUPT: .*b_best\.pt/);
  rmSync(join(cwd, "saved_models/sub"), { recursive: true });
  assert.match(await ok(cwd, "verify", "saved_models"), /\nsaved_models: 5 checkpoints, all ok\n$/);
  assert.match(await ok(cwd, "verify", "--hash", "saved_models"), /\n {2}sha256 [0-9a-f]{64} {2}a_best\.pt\n/);
});

test("names that could act on a terminal are shown escaped, in every command", async () => {
  // Control characters cannot be in a key; these can be in a file's name and in JSON.
  const name = "a\u202e\u2066b_best.pt";
  const history = [
    { model_name: "x\u001b[2J", epochs: 1, history: [{ epoch: 1, "\u001b]0;loss": 1, "val\u0007": 2 }] },
  ];
  const cwd = place([
    [name, trained(1)],
    ["a\u001b[31m_best.pt", trained(1)],
    ["training_history.json", JSON.stringify(history)],
    ["q_metadata.json", JSON.stringify({ model_type: "\u001b[5m", "k\u001b": 1 })],
  ]);
  const outputs: string[] = [];
  for (const verb of VERBS) for (const more of [[], ["--json"]]) outputs.push(await ok(cwd, verb, ...more));
  outputs.push(
    await ok(cwd, "history", "--chart"),
    await ok(cwd, "prune", "--keep", "best"),
    await ok(cwd, "pin", name),
    await ok(cwd, "pin", "--list"),
    await ok(cwd, "prune", name, "--yes"),
    await ok(cwd, "undo", "--list"),
    await ok(cwd, "undo"),
    await ok(cwd, "verify", "saved_models"),
  );
  for (const output of outputs) assert.not.match(output.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u);
});

test("a folder that cannot be written is read; what would change it says why and changes nothing", async () => {
  const cwd = place([...trainedRun("a"), [".unitcell", "a file where the notes would be"]]);
  const before = snapshot(cwd);
  for (const verb of VERBS) await ok(cwd, verb);
  for (const [verb, ...args] of [
    ["prune", "--keep", "best", "--yes"],
    ["pin", "a_best.pt"],
  ]) {
    const { status, stderr } = await unitcell(cwd, verb, ...args);
    assert.is(status, 1);
    assert.match(stderr, /^unitcell: [A-Z]+: cannot write /);
  }
  assert.equal(snapshot(cwd), before);
});

test("10,000 files", async () => {
  const bytes = weights(1);
  const files = Array.from({ length: 10_000 }, (_, i): [string, Uint8Array] => [`run${i % 10}_epoch${i}.pt`, bytes]);
  const cwd = place(files);
  const timed = (...args: string[]) => {
    const start = performance.now();
    const { stdout: text } = spawned(cwd, ...args);
    return { text, ms: Math.round(performance.now() - start) };
  };
  const [ls, prune] = [timed("ls"), timed("prune", "--keep", "latest=1")];
  assert.match(ls.text, /^saved_models: 10,000 checkpoints, /);
  assert.match(prune.text, /9,990 checkpoints, .* would go\./);
  assert.ok(prune.text.split("\n").length < 100);
  console.log(`10,000 small files: ls ${ls.ms} ms, prune's plan ${prune.ms} ms`);
});

test("sizes and times for people", async () => {
  assert.equal([0, 1, 999, 1000, 9949, 9951, 147_425, 999_600, 1e9, 2.5e15].map(sized), [
    "0 bytes",
    "1 byte",
    "999 bytes",
    "1.0 kB",
    "9.9 kB",
    "10 kB",
    "147 kB",
    "1.0 MB",
    "1.0 GB",
    "2.5 PB",
  ]);
  assert.equal([0, 59.6, 282, 3600, 7260].map(lasted), ["0 s", "1 min", "4 min 42 s", "1 h", "2 h 1 min"]);
});

test("help of every verb", async () => {
  const help = spawned(scratch, "--help").stdout;
  for (const verb of [...VERBS, "prune", "undo", "pin"]) {
    const text = await ok(scratch, verb, "--help");
    assert.match(text, new RegExp(`^Usage: unitcell ${verb} `));
    for (const line of text.split("\n")) assert.ok(line.length <= 120, line);
    assert.match(help, new RegExp(`^ {2}${verb} `, "m"));
  }
});

test.run();

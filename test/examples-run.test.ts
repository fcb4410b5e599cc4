/**
 * Every example as its README says, on the package as npm packs and installs it: servers, scripts, a page, a notebook. Values
 * are those of Node to the bit. Run after a build.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, linkSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { extname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { text as textOf } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { Browser, Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { FailedPrediction, Prediction } from "../src/prediction.js";
import { findChromium, launchChromium } from "./chromium.js";
import { DENO, isThere, SERVERS } from "./example-servers.js";
import { type InstalledPackage, installPackage } from "./installed-package.js";
import { INSTALLS, PROGRAMS } from "./runtime-host.js";
import { RELAXED_FLAG } from "./runtime-hosts.js";
import { inFull } from "./scope.js";
import { startServer, type WebServer } from "./web-server.js";

type Outcome = Partial<Prediction> & Partial<FailedPrediction>;
interface Value {
  readonly value: number;
  readonly std?: number;
}
/** By backend, model and structure: what the package gives under Node. */
type Expected = Record<string, Record<"cgcnn" | "together", Record<string, Value>>>;

const EXPECTED = `
import { readdirSync, readFileSync } from "node:fs";
import { ensemble, loadModel, parseStructures, predict, wasmBackend } from "unitcell";
const load = async (name) => loadModel(readFileSync("examples/saved_models/" + name + "_ionic_best.pt"));
const models = await Promise.all(["cgcnn", "alignn", "megnet"].map(load));
const structures = readdirSync("examples/structures").flatMap((filename) =>
  parseStructures(readFileSync("examples/structures/" + filename, "utf8"), { filename }));
const found = {};
for (const relaxed of [false, true]) {
  const backend = wasmBackend({ relaxed });
  found[backend.name] = {};
  for (const [name, model] of [["cgcnn", models[0]], ["together", ensemble(models)]])
    found[backend.name][name] = Object.fromEntries(
      (await predict(model, structures, { backend })).map(({ id, value, std }) => [id, { value, std }]));
}
console.log(JSON.stringify(found));`;

let installed: InstalledPackage;
let folder: string;
let expected: Expected;

test.before(() => {
  installed = installPackage();
  folder = installed.folder;
  cpSync(join(folder, "node_modules/unitcell/examples"), join(folder, "examples"), { recursive: true });
  // What the examples ask for besides: esbuild, and Deno's check of types Node's.
  mkdirSync(join(folder, "node_modules/@types"));
  for (const name of ["esbuild", "@types/node", "undici-types"])
    symlinkSync(resolve("node_modules", name), join(folder, "node_modules", name));
  writeFileSync(join(folder, "expected.mjs"), EXPECTED);
  const flags = process.version.startsWith("v20.") ? [RELAXED_FLAG] : [];
  expected = JSON.parse(execFileSync(process.execPath, [...flags, "expected.mjs"], { cwd: folder, encoding: "utf8" }));
});
test.after(() => installed?.remove());

function assertValue(record: Outcome, model: "cgcnn" | "together", id: string): void {
  const { value, std, backend } = record;
  assert.equal({ value, std }, { std: undefined, ...expected[backend!]?.[model][id] }, `${id} on ${backend}`);
}

const structure = (file: string) => readFileSync(`examples/structures/${file}`, "utf8");
const DAMAGED = "data_x\n_cell_length_a 1\nloop_\n";
const CSCL = structure("CsCl.cif");

/** A body without end: only who reads no further than its limit answers. */
function endless(): ReadableStream<Uint8Array> {
  let parts = 5;
  return new ReadableStream({
    pull(controller) {
      if (parts-- === 0) return new Promise(() => {});
      controller.enqueue(new Uint8Array(65536).fill(35));
      return undefined;
    },
  });
}

/** The answer to a body that is announced and does not come. */
async function announce(url: string, bytes: number): Promise<Response> {
  const asked = request(url, { method: "POST", headers: { "Content-Length": bytes } });
  asked.on("error", () => {}); // it is never complete
  asked.flushHeaders();
  const [answer]: IncomingMessage[] = await once(asked, "response");
  const response = new Response(await textOf(answer), { status: answer.statusCode! });
  asked.destroy();
  return response;
}

async function assertRefused(response: Response, status: number, code: string, what: string): Promise<void> {
  assert.is(response.status, status, what);
  const { schema, error }: Outcome = await response.json();
  assert.equal([schema, error!.code], [1, code], what);
  if (status === 405) assert.is(response.headers.get("allow"), "POST");
}

const refused: [what: string, init: () => RequestInit, status: number, code: string][] = [
  ["a GET", () => ({ method: "GET" }), 405, "ARGUMENT"],
  ["a damaged CIF", () => ({ body: DAMAGED }), 400, "CORRUPT"],
  ["an empty body", () => ({ body: "" }), 400, "CORRUPT"],
  ["text that is no structure", () => ({ body: "hello" }), 422, "UNSUPPORTED"],
  ["a body without end", () => ({ body: endless(), duplex: "half" }) as RequestInit, 413, "LIMIT"],
];

for (const { name, model, needs, takesAll, start } of SERVERS) {
  if (!isThere(name, needs)) continue;
  test(name, async () => {
    if (name.startsWith("edge"))
      execFileSync(process.execPath, ["examples/edge/build.mjs"], { cwd: folder, stdio: "pipe" });
    const server = await start(folder);
    const post = (query: string, init: RequestInit) => fetch(server.url + query, { method: "POST", ...init });
    try {
      for (const [file, query, id] of [
        ["CsCl.cif", "?filename=CsCl.cif", "CsCl"],
        ["MgAl2O4-spinel.cif", "?filename=spinel.cif", "spinel"],
        ["Cu2O-cuprite.vasp", "", undefined],
      ] as const) {
        const response = await post(query, { body: structure(file) });
        assert.is(response.status, 200, file);
        const record: Outcome = await response.json();
        assert.is(record.id, id);
        assert.is(record.unit, "eV/atom");
        assertValue(record, model, file.replace(/\.\w+$/, ""));
      }
      for (const [what, init, status, code] of refused) await assertRefused(await post("", init()), status, code, what);
      await assertRefused(await announce(server.url, 2 ** 22), 413, "LIMIT", "a huge body, before it comes");
      if (takesAll) await assertRefused(await post("", { body: "#".repeat(2 ** 22) }), 413, "LIMIT", "a huge body");
      const many = await Promise.all(Array.from({ length: 20 }, () => post("", { body: CSCL })));
      for (const response of many) assertValue(await response.json(), model, "CsCl");
    } finally {
      await server.stop();
    }
  });
}

/** A program to its end. */
function run(command: readonly string[], cwd = folder): { out: string; err: string; code: number | null } {
  const [program, ...args] = command;
  const { stdout, stderr, status } = spawnSync(program, args, { cwd, encoding: "utf8" });
  return { out: stdout, err: stderr, code: status };
}

const recordsOf = (out: string): Outcome[] =>
  out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

if (isThere("Deno", DENO)) {
  const deno = (...args: string[]) => run([process.execPath, DENO, ...args]);
  const predict = ["run", "--no-prompt", "--allow-read", "examples/deno/predict.ts"];

  test("deno: a table", () => {
    const { out, err, code } = deno(
      ...predict,
      "examples/structures/CsCl.cif",
      "examples/structures/Cu2O-cuprite.vasp",
    );
    const { value, std } = expected.wasm.together.CsCl;
    assert.match(out, /^CsCl +CsCl +2 +(\S+) ± (\S+)\nCu2O-cuprite +Cu2O +6 .*\n$/);
    const [, shown, spread] = /2 +(\S+) ± (\S+)/.exec(out)!;
    assert.ok(Math.abs(Number(shown) - value) < 1e-4 && Math.abs(Number(spread) - std!) < 1e-4, out);
    assert.equal([err, code], ["", 0]);
  });

  test("deno: records, of a file that is not there, too", () => {
    const model = "examples/saved_models/cgcnn_ionic_best.pt";
    const { out, code } = deno(...predict, "--json", "-m", model, "examples/structures/CsCl.cif", "absent.cif");
    const [record, failed] = recordsOf(out);
    assertValue(record, "cgcnn", "CsCl");
    assert.is(record.model!.name, "cgcnn_ionic_best.pt");
    assert.equal([failed.id, failed.error!.code, code], ["absent.cif", "NOT_FOUND", 1]);
  });

  test("deno: no file is a question of usage; types fit", () => {
    const { err, code } = deno(...predict);
    assert.match(err, /^Usage: /);
    assert.is(code, 2);
    const check = deno("check", "examples/deno/predict.ts");
    assert.is(check.code, 0, check.err);
  });
}

const STREAM = "examples/stream/stream.mjs";

test("stream: records in order, errors in their places", () => {
  const mixed = join(folder, "mixed");
  mkdirSync(join(mixed, "inner", "folder.cif"), { recursive: true });
  writeFileSync(join(mixed, "a.cif"), CSCL);
  writeFileSync(join(mixed, "b.cif"), DAMAGED);
  writeFileSync(join(mixed, "c.txt"), "no structure, and not asked to be one");
  writeFileSync(join(mixed, "inner", "d.vasp"), structure("Cu2O-cuprite.vasp"));
  const { out, code } = run([process.execPath, STREAM, mixed]);
  const [first, second, third, last, ...more] = recordsOf(out);
  assert.equal([first.id, second.id, third.id, last.id, more.length], ["a", "b", "d", "inner/folder.cif", 0]);
  assertValue(first, "cgcnn", "CsCl");
  assertValue(third, "cgcnn", "Cu2O-cuprite");
  assert.equal([second.error!.code, last.error!.code, code], ["CORRUPT", "NOT_FOUND", 1]);

  const csv = run([process.execPath, STREAM, "--csv", mixed]);
  const lines = csv.out.trimEnd().split("\n");
  assert.is(lines[0], "id,formula,value,unit,warnings,error");
  assert.is(lines[1], `a,CsCl,${first.value},eV/atom,,`);
  assert.match(lines[2], /^b,,,,,.*CORRUPT: /);
  assert.is(csv.code, 1);
});

test("stream: the examples, all well", () => {
  const { out, err, code } = run([process.execPath, STREAM, "examples/structures"]);
  const records = recordsOf(out);
  assert.is(records.length, readdirSync("examples/structures").length);
  for (const record of records) assertValue(record, "cgcnn", record.id!);
  assert.equal([err, code], ["", 0]);
});

const FILES = 2000;
const FILE_BYTES = 100_000;

/** Thousands of names of a few large files: 200 MB to read, 2 MB on the disk. */
function manyFiles(): string {
  const many = join(folder, "many");
  mkdirSync(many);
  for (let i = 0; i < FILES; i++) {
    const path = join(many, `${String(i).padStart(4, "0")}.cif`);
    const first = join(many, `${String(i % 20).padStart(4, "0")}.cif`);
    const text = structure("NaCl-rocksalt.cif").replaceAll("5.64", `5.${60 + (i % 20)}`);
    if (i < 20) writeFileSync(path, `${text}\n${"# padding\n".repeat(FILE_BYTES / 10)}`);
    else linkSync(first, path);
  }
  return many;
}

const procOf = ({ pid }: ChildProcess, file: string) => readFileSync(`/proc/${pid}/${file}`, "utf8");
const cpuTicks = (child: ChildProcess) =>
  Number(
    procOf(child, "stat")
      .replace(/^.*\) /, "")
      .split(" ")[11],
  );
const peakMiB = (child: ChildProcess) => Number(/VmHWM:\s+(\d+) kB/.exec(procOf(child, "status"))![1]) / 1024;

test(`stream: ${FILES} files in bounded memory, and no faster than they are taken`, async () => {
  const many = manyFiles();
  const child = spawn(process.execPath, [STREAM, many], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  const lines = createInterface({ input: child.stdout });
  const records: Outcome[] = [];
  let peak = 0;
  for await (const line of lines) {
    records.push(JSON.parse(line));
    if (records.length === 1) {
      // Nobody takes what comes next, so it stands still, and what changes now in the last file is what it will read.
      for (let before = -1; before !== cpuTicks(child); await sleep(500)) before = cpuTicks(child);
      const last = join(many, `${FILES - 1}.cif`);
      execFileSync("rm", [last]);
      writeFileSync(last, DAMAGED);
    }
    if (records.length % 50 === 0) peak = peakMiB(child);
  }
  const [code] = await closed;
  assert.equal([records.length, code], [FILES, 1]);
  assert.equal(
    records.map(({ id }) => Number(id)),
    Array.from({ length: FILES }, (_, i) => i),
  );
  assert.is(records.at(-1)!.error?.code, "CORRUPT");
  assert.is(records.filter(({ error }) => error).length, 1);
  console.log(`  ${FILES} files, ${(FILES * FILE_BYTES) / 1e6} MB: ${peak.toFixed(0)} MiB at most`);
  assert.ok(peak > 0 && peak < 200, `${peak} MiB`);
});

test("stream: who has enough ends it, and that is no error", async () => {
  const child = spawn(process.execPath, [STREAM, join(folder, "many")], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [errors] = [textOf(child.stderr), child.stdout.once("data", () => child.stdout.destroy())];
  const [code] = await once(child, "close");
  assert.equal([await errors, code], ["", 0]);
});

const NUMBER = /-?\d+\.\d+/g;
const shapes = (out: string) => out.replace(NUMBER, "#").replaceAll(/ +/g, " ").replace(/█+/g, "").split("\n");

/** The same text with the same numbers but for their last digit, which the two Wasm builds may round otherwise. */
function assertAlike(found: string, expected: string): void {
  assert.equal(shapes(found), shapes(expected));
  const [some, others] = [found, expected].map((out) => out.match(NUMBER)!.map(Number));
  for (const [i, number] of some.entries()) assert.ok(Math.abs(number - others[i]) < 2e-3, `${number}, ${others[i]}`);
}

test("notebook: the script in Node, its cells in Jupyter with Deno's kernel", () => {
  const cwd = join(folder, "examples/notebook");
  const { out, err, code } = run([process.execPath, "ensemble.mjs"], cwd);
  assert.equal([err, code], ["", 0]);
  const { value, std } = expected.wasm.together["TiO2-rutile"];
  assertAlike(out.split("\n")[1], `TiO2-rutile ${value.toFixed(3)} ± ${std!.toFixed(3)} eV/atom `);
  assert.match(out, /^3 networks, 13 structures\n/);
  assertAlike(/^sum .*$/m.exec(out)![0], `sum ${expected.wasm.cgcnn["MgAl2O4-spinel"].value.toFixed(3)} eV/atom`);
  assert.match(out, /^TiO2-anatase-P1 +TiO2-rutile 0\.9\d+, /m);

  assert.equal(run([process.execPath, "make-ipynb.mjs", "--check"], cwd), { out: "", err: "", code: 0 });
  if (!isThere("Deno", PROGRAMS.deno) || !hasJupyter()) return;
  // What `deno jupyter --install` writes, in a folder of its own.
  const kernel = join(folder, "jupyter/kernels/deno");
  mkdirSync(kernel, { recursive: true });
  const argv = [PROGRAMS.deno, "jupyter", "--kernel", "--conn", "{connection_file}"];
  writeFileSync(join(kernel, "kernel.json"), JSON.stringify({ argv, display_name: "Deno", language: "typescript" }));
  const cells = run(
    [
      "env",
      `JUPYTER_PATH=${join(folder, "jupyter")}`,
      PYTHON,
      resolve("test/run_notebook.py"),
      "ensemble.ipynb",
      "deno",
    ],
    cwd,
  );
  assert.is(cells.code, 0, cells.err);
  assertAlike(cells.out, out);
});

const PYTHON = "/usr/bin/python3";

function hasJupyter(): boolean {
  const there = spawnSync(PYTHON, ["-c", "import jupyter_client"]).status === 0;
  if (!there) console.log(`skipped: the notebook in Jupyter: no jupyter_client for ${PYTHON} (${INSTALLS})`);
  return there;
}

const chromium = findChromium();
if (chromium) {
  const TYPES: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript" };
  let server: WebServer;
  let browser: Browser;
  let page: Page;
  const wrong: string[] = [];

  test("page: opens in Chromium", async () => {
    const root = join(folder, "node_modules/unitcell");
    server = await startServer(({ url }, response) => {
      const path = join(root, url!.endsWith("/") ? `${url}index.html` : url!);
      response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "text/plain" }).end(readFileSync(path));
    });
    browser = await launchChromium(chromium);
    page = await browser.newPage();
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
    await page.goto(`${server.origin}/examples/page/`);
    assert.is(await page.getByRole("status").textContent(), "Choose a checkpoint and structures.");
  });

  const status = (has: RegExp) => page.getByRole("status").filter({ hasText: has }).waitFor();
  const given = (name: string, content: string | Uint8Array) => ({ name, mimeType: "", buffer: Buffer.from(content) });
  const checkpoint = (name: string, content: string | Uint8Array) =>
    page.getByLabel("Checkpoint").setInputFiles(given(name, content));
  const rows = () =>
    page.$$eval("tbody tr", (all) => all.map((row) => Array.from(row.children, (cell) => cell.textContent!)));
  const saved = (name: string) => readFileSync(`examples/saved_models/${name}`);

  test("page: values, and a structure's error in its row", async () => {
    await page
      .getByLabel("Structures")
      .setInputFiles([
        given("CsCl.cif", CSCL),
        given("damaged.cif", DAMAGED),
        given("Cu2O-cuprite.vasp", structure("Cu2O-cuprite.vasp")),
      ]);
    await status(/^Choose a checkpoint\.$/);
    await checkpoint("cgcnn_ionic_best.pt", saved("cgcnn_ionic_best.pt"));
    await status(/^3 structures$/);
    const backend = await page.evaluate(
      async (library) => (await import(library)).wasmBackend().name,
      "/dist/unitcell.js",
    );
    const { CsCl, "Cu2O-cuprite": cuprite } = expected[backend].cgcnn;
    const [first, second, third] = await rows();
    assert.equal(
      first.map((cell) => cell.trim()),
      ["CsCl", "CsCl", CsCl.value.toFixed(6)],
    );
    assert.match(second.join(), /^damaged,,CORRUPT: /);
    assert.equal(
      third.map((cell) => cell.trim()),
      ["Cu2O-cuprite", "Cu2O", cuprite.value.toFixed(6)],
    );
    assert.match((await page.locator("caption").textContent())!, /^cgcnn_ionic_best\.pt: CGCNN, /);
  });

  test("page: a broken checkpoint is told, and the next one works", async () => {
    await checkpoint("broken.pt", saved("cgcnn_ionic_best.pt").subarray(0, 70_000));
    await status(/^CORRUPT: /);
    assert.is(await page.getByRole("status").getAttribute("class"), "error");
    assert.not.ok(await page.locator("table").isVisible());
    await checkpoint("notes.txt", "hello");
    await status(/^(CORRUPT|UNSUPPORTED): /);
    await checkpoint("megnet.pt", saved("megnet_ionic_best.pt"));
    await status(/^3 structures$/);
    assert.match((await page.locator("caption").textContent())!, /MEGNET/);
  });

  test("page: light and dark, no wider than a telephone; nothing else was asked for and nothing failed", async () => {
    const colours: string[] = [];
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      colours.push(await page.evaluate(() => getComputedStyle(document.getElementById("status")!).color));
    }
    assert.is.not(colours[0], colours[1]);
    await page.setViewportSize({ width: 360, height: 640 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "wider than its window");
    assert.equal(
      server.requests.map(({ url }) => url),
      ["/examples/page/", "/dist/unitcell.js"],
    );
    assert.equal(wrong, []);
  });

  test.after(async () => {
    await browser?.close();
    server?.stop();
  });
}

if (inFull("examples in their runtimes")) test.run();

/** The web page as built, in headless Chromium: files in, predictions out, checkpoints kept, for everybody. */
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AxeResults } from "axe-core";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { saveSafetensors } from "../src/formats/safetensors-save.js";
import { findChromium, launchChromium } from "./chromium.js";
import { drop, longTasks, openPage, PREDICTED, servePage, tabTo, waitForStatus } from "./demo-page.js";
import { fixturesRoot, haveFixtures } from "./fixtures.js";
import { goldens, TOLERANCE } from "./goldens.js";
import { inFull, isFull } from "./scope.js";
import type { WebServer } from "./web-server.js";

const MODELS = ["alignn", "cgcnn", "megnet"].map((name) => `examples/saved_models/${name}_ionic_best.pt`);
const SCREENSHOTS = "build/demo-screenshots";
const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
/** ms that a task of the page may take while it screens. */
const LONGEST_TASK = 100;

const executablePath = findChromium();
if (executablePath) {
  inFull("the dark page's accessibility, and pictures");
  testPage(executablePath);
}

function testPage(path: string): void {
  let server: WebServer;
  let browser: Browser;
  let context: BrowserContext;
  const folder = mkdtempSync(join(tmpdir(), "unitcell-demo-"));
  const fixtures = haveFixtures("cgcnn");

  test.before(async () => {
    rmSync(SCREENSHOTS, { recursive: true, force: true });
    server = await servePage();
    browser = await launchChromium(path);
  });
  test.before.each(async () => {
    context = await browser.newContext({ viewport: WIDE, colorScheme: "light" });
  });
  test.after.each(async () => {
    await context.close();
  });
  test.after(async () => {
    await browser?.close();
    server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const open = () => openPage(context, server.origin);

  if (fixtures) {
    const files = ["cgcnn/formation-energy-per-atom.pth.tar", "structures/cod-1507756.cif"].map((file) =>
      join(fixturesRoot, file),
    );
    const golden = () => goldens("formation-energy-per-atom").get("cod-1507756")!.f64;
    const ways: Record<string, (page: Page) => Promise<void>> = {
      dropped: (page) => drop(page, files),
      picked: (page) => page.setInputFiles("#pick-files", files),
      "dropped one by one, the structure first": async (page) => {
        await drop(page, [files[1]]);
        await waitForStatus(page, /^Opened 1 structure/);
        await drop(page, [files[0]]);
      },
    };
    for (const [way, give] of Object.entries(ways))
      test(`published weights and a CIF, ${way}: the value of the reference`, async () => {
        const { page, faults } = await open();
        await give(page);
        await waitForStatus(page, PREDICTED);
        const shown = await page.textContent("#value");
        // What is shown is rounded to five decimals.
        assert.ok(Math.abs(Number(shown) - golden()) <= TOLERANCE + 0.5e-5, `${shown}, reference ${golden()}`);
        assert.match((await page.textContent("#prediction"))!, /eV\/atom.*Computed in .* by wasm/s);
        assert.equal(faults, []);
        console.log(`  ${way}: ${shown} shown, reference ${golden()}`);
      });
  }

  test("cells are drawn with few contexts of WebGL, of which browsers take the oldest away", async () => {
    await context.addInitScript(() => {
      const scope = globalThis as unknown as { contexts: number };
      scope.contexts = 0;
      for (const { prototype } of [HTMLCanvasElement, OffscreenCanvas] as { prototype: OffscreenCanvas }[]) {
        const { getContext } = prototype;
        prototype.getContext = function (this: OffscreenCanvas, ...kind: [never]) {
          if (String(kind[0]).startsWith("webgl")) scope.contexts++;
          return getContext.apply(this, kind);
        } as never;
      }
    });
    const { page, faults } = await open();
    await page.click("#open-examples");
    await waitForStatus(page, /^13 structures in/);
    for (const name of ["CsCl", "NaCl-rocksalt", "TiO2-rutile", "CaF2-fluorite", "ZnO-wurtzite"]) {
      await page.click(`#results button:text-is("${name}")`);
      await page.waitForFunction(
        ([shown]) => document.querySelector("#structure-title")!.textContent!.startsWith(shown),
        [name],
      );
      await page.waitForSelector("#canvas canvas");
    }
    const contexts = await page.evaluate(() => (globalThis as unknown as { contexts: number }).contexts);
    assert.ok(contexts >= 1 && contexts <= 3, `${contexts} contexts`);
    assert.equal(faults, []);
  });

  test("a unit that is typed is the plot's, and what was predicted before is predicted again", async () => {
    const { page, faults } = await open();
    page.setDefaultTimeout(20_000);
    // A property that the metadata name and unitcell does not know has no unit.
    const files = { "mine_best.pt": readFileSync(MODELS[1]), "mine_metadata.json": Buffer.from('{"property":"odd"}') };
    const given = Object.entries(files).map(([name, buffer]) => ({ name, mimeType: "", buffer }));
    await page.setInputFiles("#pick-files", given);
    await waitForStatus(page, /^Opened 1 checkpoint/);
    await page.setInputFiles("#pick-folder", "examples/structures");
    await waitForStatus(page, /^13 structures in/);
    const title = (text: RegExp) =>
      page.waitForFunction(
        ([source]) => new RegExp(source).test(document.querySelector("#plot-title")!.textContent!),
        [text.source],
      );
    await title(/^Distribution of 13 predictions$/);
    await page.fill("#unit", "eV/atom");
    await page.keyboard.press("Tab");
    await title(/^Distribution of 13 predictions in eV\/atom$/);
    await waitForStatus(page, /^13 structures in [^;]*\.$/);
    assert.equal(faults, []);
  });

  test("a network of several states is asked for the one that is chosen: PyTorch's values", async () => {
    const { page, faults } = await open();
    const values: Record<string, number[]> = JSON.parse(readFileSync("test/fixtures/megnet/states.json", "utf8"));
    const [name, ofState] = Object.entries(values)[0];
    await page.setInputFiles("#pick-files", ["test/fixtures/megnet/states.pt", `examples/structures/${name}`]);
    await page.waitForSelector("#state-box:not([hidden])");
    for (const [state, value] of ofState.entries()) {
      if (state > 0) {
        await page.fill("#state", String(state));
        await page.keyboard.press("Tab");
      }
      // What is shown is rounded to five decimals; the network is within 1e-6 (megnet.test.ts).
      await page.waitForFunction(
        (shown) => Math.abs(Number(document.querySelector("#value")?.textContent || Number.NaN) - shown) < 6e-6,
        value,
      );
    }
    assert.is(await page.getAttribute("#state", "max"), "3");
    await page.fill("#state", "4");
    await page.keyboard.press("Tab");
    await page.waitForFunction(() => /give state 0 to 3, found 4/.test(document.body.textContent!));
    assert.equal(faults, []);
  });

  test("the examples: an ensemble with its spread, its members and shares of the atoms", async () => {
    const { page, faults } = await open();
    await page.click("#open-examples");
    await waitForStatus(page, /^13 structures in/);
    await page.click('#results button:text-is("CsCl")');
    await page.waitForFunction(() => /CsCl/.test(document.querySelector("#structure-title")!.textContent!));
    // What the command line prints of these files.
    assert.match((await page.textContent("#value"))!, /^-3\.5298|^-3\.5299/);
    assert.match((await page.textContent("#spread"))!, /± 0\.1259/);
    assert.match(
      (await page.textContent("#prediction"))!,
      /electrostatic energy per atom.*eV\/atom.*-3\.3889.*-3\.6311.*-3\.5696/s,
    );
    assert.match((await page.textContent("#no-shares"))!, /megnet_ionic_best\.pt has no shares of atoms: MEGNet/);
    await page.waitForSelector("#legend .bar");
    assert.match((await page.textContent("#legend"))!, /add up to -3\.3889/);
    await page.click("#crystal summary");
    const shares = await page.locator("#atoms tbody td:nth-child(3)").allTextContents();
    const sum = shares.reduce((all, text) => all + Number(text), 0);
    assert.ok(Math.abs(sum + 3.3889) < 3e-4, `${shares}`);
    await page.waitForSelector("#canvas canvas");
    assert.is(await page.textContent("#canvas-message"), "");
    // Without two of the models it is another prediction, and no ensemble.
    await page.uncheck("#models li:nth-child(1) input");
    await page.uncheck("#models li:nth-child(3) input");
    await page.waitForFunction(() => /^-3\.631/.test(document.querySelector("#value")?.textContent ?? ""));
    assert.is(await page.textContent("#spread"), "");
    // Of two choices of a colour at once, the last counts.
    await page.waitForFunction(() => document.querySelector("#legend .bar"));
    await page.evaluate(() => {
      const select = document.querySelector<HTMLSelectElement>("#color-by")!;
      for (const { value } of [...select.options].reverse()) {
        select.value = value;
        select.dispatchEvent(new Event("change"));
      }
    });
    await page.waitForFunction(() => document.querySelector("#legend .chip"));
    await page.waitForTimeout(200);
    assert.is(await page.locator("#legend .bar").count(), 0);
    assert.equal(faults, []);
  });

  test("a checkpoint's facts, tensors, histogram and tree", async () => {
    const { page, faults } = await open();
    await drop(page, ["examples/saved_models/cgcnn_ionic_best.pt"]);
    await waitForStatus(page, /^Opened 1 checkpoint/);
    await page.click("#tab-checkpoints");
    await page.waitForSelector("#tree li");
    const facts = (await page.textContent("#facts"))!;
    assert.match(facts, /Network.*CGCNN, regression/s);
    assert.match(facts, /Settings/);
    await page.click('#tensors button:text-is("state_dict.embedding.weight")');
    await page.waitForSelector("#histogram canvas");
    assert.match((await page.textContent("#histogram"))!, /1,472 numbers from/);
    await page.click('#tree .node:has-text("state_dict")');
    await page.waitForFunction(() => document.querySelectorAll("#tree .tree li").length > 20);
    await screenshots(page, "checkpoint");
    assert.equal(faults, []);
  });

  test("thousands of tensors: the table and the tree do not hold the page up", async () => {
    const { page, faults } = await open();
    const many = join(folder, "many.safetensors");
    const tensor = { dtype: "f32", shape: [2], data: new Uint8Array(8) } as const;
    writeFileSync(
      many,
      saveSafetensors(new Map(Array.from({ length: 6000 }, (_, i) => [`layer.${i}.weight`, tensor]))),
    );
    await drop(page, [many]);
    await waitForStatus(page, /^Opened 1 checkpoint/);
    await page.waitForTimeout(500);
    await longTasks(page);
    await page.click("#tab-checkpoints");
    await page.waitForFunction(() => document.querySelector("#tensor-count")!.textContent === "6,000");
    await page.waitForSelector("#tensors .link");
    await page.locator("#tensors .scroller").evaluate((element) => element.scrollTo(0, 120_000));
    await page.waitForSelector('#tensors tr[aria-rowindex="3540"]');
    assert.ok((await page.locator("#tensors tbody tr").count()) < 60, "only rows in sight are in the page");
    assert.match((await page.textContent("#tree"))!, /more: show some/);
    const [longest = 0] = await longTasks(page);
    console.log(`  6,000 tensors: longest task ${longest.toFixed(0)} ms`);
    assert.ok(longest <= LONGEST_TASK, `${longest} ms`);
    assert.match((await page.textContent("#models"))!, /UNSUPPORTED/);
    assert.equal(faults, []);
  });

  test("matgl's three files in a folder are one checkpoint", async () => {
    if (!fixtures) return;
    const { page, faults } = await open();
    await drop(page, [join(fixturesRoot, "megnet"), "examples/structures/CsCl.cif"]);
    await waitForStatus(page, PREDICTED);
    assert.is(await page.locator("#models li").count(), 1);
    assert.match((await page.textContent("#models"))!, /MEGNet/);
    assert.equal(faults, []);
  });

  test("a malformed checkpoint and a malformed CIF: their errors, and the next file is predicted", async () => {
    const { page, faults } = await open();
    const [cut, bad] = ["cut_best.pt", "bad.cif"].map((name) => join(folder, name));
    writeFileSync(cut, readFileSync(MODELS[1]).subarray(0, 50_000));
    writeFileSync(bad, "data_bad\n_cell_length_a ten\n");
    await drop(page, [cut, bad]);
    await page.waitForSelector("#problems li");
    assert.match((await page.textContent("#problems"))!, /cut_best\.pt\s+CORRUPT .*cut short/);
    await page.waitForSelector("#prediction .problem");
    assert.match((await page.textContent("#prediction"))!, /^(CORRUPT|UNSUPPORTED) .+/);
    assert.match((await page.textContent("#results tbody .failed"))!, /bad.*(CORRUPT|UNSUPPORTED): /);
    await drop(page, [MODELS[1], "examples/structures/CsCl.cif"]);
    await waitForStatus(page, /^2 structures in .* 1 of them with errors/);
    await page.click('#results button:text-is("CsCl")');
    await page.waitForSelector("#value");
    assert.match((await page.textContent("#value"))!, /^-3\.631/);
    await page.click("#problems button");
    assert.is(await page.locator("#problems li").count(), 0);
    assert.equal(faults, []);
  });

  /**
   * 500 structures, given up to three times: a task that waits for a processor counts as long, and the machine is shared, so
   * that the page is to blame for what recurs.
   */
  async function screen500(page: Page, give: () => Promise<void>): Promise<void> {
    let longest = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 3 && longest > LONGEST_TASK; round++) {
      if (round > 0) await page.click("#clear");
      await waitForStatus(page, round > 0 ? /^No structures/ : /./);
      await longTasks(page);
      const began = performance.now();
      await give();
      const status = await waitForStatus(page, PREDICTED);
      const tasks = await longTasks(page);
      longest = Math.min(longest, tasks[0] ?? 0);
      const all = tasks.map((ms) => ms.toFixed(0)).join(", ") || "none";
      console.log(`  ${status} ${((performance.now() - began) / 1000).toFixed(1)} s in all; tasks over 50 ms: ${all}`);
      assert.match(status, /^500 structures/);
    }
    assert.ok(longest <= LONGEST_TASK, `${longest} ms`);
  }

  test("500 structures: screened with progress, and no task of the page is long", async () => {
    const { page, faults } = await open();
    const structures = makeStructures(join(folder, "many"), 500);
    await page.setInputFiles("#pick-files", MODELS);
    await waitForStatus(page, /^Opened 3 checkpoints/);
    await page.waitForTimeout(1000);
    await screen500(page, () => drop(page, [structures]));
    assert.ok((await page.locator("#results tbody tr").count()) < 60, "only rows in sight are in the page");
    // Sorted by value, both ways.
    await page.click('#results th button:text-is("Value")');
    await page.waitForFunction(() => document.querySelector("#results [aria-sort=ascending]"));
    const column = async () =>
      (await page.locator("#results tbody tr:not(.spacer) td:nth-child(4)").allTextContents()).map(Number);
    const rising = await column();
    assert.equal(
      rising,
      [...rising].sort((a, b) => a - b),
    );
    // Known values by file name give a parity plot.
    const csv = join(folder, "known.csv");
    writeFileSync(
      csv,
      `id,value\n${readdirSync(structures)
        .slice(0, 200)
        .map((name, i) => `${name},${-i / 5}`)
        .join("\n")}\n`,
    );
    await drop(page, [csv]);
    await page.waitForFunction(() =>
      /^Predicted against known: 200/.test(document.querySelector("#plot-title")!.textContent!),
    );
    await screenshots(page, "screened");
    for (const [format, first] of [
      ["csv", /^id,model,formula/],
      ["json", /^\[/],
    ] as const) {
      const [download] = await Promise.all([page.waitForEvent("download"), page.click(`#save-${format}`)]);
      const text = readFileSync((await download.path())!, "utf8");
      assert.match(text, first);
      if (format === "json") assert.is(JSON.parse(text).length, 500);
      else assert.is(text.trim().split("\n").length, 501);
    }
    assert.equal(faults, []);
  });

  test("500 structures of a chosen folder: no task of the page is long", async () => {
    const { page, faults } = await open();
    await page.setInputFiles("#pick-files", MODELS);
    await waitForStatus(page, /^Opened 3 checkpoints/);
    // The dialog is the browser's own. What it gives is a handle of a folder, as the browser's private storage has them.
    const texts = readdirSync(makeStructures(join(folder, "chosen"), 500)).map((name): [string, string] => [
      name,
      readFileSync(join(folder, "chosen", name), "utf8"),
    ]);
    await page.evaluate(async (files) => {
      const chosen = await (await navigator.storage.getDirectory()).getDirectoryHandle("chosen", { create: true });
      const inner = await chosen.getDirectoryHandle("inner", { create: true });
      for (const [i, [name, text]] of files.entries()) {
        const file = await (i % 2 ? chosen : inner).getFileHandle(name, { create: true });
        const stream = await file.createWritable();
        await stream.write(text);
        await stream.close();
      }
      Object.assign(globalThis, { showDirectoryPicker: async () => chosen });
    }, texts);
    await page.waitForTimeout(1000);
    await screen500(page, () => page.click("#pick-folder-button"));
    assert.equal(faults, []);
  });

  test("a chosen folder: a file that is gone is told, the others are opened; a choice given up is nothing", async () => {
    const { page, faults } = await open();
    await page.evaluate(
      async (text) => {
        const chosen = await (await navigator.storage.getDirectory()).getDirectoryHandle("gone", { create: true });
        for (const name of ["a.cif", "b.cif"]) {
          const stream = await (await chosen.getFileHandle(name, { create: true })).createWritable();
          await stream.write(text);
          await stream.close();
        }
        // Goes between the list and its own turn.
        const entries = chosen.entries.bind(chosen);
        chosen.entries = async function* () {
          for await (const entry of entries()) {
            if (entry[0] === "b.cif") await chosen.removeEntry("b.cif");
            yield entry;
          }
        } as typeof chosen.entries;
        let asked = 0;
        const showDirectoryPicker = async () => {
          if (++asked === 1) throw new DOMException("The user aborted a request.", "AbortError");
          return chosen;
        };
        Object.assign(globalThis, { showDirectoryPicker });
      },
      readFileSync("examples/structures/CsCl.cif", "utf8"),
    );
    await page.click("#pick-folder-button");
    await page.click("#pick-folder-button");
    await waitForStatus(page, /^Opened 1 structure/);
    assert.is(await page.locator("#problems li").count(), 1);
    assert.match((await page.textContent("#problems"))!, /gone\/b\.cif.*NotFoundError/);
    assert.equal(faults, []);
  });

  test("a screening is cancelled, and goes on where it was", async () => {
    const { page, faults } = await open();
    const structures = makeStructures(join(folder, "cancel"), 400);
    await page.setInputFiles("#pick-files", MODELS);
    await waitForStatus(page, /^Opened 3 checkpoints/);
    await page.setInputFiles("#pick-folder", structures);
    await page.waitForFunction(() => document.querySelector<HTMLProgressElement>("#progress")!.value > 5);
    await page.click("#cancel");
    const cancelled = await waitForStatus(page, /^Cancelled: \d+ of 400/);
    // The button is gone from under the focus.
    await page.waitForFunction(() => document.activeElement?.id === "predict");
    const done = Number(/\d+/.exec(cancelled)![0]);
    assert.ok(done < 400, cancelled);
    await page.click("#predict");
    const rest = await waitForStatus(page, /^\d+ structures? in .* 400 are done in all/);
    assert.is(Number(/\d+/.exec(rest)![0]), 400 - done);
    await page.click("#predict");
    await waitForStatus(page, /^Nothing was left to predict: 400 structures are done/);
    assert.equal(faults, []);
  });

  test("all structures are closed while they are read, and while they are predicted", async () => {
    const { page, faults } = await open();
    page.setDefaultTimeout(20_000);
    await page.setInputFiles("#pick-files", MODELS);
    await waitForStatus(page, /^Opened 3 checkpoints/);
    const frame = '2\nLattice="4.1 0 0 0 4.1 0 0 0 4.1" Properties=species:S:1:pos:R:3\nCs 0 0 0\nCl 2 2 2\n';
    const buffer = Buffer.from(frame.repeat(60_000));
    await page.setInputFiles("#pick-files", { name: "frames.xyz", mimeType: "text/plain", buffer });
    await page.waitForSelector("#results .link");
    await page.focus("#clear");
    await page.keyboard.press("Enter");
    await waitForStatus(page, /^No structures are open/);
    await page.waitForTimeout(500);
    assert.ok(await page.isHidden("#screening"), "no rows of the file that was being read");
    assert.is(await page.evaluate(() => document.activeElement!.id), "pick-files-button");
    const known = join(folder, "closed.csv");
    writeFileSync(known, "0000-BaO,1\n0001-CaF2,2\n");
    await page.setInputFiles("#pick-files", known);
    await waitForStatus(page, /^Opened 1? ?2 known values/);
    await page.setInputFiles("#pick-folder", makeStructures(join(folder, "close"), 400));
    await page.waitForFunction(() => document.querySelector<HTMLProgressElement>("#progress")!.value > 5);
    await page.click("#clear");
    await waitForStatus(page, /^No structures are open/);
    assert.ok(await page.isHidden("#screening"));
    await drop(page, ["examples/structures/CsCl.cif"]);
    await waitForStatus(page, /^1 structure in/);
    assert.is(await page.locator('#results th:visible:has-text("Known")').count(), 0);
    assert.is(await page.locator("#problems li").count(), 0);
    assert.equal(faults, []);
  });

  test("a checkpoint twice is no ensemble, and one of the same name is kept beside the other; the focus stays", async () => {
    const { page, faults } = await open();
    page.setDefaultTimeout(20_000);
    const pick = async (name: string, from: string) => {
      await page.setInputFiles("#pick-files", { name, mimeType: "", buffer: readFileSync(from) });
      await waitForStatus(page, /^Opened 1 checkpoint/);
      await page.waitForTimeout(50);
      await page.click("#status");
    };
    const focused = (label: string | RegExp) =>
      page.waitForFunction(
        ([source]) => new RegExp(source).test(document.activeElement!.getAttribute("aria-label") ?? ""),
        [typeof label === "string" ? label : label.source],
      );
    await pick("same_best.pt", MODELS[1]);
    await pick("other.pt", MODELS[1]);
    assert.is(await page.locator("#models input:checked").count(), 1);
    assert.match(
      (await page.textContent("#models li:nth-child(2)"))!,
      /Not used: the same contents as same_best\.pt, which was opened before it/,
    );
    await page.click('button[aria-label="Keep same_best.pt in this browser"]');
    await waitForStatus(page, /^Kept in this browser: same_best\.pt\./);
    await page.click('button[aria-label="Close other.pt"]');
    await focused("Close same_best");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement?.id === "pick-files-button");
    await pick("same_best.pt", MODELS[0]);
    await page.click('button[aria-label="Keep same_best.pt in this browser"]');
    await waitForStatus(page, /^Kept in this browser: [0-9a-f]{8}\/same_best\.pt\./);
    await page.click("#tab-library");
    await page.waitForFunction(() => document.querySelectorAll("#kept tbody tr").length === 2);
    await page.click("#tab-predict");
    await page.focus("#models input");
    await page.keyboard.press("Space");
    await page.waitForSelector("#models input:not(:checked)");
    assert.ok(await page.evaluate(() => document.activeElement!.matches("#models input")), "the focus is where it was");
    assert.equal(faults, []);
  });

  test("problems beyond those listed follow when some are dismissed; the same one is listed once", async () => {
    const { page, faults } = await open();
    page.setDefaultTimeout(20_000);
    const bad = Array.from({ length: 25 }, (_, i) => ({
      name: `bad${i}.pt`,
      mimeType: "",
      buffer: Buffer.from("no checkpoint"),
    }));
    for (let round = 0; round < 2; round++) {
      await page.setInputFiles("#pick-files", bad);
      await waitForStatus(page, /^Nothing was opened/);
    }
    const items = page.locator("#problems li");
    assert.is(await items.count(), 20);
    assert.is(await page.textContent("#more-problems"), "5 more");
    await page.waitForFunction(() => document.querySelector("#problem-count")!.textContent === "25 problems:");
    await page.focus("#problems button");
    for (let left = 24; left >= 0; left--) {
      await page.keyboard.press("Enter");
      assert.is(await items.count(), Math.min(left, 20));
    }
    assert.is(await page.textContent("#more-problems"), "");
    assert.is(await page.evaluate(() => document.activeElement!.id), "pick-files-button");
    assert.equal(faults, []);
  });

  test("the library: keep, list, sizes, pin, plan, prune, undo, history; it is there after a reload", async () => {
    const { page, faults } = await open();
    await drop(page, ["examples/saved_models"]);
    await waitForStatus(page, /^Opened 8 checkpoints, 4 descriptions of runs.* Left alone: .*README\.md/);
    // Of each run the best takes part, and what is no network cannot.
    assert.is(await page.locator("#models input:checked").count(), 3);
    assert.match((await page.textContent('#models li:has-text("ensemble_predictions.pt")'))!, /UNSUPPORTED|MISMATCH/);
    for (const name of [
      "cgcnn_ionic_best.pt",
      "cgcnn_ionic_final.pt",
      "cgcnn_ionic_epoch50.pt",
      "megnet_ionic_best.pt",
    ]) {
      await page.click(`button[aria-label="Keep ${name} in this browser"]`);
      await waitForStatus(page, new RegExp(`^Kept in this browser: saved_models/${name.replace(".", "\\.")}`));
    }
    await page.click("#tab-library");
    const kept = page.locator("#kept tbody tr");
    const listed = async (count: number) => {
      await page.waitForFunction((n) => document.querySelectorAll("#kept tbody tr").length === n, count);
    };
    await listed(4);
    assert.match((await page.textContent("#kept"))!, /cgcnn_ionic_best\.pt147 kB.*best.*val_mae/s);
    assert.match((await page.textContent("#usage"))!, /Checkpoints4 files, 588 kB/);
    const epoch = "saved_models/cgcnn_ionic_epoch50.pt";
    const plan = async () => {
      await page.fill("#keep-latest", "0");
      await page.click("#show-plan");
      await page.waitForSelector("#plan h3");
      return (await page.textContent("#plan"))!;
    };
    await page.click(`button[aria-label="Pin ${epoch}"]`);
    await page.waitForSelector(`button[aria-label="Unpin ${epoch}"]`);
    assert.match(await plan(), /Nothing would be removed.*cgcnn_ionic_epoch50\.pt: pinned/s);
    await page.click(`button[aria-label="Unpin ${epoch}"]`);
    await page.waitForSelector(`button[aria-label="Pin ${epoch}"]`);
    await page.waitForFunction(() => document.activeElement?.getAttribute("aria-label")?.startsWith("Pin "));
    await page.click("#show-plan");
    await page.waitForSelector("#prune");
    assert.match((await page.textContent("#plan"))!, /1 file would go, 147 kB.*cgcnn_ionic_epoch50\.pt/s);
    assert.is(await kept.count(), 4);
    await screenshots(page, "library");
    await page.click("#prune");
    await listed(3);
    assert.match((await page.textContent("#trash"))!, /1 file in the trash/);
    await page.click("#undo");
    await listed(4);
    await page.waitForSelector("#history canvas");
    assert.match((await page.getAttribute("#history .chart", "aria-label"))!, /cgcnn_ionic: .*val_mae over 240 epochs/);

    await page.reload();
    await page.waitForSelector("html[data-ready]");
    await page.click("#tab-library");
    await listed(4);
    await page.click('button[aria-label="Open saved_models/cgcnn_ionic_best.pt"]');
    await waitForStatus(page, /^Opened 1 checkpoint/);
    await drop(page, ["examples/structures/CsCl.cif"]);
    await waitForStatus(page, PREDICTED);
    assert.match((await page.textContent("#prediction"))!, /-3\.631\d+ eV\/atom/);
    assert.equal(faults, []);
  });

  test("a browser that cannot run the page says why", async () => {
    await context.addInitScript(() => {
      Intl.NumberFormat = class {
        constructor() {
          throw new RangeError("invalid language tag: C");
        }
      } as never;
    });
    const page = await context.newPage();
    await page.goto(`${server.origin}/`);
    await waitForStatus(page, /^The page could not be started: RangeError: invalid language tag: C/);
  });

  test("no file and no address leaves the page; it works when the network is gone", async () => {
    const asked: string[] = [];
    context.on("request", (request) => asked.push(request.url()));
    const { page, faults } = await open();
    await page.waitForFunction(() => /^The browser keeps/.test(document.querySelector("#kept-page")!.textContent!));
    await context.setOffline(true);
    await drop(page, [...MODELS, "examples/structures"]);
    await waitForStatus(page, /^13 structures in/);
    await page.waitForSelector("#canvas canvas");
    await context.setOffline(false);
    const outside = asked.filter((url) => !url.startsWith(server.origin) && !/^(blob|data):/.test(url));
    assert.equal(outside, []);
    assert.equal(faults, []);
    // The worker has the files, so that it must be bound by the policy of the page as well.
    const [worker] = page.workers();
    const post = () =>
      fetch("https://example.org/", { method: "POST", body: "x" }).then(
        () => "sent",
        (error) => String(error),
      );
    for (const said of [await worker.evaluate(post), await page.evaluate(post)]) assert.match(said, /^TypeError/);
    const refused = faults.filter((fault) => /Content Security Policy/.test(fault));
    assert.ok(refused.length >= 2, faults.join("\n"));
  });

  for (const colorScheme of isFull ? (["light", "dark"] as const) : (["light"] as const))
    test(`accessibility, ${colorScheme}: nothing serious or critical, wide and on a phone`, async () => {
      const { page } = await open();
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const found: string[] = [];
      const check = async (state: string) => {
        for (const size of [WIDE, PHONE]) {
          await page.setViewportSize(size);
          await page.waitForTimeout(300);
          const scrollWidth = await page.evaluate(() => document.documentElement.scrollWidth);
          if (scrollWidth > size.width) found.push(`${state} at ${size.width}: ${scrollWidth} px wide`);
          found.push(...(await violations(page)).map((violation) => `${state} at ${size.width}: ${violation}`));
        }
        await page.setViewportSize(WIDE);
      };
      await check("empty");
      if (colorScheme === "light") await screenshots(page, "empty");
      const bad = join(folder, "bad-too.cif");
      writeFileSync(bad, "data_bad\n_cell_length_a ten\n");
      writeFileSync(join(folder, "none.pt"), "no checkpoint");
      await page.click("#open-examples");
      await waitForStatus(page, /^13 structures in/);
      await page.waitForSelector("#canvas canvas");
      await page.click("#crystal summary");
      if (colorScheme === "light") await screenshots(page, "predicted");
      await drop(page, [bad, join(folder, "none.pt")]);
      await page.waitForSelector("#problems li");
      await waitForStatus(page, /^1 structure in .* 14 are done in all/);
      await check("predicted");
      await page.click('button[aria-label="Keep cgcnn_ionic_best.pt in this browser"]');
      await waitForStatus(page, /^Kept/);
      await page.click("#tab-checkpoints");
      await page.waitForSelector("#tensors .link");
      await page.click("#tensors .link");
      await page.waitForSelector("#histogram canvas");
      await page.click("#tree .node");
      await page.waitForSelector("#tree .tree li");
      await check("checkpoint");
      await page.click("#tab-library");
      await page.waitForSelector("#history canvas");
      await page.click("#show-plan");
      await page.waitForSelector("#plan h3");
      await check("library");
      assert.equal(found, []);
    });

  test("by keyboard alone", async () => {
    const { page, faults } = await open();
    const chooser = page.waitForEvent("filechooser");
    await tabTo(page, "#pick-files-button");
    await page.keyboard.press("Enter");
    await chooser;
    await tabTo(page, "#open-examples");
    await page.keyboard.press("Enter");
    await waitForStatus(page, /^13 structures in/);
    await tabTo(page, "#models input");
    await page.keyboard.press("Space");
    await waitForStatus(page, /^13 structures in/);
    assert.is(await page.locator("#models input:checked").count(), 2);
    await tabTo(page, "#results .sort");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#results [aria-sort=descending]");
    await tabTo(page, "#results .link");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => /ZnS/.test(document.querySelector("#structure-title")!.textContent!));
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => /CaF2/.test(document.querySelector("#structure-title")!.textContent!));
    await tabTo(page, "#turns button");
    await page.keyboard.press("Enter");
    await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    await tabTo(page, "[role=tab]");
    await page.keyboard.press("ArrowRight");
    await page.waitForSelector("#checkpoints:not([hidden])");
    await tabTo(page, "#tensors .link");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#histogram canvas");
    await tabTo(page, "#tree .node");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#tree .tree li");
    assert.equal(faults, []);
  });

  /** Copies of structures under so many names. */
  function makeStructures(into: string, count: number): string {
    mkdirSync(into, { recursive: true });
    const from = "examples/structures";
    const names = readdirSync(from);
    for (let i = 0; i < count; i++) {
      const name = names[i % names.length];
      copyFileSync(join(from, name), join(into, `${String(i).padStart(4, "0")}-${name}`));
    }
    return into;
  }
}

const require = createRequire(import.meta.url);

/** Serious and critical findings of axe, with where they are. */
async function violations(page: Page): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis)))
    await page.evaluate(readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
  const { violations: found } = (await page.evaluate("axe.run()")) as AxeResults;
  return found
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} ${target} ${failureSummary}`));
}

/** Pictures for people to look at, in every look of the page; with npm run test:full. */
async function screenshots(page: Page, state: string): Promise<void> {
  if (!isFull) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  for (const [name, colorScheme, size] of [
    ["light", "light", WIDE],
    ["dark", "dark", WIDE],
    ["phone", "light", PHONE],
  ] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(size);
    await page.waitForTimeout(800);
    await page.screenshot({ path: join(SCREENSHOTS, `${state}-${name}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(WIDE);
}

test.run();

/**
 * The page in the browsers that Playwright does not drive: a script that comes with it does what a person would, and tells
 * what is to be seen.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { firefox, webkit } from "./browser-hosts.js";
import { anotherBuild, servePage } from "./demo-page.js";
import type { InstalledPackage } from "./installed-package.js";

interface Seen {
  /** Errors of scripts, rejections, what the policy refused. */
  readonly faults: readonly string[];
  /** What could not be reached, if anything. */
  readonly stuck?: string;
  readonly texts: Readonly<Record<string, string>>;
  readonly hasCanvas: boolean;
}

/** On a machine without a GPU these two have none, and Chromium has one of its own. */
const NO_WEBGL = "The cell cannot be drawn: this browser has no WebGL 2. The table has its atoms.";

/** Runs in the page. */
async function use(): Promise<void> {
  const faults: string[] = [];
  addEventListener("error", ({ message }) => faults.push(message));
  addEventListener("unhandledrejection", ({ reason }) => faults.push(String(reason)));
  addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
    faults.push(`${violatedDirective} ${blockedURI}`),
  );
  const texts: Record<string, string> = {};
  let doing = "";
  const find = (selector: string) => document.querySelector<HTMLElement>(selector);
  const until = async <T>(what: string, look: () => T | null | undefined | false): Promise<T> => {
    doing = what;
    for (let tries = 0; tries < 600; tries++) {
      const found = look();
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`no ${what}; status: ${find("#status")?.textContent}; problems: ${find("#problems")?.textContent}`);
  };
  const text = (selector: string, pattern: RegExp) =>
    until(`${selector} ${pattern}`, () => {
      const found = find(selector)?.textContent ?? "";
      return pattern.test(found) && found;
    });
  const labelled = (selector: string, label: string) =>
    [...document.querySelectorAll<HTMLElement>(selector)].find(({ textContent }) => textContent === label);
  let stuck: string | undefined;
  try {
    await until("page", () => document.documentElement.dataset.ready);
    find("#open-examples")!.click();
    texts.predicted = await text("#status", /^13 structures in .* by /);
    (await until("row of CsCl", () => labelled("#results button", "CsCl"))).click();
    await text("#structure-title", /CsCl/);
    texts.value = await text("#value", /\d/);
    texts.spread = await text("#spread", /\d/);
    await until("crystal", () => find("#canvas canvas") || find("#canvas-message")?.textContent);
    texts.canvasMessage = find("#canvas-message")!.textContent!;
    texts.legend = await text("#legend", /add up/);
    find("#tab-checkpoints")!.click();
    (await until("tensor", () => find("#tensors .link"))).click();
    await until("histogram", () => find("#histogram canvas"));
    texts.histogram = await text("#histogram", /numbers from/);
    find("#tab-predict")!.click();
    (await until("Keep", () => labelled("#models button", "Keep"))).click();
    texts.keeping = await until("checkpoint kept or a problem", () => {
      const said = find("#status")!.textContent!;
      return (/^Kept in this browser/.test(said) && said) || find("#problems")!.textContent;
    });
    find("#tab-library")!.click();
    texts.library = await until("library", () => find("#kept")?.textContent || find("#library-empty")?.textContent);
    texts.keptPage = await text("#kept-page", /./);
  } catch (error) {
    stuck = `${doing}: ${error}`;
  }
  const seen = { faults, texts, hasCanvas: find("#canvas canvas") !== null, ...(stuck && { stuck }) };
  await fetch("seen", { method: "POST", body: JSON.stringify(seen) });
}

for (const found of [firefox(), webkit("WebKitGTK", ["baseline"], {})]) {
  if ("missing" in found) {
    console.log(`skipped: the page in ${found.name}: ${found.missing}`);
    continue;
  }
  test(`the page in ${found.name}: examples predicted and drawn, a checkpoint looked into and kept`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-demo-browsers-"));
    const changed = new Map<string, string>(
      anotherBuild((index) => index.replace("<script ", '<script src="use.js"></script><script ')),
    );
    changed.set("use.js", `(${use})();`);
    let tell: (seen: Seen) => void;
    const told = new Promise<Seen>((resolve) => {
      tell = resolve;
    });
    const server = await servePage(changed, { onPost: (seen) => tell(seen as Seen) });
    const running = await found.start({ folder } as InstalledPackage, `${server.origin}/`);
    try {
      const { faults, stuck, texts, hasCanvas } = await Promise.race([told, running.ended]);
      console.log(`  ${found.name} ${found.version()}: ${texts.predicted}; ${texts.keeping}; ${texts.keptPage}`);
      assert.is(stuck, undefined);
      assert.equal(faults, []);
      assert.match(texts.value, /^-3\.5298|^-3\.5299/);
      assert.match(texts.spread, /± 0\.1259/);
      if (!hasCanvas) assert.is(texts.canvasMessage, NO_WEBGL);
      assert.match(texts.legend, /add up to/);
      assert.match(texts.histogram, /numbers from/);
      assert.match(texts.keeping, /^Kept in this browser: |no private storage for the files of a page/);
      assert.match(texts.library, /\.pt|Nothing is kept yet/);
      assert.match(texts.keptPage, /^The browser keeps this page/);
    } finally {
      await running.stop();
      server.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test.run();

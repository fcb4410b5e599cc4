/** The page without a server, once the browser keeps it; a newer build of it; a browser that cannot keep it. */
import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { findChromium, launchChromium } from "./chromium.js";
import { anotherBuild, openPage, PATIENCE, servePage, waitForStatus } from "./demo-page.js";
import type { WebServer } from "./web-server.js";

const executablePath = findChromium();
if (executablePath) testKeeping(executablePath);

function testKeeping(path: string): void {
  let browser: Browser;
  let context: BrowserContext;
  let server: WebServer | undefined;
  const changed = new Map<string, string | undefined>();

  test.before(async () => {
    browser = await launchChromium(path);
  });
  test.before.each(async () => {
    changed.clear();
    context = await browser.newContext();
    server = await servePage(changed);
  });
  test.after.each(async () => {
    await context.close();
    server?.stop();
  });
  test.after(() => browser?.close());

  async function kept(page: Page): Promise<string> {
    await page.waitForFunction(() => document.querySelector("#kept-page")!.textContent !== "");
    return (await page.textContent("#kept-page"))!;
  }

  /** What a page that is closed and opened again says. */
  async function openAgain(page: Page): Promise<Page> {
    await page.close();
    const next = await context.newPage();
    next.setDefaultTimeout(PATIENCE);
    await next.goto(`${server!.origin}/`);
    await next.waitForSelector("html[data-ready]");
    return next;
  }

  test("the server is gone: the page opens, with its examples, its worker and 3Dmol", async () => {
    const { page, faults } = await openPage(context, server!.origin);
    assert.match(await kept(page), /^The browser keeps this page/);
    server!.stop();
    for (const address of ["/", "/index.html", "/?again#here"]) {
      await page.goto(server!.origin + address);
      await page.click("#open-examples");
      await waitForStatus(page, /^13 structures in/);
      await page.click('#results button:text-is("CsCl")');
      await page.waitForSelector("#canvas canvas");
      await page.waitForFunction(() => /CsCl/.test(document.querySelector("#structure-title")!.textContent!));
      assert.match((await page.textContent("#value"))!, /^-3\.5298|^-3\.5299/);
      assert.match(await kept(page), /^The browser keeps this page/);
    }
    const licences = await page.evaluate(async () => (await fetch("THIRD-PARTY.txt")).text());
    assert.is(licences, readFileSync("dist/demo/THIRD-PARTY.txt", "utf8"));
    assert.equal(faults, []);
  });

  test("a newer build comes whole, once no tab has the older one", async () => {
    const { page, faults } = await openPage(context, server!.origin);
    await kept(page);
    const newer = anotherBuild((index) => index.replace("<h1>unitcell</h1>", "<h1>newer</h1>"));
    // A host that still has some of the older files: nothing comes.
    changed.set("service-worker.js", newer.get("service-worker.js"));
    await page.reload();
    assert.match(await kept(page), /^The browser keeps this page/);
    assert.is((await page.evaluate(() => caches.keys())).length, 1, "what was fetched in vain is gone");
    changed.set("index.html", newer.get("index.html"));
    await page.reload();
    assert.match(await kept(page), /^A newer build of this page is here/);
    assert.is(await page.textContent("h1"), "unitcell");
    const next = await openAgain(page);
    assert.is(await next.textContent("h1"), "newer");
    assert.match(await kept(next), /^The browser keeps this page/);
    assert.is((await next.evaluate(() => caches.keys())).length, 1, "the older build's files are gone");
    assert.equal(faults, []);
  });

  test("a file that cannot be had: the page says that it is not kept, and works", async () => {
    changed.set("examples/structures/CsCl.cif", undefined);
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(`${server!.origin}/`);
    assert.match(
      await kept(page),
      /^The browser could not keep the page itself .*: to use it without a network, leave/,
    );
    await page.setInputFiles("#pick-files", [
      "examples/saved_models/cgcnn_ionic_best.pt",
      "examples/structures/CsCl.cif",
    ]);
    await waitForStatus(page, /^1 structure in/);
  });

  for (const [what, root] of [
    [
      "leads to index.html by a redirection",
      (response: ServerResponse) => response.writeHead(302, { Location: "/index.html" }),
    ],
    ["is a list of files", (response: ServerResponse) => response.writeHead(200, { "Content-Type": "text/html" })],
    ["may not be looked into", (response: ServerResponse) => response.writeHead(403)],
  ] as const)
    test(`a folder that ${what}: the page opens again, by its own address, and without a server`, async () => {
      const odd = await servePage(changed, { root: (response) => void root(response).end("a list") });
      try {
        const page = await context.newPage();
        page.setDefaultTimeout(PATIENCE);
        await page.goto(`${odd.origin}/index.html`);
        assert.match(await kept(page), /^The browser keeps this page/);
        await page.goto(`${odd.origin}/index.html`);
        assert.match(await kept(page), /^The browser keeps this page/);
        odd.stop();
        await page.goto(`${odd.origin}/`);
        assert.match(await kept(page), /^The browser keeps this page/);
      } finally {
        odd.stop();
      }
    });

  test("files that the browser dropped are fetched again, or the page is not called kept", async () => {
    const { page } = await openPage(context, server!.origin);
    await kept(page);
    const drop = () => page.evaluate(async () => caches.delete((await caches.keys())[0]));
    await drop();
    await page.reload();
    assert.match(await kept(page), /^The browser keeps this page/);
    const { length } = await page.evaluate(async () => (await caches.open((await caches.keys())[0])).keys());
    assert.ok(length > 10, `${length} files`);
    await drop();
    changed.set("style.css", "/* of another build */");
    await page.reload();
    assert.match(
      await kept(page),
      /^The browser could not keep the page itself \(Error: style\.css is of another build\)/,
    );
  });

  test("a browser without service workers: the page says so, and needs no network while it is open", async () => {
    await context.addInitScript(() => Object.defineProperty(navigator, "serviceWorker", { value: undefined }));
    const { page, faults } = await openPage(context, server!.origin);
    assert.match(await kept(page), /^This browser does not keep the page itself/);
    server!.stop();
    await page.setInputFiles("#pick-files", [
      "examples/saved_models/cgcnn_ionic_best.pt",
      "examples/structures/CsCl.cif",
    ]);
    await waitForStatus(page, /^1 structure in/);
    await page.waitForSelector("#canvas canvas");
    assert.equal(faults, []);
  });
}

test.run();

/** A whole run in a browser: saved in one page, refused to another, resumed after a reload, over OPFS and IndexedDB. */
import { build } from "esbuild";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { test } from "uvu";
import type { Kind, Part } from "./browser-manager.page.js";
import { findChromium, launchChromium } from "./chromium.js";
import { startServer, type WebServer } from "./web-server.js";

const executablePath = findChromium();
if (executablePath) testManager(executablePath);

function testManager(path: string): void {
  let server: WebServer;
  let browser: Browser;
  let context: BrowserContext;

  test.before(async () => {
    const options = { bundle: true, format: "esm", target: "es2022", write: false } as const;
    const { outputFiles } = await build({ ...options, entryPoints: ["test/browser-manager.page.ts"] });
    browser = await launchChromium(path);
    context = await browser.newContext();
    server = await startServer((request, response) => {
      const isScript = request.url === "/page.js";
      response.writeHead(200, { "Content-Type": isScript ? "text/javascript" : "text/html" });
      response.end(
        isScript ? outputFiles[0].contents : '<!doctype html><script type="module" src="/page.js"></script>',
      );
    });
  });
  test.after(async () => {
    await browser?.close();
    server?.stop();
  });

  async function openTab(): Promise<Page> {
    const page = await context.newPage();
    await page.goto(server.origin);
    await page.waitForFunction("globalThis.call");
    return page;
  }

  /** In the window or the worker of a page; what is not as it should be is thrown here. */
  async function run(page: Page, place: "call" | "callWorker", part: Part, kind: Kind, name: string): Promise<void> {
    await page.evaluate(
      ([place, ...values]) =>
        (globalThis as unknown as Record<string, (...values: string[]) => void>)[place](...values),
      [place, part, kind, name] as const,
    );
  }

  for (const kind of ["opfs", "indexedDb"] satisfies Kind[])
    for (const place of ["call", "callWorker"] as const)
      test(`${kind}, in a ${place === "call" ? "window" : "worker"}: trained, refused to another tab, resumed after a reload`, async () => {
        const name = `run-${kind}-${place}`;
        const [tab, other] = [await openTab(), await openTab()];
        await run(tab, place, "train", kind, name);
        await run(other, "call", "lookOn", kind, name);
        await run(other, "callWorker", "lookOn", kind, name);
        // The writer ends without closing the run.
        await tab.reload();
        await tab.waitForFunction("globalThis.call");
        await run(other, place, "tidy", kind, name);
        await run(tab, place, "goOn", kind, name);
        await Promise.all([tab.close(), other.close()]);
      });
}

test.run();

/** The stores of browsers in a real one: headless Chromium, if there is one. */
import { build } from "esbuild";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Kind, Tasks } from "./browser-stores.page.js";
import { findChromium, launchChromium } from "./chromium.js";
import { startServer, type WebServer } from "./web-server.js";

const executablePath = findChromium();
if (executablePath) testStores(executablePath);

/** A page, and its tasks run there or in its worker. */
interface Tab {
  readonly page: Page;
  window<T extends keyof Tasks>(task: T, ...values: Parameters<Tasks[T]>): Promise<Awaited<ReturnType<Tasks[T]>>>;
  worker<T extends keyof Tasks>(task: T, ...values: Parameters<Tasks[T]>): Promise<Awaited<ReturnType<Tasks[T]>>>;
}

async function waitFor(isSo: () => Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; !(await isSo()); await new Promise((resolve) => setTimeout(resolve, 20)))
    assert.ok(Date.now() < deadline, `${what} within 10 s`);
}

function testStores(path: string): void {
  const servers: WebServer[] = [];
  let script: Uint8Array;
  let browser: Browser;
  let context: BrowserContext;
  let origin: string;

  test.before(async () => {
    const options = { bundle: true, format: "esm", target: "es2022", write: false } as const;
    const { outputFiles } = await build({ ...options, entryPoints: ["test/browser-stores.page.ts"] });
    script = outputFiles[0].contents;
    browser = await launchChromium(path);
    context = await browser.newContext();
    origin = await startOrigin();
  });
  test.after(async () => {
    await browser?.close();
    for (const server of servers) server.stop();
  });

  async function startOrigin(): Promise<string> {
    const server = await startServer((request, response) => {
      const isScript = request.url === "/page.js";
      response.writeHead(200, { "Content-Type": isScript ? "text/javascript" : "text/html" });
      response.end(isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>');
    });
    servers.push(server);
    return server.origin;
  }

  async function openTab(at = origin): Promise<Tab> {
    const page = await context.newPage();
    await page.goto(at);
    await page.waitForFunction("globalThis.call");
    const caller =
      (name: "call" | "callWorker") =>
      (task: string, ...values: unknown[]) =>
        page.evaluate(
          ([name, task, values]) =>
            (globalThis as unknown as Record<string, (...values: unknown[]) => unknown>)[name](task, values),
          [name, task, values] as const,
        );
    return { page, window: caller("call"), worker: caller("callWorker") } as Tab;
  }

  for (const kind of ["opfs", "indexedDb"] satisfies Kind[]) {
    for (const place of ["window", "worker"] as const)
      test(`${kind}: the contract of stores, in a ${place}`, async () => {
        const tab = await openTab();
        const { passed, failed } = await tab[place]("contract", kind);
        assert.equal(failed, []);
        assert.ok(passed > 20, `${passed} cases`);
        await tab.page.close();
      });

    test(`${kind}: of two tabs and their workers that put if absent, one wins each key`, async () => {
      const tabs = await Promise.all([openTab(), openTab()]);
      const keys = Array.from({ length: 40 }, (_, i) => `folder/${i}.lock`);
      const writers = tabs.flatMap((tab) => [tab.window, tab.worker]);
      const won = await Promise.all(writers.map((put, i) => put("putAll", kind, "race", keys, `writer ${i}`)));
      for (const [k, key] of keys.entries()) {
        const winners = won.flatMap((absent, i) => (absent[k] ? [`writer ${i}`] : []));
        assert.equal(winners, [await tabs[0].window("read", kind, "race", key)], key);
      }
      assert.equal(await tabs[1].worker("list", kind, "race"), [...keys].sort());
      for (const { page } of tabs) await page.close();
    });

    test(`${kind}: what one tab puts the other reads; a tab that is closed midway leaves the former file`, async () => {
      const [writer, reader] = [await openTab(), await openTab()];
      await writer.window("put", kind, "midway", "a.pt", "former");
      assert.is(await reader.worker("read", kind, "midway", "a.pt"), "former");
      await writer.window("startPut", kind, "midway", "a.pt");
      await writer.window("startPut", kind, "midway", "new.pt");
      assert.equal(await reader.window("list", kind, "midway"), ["a.pt"]);
      assert.is((await reader.window("clean", kind, "midway")) ?? 0, 0);
      await writer.page.close();
      if (kind === "opfs") {
        let cleaned = 0;
        const isClean = async () => {
          cleaned += (await reader.window("clean", kind, "midway"))!;
          return cleaned === 2;
        };
        await waitFor(isClean, "two unfinished files are removed");
        assert.equal(await reader.window("files", "midway"), ["a.pt"]);
      }
      assert.is(await reader.window("read", kind, "midway", "a.pt"), "former");
      assert.equal(await reader.window("list", kind, "midway"), ["a.pt"]);
      assert.is(await reader.window("put", kind, "midway", "new.pt", "later", true), true);
      await reader.page.close();
    });

    test(`${kind}: clean does not touch what a living tab writes`, async () => {
      const [writer, cleaner] = [await openTab(), await openTab()];
      await writer.worker("startPut", kind, "alive", "a.pt");
      if (kind === "opfs") assert.ok((await cleaner.window("files", "alive")).some((name) => name.endsWith(".part")));
      for (let i = 0; i < 3; i++) assert.is((await cleaner.window("clean", kind, "alive")) ?? 0, 0);
      await writer.worker("finishPut", "a.pt");
      const isThere = async () => (await cleaner.window("size", kind, "alive", "a.pt")) === 2 ** 20 + 3;
      await waitFor(isThere, "the file is written");
      for (const { page } of [writer, cleaner]) await page.close();
    });

    test(`${kind}: no space left is BACKEND, and the former file stays`, async () => {
      // Of an origin that was never used, since browsers remember for a while how much space there was.
      const full = await startOrigin();
      const tab = await openTab(full);
      const session = await context.newCDPSession(tab.page);
      await session.send("Storage.overrideQuotaForOrigin", { origin: full, quotaSize: 4 * 2 ** 20 });
      await tab.window("put", kind, "full", "a.pt", "former");
      for (const key of ["a.pt", "b.pt"]) {
        const said = await tab.window("putLarge", kind, "full", key, 64 * 2 ** 20);
        assert.match(said, new RegExp(`^BACKEND cannot write ${key}: no space left`));
      }
      assert.is(await tab.window("read", kind, "full", "a.pt"), "former");
      assert.equal(await tab.window("list", kind, "full"), ["a.pt"]);
      if (kind === "opfs") assert.equal(await tab.window("files", "full"), ["a.pt"]);
      await session.send("Storage.overrideQuotaForOrigin", { origin: full });
      const isWritten = async () => (await tab.window("putLarge", kind, "full", "b.pt", 8 * 2 ** 20)) === "written";
      await waitFor(isWritten, "with space again it is written");
      await tab.page.close();
    });

    test(`${kind}: a writer lives until its tab or worker ends`, async () => {
      const [tab, other] = [await openTab(), await openTab()];
      const writers = {
        window: (await tab.window("self", kind, "w"))!,
        worker: (await tab.worker("self", kind, "w"))!,
      };
      assert.is.not(writers.window, writers.worker);
      const isAlive = (writer: string) => other.window("isAlive", kind, "w", writer);
      assert.equal([await isAlive(writers.window), await isAlive(writers.worker)], [true, true]);
      await tab.page.evaluate("stopWorker()");
      await waitFor(async () => !(await isAlive(writers.worker)), "the worker is dead");
      assert.is(await isAlive(writers.window), true);
      await tab.page.close();
      await waitFor(async () => !(await isAlive(writers.window)), "the tab is dead");
      assert.is(await isAlive("pid 7 at 12"), undefined);
      await other.page.close();
    });
  }

  test("opfs: a store in another one's folder: clean does not touch what is written there", async () => {
    const [writer, cleaner] = [await openTab(), await openTab()];
    await writer.window("startPut", "opfs", "outer/inner", "a.pt");
    assert.is(await cleaner.window("clean", "opfs", "outer"), 0);
    await writer.window("finishPut", "a.pt");
    const isThere = async () => (await cleaner.window("list", "opfs", "outer")).join() === "inner/a.pt";
    await waitFor(isThere, "the file is written");
    for (const { page } of [writer, cleaner]) await page.close();
  });

  test("opfs: files of one size and one time have different versions", async () => {
    const tab = await openTab();
    assert.equal(await tab.window("coarseTimes", "coarse"), { versions: 8, contents: "01234567" });
    await tab.page.close();
  });

  test("opfs: a browser that lacks something is UNSUPPORTED, and a directory must be a key", async () => {
    const tab = await openTab();
    const [move, createWritable, directory] = await tab.window("unsupported");
    assert.match(move, /^UNSUPPORTED this runtime has no FileSystemFileHandle\.move; indexedDbStore may do instead/);
    assert.match(createWritable, /^UNSUPPORTED this runtime has no FileSystemFileHandle\.createWritable/);
    assert.match(directory, /^ARGUMENT/);
    await tab.page.close();
  });
}

test.run();

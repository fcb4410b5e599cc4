/** The pool in Chromium, in a page that is isolated from other origins and may share memory, and in one that is not. */
import { readFileSync } from "node:fs";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { findChromium, launchChromium } from "./chromium.js";
import type { Tasks } from "./pool-browser.page.js";
import { startServer, type WebServer } from "./web-server.js";

/** A worker that ends itself over structure 17, as its address says. */
const STRANGE = `
addEventListener("message", (event) => {
  const { type, items } = event.data;
  if (type !== "predict" || !items.some(({ id }) => id === "17")) return;
  event.stopImmediatePropagation();
  if (location.search === "?close") self.close();
  else throw new Error("bang");
});
await import("/pool-worker.js");`;

const ISOLATION = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

function testPool(path: string): void {
  let browser: Browser;
  const servers: WebServer[] = [];
  const files = new Map<string, [type: string, body: string | Uint8Array]>([
    ["/", ["text/html", '<!doctype html><script type="module" src="/page.js"></script>']],
    ["/strange-worker.js", ["text/javascript", STRANGE]],
    ["/checkpoint", ["application/octet-stream", readFileSync("examples/saved_models/cgcnn_ionic_best.pt")]],
    ["/structure.cif", ["text/plain", readFileSync("examples/structures/SrTiO3-perovskite.cif")]],
  ]);

  test.before(async () => {
    const { outputFiles } = await build({
      bundle: true,
      format: "esm",
      target: "es2022",
      write: false,
      outdir: "/",
      loader: { ".deflate": "binary" },
      entryPoints: { page: "test/pool-browser.page.ts", "pool-worker": "src/pool/worker.ts" },
    });
    for (const { path, contents } of outputFiles) files.set(path, ["text/javascript", contents]);
    browser = await launchChromium(path);
  });
  test.after(async () => {
    await browser?.close();
    for (const server of servers) server.stop();
  });

  async function openPage(headers: Record<string, string>): Promise<Page> {
    const server = await startServer((request, response) => {
      const [type, body] = files.get(request.url!.replace(/\?.*/, "")) ?? [];
      response.writeHead(body === undefined ? 404 : 200, { "Content-Type": type ?? "text/plain", ...headers });
      response.end(body);
    });
    servers.push(server);
    const page = await browser.newPage();
    await page.goto(server.origin);
    await page.waitForFunction("globalThis.call");
    return page;
  }

  const run = <Name extends keyof Tasks>(page: Page, name: Name, value = "") =>
    page.evaluate(
      ([name, value]) => (globalThis as unknown as { call(...values: string[]): unknown }).call(name, value),
      [name, value] as const,
    ) as ReturnType<Tasks[Name]>;

  for (const [isolated, headers] of [
    [true, ISOLATION],
    [false, {}],
  ] as const) {
    const which = isolated ? "an isolated page" : "a page that is not isolated";
    test(`${which}: as many workers as cores, the records of predict`, async () => {
      const page = await openPage(headers);
      const { cores, workers, ...found } = await run(page, "predict");
      assert.is(workers, cores);
      assert.equal(found, { same: true, texts: 1, isolated });
      await page.close();
    });

    test(`${which}: weights ${isolated ? "in one shared buffer" : "in a buffer that is copied"}`, async () => {
      const page = await openPage(headers);
      const kind = isolated ? "SharedArrayBuffer" : "ArrayBuffer";
      assert.equal(await run(page, "weights"), { sent: 1, kind });
      await page.close();
    });

    test(`${which}: workers that are terminated are replaced`, async () => {
      const page = await openPage(headers);
      assert.equal(await run(page, "terminate"), { made: 4, same: true });
      await page.close();
    });

    for (const [how, reason] of [
      ["throw", /bang/],
      ["close", /it was stopped/],
    ] as const)
      test(`${which}: a structure over which workers always ${how} is an error record`, async () => {
        const page = await openPage(headers);
        const { count, failed } = await run(page, "end", how);
        assert.is(count, 300);
        assert.is(failed.length, 1);
        const [[id, code, message]] = failed;
        assert.equal([id, code], ["17", "BACKEND"]);
        assert.match(message, reason);
        await page.close();
      });

    test(`${which}: a worker's script that is not there`, async () => {
      const page = await openPage(headers);
      assert.match(await run(page, "absent"), /^BACKEND a worker could not be started: its script could not be loaded/);
      await page.close();
    });
  }
}

const executablePath = findChromium();
if (executablePath) testPool(executablePath);

test.run();

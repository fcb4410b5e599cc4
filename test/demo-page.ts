/** The built page in a browser, and what a person does to it. */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { extname, join, normalize, resolve } from "node:path";
import { json } from "node:stream/consumers";
import type { BrowserContext, Page } from "playwright-core";
import { startServer, type WebServer } from "./web-server.js";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".txt": "text/plain; charset=utf-8",
};

/**
 * Serves dist/demo as any web server of static files does.
 * @param changed texts by path, in place of the files or beside them; undefined: not there
 * @param onPost takes what is posted, as JSON
 * @param root answers for the folder's own address
 */
export function servePage(
  changed: ReadonlyMap<string, string | undefined> = new Map(),
  { onPost, root }: { onPost?: (told: unknown) => void; root?: (response: ServerResponse) => void } = {},
): Promise<WebServer> {
  return startServer((request, response) => {
    if (onPost && request.method === "POST") {
      json(request).then((told) => {
        response.end();
        onPost(told);
      });
      return;
    }
    const path = normalize(decodeURIComponent(new URL(request.url!, "http://localhost").pathname)).slice(1);
    if (root && path === "") {
      root(response);
      return;
    }
    const name = path === "" || path.endsWith("/") ? `${path}index.html` : path;
    const content = changed.has(name) ? changed.get(name) : contentOf(join("dist/demo", name));
    if (content === undefined) response.writeHead(404).end();
    else response.writeHead(200, { "Content-Type": TYPES[extname(name)] ?? "application/octet-stream" }).end(content);
  });
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** Another build, of which only index.html is other: that, and the service worker that knows it. */
export function anotherBuild(change: (index: string) => string): Map<"index.html" | "service-worker.js", string> {
  const [index, script] = ["index.html", "service-worker.js"].map((name) => readFileSync(`dist/demo/${name}`, "utf8"));
  const changed = change(index);
  return new Map([
    ["index.html", changed],
    ["service-worker.js", script.replace(/hash:"\w+"/, 'hash:"another"').replace(sha256(index), sha256(changed))],
  ]);
}

function contentOf(file: string): Uint8Array | undefined {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ? readFileSync(file) : undefined;
}

/** ms that the machine may take for anything: it is shared, and draws in software. */
export const PATIENCE = 120_000;

/** A tab whose scripts are loaded, 3Dmol too; what goes wrong in it is in `faults`. */
export async function openPage(context: BrowserContext, origin: string): Promise<{ page: Page; faults: string[] }> {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  page.on("response", (response) => {
    if (response.status() >= 400) faults.push(`${response.status()} ${response.url()}`);
  });
  await page.addInitScript(() => {
    const scope = globalThis as unknown as { longTasks: number[] };
    scope.longTasks = [];
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) scope.longTasks.push(duration);
    }).observe({ type: "longtask", buffered: true });
  });
  const chunk = page.waitForResponse((response) => response.url().includes("/3Dmol"));
  await page.goto(`${origin}/`);
  await page.waitForSelector("html[data-ready]");
  await chunk;
  return { page, faults };
}

/** Drops files and folders as a person does: the browser itself reads them, entries of folders included. */
export async function drop(page: Page, paths: readonly string[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await page.locator("#drop").scrollIntoViewIfNeeded();
  const box = (await page.locator("#drop").boundingBox())!;
  const at = { x: box.x + box.width / 2, y: box.y + 20 };
  const data = { items: [], files: paths.map((path) => resolve(path)), dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"] as const)
    await session.send("Input.dispatchDragEvent", { type, ...at, data });
  await session.detach();
}

/** Waits until the line of status says so. */
export async function waitForStatus(page: Page, pattern: RegExp): Promise<string> {
  await page.waitForFunction(
    ([source]) => new RegExp(source).test(document.querySelector("#status")!.textContent!),
    [pattern.source],
  );
  return (await page.textContent("#status"))!;
}

/** The line of status once all structures are predicted. */
export const PREDICTED = /^\d+ structures? in .* by /;

/** Presses Tab until an element has the focus. @throws {Error} where it cannot be reached so */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let i = 0; i < 120; i++) {
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted) ?? false, selector)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not reach ${selector}`);
}

/** Tasks of 50 ms and more since the last call, the longest first. */
export async function longTasks(page: Page): Promise<number[]> {
  const tasks = await page.evaluate(() => (globalThis as unknown as { longTasks: number[] }).longTasks.splice(0));
  return tasks.sort((a, b) => b - a);
}

/** onnxruntime-web in pages of headless Chromium with WebGPU, on its software adapter. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { findChromium, launchChromium } from "./chromium.js";
import { fixturesRoot } from "./fixtures.js";
import type { Tasks } from "./ort-browser.page.js";
import { startServer, type WebServer } from "./web-server.js";

const ORT = resolve("build/runtimes/node_modules/onnxruntime-web");

/** What a page does when it is called, by name. */
type AnyTasks = Readonly<Record<string, (...values: never[]) => unknown>>;

/** A page, and its tasks run there or in its worker. */
export interface OrtPage<Of extends AnyTasks = Tasks> {
  readonly page: Page;
  /** What its console got, without colours. */
  readonly log: readonly string[];
  window<T extends keyof Of>(task: T, ...values: Parameters<Of[T]>): Promise<Awaited<ReturnType<Of[T]>>>;
  worker<T extends keyof Of>(task: T, ...values: Parameters<Of[T]>): Promise<Awaited<ReturnType<Of[T]>>>;
}

/** Browsers for a file's tests; `stop` ends them all. */
export interface OrtBrowsers<Of extends AnyTasks = Tasks> {
  /** A page in a browser of its own, where a GPU process may be killed. */
  open(query?: string): Promise<OrtPage<Of>>;
  close(page: OrtPage<Of>): Promise<void>;
  stop(): Promise<void>;
}

/** Chromium's path where there are both it and onnxruntime-web; undefined, and said, where one is not. */
export function findOrtBrowser(): string | undefined {
  if (existsSync(ORT)) return findChromium();
  console.log("skipped: no onnxruntime-web (.ci/run installs it in build/runtimes)");
  return undefined;
}

/** @param entry the page's script, which gives its tasks to `call` */
export async function startOrtBrowsers<Of extends AnyTasks = Tasks>(
  executablePath: string,
  { entry = "test/ort-browser.page.ts", flags = [] }: { entry?: string; flags?: readonly string[] } = {},
): Promise<OrtBrowsers<Of>> {
  const script = await bundlePage(entry);
  const server = await serve(script);
  const browsers = new Set<Browser>();
  return {
    async open(query = "") {
      const browser = await launchChromium(executablePath, ["--enable-unsafe-webgpu", ...flags]);
      browsers.add(browser);
      return openPage<Of>(browser, `${server.origin}/${query}`);
    },
    async close({ page }) {
      const browser = page.context().browser()!;
      browsers.delete(browser);
      await browser.close();
    },
    async stop() {
      for (const browser of browsers) await browser.close();
      server.stop();
    },
  };
}

async function bundlePage(entry: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    bundle: true,
    format: "esm",
    target: "es2022",
    write: false,
    loader: { ".deflate": "binary" },
    // As a page's own build would have it, were the package beside the test.
    alias: { "onnxruntime-web/webgpu": join(ORT, "dist/ort.webgpu.bundle.min.mjs") },
    entryPoints: [entry],
    logLevel: "error",
  });
  return outputFiles[0].contents;
}

const FOLDERS: Readonly<Record<string, string>> = {
  ort: join(ORT, "dist"),
  fixtures: fixturesRoot,
  examples: "examples",
};

const TYPES: Readonly<Record<string, string>> = { wasm: "application/wasm", mjs: "text/javascript" };

function serve(script: Uint8Array): Promise<WebServer> {
  const read = (path: string): [type: string, body: string | Uint8Array] | undefined => {
    if (path === "/") return ["text/html", '<!doctype html><script type="module" src="/page.js"></script>'];
    if (path === "/page.js") return ["text/javascript", script];
    const [, folder, file] = /^\/(\w+)\/(.*)$/.exec(path) ?? [];
    const found = folder in FOLDERS ? join(FOLDERS[folder], file) : "";
    if (!existsSync(found)) return undefined;
    return [TYPES[file.split(".").at(-1)!] ?? "application/octet-stream", readFileSync(found)];
  };
  return startServer((request, response) => {
    const [type, body] = read(request.url!.replace(/\?.*/, "")) ?? [];
    response.writeHead(body === undefined ? 404 : 200, { "Content-Type": type ?? "text/plain" });
    response.end(body);
  });
}

async function openPage<Of extends AnyTasks>(browser: Browser, address: string): Promise<OrtPage<Of>> {
  const page = await browser.newPage();
  const log: string[] = [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
  page.on("console", (message) => log.push(message.text().replace(/\u001b\[[\d;]*m/g, "")));
  page.on("pageerror", (error) => log.push(`page error: ${error.message}`));
  await page.exposeFunction("killGpu", () => killGpu(browser));
  await page.goto(address);
  await page.waitForFunction("globalThis.call");
  const caller =
    (name: "call" | "callWorker") =>
    (task: string, ...values: unknown[]) =>
      page.evaluate(
        ([name, task, values]) =>
          (globalThis as unknown as Record<string, (...values: unknown[]) => unknown>)[name](task, values),
        [name, task, values] as const,
      );
  return { page, log, window: caller("call"), worker: caller("callWorker") } as OrtPage<Of>;
}

/** As a crash of its driver would. */
async function killGpu(browser: Browser): Promise<void> {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  for (const { type, id } of processInfo) if (type === "GPU") process.kill(id, "SIGKILL");
  await session.detach();
}

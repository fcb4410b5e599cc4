/** Cold starts in Chromium: a browser with an empty profile each, and a page as esbuild bundles it. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { text } from "node:stream/consumers";
import { CHROMIUM_FLAGS, findChromium } from "../test/chromium.js";
import { startProcess, versionOf } from "../test/runtime-host.js";
import { startServer } from "../test/web-server.js";
import { bundle, gzipBytes } from "./bundle-size.js";
import type { Sample, Side } from "./start.js";

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html",
  js: "text/javascript",
  wasm: "application/wasm",
  bin: "application/octet-stream",
};

/** ms that a start may take, of which the slowest seen took 3,000. */
const PATIENCE = 60_000;

/** @param folder a project with the packages, the sides' scripts and their files */
export async function chromiumPages(folder: string, sides: readonly Side[]) {
  const path = findChromium();
  if (!path) return { missing: "no Chromium" };
  const sites = new Map<string, Map<string, Uint8Array>>();
  for (const side of sides) sites.set(side.name, await siteOf(folder, side));
  /** Code that a page asked for, compressed. */
  const sent = new Map<Side, Map<string, number>>(sides.map((side) => [side, new Map()]));
  let report = (_body: string) => {};

  const server = await startServer(async (request, response) => {
    const [, name, file] = /^\/([\w-]+)\/(.*)$/.exec(request.url!) ?? [];
    if (request.method === "POST") {
      report(await text(request));
      response.end();
      return;
    }
    const content = sites.get(name)?.get(file || "index.html");
    const type = (file || "index.html").split(".").at(-1)!;
    const side = sides.find((one) => one.name === name);
    if (content && side && /^(js|wasm)$/.test(type)) sent.get(side)!.set(file, 0);
    response.writeHead(content ? 200 : 404, { "Content-Type": TYPES[type] ?? "text/plain" }).end(content);
  });

  return {
    name: `Chromium ${/\d[\d.]*/.exec(versionOf(path, "--version"))![0]}`,
    async sample(side: Side): Promise<Sample> {
      const profile = mkdtempSync(join(tmpdir(), "unitcell-start-"));
      const found = new Promise<Sample>((resolve, reject) => {
        report = (body) => {
          const { failure, ms, value } = JSON.parse(body);
          if (failure) reject(new Error(failure));
          else resolve({ value, importMs: ms, processMs: performance.now() - start });
        };
      });
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer from the page in ${PATIENCE / 1000} s`)), PATIENCE);
      });
      const start = performance.now();
      const flags = [...CHROMIUM_FLAGS, "--headless", `--user-data-dir=${profile}`];
      const running = startProcess([path, ...flags, `${server.origin}/${side.name}/`], profile);
      try {
        return await Promise.race([found, running.ended, late]);
      } finally {
        clearTimeout(timer);
        await running.stop();
        rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
      }
    },
    shipped: {
      what: "page's JS and Wasm, gzip",
      bytes: (side: Side) =>
        [...sent.get(side)!.keys()].reduce((sum, file) => sum + gzipBytes(sites.get(side.name)!.get(file)!), 0),
    },
    stop: () => server.stop(),
  };
}

/** A page and its files by their names. onnxruntime-web looks for its Wasm beside the bundle. */
async function siteOf(folder: string, { name, files }: Side): Promise<Map<string, Uint8Array>> {
  const { outputFiles, entry } = await bundle(
    `import { timed } from "./timed.mjs";
    const read = async (file) => new Uint8Array(await (await fetch(file)).arrayBuffer());
    const body = await timed(() => import("./${name}.mjs"), ${JSON.stringify(files)}, read)
      .catch((error) => JSON.stringify({ failure: String(error) }));
    await fetch("found", { method: "POST", body });`,
    folder,
  );
  const html = `<!doctype html><meta charset="utf-8"><script type="module" src="${basename(entry)}"></script>`;
  const wasm = "ort-wasm-simd-threaded.wasm";
  const beside = join(folder, "node_modules", name, "dist", wasm);
  return new Map<string, Uint8Array>([
    ["index.html", Buffer.from(html)],
    ...outputFiles.map(({ path, contents }) => [basename(path), contents] as const),
    ...files.map((file) => [file, readFileSync(join(folder, file))] as const),
    ...(existsSync(beside) ? [[wasm, readFileSync(beside)] as const] : []),
  ]);
}

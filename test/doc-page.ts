/**
 * Runs the blocks of a page, in the page's order, in a folder of its own:
 *
 *   sh    by bash, each block a process on a terminal of its own, so that commands print what they print to people
 *   js    the blocks without a file name are one module, run in Node where the last of them stands: what one declares or
 *         imports, those after it have
 *   py    likewise, in Python
 *   html  in Chromium, from a web server at this folder; a CDN's addresses are the installed package. A file is chosen for
 *         each <input type="file">
 *   text  is what the last block before it printed, or what its page shows
 *   json  is parsed
 *
 * A block that begins with a comment of nothing but a file's name is written to that file, for others to run. In all of them
 * https://example.org/ is a web server at this folder.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { type Block, blocksOf, missingLine } from "./doc-blocks.js";
import { ABSENT, hasPublished, supply } from "./doc-reader.js";
import { sendRange, startServer, type WebServer } from "./web-server.js";

/** Of the terminal. */
const COLUMNS = 100;
const PAGE_MS = 20_000;
const BLOCK_MS = 120_000;
/** Printed between the blocks of a module. */
const MARK = "--- block";
/** Characters of an output, in a failure. */
const MOST_TOLD = 3000;
const CDN = /^https:\/\/cdn\.jsdelivr\.net\/npm\/unitcell(?:@[\d.]+)?\//;
const TYPES: Readonly<Record<string, string>> = { html: "text/html", js: "text/javascript", mjs: "text/javascript" };

export interface Reader {
  /** A project that has the package. */
  readonly project: string;
  readonly path: string;
  readonly browser: Browser | undefined;
}

export interface PageResult {
  /** Blocks of each language that were run or compared. */
  readonly run: Map<string, number>;
  readonly notRun: string[];
  readonly failures: string[];
}

export async function runPage(name: string, text: string, reader: Reader): Promise<PageResult> {
  const folder = join(reader.project, name.replaceAll(/[/.]/g, "-"));
  mkdirSync(folder);
  supply(/type="?file/.test(text) ? `${text} model.pt NaCl.cif` : text, folder);
  const server = await serve(folder);
  try {
    return await new PageRun(name, text, folder, { ...reader, origin: server.origin }).run();
  } finally {
    server.stop();
  }
}

class PageRun {
  private readonly blocks: Block[];
  private readonly result: PageResult = { run: new Map(), notRun: [], failures: [] };
  /** What blocks printed. */
  private readonly printed = new Map<Block, string>();
  /** Those that need what is not here. */
  private readonly absent = new Set<Block>();

  constructor(
    private readonly name: string,
    text: string,
    private readonly folder: string,
    private readonly reader: Reader & { readonly origin: string },
  ) {
    this.blocks = blocksOf(text.replaceAll("https://example.org", reader.origin));
  }

  async run(): Promise<PageResult> {
    const modules = new Map(["js", "py"].map((language) => [language, this.blocks.filter(isPartOf(language))]));
    for (const block of this.blocks) {
      const { language, notRun } = block;
      const parts = modules.get(language)?.includes(block) ? modules.get(language)! : [block];
      if (notRun !== undefined) this.result.notRun.push(`${this.at(block)}: ${notRun}`);
      else if (block.file && language !== "html") this.write(block);
      else if (block === parts.at(-1)) await this.runBlocks(language, parts);
    }
    for (const block of this.blocks) if (block.language === "text" && !block.file) this.compare(block);
    return this.result;
  }

  private async runBlocks(language: string, parts: readonly Block[]): Promise<void> {
    const runners: Readonly<Record<string, (parts: readonly Block[]) => void | Promise<void>>> = {
      sh: ([block]) => this.runShell(block),
      js: (all) => this.runModule(all, "page.mjs", (i) => `console.log("${MARK} ${i}");`, process.execPath),
      py: (all) => this.runModule(all, "page.py", (i) => `print("${MARK} ${i}", flush=True)`, "python", "python3"),
      html: ([block]) => this.openPage(block),
      json: ([block]) => void JSON.parse(block.text),
      text: () => {},
    };
    const [first] = parts;
    const runner = runners[language];
    if (!runner) this.fail(first, `no block is of language "${language}"`);
    else
      try {
        await runner(parts);
        if (language !== "text") this.count(language, parts.length);
      } catch (error) {
        if (error instanceof Absent)
          for (const part of parts) {
            this.absent.add(part);
            this.result.notRun.push(`${this.at(part)}: ${error.message}`);
          }
        else this.fail(first, error instanceof Error ? error.message : String(error));
      }
  }

  /** A file, which another block must run or load. */
  private write(block: Block): void {
    const others = this.blocks.filter((other) => other !== block && other.notRun === undefined);
    if (!others.some(({ text }) => text.includes(block.file!))) this.fail(block, `no block runs ${block.file}`);
    writeFileSync(join(this.folder, block.file!), block.text);
    this.count(block.language, 1);
  }

  private async runShell(block: Block): Promise<void> {
    const script = join(this.folder, ".block.sh");
    const errors = join(this.folder, ".stderr");
    writeFileSync(script, `stty cols ${COLUMNS}; exec 2>"${errors}"; set -eo pipefail\n${block.text}`);
    const printed = await this.spawn("script", "--quiet", "--return", "--command", `bash "${script}"`, "/dev/null");
    this.printed.set(block, printed.out.replaceAll("\r", ""));
    this.checkStatus(printed.status, `${printed.out}${readFileSync(errors, "utf8")}`);
  }

  private async runModule(
    parts: readonly Block[],
    file: string,
    mark: (part: number) => string,
    ...commands: string[]
  ): Promise<void> {
    writeFileSync(join(this.folder, file), parts.map(({ text }, i) => `${mark(i)}\n${text}`).join("\n"));
    let { out, errors, status } = await this.spawn(commands[0], file);
    // One Python has the newer PyTorch, the other pymatgen.
    if (/^ModuleNotFoundError/m.test(errors) && commands[1])
      ({ out, errors, status } = await this.spawn(commands[1], file));
    if (/^ModuleNotFoundError/m.test(errors)) throw new Absent(errors.trim().split("\n").at(-1));
    const pieces = out.split(new RegExp(`^${MARK} \\d+\n`, "m")).slice(1);
    for (const [i, block] of parts.entries()) this.printed.set(block, pieces[i] ?? "");
    this.checkStatus(status, `${out}${errors}`);
  }

  /** Runs a command in the folder, in a group of its own that is ended with it. */
  private async spawn(command: string, ...args: string[]) {
    const [out, errors] = [".out", ".err"].map((name) => join(this.folder, name));
    const child = spawn(command, args, {
      cwd: this.folder,
      detached: true,
      env: { ...process.env, PATH: this.reader.path, NO_COLOR: "1", OMP_NUM_THREADS: "1" },
      stdio: ["ignore", openSync(out, "w"), openSync(errors, "w")],
    });
    const timer = setTimeout(() => child.kill(), BLOCK_MS);
    const [status] = await once(child, "exit");
    clearTimeout(timer);
    try {
      process.kill(-child.pid!);
    } catch {} // nothing is left of it
    return { status: status as number | null, out: readFileSync(out, "utf8"), errors: readFileSync(errors, "utf8") };
  }

  private checkStatus(status: number | null, printed: string): void {
    if (status === ABSENT) throw new Absent(`what it needs is not here (${printed.trim().split("\n").at(-1)})`);
    if (status !== 0) throw new Error(`status ${status}\n${printed.slice(-MOST_TOLD)}`);
  }

  private async openPage(block: Block): Promise<void> {
    if (!this.reader.browser) throw new Absent("no Chromium");
    const file = block.file ?? "page.html";
    writeFileSync(join(this.folder, file), block.text);
    const page = await this.reader.browser.newPage();
    try {
      const errors: string[] = [];
      page.on("pageerror", (error) => errors.push(String(error)));
      page.on("response", (response) => {
        if (response.status() >= 400) errors.push(`${response.status()}: ${response.url()}`);
      });
      page.on("requestfailed", (request) => errors.push(`${request.url()}: ${request.failure()?.errorText}`));
      await page.route(CDN, (route) => {
        const path = join(this.reader.project, "node_modules/unitcell", route.request().url().replace(CDN, ""));
        return existsSync(path) ? route.fulfill({ path }) : route.fulfill({ status: 404 });
      });
      await page.goto(`${this.reader.origin}/${file}`);
      await this.chooseFiles(page);
      const shown = await this.waitFor(page, block, errors);
      this.printed.set(block, shown);
      if (errors.length > 0) throw new Error(`${errors.join("\n")}\n${shown}`);
    } finally {
      await page.close();
    }
  }

  private async chooseFiles(page: Page): Promise<void> {
    for (const input of await page.locator("input[type=file]").all()) {
      const accept = (await input.getAttribute("accept")) ?? "";
      await input.setInputFiles(join(this.folder, /\.pt/.test(accept) ? "model.pt" : "NaCl.cif"));
    }
  }

  /** The page's text when it shows what the text block after it says, or when time is up. */
  private async waitFor(page: Page, block: Block, errors: readonly string[]): Promise<string> {
    const next = this.blocks[this.blocks.indexOf(block) + 1];
    const expected = next?.language === "text" ? next : undefined;
    const end = performance.now() + PAGE_MS;
    for (;;) {
      // biome-ignore lint/performance/useDomNodeTextContent: scripts are no text that a page shows
      const shown = await page.locator("body").innerText();
      const isDone = expected ? missingLine(expected.text, shown) === undefined : shown.trim() !== "";
      if (isDone || errors.length > 0 || performance.now() > end) return shown;
      await page.waitForTimeout(50);
    }
  }

  private compare(block: Block): void {
    const before = this.blocks.slice(0, this.blocks.indexOf(block));
    const source = before.findLast((other) => this.printed.has(other) || this.absent.has(other));
    if (!source || this.absent.has(source)) return;
    if (!hasPublished && /formation-energy|MEGNet-MP/.test(source.text)) {
      this.result.notRun.push(`${this.at(block)}: not compared, the published networks are not here`);
      return;
    }
    const printed = this.printed.get(source)!;
    const missing = missingLine(block.text, printed);
    if (missing === undefined) this.count("text", 1);
    else
      this.fail(
        block,
        `"${missing}" is not in what the block at line ${source.line} printed, or not there:\n${printed.slice(0, MOST_TOLD)}`,
      );
  }

  private count(language: string, blocks: number): void {
    this.result.run.set(language, (this.result.run.get(language) ?? 0) + blocks);
  }

  private fail(block: Block, message: string): void {
    this.result.failures.push(`${this.at(block)}: ${message}`);
  }

  private at({ line, language }: Block): string {
    return `${this.name}:${line} (${language})`;
  }
}

class Absent extends Error {}

const isPartOf = (language: string) => (block: Block) =>
  block.language === language && block.file === undefined && block.notRun === undefined;

function serve(folder: string): Promise<WebServer> {
  return startServer((request, response) => {
    const path = join(folder, new URL(request.url!, "http://host").pathname);
    if (!existsSync(path) || statSync(path).isDirectory()) {
      response.writeHead(404).end();
      return;
    }
    const file = readFileSync(path);
    if (request.headers.range) sendRange(request, response, file);
    else {
      const type = TYPES[path.split(".").at(-1)!] ?? "application/octet-stream";
      response.writeHead(200, { "Content-Type": type, "Content-Length": file.length }).end(file);
    }
  });
}

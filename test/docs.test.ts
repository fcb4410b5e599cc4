/**
 * The documentation is true: every fenced block of every page is run as a reader would (doc-page.ts), with the packed package
 * installed (doc-reader.ts); links lead somewhere; the generated pages are current and every exported name has a docstring.
 * `node build/test/docs.test.js PAGE` runs one page. Run after a build.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { findChromium, launchChromium } from "./chromium.js";
import { anchorsOf, blocksOf, linksOf, missingLine } from "./doc-blocks.js";
import { type PageResult, type Reader, runPage } from "./doc-page.js";
import { installPacked } from "./doc-reader.js";
import { inFull, isFull } from "./scope.js";

const below = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => `${folder}/${name}`);
const ALL = [
  ...["README.md", "SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "bench/README.md"],
  ...below("docs").filter((name) => name.endsWith(".md")),
  ...below("examples").filter((name) => name.endsWith("README.md")),
].sort();
/** Written by docs.js, from what is tested elsewhere. */
const isGenerated = (page: string) => page.startsWith("docs/api/") || page === "docs/cli.md";
/** Their blocks take minutes or show the shape of the code. */
const NOT_RUN = ["ARCHITECTURE.md", "bench/README.md"];

/** What everyone reads; the blocks of the other pages run with npm run test:full. */
const FIRST_PAGE = "README.md";
const read = (page: string) => readFileSync(page, "utf8");
const chosen = process.argv[1]?.endsWith("docs.test.js") ? process.argv[2] : undefined;
if (chosen === undefined) inFull("pages other than README.md");
const pages = ALL.filter(
  (page) => !isGenerated(page) && !NOT_RUN.includes(page) && blocksOf(read(page)).length > 0,
).filter((page) => (chosen === undefined ? isFull || page === FIRST_PAGE : page === chosen));

let reader: Reader;
let results: Map<string, Promise<PageResult>>;

test.before(async () => {
  const project = mkdtempSync(join(tmpdir(), "unitcell-docs-"));
  const path = installPacked(project);
  const chromium = findChromium();
  reader = { project, path, browser: chromium ? await launchChromium(chromium) : undefined };
  results = startAll();
});

test.after(async () => {
  await reader.browser?.close();
  rmSync(reader.project, { recursive: true });
});

/** As many pages at a time as there are cores. */
function startAll(): Map<string, Promise<PageResult>> {
  const lanes: Promise<unknown>[] = Array.from({ length: availableParallelism() }, () => Promise.resolve());
  return new Map(
    pages.map((page, i) => {
      const lane = i % lanes.length;
      const result = lanes[lane].then(() => runPage(page, read(page), reader));
      lanes[lane] = result.catch(() => {});
      return [page, result];
    }),
  );
}

const totals = new Map<string, number>();
for (const page of pages)
  test(`every block of ${page} runs`, async () => {
    const { run, notRun, failures } = await results.get(page)!;
    for (const [language, blocks] of run) totals.set(language, (totals.get(language) ?? 0) + blocks);
    for (const line of notRun) console.log(`not run: ${line}`);
    assert.is(failures.join("\n\n"), "");
  });

test("how many blocks those were", () => {
  console.log([...totals].map(([language, blocks]) => `${blocks} ${language}`).join(", "));
  assert.ok(totals.size >= (isFull ? 5 : 1) || chosen !== undefined);
});

test("text that was printed is told from text that was not", () => {
  const printed = "a\nb  1\n\nc\nd\n";
  for (const text of ["a\nb  1", "b  1\nc", "a\n...\nd", "...\nc\n..."])
    assert.is(missingLine(text, printed), undefined);
  assert.is(missingLine("a\nc", printed), "a");
  assert.is(missingLine("d\n...\na", printed), "a");
  assert.is(missingLine("b 1", printed), "b 1");
});

test("links lead to files and headings, and README or a page that it links to leads to every page", () => {
  const linked = new Set(["README.md"]);
  for (const page of ALL)
    for (const link of linksOf(read(page))) {
      const [path, anchor] = link.split("#");
      const target = path === "" ? page : join(dirname(page), path);
      linked.add(target);
      assert.ok(existsSync(target), `${page}: ${link}`);
      if (anchor !== undefined && target.endsWith(".md"))
        assert.ok(anchorsOf(read(target)).has(anchor), `${page}: ${link}`);
    }
  assert.equal(
    ALL.filter((page) => !linked.has(page)),
    [],
  );
});

test("every name that an entry exports at run time is a heading of the API reference", async () => {
  const reference = below("docs/api").map(read).join("");
  const described = new Set([...reference.matchAll(/^### (.+)$/gm)].map(([, name]) => name));
  const targets: { node?: string }[] = Object.values(JSON.parse(read("package.json")).exports);
  const entries = targets.flatMap(({ node }) => node ?? []).filter((file) => !file.includes("pool-worker"));
  for (const file of entries)
    for (const name of Object.keys(await import(pathToFileURL(file).href))) assert.ok(described.has(name), name);
  assert.ok(entries.length >= 7);
});

if (chosen === undefined)
  test("the pages of commands and API are current, and every exported name has a docstring", () => {
    execFileSync(process.execPath, ["docs.js", "--check"], { stdio: "pipe" });
  });

test.run();

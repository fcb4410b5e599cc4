/**
 * Writes docs/cli.md, from what every command of dist/cli.js says with --help, and docs/api/, from the declarations in
 * dist/types: a page for each entry of package.json. `node docs.js --check` writes nothing and fails where a page is not
 * what it would write, or an exported name has no docstring. Run after a build.
 *
 * The declarations are read by the API of the TypeScript that compiles them. Version 7 calls that API unstable, so a new
 * version may ask for changes here; TypeDoc and API Extractor would each need an older TypeScript beside it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { isIdentifier, isVariableDeclaration } from "typescript/unstable/ast/is";
import { API, SymbolFlags } from "typescript/unstable/sync";

const require = createRequire(import.meta.url);
const manifest = require("./package.json");

/** A name that several entries export is described in the first of these that has it, or else in the first of the others. */
const HOMES = ["unitcell/checkpoints", "unitcell", "unitcell/fs", "unitcell/pool", "unitcell/ort", "unitcell/edge"];
const GENERATED = "<!-- Written by `npm run docs`; do not edit. -->";
const KINDS = ["Functions", "Classes", "Constants", "Types"];

const fenced = (language, text) => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``;
const paragraphs = (...parts) => `${parts.flat().filter(Boolean).join("\n\n")}\n`;
const byName = (a, b) => (a.name < b.name ? -1 : 1);

function cliPage() {
  const run = (...args) => execFileSync(process.execPath, ["dist/cli.js", ...args], { encoding: "utf8" });
  const help = run("--help");
  const commands = [...help.matchAll(/^ {2}([a-z][a-z-]*) {2,}\S/gm)].map(([, name]) => name);
  const contents = commands.map((name) => `[${name}](#unitcell-${name})`).join(" · ");
  const sections = commands.flatMap((name) => [`## unitcell ${name}`, fenced("text", run(name, "--help"))]);
  return paragraphs(
    GENERATED,
    "# Commands",
    `What each says with \`--help\`: ${contents}`,
    fenced("text", help),
    sections,
  );
}

/** The entries that have declarations, those of HOMES first. */
function listEntries() {
  const place = (name) => (HOMES.includes(name) ? HOMES.indexOf(name) : HOMES.length);
  return Object.entries(manifest.exports)
    .flatMap(([path, { types }]) => (types ? [{ entry: path.replace(/^\./, "unitcell"), file: resolve(types) }] : []))
    .toSorted((a, b) => place(a.entry) - place(b.entry));
}

/** The exported names of every entry, `home` where another entry describes them, and unexported types that they mention. */
function readEntries() {
  const config = resolve("build/docs/tsconfig.json");
  mkdirSync(dirname(config), { recursive: true });
  const entries = listEntries();
  writeFileSync(
    config,
    JSON.stringify({ extends: resolve("tsconfig.json"), include: [], files: entries.map(({ file }) => file) }),
  );
  const api = new API({ cwd: process.cwd() });
  try {
    const project = api.updateSnapshot({ openProjects: [config] }).getProject(config);
    const exported = entries.map(({ entry, file }) => {
      const symbol = project.checker.getSymbolAtLocation(project.program.getSourceFile(file));
      const names = project.checker
        .getExportsOfModule(symbol)
        .map((name) => ({ name: name.name, symbol: target(name, project) }));
      return { entry, file, names: names.toSorted(byName) };
    });
    const described = new Map();
    const pages = exported.map(({ entry, file, names }) => ({
      entry,
      file,
      names: names.map(({ name, symbol }) => {
        const known = described.get(symbol.id);
        if (known) return { name, home: known };
        const item = { name, entry, ...describe(symbol, project) };
        described.set(symbol.id, item);
        return item;
      }),
    }));
    for (const page of pages) page.hidden = hiddenTypes(page, described, project);
    return pages;
  } finally {
    api.close();
  }
}

function target(symbol, { checker }) {
  return symbol.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** Its docstring, its declarations without private members, and the symbols in them. */
function describe(symbol, project) {
  const nodes = symbol.declarations.map((handle) => {
    const node = handle.resolve(project);
    return isVariableDeclaration(node) ? node.parent.parent : node;
  });
  const texts = nodes.map((node) => {
    const { text } = node.getSourceFile();
    const comments = text.slice(node.pos, node.getStart()).match(/\/\*\*[\s\S]*?\*\//g);
    return { doc: comments?.at(-1) ?? "", declaration: publicText(node.getText()) };
  });
  const identifiers = nodes.flatMap(identifiersOf);
  const symbols = project.checker
    .getSymbolAtLocation(identifiers)
    .flatMap((found) => (found ? [target(found, project)] : []));
  const kind = /^(abstract )?(\w+)/.exec(texts[0].declaration)[2];
  return {
    section: { function: "Functions", class: "Classes", const: "Constants" }[kind] ?? "Types",
    texts,
    mentioned: new Map(symbols.map((found) => [found.id, found])),
  };
}

function identifiersOf(node) {
  const found = isIdentifier(node) ? [node] : [];
  node.forEachChild((child) => {
    if (!/^(private |#private)/.test(child.getText())) found.push(...identifiersOf(child));
  });
  return found;
}

/** A declaration as a reader needs it. */
function publicText(text) {
  return text
    .replace(/^export /, "")
    .replace(/^declare /, "")
    .replace(/^ *(\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n *)?(private |#private)[^\n]*\n/gm, "");
}

/** Types of ours that a page's declarations mention and no entry exports, with those that these mention. */
function hiddenTypes({ names }, described, project) {
  const hidden = [];
  const look = ({ mentioned = new Map() }) => {
    for (const symbol of mentioned.values()) {
      const isType = symbol.flags & (SymbolFlags.Interface | SymbolFlags.TypeAlias | SymbolFlags.Class);
      if (!isType || described.has(symbol.id) || !isOurs(symbol)) continue;
      const item = { name: symbol.name, ...describe(symbol, project) };
      described.set(symbol.id, item);
      hidden.push(item);
      look(item);
    }
  };
  names.forEach(look);
  return hidden.toSorted(byName);
}

const isOurs = (symbol) => symbol.declarations.some(({ path }) => path.includes("/dist/types/"));

/** All declarations formatted as the sources are, in one run of the formatter. */
function format(items) {
  const MARK = "\n// ----\n";
  const all = items.flatMap(({ texts }) => texts);
  const code = all.map(({ declaration }) => `declare ${declaration}`).join(MARK);
  const biome = require.resolve("@biomejs/biome/bin/biome");
  const out = execFileSync(process.execPath, [biome, "format", "--stdin-file-path=docs/api.d.ts"], {
    input: code,
    encoding: "utf8",
  });
  const parts = out.split(/\n+\/\/ ----\n+/);
  if (parts.length !== all.length) throw new Error(`${all.length} declarations became ${parts.length}`);
  for (const [i, text] of all.entries()) text.declaration = parts[i].trim().replace(/^declare /, "");
}

const pageOf = (entry) => `${entry.replaceAll("/", "-")}.md`;
const link = ({ name, entry }, from) => `[\`${name}\`](${entry === from ? "" : pageOf(entry)}#${name.toLowerCase()})`;

function entryPage({ entry, names, hidden }) {
  const own = names.filter(({ home }) => !home);
  const homes = new Set(names.flatMap(({ home }) => (home ? [home.entry] : [])));
  const elsewhere = [...homes].map((from) => names.flatMap(({ home }) => (home?.entry === from ? [home] : [])));
  const sections = KINDS.map((section) => ({ section, items: own.filter((item) => item.section === section) }));
  return paragraphs(
    GENERATED,
    `# ${entry}`,
    sections
      .filter(({ items }) => items.length > 0)
      .map(({ section, items }) => `${section}: ${items.map((item) => link(item, entry)).join(", ")}`),
    elsewhere.map((items) => {
      const from = items[0].entry;
      return `From [${from}](${pageOf(from)}): ${items.map(({ name }) => `\`${name}\``).join(", ")}`;
    }),
    sections.flatMap(({ section, items }) =>
      items.length === 0 ? [] : [`## ${section}`, ...items.flatMap((item) => entryOf(item))],
    ),
    hidden.length > 0 && [
      "## Not exported",
      "Types that are part of others.",
      ...hidden.flatMap((item) => entryOf(item)),
    ],
  );
}

/** A name with its docstring; of overloads each has its own. */
function entryOf({ name, texts }) {
  return [`### ${name}`, ...texts.flatMap(({ doc, declaration }) => [markdown(doc), fenced("ts", declaration)])];
}

/** A docstring as Markdown. */
function markdown(comment) {
  const text = comment
    .replace(/^\/\*\*|\*\/$/g, "")
    .replace(/^[ \t]*\*?[ ]?/gm, "")
    .trim()
    .replace(/\{@link (\w+)\}/g, "`$1`");
  const [body, ...tags] = text.split(/^@/m);
  const rows = tags.map((tag) => {
    const [, kind, rest] = /^(\w+)\s*([\s\S]*)$/.exec(tag.trim());
    const said = escapedText(rest).replace(/\s*\n\s*/g, " ");
    if (kind === "param") return said.replace(/^(\w+)/, "- **$1**:");
    if (kind === "throws") return said.replace(/^\{(\w+)\}/, "- throws `$1`:");
    return `- ${kind} ${said}`;
  });
  return [columnsKept(body).trim(), rows.join("\n")].filter(Boolean).join("\n\n");
}

/** Text in which what is set in columns, lines indented but for those of lists, is a block of its own. */
function columnsKept(text) {
  const parts = text.split(/((?:^- .*\n?(?:^ {2}.*\n?)*)|(?:^ {2,}.*\n?)+)/m);
  const isColumns = (part) => part.startsWith("  ");
  return parts
    .map((part) => (isColumns(part) ? `\n${fenced("text", part.replace(/^ {2}/gm, ""))}\n\n` : escapedText(part)))
    .join("");
}

/** Text in which nothing but `code` is markup. */
function escapedText(text) {
  const parts = text.split(/(`[^`]*`)/);
  return parts.map((part, i) => (i % 2 ? part : part.replace(/[<*\\]/g, "\\$&"))).join("");
}

/** What the index says of an entry that has no page: it exports what another does, or no name but `default`. */
function remark({ entry, file, names }, pages) {
  const twin = pages.find((other) => other.file === file);
  if (twin.entry !== entry) return `those of ${twin.entry}`;
  if (names.every(({ name }) => name === "default"))
    return names.length > 0 ? "`default`, a WebAssembly.Module" : "none";
  return undefined;
}

function indexPage(pages) {
  const rows = pages.map((page) => {
    const said = remark(page, pages);
    return said ? `| ${page.entry} | ${said} |` : `| [${page.entry}](${pageOf(page.entry)}) | ${page.names.length} |`;
  });
  return paragraphs(
    GENERATED,
    "# API",
    "What each entry of the package exports, from the declarations and their docstrings. A name that several entries export is described once.",
    ["| entry | names |", "| - | - |", ...rows].join("\n"),
  );
}

const pages = readEntries();
format(pages.flatMap(({ names, hidden }) => [...names.filter(({ home }) => !home), ...hidden]));
const files = new Map([
  ["docs/cli.md", cliPage()],
  ["docs/api/README.md", indexPage(pages)],
  ...pages.filter((page) => !remark(page, pages)).map((page) => [`docs/api/${pageOf(page.entry)}`, entryPage(page)]),
]);
const undocumented = pages.flatMap(({ entry, names }) =>
  names
    .filter(({ home, texts }) => !home && texts.every(({ doc }) => !doc))
    .map(({ name }) => `${entry}: ${name} has no docstring`),
);

if (process.argv.includes("--check")) {
  const stale = [...files]
    .filter(([file, text]) => !existsSync(file) || readFileSync(file, "utf8") !== text)
    .map(([file]) => `${file} is not what npm run docs writes`);
  const left = readdirSync("docs/api")
    .filter((name) => !files.has(`docs/api/${name}`))
    .map((name) => `docs/api/${name} is of no entry`);
  for (const line of [...undocumented, ...stale, ...left]) console.error(line);
  process.exitCode = undocumented.length + stale.length + left.length > 0 ? 1 : 0;
} else {
  rmSync("docs/api", { recursive: true, force: true });
  mkdirSync("docs/api", { recursive: true });
  for (const [file, text] of files) writeFileSync(file, text);
  for (const line of undocumented) console.warn(line);
  console.log(`${files.size} pages, ${pages.reduce((sum, { names }) => sum + names.length, 0)} exported names`);
}

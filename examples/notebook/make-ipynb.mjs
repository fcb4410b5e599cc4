/** node make-ipynb.mjs [--check]: writes ensemble.ipynb from the cells of ensemble.mjs, or tells whether it is that. */
import { readFileSync, writeFileSync } from "node:fs";

const [script, notebook] = ["ensemble.mjs", "ensemble.ipynb"].map((name) => new URL(name, import.meta.url));

/** A cell begins with "// %%"; the text of one of markdown is in comments. */
const cells = readFileSync(script, "utf8")
  .split(/^\/\/ %%/m)
  .slice(1)
  .map((part, i) => {
    const [kind, ...lines] = part.trimEnd().split("\n");
    const isText = kind.includes("[markdown]");
    const source = (isText ? lines.map((line) => line.replace(/^\/\/ ?/, "")) : lines).join("\n");
    const common = { id: `cell-${i + 1}`, metadata: {}, source: source.split(/(?<=\n)/) };
    return isText
      ? { cell_type: "markdown", ...common }
      : { cell_type: "code", execution_count: null, ...common, outputs: [] };
  });

const metadata = {
  kernelspec: { display_name: "Deno", language: "typescript", name: "deno" },
  language_info: { name: "typescript", file_extension: ".ts", mimetype: "text/x.typescript" },
};
const text = `${JSON.stringify({ cells, metadata, nbformat: 4, nbformat_minor: 5 }, null, 1)}\n`;

if (!process.argv.includes("--check")) writeFileSync(notebook, text);
else if (readFileSync(notebook, "utf8") !== text) {
  console.error("ensemble.ipynb is not what ensemble.mjs makes: node make-ipynb.mjs");
  process.exitCode = 1;
}

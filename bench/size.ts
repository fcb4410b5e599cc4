/** Budgets: bytes of the Wasm files, of the npm tarball without examples, of the library, and the cold first prediction. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundled } from "./bundle-size.js";
import { coldSamples } from "./cold.js";
import type { Context } from "./compare.js";
import { type Row, type SectionResult, type Summary, summarize } from "./stats.js";

const KB = 1000;
/** The tarball has the library three times: in few files, a module a file, all in one. */
const BUDGETS = { wasm: 64 * KB, tarball: 750 * KB, coldMs: 250 };

/** What a page downloads before it does anything; networks, parsers of rarer files and the like come when they are needed. */
const BUNDLES: readonly { name: string; code: string; budgetKB?: number }[] = [
  { name: "reader: loadTorch", code: 'export { loadTorch } from "unitcell/reader"', budgetKB: 20 },
  {
    name: "reader: loadTorch, loadCheckpoint",
    code: 'export { loadTorch, loadCheckpoint } from "unitcell/reader"',
    budgetKB: 20,
  },
  { name: "core with Wasm: loadModel, predict", code: 'export { loadModel, predict } from "unitcell"', budgetKB: 70 },
  { name: "... and parseStructures", code: 'export { loadModel, parseStructures, predict } from "unitcell"' },
  {
    name: "edge: predictionHandler, loadModel",
    code: 'export { predictionHandler } from "unitcell/edge"; export { loadModel } from "unitcell"',
  },
  { name: "checkpoints, all of it", code: 'export * from "unitcell/checkpoints"' },
  { name: "pool: createPool", code: 'export { createPool } from "unitcell/pool"' },
  { name: "ort: exportOnnx, ortBackend, autoBackend", code: 'export * from "unitcell/ort"' },
  { name: "unitcell, all of it", code: 'export * from "unitcell"' },
  { name: "the bundle for pages, one file", code: 'export * from "unitcell/bundle"' },
];

export async function size(context: Context): Promise<SectionResult> {
  if (!existsSync("dist/index.js")) return { rows: [], failures: ["dist/index.js is not built: node build.js"] };
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  const rows: Row[] = [];
  const failures: string[] = [];
  const add = (step: string, of: string, unit: string, ours: Summary, budget?: number) => {
    rows.push({ section: "size", step, size: budget ? `${of}, at most ${budget}` : of, unit, ours });
    if (budget && ours.median > budget) failures.push(`${step}: ${ours.median.toFixed(1)} ${unit}, budget ${budget}`);
  };
  const bytes = (count: number): Summary => ({ median: count / KB, low: count / KB, high: count / KB });

  const builds = readdirSync("dist").filter((name) => name.endsWith(".wasm"));
  const wasm = builds.reduce((sum, name) => sum + statSync(join("dist", name)).size, 0);
  add("Wasm", `${builds.length} builds together`, "kB", bytes(wasm), BUDGETS.wasm / KB);
  for (const { name, code, budgetKB } of BUNDLES) {
    const { minified, gzip, brotli } = await bundled(code);
    add(name, "minified", "kB", bytes(minified));
    add(name, "gzip", "kB", bytes(gzip), budgetKB);
    add(name, "brotli", "kB", bytes(brotli));
  }
  add("npm tarball", `unitcell ${version}`, "kB", bytes(packedSize(".")));
  add("npm tarball", "without examples", "kB", bytes(packedWithoutExamples()), BUDGETS.tarball / KB);
  const samples = await coldSamples(context, context.quick ? 5 : 15);
  if (!samples) return { rows, failures: [...failures, "dist/cli.js is not built: no first prediction"] };
  const cold = summarize(samples);
  rows.push({
    section: "size",
    step: "first prediction, cold",
    size: `to its number, at most ${BUDGETS.coldMs}`,
    unit: "ms",
    ours: cold,
  });
  const slow =
    cold.median > BUDGETS.coldMs ? [`first prediction: ${cold.median.toFixed(0)} ms, budget ${BUDGETS.coldMs}`] : [];
  return { rows, failures, slow };
}

/** Compressed bytes that `npm publish` would send. Scripts stay off: prepare would build dist anew. */
function packedSize(folder: string): number {
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const npm = process.env.npm_execpath;
  const [command, ...first] = npm ? [process.execPath, npm] : ["npm"];
  const output = execFileSync(command, [...first, ...args], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return JSON.parse(output)[0].size;
}

/** The same package with the examples taken off its list of files, from a copy. */
function packedWithoutExamples(): number {
  const folder = mkdtempSync(join(tmpdir(), "unitcell-size-"));
  try {
    const manifest = JSON.parse(readFileSync("package.json", "utf8"));
    manifest.files = manifest.files.filter((entry: string) => !entry.startsWith("examples"));
    // npm adds these whatever `files` says.
    const always = ["README.md", "LICENSE"];
    for (const entry of [...manifest.files, ...always])
      if (existsSync(entry)) cpSync(entry, join(folder, entry), { recursive: true });
    writeFileSync(join(folder, "package.json"), JSON.stringify(manifest, undefined, 2));
    return packedSize(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

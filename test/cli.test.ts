/** The command as a shell runs it; needs the build in dist/. */
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../..", import.meta.url));
const CLI = join(root, "dist/cli.js");
const CSCL = join(root, "examples/structures/CsCl.cif");

/** Run `unitcell predict -q`; interrupted when the first output arrives where `interrupt` says so. */
function predict(args: string[], { stdout = "pipe" as "pipe" | number, interrupt = false } = {}) {
  const child = spawn(process.execPath, [CLI, "predict", "-q", ...args], { stdio: ["pipe", stdout, "pipe"] });
  let out = "";
  let err = "";
  child.stdout?.on("data", (chunk) => {
    if (interrupt && out === "") child.kill("SIGINT");
    out += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    err += chunk;
  });
  return new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    child.on("close", (code) => resolve({ code, out, err }));
  });
}

if (process.platform === "linux")
  test("a full disk is an error in one line", async () => {
    const { code, err } = await predict([CSCL], { stdout: openSync("/dev/full", "w") });
    assert.is(code, 1);
    assert.match(err, /^unitcell: cannot write the output: ENOSPC[^\n]*\n$/);
  });

if (process.platform !== "win32") {
  test("Ctrl-C while standard input is awaited ends with valid JSON", async () => {
    const { code, out, err } = await predict(["--json", "-"], { interrupt: true });
    assert.is(code, 130);
    assert.equal(JSON.parse(out), []);
    assert.match(err, /stopped after 0 predictions/);
  });

  // Root may read everything.
  if (process.getuid?.() !== 0)
    test("a folder that may not be read is an error in one line", async () => {
      const folder = mkdtempSync(join(tmpdir(), "unitcell-"));
      try {
        mkdirSync(join(folder, "closed"), { mode: 0 });
        const { code, err } = await predict([folder]);
        assert.is(code, 1);
        assert.match(err, /^unitcell: NOT_FOUND: cannot read the folder [^\n]*EACCES[^\n]*\n$/);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

  test("a folder's links are read as the files they point to", async () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-"));
    try {
      mkdirSync(join(folder, "links"));
      cpSync(CSCL, join(folder, "real.cif"));
      symlinkSync("../real.cif", join(folder, "links/link.cif"));
      const { code, out } = await predict(["--jsonl", folder]);
      assert.is(code, 0);
      assert.equal(
        out
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line).id),
        ["link", "real"],
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();

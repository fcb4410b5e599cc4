/**
 * The shared corpus of bad files: each is refused with a code that fits its class, within the time and memory its
 * manifest allows, or may load by its manifest. The table of classes and codes is the one in SECURITY.md.
 *
 * The files are read in a process of their own, this same script with --read, so that its peak memory is theirs; a file at
 * which the common peak passes its bound is read again alone.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isUnitcellError } from "../src/errors.js";
import { openTorch, type ReadOptions, type TorchFile } from "../src/formats/torch.js";
import type { TorchTensor } from "../src/formats/torch-tensors.js";
import { walkTensors } from "../src/formats/walk.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";

interface BadFile {
  class: string;
  accept?: string[];
  may_succeed?: boolean;
  globals?: string[];
  max_seconds: number;
  max_mb: number;
}

interface Outcome {
  name: string;
  /** An error code, "loaded", or "crashed" with the message. */
  strict: string;
  inert: string;
  message: string;
  globals: string[];
  seconds: number;
  /** Most memory the process had so far. */
  peakMb: number;
}

/** Opening, loading, and looking at every tensor's bytes. */
async function readAll(bytes: Uint8Array, options: ReadOptions): Promise<TorchFile> {
  const file = await openTorch(bytes, options);
  await file.load();
  for (const { tensor } of walkTensors(file.root))
    if ((tensor as TorchTensor).storage) assert.ok(tensor.data.length >= 0);
  return file;
}

async function readFile(name: string): Promise<Outcome> {
  const bytes = fixtureBytes(`torch/bad/${name}`);
  globalThis.gc?.();
  const started = performance.now();
  let [strict, inert, message] = ["loaded", "loaded", ""];
  let globals: readonly string[] = [];
  const codeOf = (error: unknown) => (isUnitcellError(error) ? error.code : `crashed: ${(error as Error).stack}`);
  try {
    globals = (await readAll(bytes, {})).unknownGlobals;
  } catch (error) {
    strict = codeOf(error);
    message = (error as Error).message;
    if (isUnitcellError(error, "UNSAFE")) globals = error.detail.globals as string[];
  }
  if (strict !== "loaded")
    try {
      const file = await readAll(bytes, { unknownClasses: "inert" });
      if (globals.length === 0) globals = file.unknownGlobals;
    } catch (error) {
      inert = codeOf(error);
    }
  const seconds = (performance.now() - started) / 1000;
  const peakMb = process.resourceUsage().maxRSS / 1024;
  return { name, strict, inert, message, globals: [...globals], seconds, peakMb };
}

/** The rows of SECURITY.md: class to codes. */
function refusalCodes(): ReadonlyMap<string, readonly string[]> {
  const rows = readFileSync("SECURITY.md", "utf8").matchAll(/^\| ([a-z-]+) +\| ([A-Z, ]+?) +\|/gm);
  return new Map([...rows].map(([, kind, codes]) => [kind, codes.split(", ")]));
}

if (haveFixtures("torch/bad")) {
  const { files, classes } = fixtureJson<{ files: Record<string, BadFile>; classes: Record<string, string> }>(
    "torch/bad/manifest.json",
  );
  // Least memory first: the peak only grows.
  const names = Object.keys(files).sort((a, b) => files[a].max_mb - files[b].max_mb);
  const at = process.argv.indexOf("--read");
  if (at > 0) for (const name of process.argv.slice(at + 1)) console.log(JSON.stringify(await readFile(name)));
  else check(files, classes, names);
}

/** Reads files one after another in another process. */
function readApart(names: readonly string[]): Outcome[] {
  const script = fileURLToPath(import.meta.url);
  const child = spawnSync(process.execPath, ["--expose-gc", script, "--read", ...names], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  assert.is(child.status, 0, child.stderr);
  const lines = child.stdout.split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => JSON.parse(line) as Outcome);
}

function check(files: Record<string, BadFile>, classes: Record<string, string>, names: readonly string[]): void {
  const codes = refusalCodes();
  test("SECURITY.md has a row for every class", () => assert.equal([...codes.keys()], Object.keys(classes)));
  const outcomes = readApart(names);
  for (const [i, { peakMb, name }] of outcomes.entries())
    if (peakMb > files[name].max_mb) outcomes[i] = readApart([name])[0];
  test("bad corpus: all files were read", () =>
    assert.equal(
      outcomes.map(({ name }) => name),
      names,
    ));
  const counts: Record<string, number> = {};
  for (const { name, strict, inert, message, globals, seconds, peakMb } of outcomes)
    test(`bad corpus: ${name}`, () => {
      const file = files[name];
      counts[strict] = (counts[strict] ?? 0) + 1;
      const allowed = [file.class, ...(file.accept ?? [])].flatMap((kind) => codes.get(kind)!);
      if (strict === "loaded") assert.ok(file.may_succeed, "must be refused");
      else assert.ok(allowed.includes(strict), `${strict}: ${message}; expected ${allowed}`);
      assert.not.match(inert, /^crashed/);
      assert.ok(seconds < file.max_seconds, `${seconds} s`);
      assert.ok(peakMb < file.max_mb, `${peakMb} MB`);
      // Names that a scan must report; files that are refused for their container never get that far.
      if (file.globals && (strict === "UNSAFE" || strict === "loaded"))
        assert.equal([...globals].sort(), [...file.globals].sort(), "names reported");
    });
  test("bad corpus: counts", () => {
    const peak = Math.max(...outcomes.map(({ peakMb }) => peakMb));
    const refused = outcomes.filter(({ strict }) => strict !== "loaded").length;
    console.log(
      `\ncorpus: ${refused} of ${names.length} bad files refused, ${names.length - refused} loaded as their manifest allows; ` +
        `${JSON.stringify(counts)}; slowest ${Math.max(...outcomes.map(({ seconds }) => seconds)).toFixed(2)} s, ` +
        `peak memory ${peak.toFixed(0)} MB`,
    );
  });
  test.run();
}

/**
 * Mutated checkpoints: whatever the bytes, a value or a UnitcellError comes out, in bounded time and memory, and nothing
 * else in the program changes. Where checksums were compared, a value is the original's.
 *
 * UNITCELL_FUZZ is the number of inputs. They are read in processes of their own, this same script with
 * `--fuzz <first> <count>`; to see one failing input again, run `node build/test/mutations.test.js --fuzz <its number> 1`.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, FileBytes, type Input } from "../src/bytes.js";
import { isUnitcellError } from "../src/errors.js";
import { numpyItemBytes } from "../src/formats/numpy-values.js";
import { openTorch, type ReadOptions, type TorchFile } from "../src/formats/torch.js";
import { elementCount, storedBytes, TorchTensor } from "../src/formats/torch-tensors.js";
import { NumpyArray, NumpyScalar, type TorchValue } from "../src/formats/values.js";
import { walkParts } from "../src/formats/walk.js";
import { openZip } from "../src/formats/zip.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { type Mutation, makeSample, mutate, randomInts, type Sample } from "./mutate.js";
import { inPart } from "./scope.js";
import { canonical, describeValue, sha256 } from "./tagged.js";
import { spread } from "./virtual-files.js";

const INPUTS = Number(process.env.UNITCELL_FUZZ ?? inPart(100_000));
const PROCESSES = 2;
const MAX_SECONDS = 2;
const MAX_MB = 700;
/** Larger samples are taken for one input in 50. */
const SMALL_BYTES = 8 * 1024;
/** Inputs between looks at memory and at the globals. */
const ROUND = 1000;

async function loadSamples(): Promise<{ small: Sample[]; all: Sample[] }> {
  const own = "test/fixtures/torch";
  const files = readdirSync(own)
    .filter((name) => name.endsWith(".pt"))
    .map((name): [string, Uint8Array] => [name, new Uint8Array(readFileSync(join(own, name)))]);
  if (haveFixtures("torch")) {
    const { files: shared } = fixtureJson<{ files: Record<string, { format: string; optional?: boolean }> }>(
      "torch/manifest.json",
    );
    for (const [name, { format, optional }] of Object.entries(shared))
      if (format !== "virtual-zip" && !optional) files.push([name, fixtureBytes(`torch/${name}`)]);
  }
  const all = await Promise.all(files.map(([name, bytes]) => makeSample(name, bytes)));
  return { small: all.filter(({ bytes }) => bytes.length <= SMALL_BYTES), all };
}

/** What a program has that a file must not change. */
function surroundings(): string {
  const shared = [Object, Array, Map, Set, Function, String, Number, Uint8Array, Promise, Error, RegExp, Date];
  const keys = shared.flatMap((type) => [Reflect.ownKeys(type), Reflect.ownKeys(type.prototype)]);
  return JSON.stringify(
    [keys, Reflect.ownKeys(globalThis), process.env, process.cwd(), process.exitCode],
    (_, value) => (typeof value === "symbol" ? String(value) : value),
  );
}

/**
 * What holds for every value that was read, whatever the file.
 * @returns bytes of all its tensors, each looked at
 */
function checkSound(root: TorchValue): number {
  let tensorBytes = 0;
  const size = (what: string, found: number, expected: number) => {
    if (found !== expected) throw new Error(`${what} has ${found} bytes, not ${expected}`);
  };
  for (const { value } of walkParts(root)) {
    const items = Array.isArray(value) ? value : value instanceof Map ? [...value].flat() : [];
    if (items.includes(undefined as never)) throw new Error("undefined is no value");
    if (value instanceof NumpyScalar)
      size(`a scalar of ${value.dtype}`, value.bytes.length, numpyItemBytes(value.dtype)!);
    else if (value instanceof NumpyArray && !value.items)
      size(
        `an array of ${value.dtype}`,
        value.bytes.length,
        elementCount(value.shape) * (numpyItemBytes(value.dtype) ?? 8),
      );
    else if (value instanceof TorchTensor && value.storage) {
      const { data, dtype, shape } = value;
      size(`a tensor of ${dtype}`, data.length, storedBytes(dtype, elementCount(shape)));
      tensorBytes += data.length;
    }
  }
  return tensorBytes;
}

async function readAll(input: Input, options: ReadOptions): Promise<{ file: TorchFile; tensorBytes: number }> {
  const file = await openTorch(input, options);
  await file.load();
  return { file, tensorBytes: checkSound(file.root) };
}

const hash = (file: TorchFile) => sha256(new TextEncoder().encode(JSON.stringify(canonical(describeValue(file.root)))));

/** True when every byte that the value is made of was compared with a checksum. */
async function allChecked(input: Input): Promise<boolean> {
  const archive = await openZip(new FileBytes(input), { limits: DEFAULT_LIMITS, checkCrc: true });
  return [...archive.entries.values()].every(({ crc, size }) => crc !== 0 || size === 0);
}

interface Outcomes {
  counts: Record<string, number>;
  slowest: number;
  /** Values compared with the original's. */
  compared: number;
  /** Mutations of a zip's record that the pickle machine has seen. */
  repaired: number;
  peakMb: number;
  /** Of all tensors that were looked at. */
  tensorBytes: number;
}

class Fuzzer {
  readonly outcomes: Outcomes = { counts: {}, slowest: 0, compared: 0, repaired: 0, peakMb: 0, tensorBytes: 0 };
  private readonly samples: { small: Sample[]; all: Sample[] };
  /** Hash of a sample's value, when first needed. */
  private readonly values = new Map<string, string>();

  constructor(samples: { small: Sample[]; all: Sample[] }) {
    this.samples = samples;
  }

  async run(first: number, count: number): Promise<Outcomes> {
    const before = surroundings();
    for (let index = first; index < first + count; index++) {
      await this.one(index);
      if ((index + 1 - first) % ROUND && index + 1 < first + count) continue;
      globalThis.gc?.();
      this.outcomes.peakMb = process.resourceUsage().maxRSS / 1024;
      if (this.outcomes.peakMb > MAX_MB) throw new Error(`${this.outcomes.peakMb} MB at input ${index}`);
      if (surroundings() !== before) throw new Error(`globals were changed at an input up to ${index}`);
      console.log(`at ${index}`);
    }
    return this.outcomes;
  }

  private pick(random: (below: number) => number): Sample {
    const { small, all } = this.samples;
    const from = random(50) === 0 ? all : small;
    return from[random(from.length)];
  }

  private async one(index: number): Promise<void> {
    const random = randomInts(index);
    const mutation = mutate(this.pick(random), this.pick(random), random);
    const options: ReadOptions = random(2) ? { unknownClasses: "inert" } : {};
    // A copy, as a file of its own: what is beside it in memory is not to be read.
    const copy = mutation.bytes.slice();
    // One in four is read in parts, where it is a container that can be.
    const input = random(4) ? copy : (spread(copy) ?? new Blob([copy]));
    const started = performance.now();
    let outcome = "loaded";
    let file: TorchFile | undefined;
    try {
      const read = await readAll(input, options);
      file = read.file;
      this.outcomes.tensorBytes += read.tensorBytes;
    } catch (error) {
      if (!isUnitcellError(error)) throw this.failure(index, mutation, (error as Error).stack ?? String(error));
      outcome = error.code;
    }
    const seconds = (performance.now() - started) / 1000;
    if (seconds > MAX_SECONDS) throw this.failure(index, mutation, `${outcome} after ${seconds} s`);
    if (file && !mutation.repaired) await this.compare(index, mutation, input, file);
    const { outcomes } = this;
    outcomes.counts[outcome] = (outcomes.counts[outcome] ?? 0) + 1;
    outcomes.slowest = Math.max(outcomes.slowest, seconds);
    if (mutation.repaired) outcomes.repaired++;
  }

  /** A zip that loads although nobody put its checksums right has the value that it, or what it was spliced with, had. */
  private async compare(index: number, mutation: Mutation, input: Input, file: TorchFile): Promise<void> {
    const isZip = file.format === "torch" || file.format === "torchscript";
    if (!isZip || !(await allChecked(input))) return;
    this.outcomes.compared++;
    const found = hash(file);
    for (const name of mutation.from) if (found === (await this.valueOf(name))) return;
    throw this.failure(index, mutation, "loads, with another value than the original");
  }

  private async valueOf(name: string): Promise<string> {
    const known = this.values.get(name);
    if (known) return known;
    const { bytes } = this.samples.all.find((sample) => sample.name === name)!;
    const value = hash((await readAll(bytes, { unknownClasses: "inert" })).file);
    this.values.set(name, value);
    return value;
  }

  private failure(index: number, { bytes, steps, from }: Mutation, what: string): Error {
    const path = join(mkdtempSync(join(tmpdir(), "unitcell-")), `input-${index}.pt`);
    writeFileSync(path, bytes);
    return new Error(`input ${index} (${from[0]}, with ${from[1]}; ${steps.join(", ")}), kept in ${path}: ${what}`);
  }
}

/** Runs inputs in another process; its last line is the outcomes, on failure its words. */
function fuzzApart(first: number, count: number): Promise<{ outcomes?: Outcomes; words: string }> {
  const script = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, ["--expose-gc", script, "--fuzz", String(first), String(count)], {
    // An input that never ends ends here; "at" says after which one.
    timeout: 60_000 + count * 20,
  });
  let words = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      words += chunk;
    });
  return new Promise((resolve) =>
    child.on("close", (status) => {
      const lines = words.trimEnd().split("\n");
      if (status === 0) resolve({ outcomes: JSON.parse(lines.at(-1)!) as Outcomes, words });
      else resolve({ words: lines.slice(-30).join("\n") });
    }),
  );
}

const at = process.argv.indexOf("--fuzz");
if (at > 0) {
  const [first, count] = process.argv.slice(at + 1).map(Number);
  console.log(JSON.stringify(await new Fuzzer(await loadSamples()).run(first, count)));
} else {
  test(`mutations: ${INPUTS} inputs give typed errors or values`, async () => {
    const share = Math.ceil(INPUTS / PROCESSES);
    const starts = Array.from({ length: PROCESSES }, (_, i) => i * share);
    const results = await Promise.all(starts.map((first) => fuzzApart(first, Math.min(share, INPUTS - first))));
    for (const { outcomes, words } of results) assert.ok(outcomes, words);
    const all = results.map(({ outcomes }) => outcomes!);
    const counts: Record<string, number> = {};
    for (const each of all)
      for (const [code, count] of Object.entries(each.counts)) counts[code] = (counts[code] ?? 0) + count;
    const sum = (key: "compared" | "repaired" | "tensorBytes") => all.reduce((total, each) => total + each[key], 0);
    assert.is(
      Object.values(counts).reduce((total, count) => total + count, 0),
      INPUTS,
    );
    assert.ok(sum("compared") > INPUTS / 1000 && counts.loaded > INPUTS / 50, JSON.stringify(counts));
    console.log(
      `\nmutations: ${INPUTS} inputs, ${JSON.stringify(counts)}; ${sum("repaired")} with repaired checksums, ` +
        `${sum("compared")} compared with the original, ${(sum("tensorBytes") / 1e6).toFixed(1)} MB of tensors; slowest ${Math.max(...all.map(({ slowest }) => slowest)).toFixed(2)} s, ` +
        `peak memory ${Math.max(...all.map(({ peakMb }) => peakMb)).toFixed(0)} MB`,
    );
  });
  test.run();
}

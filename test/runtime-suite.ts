/**
 * The suite of goldens that runs in every runtime, on the package as it is installed there. What it needs comes over HTTP
 * (runtime-plan.ts says what), and so goes what it found: Node, Deno, Bun, workerd and browsers all have fetch, and
 * nothing else here is a runtime's own. The package is an argument: this file must not bring a copy of it.
 */
import type * as Library from "../src/index.js";
import { type Case, type Entries, type Files, runCases } from "./runtime-cases.js";

/** Of kernels, as `wasmBackend` has them. */
export type Build = "baseline" | "relaxed";

/** What upstream's float64 gives of a structure: bounds of each number, or that there is no prediction. */
export type Golden = { readonly least: readonly number[]; readonly most: readonly number[] } | "refused";

export interface Network {
  readonly name: string;
  /** Keys of the checkpoint's file, or of those that belong together. */
  readonly files: readonly string[];
  /** By the structure's key, in the order of prediction. */
  readonly goldens: Readonly<Record<string, Golden>>;
  readonly tolerance: number;
  /** The tolerance is relative to max(1, |value|). */
  readonly isRelative: boolean;
  /** Of the classes, goldens have logarithms of probabilities. */
  readonly areLogs: boolean;
  /** Also export it, and split predictions among atoms; what an example's size allows. */
  readonly isSmall: boolean;
}

export interface Plan {
  /** Those to run where the engine has them. */
  readonly builds: readonly Build[];
  /** A structure for which memory does not suffice is told of, and is no failure. */
  readonly mayLackMemory: boolean;
  readonly networks: readonly Network[];
  /** The same values in several containers. */
  readonly containers: readonly (readonly string[])[];
  /** Files that name code, each with the code of its refusal. */
  readonly hostile: Readonly<Record<string, string>>;
  /** SHA-256 by key, of files that are models alone. */
  readonly hashes: Readonly<Record<string, string>>;
  /** The ensemble whose predictions ship as a cache: files with what their metadata say. */
  readonly cache: {
    readonly file: string;
    readonly members: readonly Member[];
    readonly structures: readonly string[];
  };
}

export interface Member {
  readonly file: string;
  readonly property: string;
  readonly unit: string;
  readonly trainedOn: readonly string[];
}

export interface Outcome {
  readonly userAgent: string;
  /** Those that ran. */
  readonly builds: readonly Build[];
  /** What `wasmBackend()` takes by itself. */
  readonly byDefault: string;
  readonly cases: readonly Case[];
}

/**
 * Fetches the plan, runs it and posts the outcome.
 * @param base address of a run: `plan.json` and `files/KEY` are below it, `outcome` takes what was found
 */
export async function runSuite(entries: Entries, base: string): Promise<void> {
  const body = await outcomeOf(entries, base).then(JSON.stringify, (error: Error) =>
    JSON.stringify({ failure: `${error.message}\n${error.stack}` }),
  );
  const response = await fetch(`${base}outcome`, { method: "POST", body });
  if (!response.ok) throw new Error(`the outcome was not taken: ${response.status}`);
}

async function outcomeOf(entries: Entries, base: string): Promise<Outcome> {
  const plan: Plan = await (await fetch(`${base}plan.json`)).json();
  const { library } = entries;
  const builds = plan.builds.filter((build) => isThere(library, build));
  return {
    userAgent: globalThis.navigator?.userAgent ?? "",
    builds,
    byDefault: library.wasmBackend().name,
    cases: await runCases(entries, plan, builds, fetchedFiles(base)),
  };
}

function isThere({ wasmBackend, isUnitcellError }: typeof Library, build: Build): boolean {
  try {
    return wasmBackend({ relaxed: build === "relaxed" }) !== undefined;
  } catch (error) {
    if (!isUnitcellError(error, "BACKEND")) throw error;
    return false;
  }
}

/** Each file is fetched once, and the last ones only are kept: a worker has 128 MB. */
function fetchedFiles(base: string): Files {
  const kept = new Map<string, Uint8Array<ArrayBuffer>>();
  return {
    async read(key) {
      const known = kept.get(key);
      if (known) return known;
      const response = await fetch(`${base}files/${key}`);
      if (!response.ok) throw new Error(`${key}: ${response.status}`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length < 2 ** 16) kept.set(key, bytes);
      return bytes;
    },
  };
}

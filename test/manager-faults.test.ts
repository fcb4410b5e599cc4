/**
 * The disk fails at each call of the file system in turn, while a training saves, pins, prunes and undoes. Every operation
 * succeeds or throws a UnitcellError, what is listed loads, what was reported is there, and a new manager goes on at once.
 * In processes of their own, whose node:fs is patched (faults.child.ts).
 */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFull } from "./scope.js";

/** Between calls that fail, other than in full. */
const STEP = isFull ? 1 : 5;

const CHILD = "build/test/faults.child.js";
/** A disk in memory where there is one: it is the calls that count, not the waiting. */
const SHARED_MEMORY = "/dev/shm";

const ROWS: readonly [code: string, set: string, mode: string, what: string][] = [
  ["EIO", "writes", "one", "one call that changes something fails"],
  ["EIO", "reads", "one", "one call that reads fails"],
  ["EROFS", "writes", "from", "from one call on nothing can be changed"],
  ["ENOSPC", "space", "from", "from one call on the disk is full"],
];

const root = mkdtempSync(join(existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir(), "unitcell-faults-"));

type Result = { calls: number; failures: number; problems: string[] };
let results: Promise<Result>[] = [];

/** All at once; the tests only wait. */
test.before(() => {
  results = ROWS.map(([code, set, mode]) =>
    promisify(execFile)(process.execPath, ["--enable-source-maps", CHILD, root, code, set, mode, `${STEP}`]).then(
      ({ stdout }) => JSON.parse(stdout),
      (error: Error) => ({ calls: 0, failures: 0, problems: [error.message] }),
    ),
  );
});

for (const [i, [code, , mode, what]] of ROWS.entries())
  test(`${code}: ${what}, each in turn`, async () => {
    const { calls, failures, problems } = await results[i];
    assert.equal(problems, []);
    // Nothing proves the test if faults go unnoticed; clean-up that fails is nobody's error.
    const runs = calls / STEP;
    assert.ok(calls > 100 && failures > (mode === "one" ? runs / 2 : runs), `${failures} failures in ${runs} runs`);
    console.log(`  ${calls} calls, every ${STEP === 1 ? "one" : `${STEP}th`} failed: ${failures} operations failed`);
  });

test.after(() => rmSync(root, { recursive: true, force: true }));

test.run();

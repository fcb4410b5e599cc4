/**
 * One suite of goldens in every runtime that the package is for, on the package as npm packs and installs it: the three
 * example networks and the checkpoints' cases, or with UNITCELL_TESTS=full (npm run test:full) the published networks on all
 * 54 structures too. What a case finds has the same bits in every runtime that has the case.
 */
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { haveFixtures } from "./fixtures.js";
import { type InstalledPackage, installPackage } from "./installed-package.js";
import type { Case } from "./runtime-cases.js";
import type { Host } from "./runtime-host.js";
import { findHosts, writeSuite } from "./runtime-hosts.js";
import { runtimePlan } from "./runtime-plan.js";
import { type RuntimeServer, startRuntimeServer } from "./runtime-server.js";
import type { Outcome } from "./runtime-suite.js";
import { inFull, isFull } from "./scope.js";

/** For the whole suite in the slowest runtime. */
const TIMEOUT_MS = 20 * 60_000;

/** Without such an instruction, which x86-64 may lack, no engine rounds a multiply-add once. */
const processor = existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "";
const hasFma = !/^flags/m.test(processor) || /^flags.* fma /m.test(processor);

const isThere = ["cgcnn", "alignn", "megnet", "structures"].map(haveFixtures).every(Boolean);
const published = isThere && inFull("published networks in every runtime");

const hosts = findHosts();
const runs = new Map<Host, Promise<Run>>();
let installed: InstalledPackage;
let server: RuntimeServer;
test.before(async () => {
  installed = installPackage();
  await writeSuite(installed);
  server = await startRuntimeServer(installed, runtimePlan({ published }));
  // Of the full suite as many at a time as there are cores; npm test has other files for those.
  const lanes: Promise<unknown>[] = Array(isFull ? availableParallelism() : 1).fill(undefined);
  for (const [i, host] of hosts.filter((one): one is Host => !("missing" in one)).entries()) {
    const lane = i % lanes.length;
    const run = (async () => {
      await lanes[lane];
      return runIn(host);
    })();
    lanes[lane] = run.catch(() => {}); // said by the host's own test
    runs.set(host, run);
  }
});
test.after(() => {
  server?.stop();
  installed?.remove();
});

/** What was found of each fact and where, by its case and name. */
const facts = new Map<string, Map<string, Map<string, string[]>>>();
const outcomes: [host: string, outcome: Outcome][] = [];

interface Run {
  readonly outcome: Outcome;
  /** What the host says of it. */
  readonly note: string;
  readonly seconds: number;
}

async function runIn(host: Host): Promise<Run> {
  const began = performance.now();
  const { base, outcome } = server.expect({ builds: host.builds, mayLackMemory: host.tooLarge.length > 0 });
  const running = await host.start(installed, base);
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no outcome after ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
  });
  try {
    const found = await Promise.race([outcome, running.ended, late]);
    return { outcome: found, note: running.note?.() ?? "", seconds: (performance.now() - began) / 1000 };
  } finally {
    clearTimeout(timer!);
    await running.stop();
  }
}

for (const host of hosts) {
  if ("missing" in host) {
    console.log(`skipped: ${host.missing}`);
    continue;
  }
  test(`${host.name}: every case`, async () => {
    const { outcome, note, seconds } = await runs.get(host)!;
    const { cases, builds, byDefault } = outcome;
    const failed = cases.filter(({ passed }) => !passed);
    const predictions = cases.filter(({ worst }) => worst !== undefined).flatMap((one) => predictionsOf(one));
    const told = [
      `${host.name} (${host.version()})`,
      `${builds.join(" and ")}, by itself ${byDefault}`,
      `${cases.length - failed.length} of ${cases.length} cases, ${predictions.length} predictions`,
      `${seconds.toFixed(1)} s`,
    ];
    console.log(`  ${[...told, ...(note ? [note] : [])].join("; ")}`);
    outcomes.push([host.name, outcome]);
    const tooLarge = [...new Set(cases.flatMap((one) => one.tooLarge ?? []))];
    if (tooLarge.length > 0) console.log(`  ${host.name}: memory does not suffice for ${tooLarge.join(", ")}`);
    for (const one of cases) noteFacts(one, host.name);
    assert.equal(builds, host.builds, "builds");
    assert.is(byDefault, builds.includes("relaxed") && host.fuses && hasFma ? "wasm-relaxed" : "wasm");
    assert.equal(tooLarge, published ? host.tooLarge : []);
    assert.is(failed.length, 0, failed.map(({ name, message }) => `${name}: ${message}`).join("\n"));
  });
}

function noteFacts({ name, kind = name, facts: found }: Case, host: string): void {
  const ofCase = facts.get(kind) ?? new Map<string, Map<string, string[]>>();
  facts.set(kind, ofCase);
  for (const [key, bits] of Object.entries(found)) {
    const hosts = ofCase.get(key) ?? new Map<string, string[]>();
    ofCase.set(key, hosts.set(bits, [...(hosts.get(bits) ?? []), host]));
  }
}

/** The facts that are bits of predictions, by structure. */
const predictionsOf = ({ facts: found }: Case) => Object.entries(found).filter(([key]) => !key.endsWith(" record"));

test("what a case finds has the same bits in every runtime", () => {
  const unlike = new Map<string, string[]>();
  for (const [name, ofCase] of facts)
    for (const [key, found] of ofCase)
      if (found.size > 1) {
        const groups = Array.from(found, ([bits, hosts]) => `${hosts.join(", ")}: ${bits.slice(0, 200)}`);
        unlike.set(name, [...(unlike.get(name) ?? []), `${key}\n    ${groups.join("\n    ")}`]);
      }
  const count = [...facts.values()].reduce((sum, { size }) => sum + size, 0);
  console.log(`  ${count} facts in ${outcomes.length} runtimes, cases with others in some: ${unlike.size}`);
  const told = Array.from(unlike, ([name, [first, ...rest]]) => `${name}: ${first}\n    and ${rest.length} more`);
  assert.is(unlike.size, 0, told.join("\n"));
});

/** Numbers of their bits in hex, as the suite writes them. */
function numbersOf(bits: string): Float64Array {
  return new Float64Array(Uint8Array.from(bits.match(/../g)!, (byte) => Number.parseInt(byte, 16)).buffer);
}

test("the two builds differ in last bits, by so much", () => {
  const both = outcomes.find(([, { builds, byDefault }]) => builds.length === 2 && byDefault === "wasm-relaxed");
  if (!both) {
    console.log("skipped: no runtime with both builds and fused multiply-adds");
    return;
  }
  const cases = new Map(both[1].cases.map((one) => [one.name, one]));
  let differing = 0;
  for (const [name, baseline] of cases) {
    const relaxed = name.endsWith(", baseline") && cases.get(name.replace(/baseline$/, "relaxed"));
    if (!relaxed || baseline.worst === undefined) continue;
    const other = new Map(predictionsOf(relaxed));
    let worst = { id: "", error: 0 };
    for (const [id, bits] of predictionsOf(baseline)) {
      const [a, b] = [bits, other.get(id)!].map(numbersOf);
      const error = Math.max(...a.map((x, i) => Math.abs(x - b[i])));
      if (!(error <= worst.error)) worst = { id, error };
    }
    if (worst.error > 0) differing++;
    console.log(`  ${name.replace(/, baseline$/, "")}: builds differ by ${worst.error.toExponential(2)} (${worst.id})`);
  }
  assert.ok(differing > 0);
});

test.run();

/**
 * npm run bench -- --check: is anything much slower than it was? Times are divided by those of reference loops in the same
 * run and compared with bench/baseline.json, so that a faster machine, or a busy one, gives about the same numbers. Another
 * kind of processor gives up to three times as high ones, so each has its own. Made of the repository alone: random networks
 * of published size, the examples, made-up crystals.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { loadTorch } from "../src/formats/torch.js";
import { writeTorch } from "../src/formats/torch-save.js";
import { lift } from "../src/graphs/lift.js";
import {
  buildGraph,
  collate,
  loadCheckpoint,
  type Model,
  modelFromCheckpoint,
  parseStructures,
  predict,
  type Structure,
} from "../src/index.js";
import type { Tensor } from "../src/tensor.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "../test/random-models.js";
import { timeCalls } from "./compare.js";
import { type Level, levels } from "./levels.js";
import { processorName } from "./processor.js";
import { REFERENCES, type Reference } from "./reference.js";
import { figures, median, quantile } from "./stats.js";
import { binaryCrystals, jitteredCell, perovskite, readStructure } from "./structures.js";

const BASELINE_FILE = "bench/baseline.json";

/** Beyond so many times the baseline's ratio a case fails; a first failure is measured again. */
const FACTOR = 1.8;
/** The same on a processor that has no baseline, over the highest that another one has. */
const FACTOR_ELSEWHERE = 4;
const ROUNDS = 25;
/** Of a round's calls, ms at least. */
const ROUND_MS = 3;
/** So long at most are all rounds of a case. */
const CASE_MS = 2000;
/** The fastest rounds tell what the code costs; the rest, what else the machine did. */
const FAST = 0.1;

interface Case {
  readonly name: string;
  /** What it is measured by. */
  readonly by: Reference;
  readonly run: () => unknown;
}

/** Ratios to the reference loops, by the kernels' build and the name of the case. */
type Ratios = Record<string, Record<string, number>>;
/** By the processor. */
type Baseline = Readonly<Record<string, Readonly<Ratios>>>;

const CGCNN = { hidden: 64, convs: 3, dense: 128, denseLayers: 1 };
const MEGNET = {
  edgeBasis: 100,
  encoder: [64, 32],
  dense: [64, 32],
  conv: [64, 64, 32],
  head: [32, 16, 1],
  blocks: 3,
  set2setWidth: 32,
};
const ALIGNN = { norm: "batch" as const, hidden: 256, embedding: 64, edgeBasis: 80, angleBasis: 40 };

async function cases(level: Level): Promise<Case[]> {
  const crystals: Structure[] = [];
  for await (const crystal of binaryCrystals(64)) crystals.push(crystal);
  const models = { CGCNN: randomCgcnn(CGCNN), MEGNet: randomMegnet(MEGNET), ALIGNN: randomAlignn(ALIGNN) };
  const forward = async (name: string, model: Model, structures: readonly Structure[]): Promise<Case> => {
    const session = await level.backend.createSession(model.program);
    const batch = collate(structures.map((structure) => buildGraph(structure, model.config.graph)));
    return { name, by: "compute", run: () => session.run(batch) };
  };
  const symmetric = perovskite(2);
  const files = readdirSync("examples/structures").filter((name) => name.endsWith(".cif"));
  const cifs = files.map((name) => ({ name, text: readFileSync(`examples/structures/${name}`, "utf8") }));
  const saved = readFileSync("examples/saved_models/alignn_ionic_best.pt");
  const example = modelFromCheckpoint(await loadCheckpoint(readFileSync("examples/saved_models/cgcnn_ionic_best.pt")));
  const rutile = readStructure("examples/structures/TiO2-rutile.cif");
  const cells = { many: jitteredCell(500), few: jitteredCell(60) };
  return [
    await forward("forward, CGCNN, 1 crystal", models.CGCNN, crystals.slice(0, 1)),
    await forward("forward, CGCNN, 64 crystals", models.CGCNN, crystals),
    await forward("forward, MEGNet, 1 crystal", models.MEGNet, crystals.slice(0, 1)),
    await forward("forward, MEGNet, 64 crystals", models.MEGNet, crystals),
    await forward("forward, ALIGNN, 1 crystal", models.ALIGNN, crystals.slice(0, 1)),
    await forward("forward, ALIGNN, 4 crystals", models.ALIGNN, crystals.slice(0, 4)),
    await forward("forward, example CGCNN", example, crystals),
    ...(["CGCNN", "MEGNet", "ALIGNN"] as const).map((name): Case => {
      const { graph } = models[name].config;
      const cell = name === "ALIGNN" ? cells.few : cells.many;
      return { name: `graph, ${name}, ${cell.numbers.length} atoms`, by: "script", run: () => buildGraph(cell, graph) };
    }),
    ...(["CGCNN", "ALIGNN"] as const).map((name): Case => {
      const graph = buildGraph(symmetric, models[name].config.graph);
      return { name: `lift, ${name}, 40 symmetric atoms`, by: "script", run: () => lift(graph) };
    }),
    { name: "collate 64 graphs with pairs", by: "script", run: collating(crystals, models.ALIGNN) },
    {
      name: "parse 9 CIF files",
      by: "script",
      run: () => cifs.map(({ text, name }) => parseStructures(text, { filename: name })),
    },
    await bigFile(),
    { name: "load a checkpoint", by: "script", run: async () => modelFromCheckpoint(await loadCheckpoint(saved)) },
    {
      name: "predict, example CGCNN, 1 file",
      by: "script",
      run: () => predict(example, [rutile], { backend: level.backend }),
    },
    {
      name: "predict, example CGCNN, 64 crystals",
      by: "script",
      run: () => predict(example, crystals, { backend: level.backend }),
    },
  ];
}

/** 16 MB of one tensor: bytes that go past the caches, and their checksum. */
async function bigFile(): Promise<Case> {
  const data = new Uint8Array(16 << 20).map((_, i) => (i * 31) & 63);
  const parts: Uint8Array[] = [];
  const tensor: Tensor = { dtype: "f32", shape: [data.length / 4], data };
  await writeTorch(new Map([["weight", tensor]]), (bytes) => {
    parts.push(bytes.slice());
  });
  const file = new Uint8Array(Buffer.concat(parts));
  return { name: "load 16 MB", by: "memory", run: () => loadTorch(file) };
}

function collating(crystals: readonly Structure[], { config }: Model): () => unknown {
  const graphs = crystals.map((structure) => buildGraph(structure, config.graph));
  return () => collate(graphs);
}

/** ms of the processor per call, collecting garbage included. */
const cost = (run: () => unknown, calls: number) => timeCalls(run, calls, "processor");

/**
 * The case's cost over its reference loop's, both from their cheapest rounds of many that alternate: what else runs on the
 * machine can only add to them.
 */
async function ratioOf({ by, run }: Case): Promise<number> {
  const loop = REFERENCES[by];
  let single = await cost(run, 1);
  for (let warm = 0; warm < 60 && single * warm < 150; warm++) single = Math.min(single, await cost(run, 1));
  for (let warm = 0; warm < 5; warm++) loop();
  const calls = Math.max(1, Math.ceil(ROUND_MS / Math.max(single, 0.001)));
  const ours: number[] = [];
  const reference: number[] = [];
  const rounds = Math.min(ROUNDS, Math.max(5, Math.floor(CASE_MS / (single * calls))));
  for (let round = 0; round < rounds; round++) {
    ours.push(await cost(run, calls));
    reference.push(await cost(loop, 1));
  }
  return quantile(ours, FAST) / quantile(reference, FAST);
}

/** What to compare with: this processor's ratios, or where it has none the highest of each case, and then beyond more. */
function standard(baseline: Baseline, processor: string): { ratios: Readonly<Ratios>; factor: number } {
  if (baseline[processor]) return { ratios: baseline[processor], factor: FACTOR };
  const ratios: Ratios = {};
  for (const builds of Object.values(baseline))
    for (const [build, cases] of Object.entries(builds)) {
      ratios[build] ??= {};
      for (const [name, ratio] of Object.entries(cases))
        ratios[build][name] = Math.max(ratio, ratios[build][name] ?? 0);
    }
  return { ratios, factor: FACTOR_ELSEWHERE };
}

/** @returns the number of cases that are slower than they may be */
export async function check({ update }: { readonly update: boolean }): Promise<number> {
  const measured: Ratios = {};
  const baseline: Baseline = JSON.parse(readFileSync(BASELINE_FILE, "utf8"));
  const processor = processorName();
  const { ratios: expected, factor } = standard(baseline, processor);
  const known = processor in baseline ? "" : ", which has no baseline: compared with the highest of other processors";
  console.log(`${processor}${known}; at most ${factor} times the baseline`);
  const failures: string[] = [];
  const { full, baseline: plain } = levels();
  for (const level of [full, ...(plain ? [plain] : [])]) {
    const build = level.backend.name;
    const before = expected[build] ?? {};
    if (!update && !expected[build]) failures.push(`${build}: not in the baseline: npm run bench -- --update-baseline`);
    measured[build] = {};
    for (const one of await cases(level)) {
      // Only forward passes depend on the build.
      if (level !== full && !one.name.startsWith("forward")) continue;
      const ratios = [await ratioOf(one)];
      const limit = factor * (before[one.name] ?? Infinity);
      while (ratios.length < (update ? 5 : 3) && (update || Math.min(...ratios) > limit))
        ratios.push(await ratioOf(one));
      const ratio = update ? median(ratios) : Math.min(...ratios);
      measured[build][one.name] = Number(ratio.toPrecision(4));
      const times = before[one.name] === undefined ? undefined : ratio / before[one.name];
      const verdict = times === undefined ? "not in the baseline" : `${figures(times)} times the baseline`;
      console.log(`${build}: ${one.name}: ${figures(ratio)} ${one.by} loops, ${verdict}`);
      if (!update && times !== undefined && times > factor)
        failures.push(`${build}: ${one.name}: ${figures(times)} times the baseline, at most ${factor}`);
    }
    for (const name of update ? [] : Object.keys(before))
      if (!(name in measured[build])) failures.push(`${build}: ${name}: in the baseline, and no case of that name`);
  }
  if (update) writeFileSync(BASELINE_FILE, `${JSON.stringify({ ...baseline, [processor]: measured }, undefined, 2)}\n`);
  for (const failure of failures) console.error(`FAILED ${failure}`);
  return failures.length;
}

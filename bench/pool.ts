/** A screening on workers: the same structures through a pool of one worker, of two, and of one for each core. */
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { readCheckpointFiles } from "../src/cli/checkpoint-files.js";
import {
  loadCheckpoint,
  type Model,
  modelFromCheckpoint,
  parseStructures,
  predictStream,
  type Structure,
} from "../src/index.js";
import { createPool, type Pool, type PoolInput } from "../src/pool/pool.js";
import type { FailedPrediction, Prediction } from "../src/prediction.js";
import { fixturesRoot } from "../test/fixtures.js";
import type { Context } from "./compare.js";
import { convert, median, type Row, type SectionResult, summarize } from "./stats.js";
import { readModel } from "./structures.js";

const COUNT = 2_000;
const QUICK_COUNT = 400;
/** Atoms: what a screening is mostly made of. */
const LARGEST = 60;
/** Each time round the structures are so much longer, so that all are distinct. */
const STRAIN = 1e-4;
/** Of a network that takes some 10 s for all. */
const SLOW_ROUNDS = 3;
/** Two workers against one, where there are two cores; the best rounds are compared, since others may use the machine. */
const LEAST_GAIN = 1.8;

/** One way to have all predicted, and what is predicted so. */
interface Way {
  readonly step: string;
  readonly of: "structures" | "texts" | "ALIGNN's structures";
  readonly workers: number;
  /** Rounds, where the usual ones would take too long. */
  readonly rounds?: number;
  readonly run: () => AsyncIterable<Prediction | FailedPrediction>;
}

export async function pool({ inputs, quick, rounds }: Context): Promise<SectionResult> {
  const model = await readModel(inputs.checkpoint);
  const slowModel = await alignnDefault();
  const count = quick ? QUICK_COUNT : COUNT;
  const small = inputs.structures
    .map((filename) => ({ filename, text: readFileSync(filename, "utf8") }))
    .map((file) => ({ file, found: parseStructures(file.text, file) }))
    .filter(({ found }) => found.length === 1 && found[0].numbers.length <= LARGEST);
  const structures = Array.from({ length: count }, (_, i) => strained(small[i % small.length].found[0], i));
  // A text gives what it gives every time: nothing is kept from one to the next.
  const files = structures.map((_, i) => small[i % small.length].file);

  const cores = availableParallelism();
  const sizes = [...new Set([1, 2, cores])].filter((size) => size <= cores);
  const pools = new Map<number, Pool>();
  for (const workers of sizes)
    pools.set(
      workers,
      await createPool({ workers, worker: () => new Worker(new URL("../../dist/pool-worker.js", import.meta.url)) }),
    );
  const ways: Way[] = [
    { step: "predictStream", of: "structures", workers: 0, run: () => predictStream(model, structures) },
    ...(["structures", "texts"] as const).flatMap((of) =>
      sizes.map((workers): Way => {
        const given: readonly PoolInput[] = of === "texts" ? files : structures;
        const step = `pool of ${workers}${of === "texts" ? ", files' texts" : ""}`;
        return { step, of, workers, run: () => pools.get(workers)!.predictStream(model, given) };
      }),
    ),
  ];
  if (slowModel && !quick)
    for (const workers of sizes)
      ways.push({
        step: `ALIGNN, default, pool of ${workers}`,
        of: "ALIGNN's structures",
        workers,
        rounds: SLOW_ROUNDS,
        run: () => pools.get(workers)!.predictStream(slowModel, structures),
      });
  const load = loadavg()[0].toFixed(1);
  const timed = await timeRounds(ways, rounds, count);
  for (const one of pools.values()) await one.close();

  const atoms = structures.reduce((sum, { numbers }) => sum + numbers.length, 0) / count;
  const rows: Row[] = timed.map(({ way, ms }) => ({
    section: "pool",
    step: way.step,
    size: `${count} ${way.of === "texts" ? "files" : "structures"} of ${atoms.toFixed(1)} atoms`,
    unit: "structures/s",
    ours: convert(summarize(ms), (all) => (count / all) * 1000),
  }));
  const { notes, slow } = gains(timed);
  return { rows, notes: [...notes, `the machine's load when the rounds began: ${load} of ${cores} cores`], slow };
}

/** ALIGNN at its default size, where the fixtures are: a hundred times CGCNN's work for a structure. */
async function alignnDefault(): Promise<Model | undefined> {
  const folder = join(fixturesRoot, "alignn/alignn_default");
  if (!existsSync(folder)) return undefined;
  return modelFromCheckpoint(await loadCheckpoint((await readCheckpointFiles(folder)).files));
}

function strained(structure: Structure, i: number): Structure {
  return { ...structure, id: String(i), lattice: structure.lattice.map((x) => x * (1 + STRAIN * i)) };
}

interface Timed {
  readonly way: Way;
  /** Of each round. */
  readonly ms: number[];
}

/** Rounds of all ways in turn, after one that does not count. @throws where a structure was lost */
async function timeRounds(ways: readonly Way[], rounds: number, count: number): Promise<Timed[]> {
  const timed = ways.map((way): Timed => ({ way, ms: [] }));
  for (let round = -1; round < rounds; round++)
    for (const { way, ms } of timed) {
      if (round >= (way.rounds ?? rounds)) continue;
      const start = performance.now();
      let done = 0;
      for await (const _ of way.run()) done++;
      if (done !== count) throw new Error(`${way.step} gave ${done} records for ${count} structures`);
      if (round >= 0) ms.push(performance.now() - start);
    }
  return timed;
}

/** What more workers give, of the best rounds and of the medians. */
function gains(timed: readonly Timed[]): { notes: string[]; slow: string[] } {
  const notes: string[] = [];
  const slow: string[] = [];
  for (const { way, ms } of timed) {
    const one = timed.find((other) => other.way.of === way.of && other.way.workers === 1)!.ms;
    if (way.workers < 2) continue;
    const best = Math.min(...one) / Math.min(...ms);
    const middle = median(one) / median(ms);
    notes.push(`${way.step}: ${middle.toFixed(2)} times a pool of one, best rounds ${best.toFixed(2)} times`);
    if (way.workers === 2 && way.of !== "texts" && best < LEAST_GAIN)
      slow.push(`${way.step} has ${best.toFixed(2)} times the speed of a pool of one, at least ${LEAST_GAIN} expected`);
  }
  return { notes, slow };
}

/**
 * Interleaved timing: one round of unitcell, one of each peer, one of unitcell, and so on, so that whatever else the
 * machine does falls on all. All get the same warm-up time and the same number of rounds, and call until a round is about as
 * long; each clock runs in the process that does the work, around its own calls.
 */
import type { NativeRequest, NativeWorker } from "./native.js";
import { convert, type Row, type Summary, summarize } from "./stats.js";
import type { Inputs } from "./structures.js";

/** What every section gets. */
export interface Context {
  /** The Python with torch and pymatgen; absent where there is none. */
  readonly native: NativeWorker | undefined;
  /** Pythons with other versions of torch: they take part where they know the step. */
  readonly newer?: readonly NativeWorker[];
  readonly inputs: Inputs;
  readonly quick: boolean;
  readonly rounds: number;
}

/**
 * What a step is timed by. Of work that waits for nothing and has one thread, the processor time of its process is the time
 * on the wall of a machine that does nothing else; on a busy machine it leaves out the others' turns.
 */
export type Clock = "wall" | "processor";

/** So many calls, ms per call. */
export type Contender = (calls: number) => Promise<number>;

export interface Step {
  readonly section: string;
  readonly step: string;
  readonly size: string;
  /** One call of unitcell's side. */
  readonly ours: () => unknown;
  /** The same work in Python; absent where there is none to compare with. */
  readonly python?: NativeRequest | undefined;
  /** Others who do it, by the name of their column. */
  readonly peers?: Readonly<Record<string, Contender>>;
  /** unitcell's side done otherwise, in columns of their own; these do not count as peers. */
  readonly variants?: Readonly<Record<string, () => unknown>>;
  /** By default the wall's. */
  readonly clock?: Clock;
  /** Fewer rounds where all rounds of all would take longer than this: at least two, or one that is eight times as long. */
  readonly budgetMs?: number;
  /** How ms become the row's unit, by default not at all. */
  readonly unit?: { readonly name: string; readonly of: (ms: number) => number };
}

export interface Timing {
  /** ms per call, one entry a round. */
  readonly ours: readonly number[];
  /** Of the Python that was fastest. */
  readonly python?: readonly number[];
  /** Of each peer, where there are others than one Python. */
  readonly peers?: Readonly<Record<string, readonly number[]>>;
  readonly variants?: Readonly<Record<string, readonly number[]>>;
  /** Python's result of its last round; of several Pythons, `results` has each. */
  readonly result?: unknown;
  readonly results: Readonly<Record<string, unknown>>;
}

/** A round is as many calls as last about this long. */
const ROUND_MS = 4;
const WARM_UP_MS = 100;
/** A call that takes so long is not repeated to warm up. */
const LONG_CALL_MS = 200;

function now(clock: Clock): number {
  if (clock === "wall") return performance.now();
  const { user, system } = process.cpuUsage(); // µs, all threads
  return (user + system) / 1000;
}

/** ms per call over so many. A promise is awaited, anything else is not: a turn of the event loop is not the step's. */
export async function timeCalls(call: () => unknown, calls: number, clock: Clock): Promise<number> {
  const start = now(clock);
  for (let i = 0; i < calls; i++) {
    const result = call();
    if (result instanceof Promise) await result;
  }
  return (now(clock) - start) / calls;
}

/** Call until the time is up, at least twice unless a call is long: ms of the last call. */
async function warmUp(contender: Contender, budgetMs: number): Promise<number> {
  const end = performance.now() + budgetMs;
  let ms = await contender(1);
  if (ms > LONG_CALL_MS) return ms;
  do ms = await contender(1);
  while (performance.now() < end);
  return ms;
}

export async function time(context: Context, step: Step, warmUpMs = WARM_UP_MS): Promise<Timing> {
  const results: Record<string, unknown> = {};
  const clock = step.clock ?? "wall";
  const ask = (worker: NativeWorker): Contender => {
    return async (calls) => {
      const { ms, result } = await worker.run(step.python!, calls, clock);
      results[worker.name] = result;
      return ms;
    };
  };
  const pythons = step.python ? [context.native, ...(context.newer ?? [])].filter((worker) => able(worker, step)) : [];
  const ours: Contender = (calls) => timeCalls(step.ours, calls, clock);
  const variants = Object.entries(step.variants ?? {}).map(([name, call]): [string, Contender] => [
    name,
    (calls) => timeCalls(call, calls, clock),
  ]);
  const peers = [
    ...pythons.map((worker): [string, Contender] => [worker!.name, ask(worker!)]),
    ...Object.entries(step.peers ?? {}),
  ];
  const all = [ours, ...[...variants, ...peers].map(([, contender]) => contender)];

  const single: number[] = [];
  for (const contender of all) single.push(await warmUp(contender, warmUpMs));
  const calls = single.map((ms) => Math.ceil(ROUND_MS / Math.max(ms, 1e-6)));
  const roundMs = single.reduce((sum, ms, i) => sum + ms * calls[i], 0);
  const least = step.budgetMs !== undefined && roundMs > 8 * step.budgetMs ? 1 : 2;
  const affordable =
    step.budgetMs === undefined ? context.rounds : Math.max(least, Math.floor(step.budgetMs / roundMs));
  const samples = all.map((): number[] => []);
  for (let round = 0; round < Math.min(context.rounds, affordable); round++)
    for (const [i, contender] of all.entries()) {
      if (calls[i] > 1) await contender(1); // so that whose turn it was before does not matter: caches are its own again
      samples[i].push(await contender(calls[i]));
    }

  const named = (from: readonly [string, Contender][], first: number) =>
    Object.fromEntries(from.map(([name], i) => [name, samples[first + i]]));
  const byPeer = named(peers, 1 + variants.length);
  const fastest = fastestOf(Object.fromEntries(pythons.map((worker) => [worker!.name, byPeer[worker!.name]])));
  return {
    ours: samples[0],
    ...(fastest && { python: byPeer[fastest], result: results[fastest] }),
    ...(peers.length > pythons.length || pythons.length > 1 ? { peers: byPeer } : {}),
    ...(variants.length > 0 && { variants: named(variants, 1) }),
    results,
  };
}

const able = (worker: NativeWorker | undefined, { python }: Step) => worker?.steps.has(python!.step) ?? false;

/** The name with the least median; undefined where there is none. */
function fastestOf(samples: Readonly<Record<string, readonly number[]>>): string | undefined {
  const named = Object.entries(samples).map(([name, times]) => ({ name, ms: summarize(times).median }));
  return named.sort((a, b) => a.ms - b.ms)[0]?.name;
}

/** The table's line for a timing. */
export function rowOf(step: Omit<Step, "ours">, { ours, python, peers, variants }: Timing): Row {
  const unit = step.unit ?? { name: "ms", of: (ms: number) => ms };
  const summary = (samples: readonly number[]): Summary => convert(summarize(samples), unit.of);
  const each = (from: Readonly<Record<string, readonly number[]>>) =>
    Object.fromEntries(Object.entries(from).map(([name, samples]) => [name, summary(samples)]));
  const fastest = peers ? peers[fastestOf(peers)!] : python;
  return {
    section: step.section,
    step: step.step,
    size: step.size,
    unit: unit.name,
    ours: summary(ours),
    ...(variants && { variants: each(variants) }),
    ...(python && { python: summary(python) }),
    ...(peers && { peers: each(peers) }),
    ...(fastest && { ratio: summarize(fastest).median / summarize(ours).median }),
  };
}

/** Time a step and make its line. */
export async function measure(context: Context, step: Step): Promise<Row> {
  return rowOf(step, await time(context, step));
}

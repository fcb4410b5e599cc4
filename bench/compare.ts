/**
 * Interleaved timing: one round of unitcell, one round of Python, and so on, so that whatever else the machine does
 * falls on both. Both sides get the same warm-up time, the same number of rounds and the same number of calls in a
 * round; each side's clock runs in its own process around its own calls.
 */
import type { NativeRequest, NativeWorker } from "./native.js";
import { convert, type Row, type Summary, summarize } from "./stats.js";
import type { Inputs } from "./structures.js";

/** What every section gets. */
export interface Context {
  /** Absent where there is no Python with torch and pymatgen. */
  readonly native: NativeWorker | undefined;
  readonly inputs: Inputs;
  readonly quick: boolean;
  readonly rounds: number;
}

export interface Step {
  readonly section: string;
  readonly step: string;
  readonly size: string;
  /** One call of unitcell's side. */
  readonly ours: () => unknown;
  /** The same work in Python; absent where there is none to compare with. */
  readonly python?: NativeRequest | undefined;
  /** How ms become the row's unit, by default not at all. */
  readonly unit?: { readonly name: string; readonly of: (ms: number) => number };
}

export interface Timing {
  /** ms per call, one entry a round. */
  readonly ours: readonly number[];
  readonly python?: readonly number[];
  /** Python's result of its last round. */
  readonly result?: unknown;
}

/** A round is made of calls until it lasts this long, unless Python's would pass the second figure. */
const ROUND_MS = 2;
const LONGEST_ROUND_MS = 20;
const WARM_UP_MS = 100;

/** ms per call over so many. A promise is awaited, anything else is not: a turn of the event loop is not the step's. */
async function timeOurs(step: Step, calls: number): Promise<number> {
  const start = performance.now();
  for (let call = 0; call < calls; call++) {
    const result = step.ours();
    if (result instanceof Promise) await result;
  }
  return (performance.now() - start) / calls;
}

/** Call until the time is up, at least twice: ms of the last call. */
async function warmUp(call: () => Promise<number>, budgetMs: number): Promise<number> {
  const end = performance.now() + budgetMs;
  let ms = await call();
  do ms = await call();
  while (performance.now() < end);
  return ms;
}

export async function time(context: Context, step: Step, warmUpMs = WARM_UP_MS): Promise<Timing> {
  const native = step.python && context.native;
  const single = await warmUp(() => timeOurs(step, 1), warmUpMs);
  const singlePython = native ? await warmUp(async () => (await native.run(step.python!)).ms, warmUpMs) : single;
  const most = Math.max(1, Math.floor(LONGEST_ROUND_MS / Math.max(single, singlePython)));
  const calls = Math.min(Math.ceil(ROUND_MS / Math.max(single, 1e-6)), most);
  const ours: number[] = [];
  const python: number[] = [];
  let result: unknown;
  for (let round = 0; round < context.rounds; round++) {
    ours.push(await timeOurs(step, calls));
    if (!native) continue;
    const answer = await native.run(step.python!, calls);
    python.push(answer.ms);
    result = answer.result;
  }
  return { ours, ...(native && { python, result }) };
}

/** The table's line for a timing. */
export function rowOf(step: Omit<Step, "ours">, { ours, python }: Timing): Row {
  const unit = step.unit ?? { name: "ms", of: (ms: number) => ms };
  const summary = (samples: readonly number[]): Summary => convert(summarize(samples), unit.of);
  return {
    section: step.section,
    step: step.step,
    size: step.size,
    unit: unit.name,
    ours: summary(ours),
    ...(python && { python: summary(python), ratio: summarize(python).median / summarize(ours).median }),
  };
}

/** Time a step and make its line. */
export async function measure(context: Context, step: Step): Promise<Row> {
  return rowOf(step, await time(context, step));
}

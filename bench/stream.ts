/** Memory of long streams: each in a process of its own, so that the resident size is the stream's alone. */
import { spawnSync } from "node:child_process";
import type { Context } from "./compare.js";
import type { SectionResult } from "./stats.js";

const COUNT = 100_000;
const QUICK_COUNT = 5_000;

/** Largest growth, in MiB, from the first half of the stream to the second, of the least that is held in each. */
const MOST_GROWTH = { RSS: 50, heap: 3, Wasm: 8 };

type Kind = keyof typeof MOST_GROWTH;
const KINDS = Object.keys(MOST_GROWTH) as Kind[];

/** MiB held after so many predictions: resident, by JavaScript, in Wasm memories. */
export type StreamPoint = { readonly done: number } & Readonly<Record<Kind, number>>;

/** What bench/stream-child.ts prints: one point per tenth of the stream, the least of ten looks. */
export interface StreamReport {
  readonly seconds: number;
  readonly predicted: number;
  readonly failed: number;
  readonly points: readonly StreamPoint[];
}

export async function stream({ inputs, quick }: Context): Promise<SectionResult> {
  // Of MEGNet and ALIGNN the examples: the published networks would take hours.
  const checkpoints = {
    CGCNN: inputs.checkpoint,
    MEGNet: "examples/saved_models/megnet_ionic_best.pt",
    ALIGNN: "examples/saved_models/alignn_ionic_best.pt",
  };
  const count = quick ? QUICK_COUNT : COUNT;
  const results = Object.entries(checkpoints).map(([name, path]) => streamOf(name, path, count));
  return {
    rows: results.flatMap(({ rows }) => rows),
    notes: results.flatMap(({ notes }) => notes ?? []),
    failures: results.flatMap(({ failures }) => failures ?? []),
  };
}

function streamOf(name: string, checkpoint: string, count: number): SectionResult {
  const args = ["--expose-gc", "build/bench/stream-child.js", checkpoint, String(count)];
  const child = spawnSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  if (child.status !== 0)
    return { rows: [], failures: [`the stream of ${name} ended with ${child.status ?? child.signal}`] };
  const { seconds, predicted, failed, points }: StreamReport = JSON.parse(child.stdout);
  const ms = (seconds * 1000) / count;
  const half = points.length / 2;
  const least = (kind: Kind, some: readonly StreamPoint[]) => Math.min(...some.map((point) => point[kind]));
  const grown = KINDS.map((kind) => least(kind, points.slice(half)) - least(kind, points.slice(0, half)));
  const told = (of: (kind: Kind, i: number) => number) =>
    KINDS.map((kind, i) => `${kind} ${of(kind, i).toFixed(1)} MiB`).join(", ");
  return {
    rows: [
      {
        section: "stream",
        step: `predictStream, ${name}`,
        size: `${count} structures of 2 to 12 atoms`,
        unit: "ms/structure",
        ours: { median: ms, low: ms, high: ms },
      },
    ],
    notes: [
      `${name}: ${predicted} predictions, ${failed} errors, ${(count / seconds).toFixed(0)} structures/s`,
      ...points.map((point) => `${String(point.done).padStart(7)} done: ${told((kind) => point[kind])}`),
      `grown from half to half: ${told((_, i) => grown[i])} (bounds: ${told((kind) => MOST_GROWTH[kind])})`,
    ],
    failures: [
      ...KINDS.flatMap((kind, i) =>
        grown[i] > MOST_GROWTH[kind]
          ? [`the stream of ${name} grew by ${grown[i].toFixed(1)} MiB (${kind}), more than ${MOST_GROWTH[kind]}`]
          : [],
      ),
      ...(predicted === count ? [] : [`the stream of ${name} gave ${predicted} predictions for ${count} structures`]),
    ],
  };
}

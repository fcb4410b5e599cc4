/** Memory of a long stream: a process of its own, so that the resident size is the stream's alone. */
import { spawnSync } from "node:child_process";
import type { Context } from "./compare.js";
import type { SectionResult } from "./stats.js";

const COUNT = 100_000;
const QUICK_COUNT = 5_000;
/** Growth of the resident size after the first tenth, when caches and compiled code are in place. */
const MOST_GROWTH_MB = 50;

/** What bench/stream-child.ts prints: one entry per tenth of the stream. */
export interface StreamReport {
  readonly seconds: number;
  readonly predicted: number;
  readonly failed: number;
  readonly points: readonly { readonly done: number; readonly rssMB: number; readonly heapMB: number }[];
}

export async function stream({ inputs, quick }: Context): Promise<SectionResult> {
  const count = quick ? QUICK_COUNT : COUNT;
  const child = spawnSync(process.execPath, ["build/bench/stream-child.js", inputs.checkpoint, String(count)], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.status !== 0)
    return { rows: [], failures: [`the stream's process ended with ${child.status ?? child.signal}`] };
  const { seconds, predicted, failed, points }: StreamReport = JSON.parse(child.stdout);
  const growth = Math.max(...points.map(({ rssMB }) => rssMB)) - points[0].rssMB;
  const ms = (seconds * 1000) / count;
  return {
    rows: [
      {
        section: "stream",
        step: "predictStream",
        size: `${count} structures of 2 to 12 atoms`,
        unit: "ms/structure",
        ours: { median: ms, low: ms, high: ms },
      },
    ],
    notes: [
      `${predicted} predictions, ${failed} errors, ${(count / seconds).toFixed(0)} structures/s`,
      ...points.map(
        ({ done, rssMB, heapMB }) =>
          `${String(done).padStart(7)} done: RSS ${rssMB.toFixed(0)} MB, heap ${heapMB.toFixed(0)} MB`,
      ),
      `RSS grew by ${growth.toFixed(0)} MB after the first tenth (bound: ${MOST_GROWTH_MB} MB)`,
    ],
    failures: [
      ...(growth > MOST_GROWTH_MB
        ? [`RSS of the stream grew by ${growth.toFixed(0)} MB, more than ${MOST_GROWTH_MB}`]
        : []),
      ...(predicted === count ? [] : [`the stream gave ${predicted} predictions for ${count} structures`]),
    ],
  };
}

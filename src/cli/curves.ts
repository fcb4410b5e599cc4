/** The curves of a run that are drawn, in a terminal or a file. */
import type { HistoryRow } from "../runs/history.js";
import { rankMetrics } from "./metrics.js";

export interface Curve {
  readonly name: string;
  /** By epoch; NaN and infinities are gaps. */
  readonly points: readonly (readonly [epoch: number, value: number])[];
}

/** Curves where nobody said which. */
const MOST_CURVES = 4;
/** From here on small values would lie on the axis. */
const LOG_RATIO = 100;

export function curvesOf(rows: readonly HistoryRow[], asked: readonly string[] | undefined): Curve[] {
  const names = asked ?? rankMetrics(rows.flatMap((row) => Object.keys(row))).slice(0, MOST_CURVES);
  return names
    .map((name) => ({
      name,
      points: rows.filter((row) => row[name] !== undefined).map((row) => [row.epoch, row[name]] as const),
    }))
    .filter(({ points }) => points.some(([, value]) => Number.isFinite(value)));
}

/** The ends of all that is drawn. */
export function extent(curves: readonly Curve[]): { epochs: [number, number]; values: [number, number] } {
  const [epochs, values] = [ends(), ends()];
  for (const { points } of curves)
    for (const [epoch, value] of points) {
      widen(epochs, epoch);
      if (Number.isFinite(value)) widen(values, value);
    }
  return { epochs, values };
}

/** Whether a logarithmic scale shows more; it cannot show zero and less. */
export function suitsLog(curves: readonly Curve[]): boolean {
  const [least, most] = extent(curves).values;
  return least > 0 && most / least >= LOG_RATIO;
}

/** Parts of a curve without gaps. */
export function segments({ points }: Curve): (readonly [number, number])[][] {
  const parts: (readonly [number, number])[][] = [[]];
  for (const point of points) {
    if (Number.isFinite(point[1])) parts.at(-1)!.push(point);
    else if (parts.at(-1)!.length > 0) parts.push([]);
  }
  return parts.filter((part) => part.length > 0);
}

function ends(): [number, number] {
  return [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
}

function widen(ends: [number, number], value: number): void {
  ends[0] = Math.min(ends[0], value);
  ends[1] = Math.max(ends[1], value);
}

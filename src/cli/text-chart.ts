/** Curves drawn with characters, by asciichart. */
import asciichart from "asciichart";
import { type Curve, extent } from "./curves.js";
import { brief, escaped } from "./shown.js";

export interface ChartOptions {
  /** Characters of a line. */
  readonly width: number;
  /** Lines of a chart. */
  readonly height: number;
  readonly log: boolean;
  /** Curves in one chart, told apart by colour; without, a chart for each. */
  readonly color: boolean;
}

const COLORS = [36, 33, 35, 32, 34, 31].map((code) => `\x1b[${code}m`);
const RESET = "\x1b[0m";
const LABEL = 10;
/** Few epochs are drawn wider than a column each, but not over the whole width. */
const LEAST_WIDTH = 60;

export function textChart(curves: readonly Curve[], options: ChartOptions): string[] {
  if (options.color) return drawTogether(curves, options);
  return curves.flatMap((curve, i) => [...(i > 0 ? [""] : []), ...drawTogether([curve], options)]);
}

function drawTogether(curves: readonly Curve[], { width, height, log, color }: ChartOptions): string[] {
  const { epochs, values } = extent(curves);
  const isLog = log && values[0] > 0;
  const scaled = (value: number) => (isLog ? Math.log10(value) : value);
  const room = Math.max(10, width - LABEL - 2);
  const columns = Math.min(room, Math.max(epochs[1] - epochs[0] + 1, LEAST_WIDTH));
  const lines = curves.map(({ points }) => {
    const drawn = points.map(([epoch, value]) => [epoch, scaled(value)] as const);
    return resample(drawn, epochs, columns);
  });
  const drawn = lines.flat().filter(Number.isFinite);
  let [min, max] = [Math.min(...drawn), Math.max(...drawn)];
  // A line without a height: give it the middle.
  if (min === max) [min, max] = [min - (Math.abs(min) || 1) / 10, max + (Math.abs(max) || 1) / 10];
  const format = (value: number) => brief3(isLog ? 10 ** value : value).padStart(LABEL);
  // Each by itself, since asciichart knows no gaps; then laid over one another, the first on top.
  const grids = lines.map((line) => {
    // In front of the line stands the axis, where asciichart draws the first value.
    const values = [line[0], ...line].map(bridged(line));
    const rows = asciichart.plot(values, { min, max, height: height - 1, offset: 2, format }).split("\n");
    return rows.map((row) => [...row.slice(LABEL)].map((c, x) => (x === 0 || Number.isFinite(line[x - 1]) ? c : " ")));
  });
  const rows = grids[0].map((_, y) => {
    const label = format(max - (y * (max - min)) / Math.max(1, grids[0].length - 1));
    const cells = Array.from({ length: columns + 1 }, (_, x) => {
      if (x === 0) return "┤";
      const on = grids.findIndex((grid) => (grid[y]?.[x] ?? " ") !== " ");
      if (on < 0) return " ";
      return color ? `${COLORS[on % COLORS.length]}${grids[on][y][x]}${RESET}` : grids[on][y][x];
    });
    return `${label} ${cells.join("")}`.trimEnd();
  });
  const [first, last] = epochs.map(String);
  const axis = `${" ".repeat(LABEL + 2)}${first}${last.padStart(Math.max(1, columns - first.length))}`;
  return [legend(curves, { color, log: isLog }), ...rows, axis];
}

function legend(curves: readonly Curve[], { color, log }: { color: boolean; log: boolean }): string {
  const names = curves.map(({ name }, i) =>
    color ? `${COLORS[i % COLORS.length]}── ${escaped(name, 40)}${RESET}` : escaped(name, 40),
  );
  return `${" ".repeat(LABEL + 2)}${names.join("   ")} by epoch${log ? ", logarithmic" : ""}`;
}

/** A value for asciichart where there is a gap, which is cut out afterwards: the last one before it, so that nothing leads there. */
function bridged(line: readonly number[]): (value: number, x: number) => number {
  let last = line.find(Number.isFinite) ?? 0;
  return (value) => {
    if (Number.isFinite(value)) last = value;
    return last;
  };
}

/** Mean of the points in each column; between points that are further apart, the line from one to the other. */
function resample(
  points: readonly (readonly [number, number])[],
  [first, last]: readonly [number, number],
  columns: number,
): number[] {
  const at = (epoch: number) => (last === first ? 0 : ((epoch - first) / (last - first)) * (columns - 1));
  const sums = Array.from({ length: columns }, () => ({ sum: 0, count: 0, gap: false }));
  for (const [epoch, value] of points) {
    const column = sums[Math.round(at(epoch))];
    if (Number.isFinite(value)) {
      column.sum += value;
      column.count++;
    } else column.gap = true;
  }
  const line = sums.map(({ sum, count }) => (count > 0 ? sum / count : Number.NaN));
  let before = -1;
  for (let x = 0; x < columns; x++) {
    if (sums[x].gap && sums[x].count === 0) before = -1;
    if (!(sums[x].count > 0)) continue;
    for (let between = before + 1; before >= 0 && between < x; between++)
      line[between] = line[before] + ((line[x] - line[before]) * (between - before)) / (x - before);
    before = x;
  }
  return line;
}

/** For an axis. */
function brief3(value: number): string {
  return brief(Number(value.toPrecision(3)));
}

/** Curves as an SVG that stands alone: no scripts, no fonts, nothing to fetch; light or dark as the reader's screen. */
import { scaleLinear, scaleLog } from "d3-scale";
import { type Curve, extent, segments, suitsLog } from "./curves.js";
import type { Best } from "./run-histories.js";
import { brief } from "./shown.js";

export interface Panel {
  readonly title: string;
  readonly curves: readonly Curve[];
  readonly best: Best | undefined;
  /** Default: where it shows more. */
  readonly log?: boolean;
}

/** px */
const WIDTH = 800;
const PANEL = 380;
const PLOT = { left: 76, right: 776, top: 76, bottom: 322 };
const CHARACTER = 7.2;
/** Of the legend. */
const ROW = 18;
/** Characters of a title, which is in bold. */
const MOST_TITLE = 74;
/** Tell apart on light and on dark, and without red and green alone. */
const LIGHT = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#9a6700", "#cf222e"];
const DARK = ["#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#d29922", "#ff7b72"];

const STYLE = `
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.back { fill: #ffffff }
.grid { stroke: #d0d7de }
.axis, .best { stroke: #57606a }
.best { stroke-dasharray: 4 3 }
polyline { fill: none; stroke-width: 1.5; stroke-linejoin: round }
.again { stroke-dasharray: 5 2 }
${LIGHT.map((color, i) => `.c${i} { stroke: ${color} } circle.c${i} { fill: ${color} }`).join("\n")}
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.back { fill: #0d1117 }
.grid { stroke: #30363d }
.axis, .best { stroke: #8b949e }
${DARK.map((color, i) => `.c${i} { stroke: ${color} } circle.c${i} { fill: ${color} }`).join("\n")}
}`;

/** One panel below the other. */
export function svgChart(panels: readonly Panel[]): string {
  let height = 0;
  const drawn = panels.flatMap((panel) => {
    const from = height;
    const rows = legendRows(panel.curves);
    height += PANEL + (rows.length - 1) * ROW;
    return [`<g transform="translate(0 ${from})">`, ...draw(panel, rows), "</g>"];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${text(panels.map(({ title }) => title).join(", "))}</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="back" width="${WIDTH}" height="${height}"/>`,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

function draw({ title, curves, best, log = suitsLog(curves) }: Panel, rows: readonly number[][]): string[] {
  const { epochs, values } = extent(curves);
  const isLog = log && values[0] > 0;
  const x = scaleLinear().domain(spread(epochs)).range([PLOT.left, PLOT.right]);
  const y = (isLog ? scaleLog() : scaleLinear())
    .domain(isLog ? decades(values) : spread(values))
    .range([PLOT.bottom, PLOT.top]);
  if (!isLog) y.nice();
  const yText = y.tickFormat(6, "~g");
  const xTicks = x.ticks(8).filter(Number.isInteger);
  const yTicks = y.ticks(6).filter((tick) => yText(tick) !== "");
  const middle = (PLOT.top + PLOT.bottom) / 2;
  return [
    label(PLOT.left, 26, shortened(title, MOST_TITLE), { class: "title" }),
    ...(best ? [label(PLOT.left, 46, bestText(best))] : []),
    ...legend(curves, rows),
    // Below every row of the legend after the first.
    `<g transform="translate(0 ${(rows.length - 1) * ROW})">`,
    ...yTicks.flatMap((tick) => [
      line(PLOT.left, y(tick), PLOT.right, y(tick), "grid"),
      label(PLOT.left - 8, y(tick) + 4, yText(tick), { "text-anchor": "end" }),
    ]),
    ...xTicks.flatMap((tick) => [
      line(x(tick), PLOT.bottom, x(tick), PLOT.bottom + 5, "axis"),
      label(x(tick), PLOT.bottom + 20, String(tick), { "text-anchor": "middle" }),
    ]),
    line(PLOT.left, PLOT.bottom, PLOT.right, PLOT.bottom, "axis"),
    line(PLOT.left, PLOT.top, PLOT.left, PLOT.bottom, "axis"),
    label((PLOT.left + PLOT.right) / 2, PLOT.bottom + 40, "epoch", { "text-anchor": "middle" }),
    label(18, middle, `${curves.length === 1 ? curves[0].name : "value"}${isLog ? " (logarithmic)" : ""}`, {
      "text-anchor": "middle",
      transform: `rotate(-90 18 ${middle})`,
    }),
    ...curves.flatMap((curve, i) => drawCurve(curve, i, x, y)),
    ...markBest(curves, best, x, y),
    "</g>",
  ];
}

type Position = (value: number) => number;

function drawCurve(curve: Curve, i: number, x: Position, y: Position): string[] {
  return segments(curve).map((part) => {
    const points = part.map(([epoch, value]) => `${rounded(x(epoch))},${rounded(y(value))}`);
    // A line of one point would not be seen.
    if (points.length > 1) return `<polyline class="${classOf(i)}" points="${points.join(" ")}"/>`;
    const [cx, cy] = points[0].split(",");
    return `<circle class="c${i % LIGHT.length}" cx="${cx}" cy="${cy}" r="2"/>`;
  });
}

function markBest(curves: readonly Curve[], best: Best | undefined, x: Position, y: Position): string[] {
  if (best?.epoch === undefined) return [];
  const at = curves.findIndex(({ name }) => name === best.metric);
  const dot = `<circle class="c${at % LIGHT.length}" cx="${rounded(x(best.epoch))}" cy="${rounded(y(best.value))}" r="4.5"><title>${text(bestText(best))}</title></circle>`;
  return [
    line(x(best.epoch), PLOT.top, x(best.epoch), PLOT.bottom, "best"),
    ...(at >= 0 && Number.isFinite(best.value) ? [dot] : []),
  ];
}

export function bestText({ metric, value, epoch }: Best): string {
  return `best ${metric} ${brief(value)}${epoch === undefined ? "" : ` at epoch ${epoch}`}`;
}

/** From the right, above the curves. @param rows the curves of each */
function legend(curves: readonly Curve[], rows: readonly number[][]): string[] {
  return rows.flatMap((row, r) => {
    let at = PLOT.right - row.reduce((sum, i) => sum + legendWidth(curves[i]), -16);
    const y = 60 + r * ROW;
    return row.flatMap((i) => {
      const start = at;
      at += legendWidth(curves[i]);
      return [line(start, y, start + 18, y, classOf(i), 2.5), label(start + 24, y + 4, legendName(curves[i]))];
    });
  });
}

function legendRows(curves: readonly Curve[]): number[][] {
  const rows: number[][] = [[]];
  let room = PLOT.right - PLOT.left;
  for (const [i, curve] of curves.entries()) {
    if (room < legendWidth(curve) - 16 && rows.at(-1)!.length > 0) {
      rows.push([]);
      room = PLOT.right - PLOT.left;
    }
    rows.at(-1)!.push(i);
    room -= legendWidth(curve);
  }
  return rows;
}

function legendName({ name }: Curve): string {
  return shortened(name, 40);
}

function legendWidth(curve: Curve): number {
  return 24 + legendName(curve).length * CHARACTER + 16;
}

function shortened(name: string, most: number): string {
  return name.length > most ? `${name.slice(0, most - 1)}…` : name;
}

/** Colours come again after six, in dashes. */
function classOf(i: number): string {
  return `c${i % LIGHT.length}${i >= LIGHT.length ? " again" : ""}`;
}

/** A domain needs a length. */
function spread([from, to]: readonly [number, number]): [number, number] {
  if (from < to) return [from, to];
  const half = Math.abs(from) / 10 || 1;
  return [from - half, to + half];
}

/** Room above and below, but not whole decades of it. */
function decades([from, to]: readonly [number, number]): [number, number] {
  return [from / 1.2, to * 1.2];
}

function line(x1: number, y1: number, x2: number, y2: number, name: string, width = 1): string {
  const ends = `x1="${rounded(x1)}" y1="${rounded(y1)}" x2="${rounded(x2)}" y2="${rounded(y2)}"`;
  return `<line class="${name}" ${ends}${width === 1 ? "" : ` stroke-width="${width}"`}/>`;
}

function label(x: number, y: number, content: string, attributes: Readonly<Record<string, string>> = {}): string {
  const more = Object.entries(attributes).map(([name, value]) => ` ${name}="${value}"`);
  return `<text x="${rounded(x)}" y="${rounded(y)}"${more.join("")}>${text(content)}</text>`;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Names come from files: nothing in them is markup, and what XML cannot hold is a question mark. */
function text(content: string): string {
  const named: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return content
    .replace(/[^\x20-\ud7ff\ue000-\u{fffd}\u{10000}-\u{10ffff}]/gu, "?")
    .replace(/[&<>"]/g, (c) => named[c]);
}

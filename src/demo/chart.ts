/** uPlot with the page's colours: drawn anew when these or the width change. */
import UPlot from "uplot";
import { el } from "./dom.js";

export interface ChartSeries {
  readonly label: string;
  /** Name of a CSS variable, "--series-1". */
  readonly color: string;
  readonly as: "line" | "points" | "bars";
}

export interface ChartOptions {
  /** What is drawn, for those who do not see it. */
  readonly label: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly ChartSeries[];
  readonly logY?: boolean;
  readonly height?: number;
  /** Points are drawn at both axes' equal range. */
  readonly square?: readonly [least: number, most: number];
}

type Values = readonly (number | null)[];

const DARK = matchMedia("(prefers-color-scheme: dark)");

/** One chart in an element of its own. */
export class Chart {
  readonly element = el("div", { class: "chart", role: "img" });
  private plot: UPlot | undefined;
  private drawn: { readonly options: ChartOptions; readonly data: readonly Values[] } | undefined;
  private width = 0;
  /** All that a new plot is needed for when it changes; else numbers alone do, which is far less work. */
  private look = "";

  constructor() {
    DARK.addEventListener("change", () => this.redraw());
    new ResizeObserver(() => {
      if (this.element.clientWidth !== this.width) this.redraw();
    }).observe(this.element);
  }

  /** @param data x, then each series; x rises */
  draw(options: ChartOptions, data: readonly Values[]): void {
    this.element.setAttribute("aria-label", options.label);
    this.drawn = { options, data };
    this.redraw();
  }

  clear(): void {
    this.drawn = undefined;
    this.plot?.destroy();
    this.plot = undefined;
    this.look = "";
  }

  private redraw(): void {
    this.width = this.element.clientWidth;
    if (!this.drawn || this.width === 0) return;
    const { options, data } = this.drawn;
    const values = data.map((one) => [...one]) as UPlot.AlignedData;
    const { label, square, ...rest } = options;
    const look = JSON.stringify([rest, square !== undefined, this.width, DARK.matches]);
    if (this.plot && look === this.look) {
      this.plot.setData(values);
      return;
    }
    this.look = look;
    this.plot?.destroy();
    const range = square && (() => [...this.drawn!.options.square!] as [number, number]);
    this.plot = new UPlot(uplotOptions(options, this.width, range), values, this.element);
  }
}

/** Draws one that nobody sees: the first takes several times as long as those after it. */
export function prepareCharts(): void {
  const options: ChartOptions = { label: "", x: "x", y: "y", series: [{ label: "y", color: "--text", as: "bars" }] };
  new UPlot(
    uplotOptions(options, 300),
    [
      [0, 1],
      [1, 2],
    ],
    el("div"),
  ).destroy();
}

/** @param square the range of both axes */
function uplotOptions(
  { x, y, series, logY = false, height = 260 }: Omit<ChartOptions, "square">,
  width: number,
  square?: () => [number, number],
): UPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const axis = (label: string): UPlot.Axis => ({
    label,
    stroke: color("--muted"),
    grid: { stroke: color("--line"), width: 1 },
    ticks: { stroke: color("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    labelSize: 22,
  });
  const range = square && { range: square };
  const hasBars = series.some(({ as }) => as === "bars");
  // A bar's length says its number only from zero on, and half of the outer bars is beyond the numbers they stand at.
  const fromZero = hasBars &&
    !logY && {
      range: (_: UPlot, __: number, most: number): [number, number] => [0, most * 1.05],
    };
  const wholeBars = hasBars && {
    range: ({ data: [at] }: UPlot, least: number, most: number): [number, number] => {
      const half = at.length > 1 ? (at[1] - at[0]) / 2 : 0.5;
      return [least - half, most + half];
    },
  };
  return {
    width,
    height,
    scales: {
      x: { time: false, ...wholeBars, ...range },
      y: { ...(logY && { distr: 3 as const }), ...fromZero, ...range },
    },
    axes: [axis(x), { ...axis(y), size: 64 }],
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    series: [{ label: x }, ...series.map((one) => uplotSeries(one, color(one.color)))],
  };
}

function uplotSeries({ label, as }: ChartSeries, stroke: string): UPlot.Series {
  if (as === "points") return { label, stroke, paths: () => null, points: { show: true, size: 6, fill: stroke } };
  if (as === "line") return { label, stroke, width: 1.5, spanGaps: true, points: { show: false } };
  return { label, stroke, fill: stroke, paths: UPlot.paths.bars!({ size: [0.95] }), points: { show: false } };
}

/** The bench's series as SVG files, drawn by Vega-Lite. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fromRuntimes } from "./runtimes.js";
import type { Series } from "./stats.js";

/** What is used of vega's and vega-lite's types. */
interface Vega {
  readonly parse: (spec: object) => object;
  readonly View: new (view: object, options: { renderer: "none" }) => { toSVG(): Promise<string> };
}

interface VegaLite {
  readonly compile: (spec: object) => { spec: object };
}

const CONFIG = {
  background: "white",
  font: "sans-serif",
  axis: { labelFontSize: 11, titleFontSize: 12, gridColor: "#e4e4e4" },
  header: { labelFontSize: 13, labelFontWeight: "bold" },
  legend: { labelFontSize: 12, titleFontSize: 12, orient: "top", symbolSize: 90 },
};

/** Seen apart by the colour-blind too (Okabe and Ito), dark first. */
const COLOURS = ["#000000", "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73"];

type Values = readonly { readonly panel: string; readonly name: string; readonly x: number; readonly y: number }[];

const panels = (values: Values) => ({
  field: "panel",
  title: null,
  sort: [...new Set(values.map(({ panel }) => panel))],
});

const colour = (values: Values, range: readonly string[]) => ({
  field: "name",
  title: null,
  scale: { domain: [...new Set(values.map(({ name }) => name))], range },
});

const log = (field: "x" | "y", title: string) => ({
  field,
  type: "quantitative",
  title,
  scale: { type: "log" },
  axis: { tickCount: 5, format: "~g" },
});

/** A panel a network: points over atoms, above 1 where unitcell is faster. */
const ratios = (values: Values) => ({
  facet: panels(values),
  columns: 3,
  spec: {
    width: 250,
    height: 200,
    layer: [
      { mark: { type: "rule", color: "#555", strokeDash: [4, 3] }, encoding: { y: { datum: 1 } } },
      {
        mark: { type: "point", filled: true, size: 34, opacity: 0.75 },
        encoding: {
          x: log("x", "atoms"),
          y: log("y", "time over unitcell's"),
          color: colour(values, COLOURS.slice(1)),
          shape: { field: "name", title: null },
        },
      },
    ],
  },
});

/** A panel a network: lines on two logarithmic axes, where a slope is an exponent. */
const growth = (x: string) => (values: Values) => ({
  facet: panels(values),
  columns: 3,
  resolve: { scale: { x: "independent", y: "independent" } },
  spec: {
    width: 250,
    height: 200,
    mark: { type: "line", point: { size: 34 }, strokeWidth: 1.6 },
    encoding: { x: log("x", x), y: log("y", "ms"), color: colour(values, COLOURS) },
  },
});

/** Groups of bars, a group a network. */
const levels = (values: Values) => ({
  width: { step: 26 },
  height: 260,
  mark: "bar",
  encoding: {
    x: { field: "panel", type: "nominal", title: null, sort: panels(values).sort, axis: { labelAngle: -25 } },
    xOffset: { field: "name", sort: colour(values, []).scale.domain },
    y: { field: "y", type: "quantitative", title: "speed, none of the levels = 1" },
    color: colour(values, COLOURS),
  },
});

const DRAWN: Readonly<Record<Series["plot"], (values: Values) => object>> = {
  ratios,
  "growth-atoms": growth("atoms of one crystal"),
  "growth-batch": growth("crystals in a batch"),
  levels,
};

/** One file for each plot that there are series of: their paths. */
export async function writePlots(folder: string, series: readonly Series[]): Promise<string[]> {
  const { parse, View } = await fromRuntimes<Vega>("vega");
  const { compile } = await fromRuntimes<VegaLite>("vega-lite");
  mkdirSync(folder, { recursive: true });
  const files: string[] = [];
  for (const plot of new Set(series.map((one) => one.plot))) {
    const values = series.flatMap((one) =>
      one.plot === plot ? one.points.map((point) => ({ panel: one.panel, name: one.name, ...point })) : [],
    );
    const { spec } = compile({ data: { values }, config: CONFIG, ...DRAWN[plot](values) });
    const path = join(folder, `${plot}.svg`);
    writeFileSync(path, `${await new View(parse(spec), { renderer: "none" }).toSVG()}\n`);
    files.push(path);
  }
  return files;
}

/** How the cost of a forward pass grows: with the atoms of one crystal, and with the crystals of a batch. */
import { buildGraph, type Structure } from "../src/index.js";
import { type Context, rowOf, time } from "./compare.js";
import { Contest } from "./contest.js";
import { type Network, networkFiles } from "./networks.js";
import { growthExponent, type Row, type SectionResult, type Series } from "./stats.js";
import { binaryCrystals, jitteredCell } from "./structures.js";

/** Crystals without symmetry, the hard case: every atom is a row of its own. */
const ATOMS = [1, 8, 64, 512, 5000];
const CRYSTALS = [1, 4, 16, 64, 256, 1024];
/** The exponent is fitted from here on, where no cost is a constant any more. */
const FIT_FROM = 16;
/** Of ALIGNN's default, with its 14 million multiplications an atom. */
const MOST = { slow: 64, quick: 64, usual: 5000 };
/** All rounds of all columns on one size may take so long, ms. */
const BUDGET_MS = 2000;
/** Twice the rows may take this many times as long, as a power: 5,000 atoms of a narrow network leave every cache. */
const LINEAR = 1.25;

export async function growth(context: Context): Promise<SectionResult> {
  const results: SectionResult[] = [];
  const all = networkFiles().filter(({ options }) => !options);
  for (const network of context.quick ? all.slice(0, 1) : all) results.push(await ofNetwork(context, network));
  return {
    rows: results.flatMap(({ rows }) => rows),
    notes: results.flatMap(({ notes }) => notes ?? []),
    failures: results.flatMap(({ failures }) => failures ?? []),
    slow: results.flatMap(({ slow }) => slow ?? []),
    series: results.flatMap(({ series }) => series ?? []),
  };
}

async function ofNetwork(context: Context, { title, path, slow }: Network): Promise<SectionResult> {
  const contest = await Contest.open(context, path);
  const most = Math.min(slow ? MOST.slow : MOST.usual, context.quick ? MOST.quick : MOST.usual);
  const crystals: Structure[] = [];
  for await (const crystal of binaryCrystals(Math.min(Math.max(...CRYSTALS), most))) crystals.push(crystal);
  const up = (sizes: readonly number[]) => sizes.filter((size) => size <= most);
  const curves = [
    {
      step: "atoms of one crystal",
      plot: "growth-atoms",
      each: "µs/atom",
      factor: 1000,
      sizes: up(ATOMS),
      of: (size: number) => [jitteredCell(size)],
    },
    {
      step: "crystals in a batch",
      plot: "growth-batch",
      each: "ms/crystal",
      factor: 1,
      sizes: up(CRYSTALS),
      of: (size: number) => crystals.slice(0, size),
    },
  ] as const;
  const rows: Row[] = [];
  const series: Series[] = [];
  const exponents: { step: string; p: number }[] = [];
  for (const { step, plot, each, factor, sizes, of } of curves) {
    const points: Row[] = [];
    for (const size of sizes) {
      const graphs = of(size).map((structure) => buildGraph(structure, contest.model.config.graph));
      const labels = { section: "growth", step: `${title}: ${step}`, size: String(size), budgetMs: BUDGET_MS };
      const made = await contest.step(labels, graphs);
      const timing = await time(context, made);
      contest.compare(timing);
      points.push(rowOf({ ...made, unit: { name: each, of: (ms) => (ms * factor) / size } }, timing));
    }
    rows.push(...points);
    const times = (of: (row: Row) => number | undefined) =>
      points.flatMap((row, i) => (of(row) === undefined ? [] : [{ x: sizes[i], y: (of(row)! * sizes[i]) / factor }]));
    const curve = (name: string, of: (row: Row) => number | undefined): Series => {
      return { plot, panel: title, name, points: times(of) };
    };
    const names = Object.keys(points[0]?.peers ?? {});
    series.push(
      curve("unitcell", ({ ours }) => ours.median),
      ...names.map((name) => curve(name, ({ peers }) => peers?.[name]?.median)),
    );
    const fitted = series[series.length - names.length - 1].points.filter(({ x }) => Number(x) >= FIT_FROM);
    if (fitted.length > 1)
      exponents.push({
        step,
        p: growthExponent(
          fitted.map(({ x }) => Number(x)),
          fitted.map(({ y }) => y),
        ),
      });
  }
  const { notes, failures } = contest.differences(title);
  await contest.close();
  return {
    rows,
    series,
    notes: [
      ...exponents.map(({ step, p }) => `${title}: time ~ (${step})^${p.toFixed(2)} from ${FIT_FROM} on`),
      ...notes.map((note) => `growth: ${note}`),
    ],
    failures,
    slow: exponents.flatMap(({ step, p }) => (p > LINEAR ? [`${title}: time grows as (${step})^${p.toFixed(2)}`] : [])),
  };
}

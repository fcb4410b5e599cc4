/** Graph building: the shared structures beside pymatgen, then time against the number of atoms. */

import { findNeighbors } from "../src/graphs/neighbors.js";
import { buildGraph, predict, type Structure } from "../src/index.js";
import { type Context, measure, type Step } from "./compare.js";
import { networkGraphs } from "./network-graphs.js";
import { growthExponent, type Row, type SectionResult } from "./stats.js";
import { graphSteps } from "./steps.js";
import { jitteredCell, perovskite, readModel, vacancy } from "./structures.js";

const SIZES = [1, 8, 64, 512, 1000, 2000, 5000, 10000, 20000];
/** The exponent is fitted from this size on, where no cost is a constant any more. */
const FIT_FROM = 512;
/** pymatgen makes an object of each of the 107 atoms within 8 Å: more atoms take minutes. */
const MOST_PYTHON_ATOMS = 1000;
/** Its array API does not. */
const MOST_ARRAY_ATOMS = 5000;
/** Twice the atoms may take this many times as long, as a power: noise and caches allowed for. */
const LINEAR = 1.15;

export async function graphs(context: Context): Promise<SectionResult> {
  const rows = await graphSteps(context);
  const { config } = await readModel(context.inputs.checkpoint);
  if (config.type !== "cgcnn") throw new Error("the graphs section wants a CGCNN");
  const { cutoff, maxNeighbors } = config.graph;
  const notes: string[] = [];
  const slow: string[] = [];

  const neighbors = await againstAtoms(context, "neighbours, random cell", SIZES.map(random), (structure) =>
    findNeighbors(structure, cutoff, maxNeighbors),
  );
  const build = (structure: Structure) => buildGraph(structure, config.graph);
  const whole = await againstAtoms(context, "build graph, random cell", SIZES.map(random), build, "graph");
  const arrays = context.native
    ? await againstAtoms(
        context,
        "... pymatgen's array API",
        SIZES.filter((atoms) => atoms <= MOST_ARRAY_ATOMS).map(random),
        build,
        "array_graph",
      )
    : { rows: [], exponent: 0 };
  const sparse = await againstAtoms(context, "build graph, sparse cell", [512, 5000, 20000].map(thin), build);
  // Symmetry is the hard case: every atom has tied neighbours, and their choice needs the colours of all atoms.
  const crystals = [1, 5, 10, 16];
  const perfect = await againstAtoms(context, "build graph, SrTiO3", crystals.map(perovskite), build);
  const defect = await againstAtoms(
    context,
    "build graph, SrTiO3 less one atom",
    crystals.slice(1).map((n) => vacancy(perovskite(n))),
    build,
  );
  for (const series of [neighbors, whole, arrays, sparse, perfect, defect]) rows.push(...series.rows);

  notes.push(
    `time ~ atoms^p from ${FIT_FROM} atoms on: neighbours p = ${neighbors.exponent.toFixed(2)}, ` +
      `graph p = ${whole.exponent.toFixed(2)}, of sparse cells ${sparse.exponent.toFixed(2)}`,
  );
  if (![neighbors, whole, sparse].every(({ exponent }) => exponent <= LINEAR))
    slow.push(`graph time grows faster than atoms^${LINEAR}`);
  rows.push(...(await wholeCells(context)));
  const networks = await networkGraphs(context);
  rows.push(...networks.rows);
  notes.push(...(networks.notes ?? []));
  return { rows, notes, failures: networks.failures ?? [], slow };
}

const random = (atoms: number) => jitteredCell(atoms);

/** 2.5 times the distances: atoms run short of neighbours and are filled up. */
const thin = (atoms: number) => {
  const cell = jitteredCell(atoms);
  return { ...cell, lattice: cell.lattice.map((x) => 2.5 * x) };
};

/** One line per cell, in µs an atom, and the exponent of the time over the large half. */
async function againstAtoms(
  context: Context,
  step: string,
  cells: readonly Structure[],
  ours: (structure: Structure) => unknown,
  python?: "graph" | "array_graph",
): Promise<{ rows: Row[]; exponent: number }> {
  const rows: Row[] = [];
  for (const cell of cells) {
    const atoms = cell.numbers.length;
    const most = python === "graph" ? MOST_PYTHON_ATOMS : MOST_ARRAY_ATOMS;
    const file = `random ${atoms}`;
    const request = python && atoms <= most ? { step: python, file } : undefined;
    if (request) await supply(context, file, cell);
    const measured: Step = {
      section: "graphs",
      step,
      size: `${atoms} ${atoms === 1 ? "atom" : "atoms"}`,
      ours: () => ours(cell),
      python: request,
      unit: { name: "µs/atom", of: (ms) => (ms * 1000) / atoms },
    };
    // The large ones take seconds in Python, and their own length makes them steady.
    rows.push(
      await measure(atoms > FIT_FROM ? { ...context, rounds: Math.min(context.rounds, 5) } : context, measured),
    );
  }
  const large = cells.flatMap(({ numbers }, i) =>
    numbers.length >= FIT_FROM ? [{ atoms: numbers.length, time: rows[i].ours.median * numbers.length }] : [],
  );
  return {
    rows,
    exponent: growthExponent(
      large.map(({ atoms }) => atoms),
      large.map(({ time }) => time),
    ),
  };
}

async function supply(context: Context, file: string, { lattice, numbers, fracCoords }: Structure): Promise<void> {
  await context.native?.run({
    step: "supply",
    file,
    lattice: [...lattice],
    numbers: [...numbers],
    frac: [...fracCoords],
  });
}

/** From the structure to the value, for the smallest and for a large cell. */
async function wholeCells(context: Context): Promise<Row[]> {
  const model = await readModel(context.inputs.checkpoint);
  const rows: Row[] = [];
  for (const atoms of [1, 5000]) {
    const cell = jitteredCell(atoms);
    const step = {
      section: "graphs",
      step: "predict, random cell",
      size: `${atoms} ${atoms === 1 ? "atom" : "atoms"}`,
    };
    const few = { ...context, rounds: Math.min(context.rounds, 5) };
    rows.push(await measure(few, { ...step, ours: () => predict(model, [cell]) }));
  }
  return rows;
}

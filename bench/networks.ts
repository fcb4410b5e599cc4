/**
 * The forward pass of all three architectures on every structure, and on batches, beside PyTorch and ONNX Runtime on the
 * same graphs: then unitcell with less of what makes it fast.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { lift } from "../src/graphs/lift.js";
import { buildGraph, type CrystalGraph, type ModelOptions, type Structure } from "../src/index.js";
import { fixturesRoot } from "../test/fixtures.js";
import { type Context, rowOf, time } from "./compare.js";
import { CLOCK, Contest, Ours } from "./contest.js";
import { levels as speedLevels } from "./levels.js";
import { acrossInputs, median, type Row, type SectionResult, type Series, summarize } from "./stats.js";
import { namedFiles, nameOf, pressed, readStructure } from "./structures.js";

export interface Network {
  readonly title: string;
  readonly path: string;
  readonly options?: ModelOptions;
  /** ALIGNN's default: calls of seconds, so fewer of them and smaller batches. */
  readonly slow?: boolean;
}

/** Published networks of each size where the fixtures are, and the examples. */
export function networkFiles(): Network[] {
  const alignn = join(fixturesRoot, "alignn/alignn_default/best_model.pt");
  const published: Network[] = [
    { title: "CGCNN, published", path: join(fixturesRoot, "cgcnn/formation-energy-per-atom.pth.tar") },
    { title: "MEGNet, published", path: join(fixturesRoot, "megnet/state.pt") },
    { title: "ALIGNN, default", path: alignn, slow: true },
    { title: "ALIGNN, default, symmetric", path: alignn, slow: true, options: { neighborPolicy: "symmetric" } },
  ];
  const examples = ["CGCNN", "MEGNet", "ALIGNN"].map((name) => ({
    title: `${name}, example`,
    path: `examples/saved_models/${name.toLowerCase()}_ionic_best.pt`,
  }));
  return [...published, ...examples].filter(({ path }) => existsSync(path));
}

/** Time that all rounds on one structure may take, and on one batch, ms. */
const STRUCTURE_MS = 250;
const BATCH_MS = 2500;
/** Warm-up of a network on structures of so many atoms, and then on each structure, ms. */
const WARM_UP_ATOMS = 30;
const WARM_UP_MS = 1000;
const SHORT_WARM_UP = 10;
/** A lifted graph with hardly fewer rows: the crystal has no symmetry to use. */
const NO_SYMMETRY = 1.1;
/** Structures of batches have at most so many atoms. */
const BATCH_ATOMS = { usual: 16, slow: 8 };

export interface Input {
  readonly name: string;
  readonly structure: Structure;
  readonly graph: CrystalGraph;
}

export async function networks(context: Context): Promise<SectionResult> {
  const results: SectionResult[] = [];
  const all = networkFiles();
  for (const network of context.quick ? all.filter(({ slow }) => !slow) : all)
    results.push(await race(context, network));
  return {
    rows: results.flatMap(({ rows }) => rows),
    notes: [...new Set(results.flatMap(({ notes }) => notes ?? []))],
    failures: results.flatMap(({ failures }) => failures ?? []),
    series: results.flatMap(({ series }) => series ?? []),
  };
}

async function race(context: Context, network: Network): Promise<SectionResult> {
  const { title, path, options } = network;
  const contest = await Contest.open(context, path, options);
  const inputs = inputsOf(context, contest);
  const single = await oneByOne(context, contest, title, inputs);
  const batches = await inBatches(context, contest, network, inputs);
  const { notes, failures } = contest.differences(title);
  await contest.close();
  return {
    rows: [...single.rows, ...batches],
    series: single.series,
    notes: [...single.notes, ...notes, ...contest.missing.map((reason) => `no column: ${reason}`)],
    failures,
  };
}

/** Every structure that the network can take. */
function inputsOf(context: Context, { model }: Contest): Input[] {
  return context.inputs.crystals.flatMap((file) => {
    const structure = readStructure(file);
    if (!structure.numbers.every((z) => model.elements.rows.has(z))) return [];
    try {
      return [{ name: nameOf(file), structure, graph: buildGraph(structure, model.config.graph) }];
    } catch {
      return []; // a crystal without bonds has no MEGNet graph
    }
  });
}

/** One structure's times: medians by the name of the column, ms. */
interface Single {
  readonly input: Input;
  readonly atoms: number;
  readonly path: string;
  /** Rows of the graph over rows of the lifted one. */
  readonly compression: number;
  readonly flops: number;
  readonly row: Row;
  readonly ours: number;
  readonly variants: Readonly<Record<string, number>>;
  readonly peers: Readonly<Record<string, number>>;
}

async function oneByOne(context: Context, contest: Contest, title: string, inputs: readonly Input[]) {
  const singles: Single[] = [];
  const graphs = inputs.map(({ graph }) => graph);
  await contest.warmUp(
    graphs.filter(({ numAtoms }) => numAtoms <= WARM_UP_ATOMS),
    WARM_UP_MS,
  );
  for (const input of inputs) {
    const atoms = input.graph.numAtoms;
    const size = `${atoms} ${atoms === 1 ? "atom" : "atoms"} (${input.name})`;
    const labels = { section: "networks", step: `${title}, batch 1`, size, budgetMs: STRUCTURE_MS };
    const step = await contest.step(labels, [input.graph]);
    const timing = await time(context, step, SHORT_WARM_UP);
    contest.compare(timing);
    const medians = (from: Readonly<Record<string, readonly number[]>> = {}) =>
      Object.fromEntries(Object.entries(from).map(([name, samples]) => [name, median(samples)]));
    const lifted = lift(input.graph);
    singles.push({
      input,
      atoms,
      path: input.name,
      compression: "compression" in lifted ? lifted.compression : 1,
      flops: contest.linearFlops([input.graph]),
      row: rowOf(step, timing),
      ours: median(timing.ours),
      variants: medians(timing.variants),
      peers: medians(timing.peers ?? (timing.python && { Python: timing.python })),
    });
  }
  const plain = singles.filter(({ compression }) => compression < NO_SYMMETRY);
  const rows = namedFiles(singles).map((one) => one.row);
  rows.push(...summaries(`${title}, batch 1`, `all ${singles.length}`, singles));
  if (plain.length > 0) rows.push(...summaries(`${title}, batch 1`, `${plain.length} without symmetry`, plain));
  const speeds = (some: readonly Single[]) => spread(some.map(({ flops, ours }) => flops / ours / 1e6));
  const slower = singles.filter((one) => fastest(one) < one.ours);
  return {
    rows,
    notes: [
      `${title}: compression ${spread(singles.map(({ compression }) => compression))}; ` +
        `slower than the fastest peer on ${slower.length} of ${singles.length}` +
        (slower.length
          ? `: ${slower.map((one) => `${one.path} ${(fastest(one) / one.ours).toFixed(2)}x`).join(", ")}`
          : ""),
      `${title}: GFLOP/s of the linear layers as written, over the whole step: ${speeds(singles)}` +
        (plain.length ? `; without symmetry ${speeds(plain)}` : ""),
    ],
    series: ratioSeries(title, singles),
  };
}

const fastest = ({ peers }: Single) => Math.min(...Object.values(peers));

function spread(values: readonly number[]): string {
  const { low, median: middle, high } = summarize(values);
  return `${middle.toFixed(1)} (quartiles ${low.toFixed(1)} to ${high.toFixed(1)}, most ${Math.max(...values).toFixed(0)})`;
}

/** Geometric means over structures: of times, and of each column's time over unitcell's on the same structure. */
function summaries(step: string, which: string, singles: readonly Single[]): Row[] {
  const names = (of: (one: Single) => object) => Object.keys(of(singles[0]));
  const each = (group: "variants" | "peers", of: (ms: number, one: Single) => number) =>
    Object.fromEntries(
      names((one) => one[group]).map((name) => [name, acrossInputs(singles.map((one) => of(one[group][name], one)))]),
    );
  const compared = names(({ peers }) => peers).length > 0;
  const ratios = acrossInputs(singles.map((one) => fastest(one) / one.ours));
  const one = { median: 1, low: 1, high: 1 };
  const columns = (of: (ms: number, one: Single) => number) => ({
    variants: each("variants", of),
    ...(compared && { peers: each("peers", of) }),
  });
  return [
    {
      section: "networks",
      step,
      size: `geometric mean of ${which}`,
      unit: "ms",
      ours: acrossInputs(singles.map(({ ours }) => ours)),
      ...columns((ms) => ms),
    },
    {
      section: "networks",
      step,
      size: `ratios of ${which}`,
      unit: "x",
      ours: one,
      ...columns((ms, { ours }) => ms / ours),
      ...(compared && { ratio: ratios.median, ratioSpread: ratios }),
    },
  ];
}

/** Of each structure, how many times as long the fastest peer takes. */
function ratioSeries(title: string, singles: readonly Single[]): Series[] {
  const names = Object.keys(singles[0]?.peers ?? {});
  return names.map((name) => ({
    plot: "ratios",
    panel: title,
    name,
    points: singles.map(({ atoms, peers, ours, path }) => ({ x: atoms, y: peers[name] / ours, label: path })),
  }));
}

/** Batches of crystals that all differ, by a little strain, and of copies. */
async function inBatches(
  context: Context,
  contest: Contest,
  { title, slow, options }: Network,
  inputs: readonly Input[],
) {
  const rows: Row[] = [];
  const small = inputs.filter(({ graph }) => graph.numAtoms <= (slow ? BATCH_ATOMS.slow : BATCH_ATOMS.usual));
  for (const count of slow ? [64] : context.quick ? [64] : [64, 256])
    for (const kind of options ? (["distinct"] as const) : (["distinct", "identical copies"] as const)) {
      const chosen = Array.from({ length: count }, (_, i) => small[i % small.length]);
      const graphs = chosen.map(({ structure, graph }, i) =>
        kind === "distinct" ? buildGraph(pressed(structure, i / count), contest.model.config.graph) : graph,
      );
      const total = (of: (graph: CrystalGraph) => number) => graphs.reduce((sum, graph) => sum + of(graph), 0);
      const size = `${kind}: ${total((graph) => graph.numAtoms)} atoms, ${total((graph) => graph.numEdges)} edges`;
      const labels = { section: "networks", step: `${title}, batch ${count}`, size, budgetMs: BATCH_MS };
      const step = await contest.step(labels, graphs);
      const timing = await time(context, step);
      contest.compare(timing);
      rows.push(rowOf(step, timing));
    }
  return rows;
}

/** Structures that the levels are compared on: so many of each network's, small to large. */
const LEVEL_STRUCTURES = 12;
/** All rounds of all levels on one structure, ms. */
const LEVEL_MS = 500;

/** unitcell alone, with one level of its speed taken away at a time, and with none. */
export async function levels(context: Context): Promise<SectionResult> {
  const rows: Row[] = [];
  const series: Series[] = [];
  const { full: whole, baseline, less } = speedLevels();
  for (const { title, path, options, slow } of networkFiles()) {
    if (slow && context.quick) continue;
    const contest = await Contest.open({ ...context, native: undefined, newer: [] }, path, options);
    const sorted = inputsOf(context, contest).sort((a, b) => a.graph.numAtoms - b.graph.numAtoms);
    const inputs = sorted.filter((_, i) => i % Math.ceil(sorted.length / LEVEL_STRUCTURES) === 0);
    const left: Record<string, Ours> = {};
    for (const level of less) left[level.name] = await Ours.open(level, contest.model);
    const full = await Ours.open(whole, contest.model);
    const warm = inputs.filter(({ graph }) => graph.numAtoms <= WARM_UP_ATOMS);
    for (const ours of [full, ...Object.values(left)])
      for (let round = 0; round < 3; round++) for (const { graph } of warm) await ours.run([graph]);
    const relative = new Map([whole, ...less].map(({ name }) => [name, [] as number[]]));
    for (const { graph } of inputs) {
      const step = {
        ...{ section: "levels", step: title, size: "", clock: CLOCK, budgetMs: LEVEL_MS },
        ours: () => full.run([graph]),
        variants: Object.fromEntries(Object.entries(left).map(([name, ours]) => [name, () => ours.run([graph])])),
      };
      const { ours, variants } = await time(context, step, SHORT_WARM_UP);
      for (const [name, samples] of Object.entries({ [whole.name]: ours, ...variants }))
        relative.get(name)!.push(median(samples) / median(ours));
    }
    const times = (name: string) => acrossInputs(relative.get(name)!);
    rows.push({
      section: "levels",
      step: title,
      size: `${inputs.length} structures, time over full's`,
      unit: "x",
      ours: { median: 1, low: 1, high: 1 },
      variants: Object.fromEntries(less.map(({ name }) => [name, times(name)])),
    });
    for (const { name } of [whole, ...less]) {
      const speed = times("none of these").median / times(name).median;
      series.push({ plot: "levels", panel: title, name, points: [{ x: 0, y: speed }] });
    }
    for (const ours of [full, ...Object.values(left)]) ours.close();
    await contest.close();
  }
  const notes = [
    baseline
      ? "baseline module: kernels without relaxed SIMD, which Node 20 gets unless --experimental-wasm-relaxed-simd is set"
      : "this runtime has no relaxed SIMD, or unitcell no kernels of it: everything above is the baseline module",
  ];
  return { rows, notes, series };
}

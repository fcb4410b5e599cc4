/** One network in unitcell, in every PyTorch and in every ONNX Runtime there is, on the same graphs. */
import { basename, dirname } from "node:path";
import type { Session } from "../src/backends/backend.js";
import { batchBytes, checkOptions } from "../src/batches.js";
import { readCheckpointFiles } from "../src/cli/checkpoint-files.js";
import { type AnyGraph, lift } from "../src/graphs/lift.js";
import { distinctGraphs } from "../src/graphs/same-graph.js";
import {
  type CrystalGraph,
  collate,
  loadCheckpoint,
  type Model,
  type ModelOptions,
  modelFromCheckpoint,
  type Node,
} from "../src/index.js";
import { type Clock, type Contender, type Context, type Step, type Timing, timeCalls } from "./compare.js";
import { type Level, levels } from "./levels.js";
import { OnnxNetwork, onnxRuntimes } from "./onnx.js";

/** Outputs on one graph, relative to max(1, |output|). */
const TOLERANCE = 2e-5;

/** Nothing here waits, and all have one thread. */
export const CLOCK: Clock = "processor";

/** unitcell with some of its levels: graphs to outputs, in the batches that predict makes. */
export class Ours {
  readonly #level: Level;
  readonly #session: Session;
  readonly #maxAtoms: number;

  private constructor(level: Level, session: Session, maxAtoms: number) {
    this.#level = level;
    this.#session = session;
    this.#maxAtoms = maxAtoms;
  }

  static async open(level: Level, model: Model): Promise<Ours> {
    return new Ours(level, await level.backend.createSession(model.program), checkOptions([model], {}));
  }

  get name(): string {
    return this.#level.name;
  }

  async run(graphs: readonly CrystalGraph[]): Promise<number[]> {
    const outputs: number[] = [];
    for (const group of this.#groups(graphs)) {
      const { graphs: distinct, of } = this.#level.lifts ? distinctGraphs(group) : { graphs: group, of: group.keys() };
      const found = await this.#session.run(collate(distinct));
      for (const place of of) outputs.push(found[place]);
    }
    return outputs;
  }

  /** As predict makes them: by the crystals' atoms, and by bytes. */
  #groups(graphs: readonly CrystalGraph[]): AnyGraph[][] {
    const groups: AnyGraph[][] = [[]];
    let [atoms, bytes] = [0, 0];
    for (const graph of graphs) {
      const lifted = this.#level.lifts ? lift(graph) : graph;
      const own = batchBytes(this.#session, lifted);
      if (atoms > 0 && (atoms + graph.numAtoms > this.#maxAtoms || bytes + own > this.#session.goodBytes)) {
        groups.push([]);
        [atoms, bytes] = [0, 0];
      }
      groups[groups.length - 1].push(lifted);
      atoms += graph.numAtoms;
      bytes += own;
    }
    return groups;
  }

  close(): void {
    this.#session.dispose();
  }
}

export class Contest {
  readonly model: Model;
  readonly #context: Context;
  readonly #path: string;
  readonly #ours: Ours;
  readonly #baseline: Ours | undefined;
  readonly #onnx: Readonly<Record<string, OnnxNetwork>>;
  /** Names of the graphs that the Pythons have. */
  readonly #names = new Map<CrystalGraph, string>();
  /** Of the last step, by the name of the column. */
  #outputs = new Map<string, ArrayLike<number>>();
  /** Largest difference of each peer's outputs. */
  readonly #worst = new Map<string, number>();
  /** Why a peer takes no part. */
  readonly missing: readonly string[];

  private constructor(parts: {
    model: Model;
    context: Context;
    path: string;
    ours: Ours;
    baseline: Ours | undefined;
    onnx: Record<string, OnnxNetwork>;
    missing: string[];
  }) {
    this.model = parts.model;
    this.#context = parts.context;
    this.#path = parts.path;
    this.#ours = parts.ours;
    this.#baseline = parts.baseline;
    this.#onnx = parts.onnx;
    this.missing = parts.missing;
  }

  static async open(context: Context, path: string, options: ModelOptions = {}): Promise<Contest> {
    const model = modelFromCheckpoint(await loadCheckpoint((await readCheckpointFiles(path)).files), options);
    const { runtimes, missing } = await onnxRuntimes();
    const onnx: Record<string, OnnxNetwork> = {};
    for (const runtime of runtimes) onnx[runtime.name] = await OnnxNetwork.open(runtime, model.program);
    const { full, baseline: plain } = levels();
    const ours = await Ours.open(full, model);
    const baseline = plain && (await Ours.open(plain, model));
    return new Contest({ model, context, path, ours, baseline, onnx, missing });
  }

  /** Until V8 has compiled what these graphs need, which its threads would do at the first structures' cost. */
  async warmUp(graphs: readonly CrystalGraph[], ms: number): Promise<void> {
    for (const ours of [this.#ours, ...(this.#baseline ? [this.#baseline] : [])]) {
      const end = performance.now() + ms;
      for (let i = 0; performance.now() < end; i++) await ours.run([graphs[i % graphs.length]]);
    }
  }

  /** Graphs in one batch to outputs. Of the peers only the forward pass: their tensors are ready. */
  async step(
    labels: Pick<Step, "section" | "step" | "size" | "budgetMs">,
    graphs: readonly CrystalGraph[],
  ): Promise<Step> {
    for (const graph of new Set(graphs)) await this.#supply(graph);
    this.#outputs = new Map();
    const kept = (name: string, run: () => Promise<ArrayLike<number>>) => async () => {
      this.#outputs.set(name, await run());
    };
    const peers: Record<string, Contender> = {};
    for (const [name, network] of Object.entries(this.#onnx)) {
      const run = kept(name, network.prepare(graphs));
      peers[name] = (calls) => timeCalls(run, calls, CLOCK);
    }
    const own = (ours: Ours) => kept(ours.name, () => ours.run(graphs));
    return {
      ...labels,
      clock: CLOCK,
      ours: own(this.#ours),
      python: { step: "network_forward", model: this.#path, files: graphs.map((graph) => this.#names.get(graph)!) },
      peers,
      ...(this.#baseline && { variants: { [this.#baseline.name]: own(this.#baseline) } }),
    };
  }

  /** Note how far the outputs of the others were from ours when the last step was timed. */
  compare({ results }: Timing): void {
    const { [this.#ours.name]: ours, ...others } = Object.fromEntries(this.#outputs);
    for (const [name, result] of Object.entries(results)) others[name] = (result as number[]).flat();
    for (const [name, theirs] of Object.entries(others))
      for (const [i, x] of Array.from(theirs).entries()) {
        const by = Math.abs(ours[i] - x) / Math.max(1, Math.abs(x));
        this.#worst.set(name, Math.max(this.#worst.get(name) ?? 0, Number.isNaN(by) ? Infinity : by));
      }
  }

  /** Multiplications and additions of the linear layers as the network is written, before any level of unitcell's speed. */
  linearFlops(graphs: readonly CrystalGraph[]): number {
    const { sizes } = collate(graphs);
    const of = ({ op, inputs: [x], output }: Node) =>
      op === "linear" ? 2 * sizes[output.rows as keyof typeof sizes] * output.columns * x.columns : 0;
    return this.model.program.nodes.reduce((sum, node) => sum + of(node), 0);
  }

  /** What the comparisons found, for people, and what of it is too much. */
  differences(title: string): { notes: string[]; failures: string[] } {
    const each = [...this.#worst].map(([name, by]) => ({ name, by, text: `${name} ${by.toExponential(1)}` }));
    return {
      notes: each.length ? [`${title}: outputs differ at most by: ${each.map(({ text }) => text).join(", ")}`] : [],
      failures: each.filter(({ by }) => by > TOLERANCE).map(({ text }) => `${title}: outputs differ: ${text}`),
    };
  }

  async #supply(graph: CrystalGraph): Promise<void> {
    if (this.#names.has(graph)) return;
    const name = `${basename(dirname(this.#path))}/${basename(this.#path)}/${supplied++}`;
    this.#names.set(graph, name);
    for (const worker of [this.#context.native, ...(this.#context.newer ?? [])])
      await worker?.run({ step: "supply_graph", file: name, ...plain(graph) });
  }

  async close(): Promise<void> {
    this.#ours.close();
    this.#baseline?.close();
    for (const network of Object.values(this.#onnx)) await network.close();
    for (const worker of [this.#context.native, ...(this.#context.newer ?? [])]) await worker?.run({ step: "forget" });
  }
}

let supplied = 0;

function plain({ numbers, start, source, lengths, vectors, neighborPolicy }: CrystalGraph) {
  const receiver = Array.from(source, () => 0);
  for (let i = 0; i + 1 < start.length; i++) receiver.fill(i, start[i], start[i + 1]);
  const edges = vectors
    ? { vectors: [...vectors], follows_itself: neighborPolicy === "symmetric" }
    : { lengths: [...lengths] };
  return { numbers: [...numbers], source: [...source], receiver, ...edges };
}

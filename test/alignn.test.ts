/** ALIGNN's 17 checkpoints against upstream's float64 numbers: on its own graphs, from its own inputs, layer by layer. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { collate } from "../src/graphs/batch.js";
import { buildGraph, type CrystalGraph } from "../src/graphs/graph.js";
import { lineGraph } from "../src/graphs/line-graph.js";
import { loadModel } from "../src/load-model.js";
import { type Model, outputRow } from "../src/models/model.js";
import { lowerBatchNorm } from "../src/ops/fold-norms.js";
import { DEFAULT_PASSES } from "../src/ops/passes.js";
import { predict } from "../src/predict.js";
import { fixtureBytes, fixtureJson, fixtureNames, haveFixtures } from "./fixtures.js";
import {
  ALIGNN_TOLERANCE,
  type AlignnGolden,
  alignnGoldens,
  alignnGraphs,
  alignnModel,
  alignnStructures,
  graphOfEdges,
} from "./goldens-alignn.js";

/** Which stored edge lists are a model's; those of no_canonize_nn8's settings are not stored. */
const GRAPHS: Readonly<Record<string, string>> = { "variants/radius_graph": "radius5", "variants/no_canonize_nn8": "" };

/** Largest error relative to max(1, |value|). */
function errorOf(found: ArrayLike<number>, golden: AlignnGolden["f64"]): number {
  const expected = [golden].flat(2);
  assert.is(found.length, expected.length);
  return Math.max(...expected.map((x, i) => Math.abs(found[i] - x) / Math.max(1, Math.abs(x))));
}

/** Each graph by itself, then its error from the golden of its structure. */
async function compare(name: string, model: Model, graphs: ReadonlyMap<string, CrystalGraph>, what: string) {
  const { kind, predictions } = goldens.get(name)!;
  const session = await wasmBackend().createSession(model.program);
  let worst = { id: "", error: 0 };
  const outputs = new Map<string, Float32Array>();
  for (const [id, graph] of graphs) {
    const batch = collate([graph]);
    outputs.set(id, outputRow(model, batch, await session.run(batch), 0));
    const error = errorOf(outputs.get(id)!, predictions[id].f64);
    if (!(error <= worst.error)) worst = { id, error };
  }
  console.log(
    `  ${name} (${kind}), ${graphs.size} ${what}: largest error ${worst.error.toExponential(2)} (${worst.id})`,
  );
  assert.ok(worst.error <= ALIGNN_TOLERANCE, `${worst.id}: ${worst.error}`);
  return { outputs, session };
}

const isFixture = haveFixtures("alignn");
const goldens = isFixture ? alignnGoldens() : new Map<never, never>();

if (isFixture) {
  const structures = alignnStructures();

  test("the fixtures hold 17 checkpoints and 54 structures", () => {
    assert.is(goldens.size, 17);
    assert.is(structures.size, 54);
  });

  for (const name of goldens.keys()) {
    const graphsOf = (model: Model) =>
      new Map(Array.from(structures, ([id, structure]) => [id, buildGraph(structure, model.config.graph)]));

    test(`${name}: all structures within ${ALIGNN_TOLERANCE} of float64, the bits of a batch of all those of each alone`, async () => {
      const model = await alignnModel(name);
      const graphs = graphsOf(model);
      for (const [id, { edges }] of Object.entries(goldens.get(name)!.predictions))
        assert.is(graphs.get(id)!.numEdges, edges, `${id}: edges`);
      const { outputs, session } = await compare(name, model, graphs, "structures");
      const batch = collate([...graphs.values()]);
      const together = await session.run(batch);
      for (const [b, id] of [...graphs.keys()].entries())
        assert.equal(outputRow(model, batch, together, b), outputs.get(id), id);
      session.dispose();
    });

    const stored = GRAPHS[name] ?? "knn";
    if (stored)
      test(`${name}: upstream's stored graphs within ${ALIGNN_TOLERANCE} of float64`, async () => {
        const model = await alignnModel(name);
        const cells = graphsOf(model);
        const graphs = Array.from(
          alignnGraphs(stored),
          ([id, graph]) => [id, withCell(graph, cells.get(id)!)] as const,
        );
        await compare(name, model, new Map(graphs), "stored graphs");
      });
  }

  const containers = fixtureNames("alignn/variants/multi_output").filter((file) => /\.(pt|zip)$/.test(file));
  for (const file of containers)
    test(`multi_output/${file}: the predictions of best_model.pt, to the bit`, async () => {
      const some = [...structures.values()].filter(({ numbers }) => numbers.length <= 8);
      const outputs = async (model: Model) => (await predict(model, some)).map(({ values }) => values);
      const model = await loadModel(fixtureBytes(`alignn/variants/multi_output/${file}`));
      assert.equal(await outputs(model), await outputs(await alignnModel("variants/multi_output")));
    });

  for (const name of ["alignn_default", "atomwise_graph"])
    test(`${name}: the symmetric policy where upstream's rule with a tolerant cut has the same edges`, async () => {
      const model = await alignnModel(name, { neighborPolicy: "symmetric" });
      const session = await wasmBackend().createSession(model.program);
      let worst = 0;
      let compared = 0;
      for (const [id, golden] of Object.entries(goldens.get(name)!.predictions)) {
        const graph = buildGraph(structures.get(id)!, model.config.graph);
        // Bonds to an atom's own images count once here, and twice upstream.
        if (golden.f64_shell_tolerant === undefined || graph.numEdges !== golden.edges_shell_tolerant) continue;
        const batch = collate([graph]);
        const [value] = outputRow(model, batch, await session.run(batch), 0);
        worst = Math.max(worst, errorOf([value], golden.f64_shell_tolerant));
        compared++;
      }
      console.log(`  ${name}, symmetric: ${compared} structures, largest error ${worst.toExponential(2)}`);
      assert.ok(compared >= 10 && worst <= ALIGNN_TOLERANCE, `${compared} structures, ${worst}`);
    });

  /** Lattice parameters are no part of a stored edge list. */
  function withCell(graph: CrystalGraph, { cell }: CrystalGraph): CrystalGraph {
    return { ...graph, ...(cell && { cell }) };
  }

  for (const [name, id] of [
    ["alignn_default", "proto-srtio3"],
    ["alignn_small_extra", "proto-srtio3"],
    ["atomwise_graph", "proto-srtio3"],
    ["variants/multi_output", "proto-cscl"],
  ])
    for (const passes of [undefined, [lowerBatchNorm]])
      test(`${name}: layers on ${id} agree with the float64 trace, ${passes ? "plain" : "all"} passes`, async () => {
        const trace = fixtureJson<Trace>(`alignn/traces/${name.split("/").at(-1)}.${id}.json`);
        const model = await alignnModel(name);
        const structure = structures.get(id)!;
        const built = buildGraph(structure, model.config.graph);
        const graph = withCell(graphOfEdges(structure, trace.inputs.edges), built);
        const session = await wasmBackend(passes && { passes }).createSession(model.program);
        const { labels } = (passes ?? DEFAULT_PASSES).reduce((program, pass) => pass(program), model.program);
        const present = Object.keys(trace.tensors)
          .map(labelOf)
          .filter((label) => labels.has(label));
        const values = await session.values(collate([graph]), present);
        const compared = compareTrace(trace, rowOrder(trace, graph), values);
        console.log(`  ${name}: ${compared.count} values, worst ${compared.worst.toExponential(2)}`);
        const inside = (name: string) => !passes && /embedding|bn_edges|bn_nodes/.test(name);
        const absent = compared.absent.filter((name) => !inside(name) || unread(model).includes(name));
        assert.equal(absent, unread(model), "values that are not there, but for what is inside of a fused operation");
      });
}

interface Trace {
  readonly inputs: { readonly edges: number[][] };
  readonly tensors: Record<string, TracedTensor>;
}
interface TracedTensor {
  readonly shape: [rows: number, columns: number];
  readonly sum: number;
  readonly abs_sum: number;
  readonly sq_sum: number;
  readonly min: number;
  readonly max: number;
  /** All rows, or the first ones. */
  readonly values?: number[][];
  readonly first_rows?: number[][];
}

/** Our rows for upstream's first row of atoms, edges and pairs of edges. */
interface RowOrder {
  readonly E: number;
  readonly T: number;
  readonly firstEdge: number;
  readonly firstTriplet: number;
}

/** Upstream's first edge is found by its vector, its first pair is (first edge, first other edge that starts where it ends). */
function rowOrder({ inputs: { edges } }: Trace, graph: CrystalGraph): RowOrder {
  const find = ([source, receiver, ...rest]: number[]): number => {
    const r = rest.slice(-3);
    for (let e = graph.start[receiver]; e < graph.start[receiver + 1]; e++)
      if (graph.source[e] === source && r.every((x, i) => Math.abs(graph.vectors![3 * e + i] - x) < 1e-9)) return e;
    throw new Error(`no edge ${source} to ${receiver}`);
  };
  const { start, source } = lineGraph(graph);
  const second = edges.findIndex(([from], e) => e > 0 && from === edges[0][1]);
  const [sender, receiver] = [find(edges[0]), find(edges[second])];
  const firstTriplet = source.indexOf(sender, start[receiver]);
  return { E: graph.numEdges, T: source.length, firstEdge: find(edges[0]), firstTriplet };
}

/** A label of ours for a name of the trace; the program calls some values otherwise. */
function labelOf(name: string): string {
  if (name === "readout") return "crystal";
  const layer = /^(alignn_layers\.\d+)\.([xyz])$/.exec(name);
  if (layer)
    return `${layer[1]}.${{ x: "node_update.out_nodes", y: "edge_update.out_nodes", z: "edge_update.out_edges" }[layer[2]]}`;
  return name === "readout_feat" ? "extra_feature_embedding" : name;
}

/** What only the last layers' unused outputs are made of is not computed. */
function unread({ config }: Model): string[] {
  if (config.type !== "alignn") return [];
  const [a, g] = [config.alignnLayers - 1, config.gcnLayers - 1];
  const edges = (at: string) => [`${at}.bn_edges.out`, `${at}.out_edges`];
  return [...edges(`alignn_layers.${a}.edge_update`), `alignn_layers.${a}.z`, ...edges(`gcn_layers.${g}`)].sort();
}

function compareTrace(
  { tensors }: Trace,
  { E, T, firstEdge, firstTriplet }: RowOrder,
  values: ReadonlyMap<string, Float32Array>,
) {
  let worst = 0;
  let count = 0;
  const absent: string[] = [];
  for (const [name, traced] of Object.entries(tensors)) {
    const { shape, sum, abs_sum, sq_sum, min, max } = traced;
    const found = values.get(labelOf(name));
    if (!found) {
      absent.push(name);
      continue;
    }
    const [rows, columns] = [found.length / shape[shape.length - 1], shape[shape.length - 1]];
    const scale = Math.max(1, Math.abs(min), Math.abs(max));
    const check = (what: string, ours: number, theirs: number, size: number) => {
      const error = Math.abs(ours - theirs) / size;
      worst = Math.max(worst, error);
      assert.ok(error <= ALIGNN_TOLERANCE, `${name} ${what}: ${ours}, expected ${theirs}`);
    };
    // The crystal's own features stand once here, and once for each atom upstream.
    const times = shape[0] / rows;
    const total = (f: (x: number) => number) => times * found.reduce((all, x) => all + f(x), 0);
    check(
      "sum",
      total((x) => x),
      sum,
      Math.max(1, abs_sum),
    );
    check("absolute sum", total(Math.abs), abs_sum, Math.max(1, abs_sum));
    check(
      "sum of squares",
      total((x) => x * x),
      sq_sum,
      Math.max(1, sq_sum),
    );
    check(
      "least",
      found.reduce((a, b) => Math.min(a, b)),
      min,
      scale,
    );
    check(
      "most",
      found.reduce((a, b) => Math.max(a, b)),
      max,
      scale,
    );
    const row = rows === T && T !== E ? firstTriplet : rows === E ? firstEdge : 0;
    const [first] = traced.values ?? traced.first_rows!;
    for (const [c, x] of first.entries()) check(`[${row}, ${c}]`, found[row * columns + c], x, scale);
    count++;
  }
  return { worst, count, absent: absent.sort() };
}

test.run();

import type { AlignnConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { atomicNumberTable, cgcnnElementTable } from "../graphs/features.js";
import { type Param, type Program, ProgramBuilder, type Value } from "../ops/program.js";
import { readAlignnConfig } from "./alignn-config.js";
import { type Architecture, ELEMENT_TABLE, type ModelTensor, TensorList } from "./architecture.js";
import { linearRule } from "./shares.js";

/** Choudhary and DeCost, npj Comput. Mater. 7, 185 (2021): `alignn`, and the graph-level output of `alignn_atomwise`. */
export const ALIGNN: Architecture<AlignnConfig> = {
  type: "alignn",
  normalizes: false,
  readConfig: readAlignnConfig,
  tensors: alignnTensors,
  elements: ({ elementFeatures }) => (elementFeatures === 1 ? atomicNumberTable() : cgcnnElementTable()),
  program: alignnProgram,
  shares: ({ link, extraFeatures, penalty }, params) =>
    link === "identity" && extraFeatures === 0 && !penalty
      ? linearRule(params.get("fc.weight")!.data, params.get("fc.bias")!.data)
      : undefined,
};

const GATES = ["src_gate", "dst_gate", "edge_gate", "src_update", "dst_update"] as const;

function alignnTensors(config: AlignnConfig): Map<string, ModelTensor> {
  const { hidden, embedding, extraFeatures } = config;
  const list = new TensorList();
  const norm = (at: string, features: number) =>
    config.norm === "batch" ? list.batchNorm(at, features) : list.layerNorm(at, features);
  const mlp = (at: string, outputs: number, inputs: number) => {
    list.linear(`${at}.layer.0`, outputs, inputs);
    norm(`${at}.layer.1`, outputs);
  };
  const convolution = (at: string) => {
    for (const gate of GATES) list.linear(`${at}.${gate}`, hidden, hidden);
    norm(`${at}.bn_edges`, hidden);
    norm(`${at}.bn_nodes`, hidden);
  };
  mlp("atom_embedding", hidden, config.elementFeatures);
  for (const [at, basis] of [
    ["edge_embedding", config.edgeBasis],
    ["angle_embedding", config.angleBasis],
  ] as const) {
    list.add(`${at}.0.centers`, [basis]);
    mlp(`${at}.1`, embedding, basis);
    mlp(`${at}.2`, hidden, embedding);
  }
  for (let k = 0; k < config.alignnLayers; k++)
    for (const update of ["node_update", "edge_update"]) convolution(`alignn_layers.${k}.${update}`);
  for (let k = 0; k < config.gcnLayers; k++) convolution(`gcn_layers.${k}`);
  if (extraFeatures > 0) {
    const joined = hidden + extraFeatures;
    mlp("extra_feature_embedding", extraFeatures, extraFeatures);
    list.linear("fc3", config.outputs, joined);
    mlp("fc1", joined, joined);
    mlp("fc2", joined, joined);
    // The read-out of a network without extra features stays in the file; nothing reads it.
    for (const name of ["fc.weight", "fc.bias"]) list.tensors.set(name, { optional: true, initial: 0 });
  } else list.linear("fc", config.outputs, hidden);
  // For the link "log" upstream sets the bias to a scalar, and saves it as one.
  if (config.link === "log") list.add("fc.bias", []);
  return list.tensors;
}

/** Index inputs of the two graphs that ALIGNN convolves on: bonds between atoms, and pairs of bonds between bonds. */
const BONDS = {
  source: "source",
  receiver: "receiver",
  starts: "edgeStart",
  weights: "edgeWeight",
  edges: "E",
  nodes: "N",
} as const;
const PAIRS = {
  source: "tripletSource",
  receiver: "tripletReceiver",
  starts: "tripletStart",
  weights: "tripletWeight",
  edges: "T",
  nodes: "E",
} as const;

/** Upstream adds it to the sum of the gates. */
const GATE_EPS = 1e-6;

/** Output (B, outputs): the property, log-probabilities of the classes, or (alignn_atomwise) the probability of class 1. */
function alignnProgram(config: AlignnConfig, params: ReadonlyMap<string, Param>): Program {
  const p = new AlignnBuilder(config, withWideBias(config, params));
  const lengths = p.input("lengths", "E", 1);
  const { envelope } = config;
  const cut = envelope && p.envelope(lengths, envelope);
  const distances = cut && !envelope.multiply ? cut : lengths;
  let bonds = p.expansion(distances, "edge_embedding");
  if (cut && envelope.multiply) bonds = p.scaleRows(bonds, cut);
  let atoms = p.mlp(p.embedding(ELEMENT_TABLE, "numbers", "N"), "atom_embedding");
  let pairs = config.alignnLayers > 0 ? p.expansion(p.input("cosines", "T", 1), "angle_embedding") : undefined;
  for (let k = 0; k < config.alignnLayers; k++) {
    const at = `alignn_layers.${k}`;
    let messages: Value;
    [atoms, messages] = p.convolution(`${at}.node_update`, BONDS, atoms, bonds);
    [bonds, pairs] = p.convolution(`${at}.edge_update`, PAIRS, messages, pairs!);
  }
  for (let k = 0; k < config.gcnLayers; k++) [atoms, bonds] = p.convolution(`gcn_layers.${k}`, BONDS, atoms, bonds);
  const out = p.link(p.readout(p.label(atoms, "atoms")));
  if (!config.penalty) return p.build(p.label(out, "output"));
  const penalty = p.segmentSum(p.hinge(distances, config.penalty), "crystalEdgeStart", "B", "edgeTotal");
  return p.build(p.label(p.add(out, penalty), "output"));
}

/** The scalar bias of the link "log" as one number an output. */
function withWideBias({ link, outputs }: AlignnConfig, params: ReadonlyMap<string, Param>): ReadonlyMap<string, Param> {
  const bias = params.get("fc.bias");
  if (link !== "log" || !bias) return params;
  return new Map(params).set("fc.bias", { shape: [outputs], data: new Float32Array(outputs).fill(bias.data[0]) });
}

/** The layers of ALIGNN's own modules. */
class AlignnBuilder extends ProgramBuilder {
  readonly #config: AlignnConfig;

  constructor(config: AlignnConfig, params: ReadonlyMap<string, Param>) {
    super(params);
    this.#config = config;
  }

  /** MLPLayer: linear, norm, SiLU. */
  mlp(x: Value, at: string): Value {
    return this.label(this.silu(this.#norm(this.linear(x, `${at}.layer.0`), `${at}.layer.1`)), at);
  }

  /**
   * RBFExpansion and two MLPs. The exponent's factor is 1 / step and not 1 / step², as upstream has it.
   * @throws {UnitcellError} CORRUPT where the centres give no step
   */
  expansion(x: Value, at: string): Value {
    const centers = this.data(`${at}.0.centers`);
    const [first, last] = [centers[0], centers[centers.length - 1]];
    const gamma = (centers.length - 1) / (last - first);
    if (!(last > first && gamma > 0 && Number.isFinite(gamma)))
      throw new UnitcellError("CORRUPT", `${at}.0.centers must ascend, found ${first} to ${last}`);
    const basis = this.label(this.radialBasis(x, `${at}.0.centers`, gamma), `${at}.0`);
    return this.mlp(this.mlp(basis, `${at}.1`), `${at}.2`);
  }

  /**
   * EdgeGatedGraphConv: new features of the graph's nodes, and of its edges. Upstream calls the layer on the node itself
   * src_update, and that on the neighbour dst_update.
   */
  convolution(at: string, graph: typeof BONDS | typeof PAIRS, nodes: Value, edges: Value): [Value, Value] {
    const { source, receiver, starts, weights } = graph;
    const fromSource = this.gather(this.linear(nodes, `${at}.src_gate`), source, graph.edges);
    const fromReceiver = this.gather(this.linear(nodes, `${at}.dst_gate`), receiver, graph.edges);
    const ends = this.add(this.add(this.linear(edges, `${at}.edge_gate`), fromSource), fromReceiver);
    const m = this.label(ends, `${at}.bn_edges.in`);
    const gate = this.sigmoid(m);
    const neighbors = this.gather(this.linear(nodes, `${at}.dst_update`), source, graph.edges);
    const gated = this.segmentSum(this.mul(gate, neighbors), starts, graph.nodes, weights);
    const h = this.ratio(gated, this.segmentSum(gate, starts, graph.nodes, weights), GATE_EPS);
    const x = this.label(this.add(this.linear(nodes, `${at}.src_update`), h), `${at}.bn_nodes.in`);
    const normal = (value: Value, name: string) => this.label(this.#norm(value, `${at}.${name}`), `${at}.${name}.out`);
    return [
      this.label(this.add(nodes, this.silu(normal(x, "bn_nodes"))), `${at}.out_nodes`),
      this.label(this.add(edges, this.silu(normal(m, "bn_edges"))), `${at}.out_edges`),
    ];
  }

  /** Mean over the atoms, the crystal's own features beside it where the network takes them, and the last layers. */
  readout(atoms: Value): Value {
    const pooled = this.label(this.segmentMean(atoms, "crystalStart", "B", "atomWeight"), "crystal");
    if (this.#config.extraFeatures === 0) return this.label(this.linear(pooled, "fc"), "fc");
    const cell = this.mlp(this.input("cell", "B", this.#config.extraFeatures), "extra_feature_embedding");
    return this.label(this.linear(this.mlp(this.mlp(this.concat(pooled, cell), "fc1"), "fc2"), "fc3"), "fc3");
  }

  link(out: Value): Value {
    const { link, task, norm } = this.#config;
    const linked = link === "log" ? this.exp(out) : link === "logit" ? this.sigmoid(out) : out;
    if (task === "regression") return linked;
    return norm === "batch" ? this.logSoftmax(linked) : this.sigmoid(linked);
  }

  #norm(x: Value, at: string): Value {
    return this.#config.norm === "batch" ? this.batchNorm(x, at) : this.layerNorm(x, at);
  }
}

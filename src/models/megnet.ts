import type { MegnetConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { type Param, type Program, ProgramBuilder, type Value } from "../ops/program.js";
import { type Architecture, ELEMENT_TABLE, type ModelTensor, TensorList } from "./architecture.js";
import { megnetElements, readMegnetConfig } from "./megnet-config.js";

const NODE_TABLE = "embedding.layer_node_embedding.weight";
const STATE_TABLE = "embedding.layer_state_embedding.weight";
const CENTERS = "bond_expansion.rbf.centers";

/** Chen et al., Chem. Mater. 31, 3564 (2019), as matgl has it. */
export const MEGNET: Architecture<MegnetConfig> = {
  type: "megnet",
  normalizes: true,
  readConfig: readMegnetConfig,
  tensors: megnetTensors,
  elements: ({ elementFeatures: columns }, params, { args }) => {
    const { shape, data } = params.get(NODE_TABLE)!;
    const numbers = megnetElements(args, shape[0]);
    return {
      columns,
      rows: new Map(numbers.map((z, i) => [z, Array.from(data.subarray(i * columns, (i + 1) * columns))])),
    };
  },
  program: megnetProgram,
};

const last = (sizes: readonly number[]): number => sizes[sizes.length - 1];

function megnetTensors(config: MegnetConfig): Map<string, ModelTensor> {
  const { encoder, dense, conv, edgeBasis, elementFeatures, stateFeatures, stateTypes } = config;
  const list = new TensorList();
  const mlp = (at: string, inputs: number, sizes: readonly number[]) => {
    for (const [i, outputs] of sizes.entries())
      list.linear(`${at}.layers.${2 * i}`, outputs, i === 0 ? inputs : sizes[i - 1]);
  };
  list.add(CENTERS, [edgeBasis]);
  // Rows are the elements of element_types: counted when they are read.
  list.tensors.set(NODE_TABLE, { dtype: "f32", initial: 0 });
  if (stateTypes > 0) list.add(STATE_TABLE, [stateTypes, stateFeatures]);
  mlp("edge_encoder", edgeBasis, encoder);
  mlp("node_encoder", elementFeatures, encoder);
  mlp("state_encoder", stateFeatures, encoder);
  for (let b = 0; b < config.blocks; b++) {
    const inputs = b === 0 ? last(encoder) : last(conv);
    const width = b === 0 ? inputs : last(dense);
    if (b > 0) for (const part of PARTS) mlp(`blocks.${b}.${part}_func`, inputs, dense);
    mlp(`blocks.${b}.conv.edge_func`, 4 * width, conv);
    mlp(`blocks.${b}.conv.node_func`, 2 * width + last(conv), conv);
    mlp(`blocks.${b}.conv.state_func`, width + 2 * last(conv), conv);
  }
  for (const at of ["edge_s2s", "node_s2s"]) {
    const gates = 4 * config.set2setWidth;
    list.add(`${at}.lstm.weight_ih_l0`, [gates, 2 * config.set2setWidth]);
    list.add(`${at}.lstm.weight_hh_l0`, [gates, config.set2setWidth]);
    list.add(`${at}.lstm.bias_ih_l0`, [gates]);
    list.add(`${at}.lstm.bias_hh_l0`, [gates]);
  }
  mlp("output_proj", 4 * config.set2setWidth + last(conv), config.head);
  return list.tensors;
}

const PARTS = ["edge", "node", "state"] as const;

/** Features of the edges, atoms and crystals. */
interface Features {
  readonly edge: Value;
  readonly node: Value;
  readonly state: Value;
}

/** Output (B, 1): the normalised property, or the probability of class 1. */
function megnetProgram(config: MegnetConfig, params: ReadonlyMap<string, Param>): Program {
  const p = new MegnetBuilder(params);
  checkCenters(p.data(CENTERS), config.graph.cutoff);
  const basis = p.label(p.radialBasis(p.input("lengths", "E", 1), CENTERS, config.gaussWidth), "bond_expansion");
  const elements = p.label(p.embedding(ELEMENT_TABLE, "numbers", "N"), "embedding_node");
  // A model without a table of states gets the zeros that matgl gives it.
  const state = config.stateTypes > 0 ? p.embedding(STATE_TABLE, "state", "B") : p.zeros("B", config.stateFeatures);
  let features: Features = {
    edge: p.label(p.mlp(basis, "edge_encoder"), "edge_encoder"),
    node: p.label(p.mlp(elements, "node_encoder"), "node_encoder"),
    state: p.label(p.mlp(state, "state_encoder"), "state_encoder"),
  };
  for (let b = 0; b < config.blocks; b++) features = p.block(features, b);
  p.label(features.node, "atoms");
  const nodes = p.set2set(features.node, "node_s2s", ["crystalStart", "atomWeight"], config);
  const edges = p.set2set(features.edge, "edge_s2s", ["crystalEdgeStart", "edgeTotal"], config);
  const readout = p.label(p.concat(nodes, edges, features.state), "crystal");
  const out = p.label(p.mlp(readout, "output_proj", false), "output_proj");
  return p.build(p.label(config.task === "classification" ? p.sigmoid(out) : out, "output"));
}

/** Centres are stored in float32. */
const CENTER_TOLERANCE = 1e-3; // Å

/**
 * matgl's bond expansion ends 1 Å beyond the cutoff, so the tensors tell a cutoff that was assumed and is another's.
 * @throws {UnitcellError} MISMATCH
 */
function checkCenters(centers: Float32Array, cutoff: number): void {
  const end = centers[centers.length - 1];
  if (Math.abs(end - cutoff - 1) <= CENTER_TOLERANCE) return;
  throw new UnitcellError(
    "MISMATCH",
    `the Gaussian centres end at ${end.toPrecision(4)} Å, but with a cutoff of ${cutoff} Å matgl's end at ${cutoff + 1}; ` +
      "give the cutoff it was trained with, or the model.pt that was saved with the state dict",
  );
}

/** The layers of matgl's own modules. */
class MegnetBuilder extends ProgramBuilder {
  /** MLP: linear layers as many as there are, each activated but, unless told, the last. */
  mlp(x: Value, at: string, activateLast = true): Value {
    let out = x;
    for (let i = 0; this.has(`${at}.layers.${i}.weight`); i += 2) {
      out = this.linear(out, `${at}.layers.${i}`);
      if (activateLast || this.has(`${at}.layers.${i + 2}.weight`)) out = this.shiftedSoftplus(out);
    }
    return out;
  }

  /**
   * MEGNetBlock: dense layers (none in the first block), then edges from their ends, themselves and the crystal, atoms
   * from themselves, their edges' mean and the crystal, the crystal from itself and both means; the block's inputs are
   * added last, from before its dense layers. Edges are averaged over their receiving atom.
   */
  block(inputs: Features, b: number): Features {
    const at = `blocks.${b}`;
    const [e, v, u] = PARTS.map((part) =>
      this.label(this.mlp(inputs[part], `${at}.${part}_func`), `${at}.dense_${part}`),
    );
    const ends = [this.gather(v, "source", "E"), this.gather(v, "receiver", "E")];
    const edge = this.mlp(this.concat(...ends, e, this.gather(u, "edgeCrystal", "E")), `${at}.conv.edge_func`);
    const incoming = this.label(this.segmentMean(edge, "edgeStart", "N", "edgeWeight"), `${at}.mean_edge_per_node`);
    const node = this.mlp(this.concat(v, incoming, this.gather(u, "atomCrystal", "N")), `${at}.conv.node_func`);
    const means = [
      this.segmentMean(edge, "crystalEdgeStart", "B", "edgeTotal"),
      this.segmentMean(node, "crystalStart", "B", "atomWeight"),
    ];
    const state = this.mlp(this.concat(u, ...means), `${at}.conv.state_func`);
    const out = (part: keyof Features, value: Value) => {
      this.label(value, `${at}.conv_${part}`);
      return this.label(this.add(value, inputs[part]), `${at}.out_${part}`);
    };
    return { edge: out("edge", edge), node: out("node", node), state: out("state", state) };
  }

  /** Set2Set (Vinyals et al., arXiv:1511.06391): an LSTM asks, the softmax over the rows answers. Gates i, f, g, o. */
  set2set(
    x: Value,
    at: string,
    [starts, weights]: readonly [string, string],
    { set2setWidth: width, set2setSteps }: MegnetConfig,
  ): Value {
    let query = this.zeros("B", width);
    let cell = query;
    let answer = this.zeros("B", 2 * width);
    for (let step = 0; step < set2setSteps; step++) {
      const fromAnswer = this.linear(answer, `${at}.lstm`, ["weight_ih_l0", "bias_ih_l0"]);
      const fromQuery = this.linear(query, `${at}.lstm`, ["weight_hh_l0", "bias_hh_l0"]);
      const [i, f, g, o] = this.split(this.add(fromAnswer, fromQuery), 4);
      cell = this.add(this.mul(this.sigmoid(f), cell), this.mul(this.sigmoid(i), this.tanh(g)));
      query = this.mul(this.sigmoid(o), this.tanh(cell));
      answer = this.concat(query, this.segmentAttention(x, query, starts, weights));
    }
    return this.label(answer, at);
  }
}

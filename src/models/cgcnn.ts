import type { CgcnnConfig } from "../config.js";
import { cgcnnElementTable } from "../graphs/features.js";
import { type Param, type Program, ProgramBuilder, type Value } from "../ops/program.js";
import { type Architecture, ELEMENT_TABLE, type ModelTensor, TensorList } from "./architecture.js";
import { readCgcnnConfig } from "./cgcnn-config.js";
import { cgcnnHead } from "./cgcnn-head.js";
import { pathRule } from "./shares.js";

/** Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018). */
export const CGCNN: Architecture<CgcnnConfig> = {
  type: "cgcnn",
  normalizes: true,
  readConfig: readCgcnnConfig,
  tensors: cgcnnTensors,
  elements: cgcnnElementTable,
  program: cgcnnProgram,
  shares: (config, params) => pathRule(cgcnnHead(config, params)),
};

function cgcnnTensors(config: CgcnnConfig): Map<string, ModelTensor> {
  const { hidden, dense, basis } = config;
  const list = new TensorList();
  list.linear("embedding", hidden, config.elementFeatures);
  for (let i = 0; i < config.convs; i++) {
    list.linear(`convs.${i}.fc_full`, 2 * hidden, 2 * hidden + basis.count);
    list.batchNorm(`convs.${i}.bn1`, 2 * hidden);
    list.batchNorm(`convs.${i}.bn2`, hidden);
  }
  list.linear("conv_to_fc", dense, hidden);
  for (let i = 0; i < config.denseLayers - 1; i++) list.linear(`fcs.${i}`, dense, dense);
  list.linear("fc_out", config.outputs, dense);
  return list.tensors;
}

/**
 * The network, whole: Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), eq. 5, as upstream's model.py computes it.
 * Output (B, outputs): the normalised property, or log-probabilities of the classes.
 */
function cgcnnProgram(config: CgcnnConfig, params: ReadonlyMap<string, Param>): Program {
  const p = new ProgramBuilder(params);
  const edges = p.label(p.gaussian(p.input("lengths", "E", 1), config.basis), "nbr_fea");
  let atoms = p.linear(p.label(p.embedding(ELEMENT_TABLE, "numbers", "N"), "atom_fea"), "embedding");
  p.label(atoms, "embedding");
  for (let i = 0; i < config.convs; i++) atoms = convolution(p, atoms, edges, i);
  const pooled = p.label(p.segmentMean(p.label(atoms, "atoms"), "crystalStart", "B", "atomWeight"), "pooled");
  p.label(pooled, "crystal");
  const crystal = p.label(p.linear(p.label(p.softplus(pooled), "softplus_pooled"), "conv_to_fc"), "conv_to_fc");
  let hidden = p.label(p.softplus(crystal), "crystal_softplus");
  for (let i = 0; i < config.denseLayers - 1; i++) hidden = p.softplus(p.linear(hidden, `fcs.${i}`));
  const out = p.label(p.linear(hidden, "fc_out"), "fc_out");
  return p.build(p.label(config.task === "classification" ? p.logSoftmax(out) : out, "output"));
}

/** ConvLayer of model.py: gate the neighbours, sum them, add to the atom. */
function convolution(p: ProgramBuilder, atoms: Value, edges: Value, i: number): Value {
  const at = `convs.${i}`;
  const neighbors = p.concat(p.gather(atoms, "receiver", "E"), p.gather(atoms, "source", "E"), edges);
  const full = p.label(p.linear(neighbors, `${at}.fc_full`), `conv${i}.fc_full`);
  const [filter, core] = p.split(p.label(p.batchNorm(full, `${at}.bn1`), `conv${i}.bn1`), 2);
  const messages = p.mul(p.sigmoid(filter), p.softplus(core));
  const summed = p.label(p.segmentSum(messages, "edgeStart", "N", "edgeWeight"), `conv${i}.summed`);
  return p.label(p.softplus(p.add(atoms, p.label(p.batchNorm(summed, `${at}.bn2`), `conv${i}.bn2`))), `conv${i}.out`);
}

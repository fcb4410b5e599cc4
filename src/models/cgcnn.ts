import type { CgcnnConfig } from "../config.js";
import type { ExpectedTensor } from "../load-report.js";
import { type Param, type Program, ProgramBuilder, type Value } from "../ops/program.js";

/** Name of the element table among the program's parameters; not part of a checkpoint. */
export const ELEMENT_TABLE = "elements";

/** A tensor of the state dict, and the number it is filled with when one does without it. */
export interface CgcnnTensor extends ExpectedTensor {
  readonly initial: 0 | 1;
}

/** The state dict that a config asks for; of batch norms also the counters, which nothing reads. */
export function cgcnnTensors(config: CgcnnConfig): Map<string, CgcnnTensor> {
  const { hidden, dense, basis } = config;
  const tensors = new Map<string, CgcnnTensor>();
  const linear = (at: string, outputs: number, inputs: number) => {
    tensors.set(`${at}.weight`, { shape: [outputs, inputs], dtype: "f32", initial: 0 });
    tensors.set(`${at}.bias`, { shape: [outputs], dtype: "f32", initial: 0 });
  };
  const batchNorm = (at: string, features: number) => {
    for (const name of ["weight", "bias", "running_mean", "running_var"] as const)
      tensors.set(`${at}.${name}`, {
        shape: [features],
        dtype: "f32",
        initial: name === "weight" || name === "running_var" ? 1 : 0,
      });
    tensors.set(`${at}.num_batches_tracked`, { shape: [], optional: true, initial: 0 });
  };
  linear("embedding", hidden, config.elementFeatures);
  for (let i = 0; i < config.convs; i++) {
    linear(`convs.${i}.fc_full`, 2 * hidden, 2 * hidden + basis.count);
    batchNorm(`convs.${i}.bn1`, 2 * hidden);
    batchNorm(`convs.${i}.bn2`, hidden);
  }
  linear("conv_to_fc", dense, hidden);
  for (let i = 0; i < config.denseLayers - 1; i++) linear(`fcs.${i}`, dense, dense);
  linear("fc_out", config.outputs, dense);
  return tensors;
}

/**
 * The network, whole: Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), eq. 5, as upstream's model.py computes it.
 * Output (B, outputs): the normalised property, or log-probabilities of the classes.
 */
export function cgcnnProgram(config: CgcnnConfig, params: ReadonlyMap<string, Param>): Program {
  const p = new ProgramBuilder(params);
  const edges = p.label(p.gaussian("lengths", "E", config.basis), "nbr_fea");
  let atoms = p.linear(p.label(p.embedding(ELEMENT_TABLE, "numbers", "N"), "atom_fea"), "embedding");
  p.label(atoms, "embedding");
  for (let i = 0; i < config.convs; i++) atoms = convolution(p, atoms, edges, i);
  const pooled = p.label(p.segmentMean(atoms, "crystalStart", "B"), "pooled");
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
  const summed = p.label(p.segmentSum(messages, "edgeStart", "N"), `conv${i}.summed`);
  return p.label(p.softplus(p.add(atoms, p.label(p.batchNorm(summed, `${at}.bn2`), `conv${i}.bn2`))), `conv${i}.out`);
}

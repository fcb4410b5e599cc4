/** Small networks of random weights, for tests of all architectures that must run without the shared fixtures. */
import type { AlignnConfig, CgcnnConfig, MegnetConfig, ModelConfig } from "../src/config.js";
import type { TorchValue } from "../src/formats/values.js";
import { architectureOf, modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import type { Model, ModelOptions } from "../src/models/model.js";
import { seededRandom } from "../src/random.js";
import type { Tensor } from "../src/tensor.js";

const CGCNN: CgcnnConfig = {
  type: "cgcnn",
  task: "regression",
  outputs: 1,
  elementFeatures: 92,
  hidden: 8,
  convs: 2,
  dense: 12,
  denseLayers: 3,
  graph: { select: "nearest", cutoff: 8, maxNeighbors: 12 },
  basis: { first: 0, step: 0.2, count: 41 },
};

const ALIGNN: AlignnConfig = {
  type: "alignn",
  task: "regression",
  norm: "layer",
  outputs: 1,
  elementFeatures: 92,
  hidden: 8,
  embedding: 6,
  edgeBasis: 10,
  angleBasis: 7,
  alignnLayers: 1,
  gcnLayers: 1,
  link: "identity",
  extraFeatures: 0,
  graph: {
    select: "shell",
    cutoff: 8,
    maxNeighbors: 12,
    canonize: true,
    neighborPolicy: "symmetric",
    lineGraph: true,
  },
};

const MEGNET: MegnetConfig = {
  type: "megnet",
  task: "regression",
  outputs: 1,
  elementFeatures: 16,
  edgeBasis: 20,
  gaussWidth: 0.5,
  encoder: [10, 8],
  dense: [10, 8],
  conv: [12, 12, 8],
  head: [8, 4, 1],
  blocks: 2,
  set2setWidth: 8,
  set2setSteps: 2,
  stateFeatures: 2,
  stateTypes: 0,
  graph: { select: "sphere", cutoff: 4 },
};

export function randomCgcnn(changes: Partial<CgcnnConfig> = {}, options?: ModelOptions): Model {
  return randomModel({ ...CGCNN, ...changes }, [["task", changes.task ?? "regression"]], options);
}

export function randomAlignn(changes: Partial<AlignnConfig> = {}, options?: ModelOptions): Model {
  const config = { ...ALIGNN, ...changes };
  const settings = new Map<string, TorchValue>([
    ["link", config.link],
    ["classification", config.task === "classification"],
    ["energy_mult_natoms", config.penalty === undefined],
  ]);
  const neighborPolicy = "symmetric" as const;
  return randomModel(config, [["model", settings]], { neighborPolicy, ...options });
}

export function randomMegnet(changes: Partial<MegnetConfig> = {}, options?: ModelOptions): Model {
  return randomModel({ ...MEGNET, ...changes }, [], options);
}

/** Weights between -1 and 1 over the square root of a row's length, the same every time; what a config asks for. */
function randomModel(config: ModelConfig, args: [string, TorchValue][], options?: ModelOptions): Model {
  const next = seededRandom(1);
  const stateDict = new Map<string, Tensor>();
  const wanted = new Map(architectureOf(config).tensors(config));
  // A network of extra features keeps a readout that nothing reads.
  if (config.type === "alignn" && config.extraFeatures > 0)
    wanted.set("fc.weight", { shape: [1, config.hidden], initial: 0 }).set("fc.bias", { shape: [1], initial: 0 });
  for (const [name, { shape = [89, config.elementFeatures], optional }] of wanted) {
    if (optional) continue;
    const count = shape.reduce((product, size) => product * size, 1);
    const scale = 1 / Math.sqrt(shape[1] ?? 1);
    const ordered = name.endsWith("centers");
    const numbers = Float32Array.from({ length: count }, (_, i) =>
      ordered ? (5 * i) / (count - 1) : name.endsWith("running_var") ? 0.5 + next() : scale * (2 * next() - 1),
    );
    stateDict.set(name, { dtype: "f32", shape, data: new Uint8Array(numbers.buffer) });
  }
  const normalizer = { mean: -1.5, std: 2.5 };
  const checkpoint = { stateDict, args: new Map(args), layout: "training", extra: new Map() };
  return modelFromCheckpoint(checkpoint, { normalizer, ...options });
}

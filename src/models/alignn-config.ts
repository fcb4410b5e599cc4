import type { Checkpoint } from "../checkpoint.js";
import type { AlignnConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { TorchValue } from "../formats/values.js";
import type { StateDict } from "../tensor.js";
import { countLayers, type Recognized, type Settings } from "./architecture.js";
import { ALIGNN_MARKS } from "./marks.js";
import { compareSizes, MOST, SettingsReader } from "./settings-reader.js";

/** Rows that ALIGNN's element tables may have: CGCNN's table, or the atomic number itself. */
const FEATURE_COLUMNS: Readonly<Record<"cgcnn" | "atomic_number", number>> = { cgcnn: 92, atomic_number: 1 };

/** a, b, c, alpha, beta, gamma: jarvis-tools' use_lattice_prop. */
const LATTICE_PROPERTIES = 6;

/**
 * ALIGNN's config: sizes and kind of norm from the tensors, the rest from its config.json (or arguments of that form),
 * else the published defaults of TrainingConfig and the model's own config class.
 */
export function readAlignnConfig(
  stateDict: StateDict,
  { args = new Map() }: Checkpoint,
  overrides: Settings,
): Recognized<AlignnConfig> {
  const shape = (name: string): readonly number[] => stateDict.get(name)?.shape ?? [];
  const [[hidden, elementFeatures], [edgeBasis], [embedding], [angleBasis], [fcOutputs]] = ALIGNN_MARKS.map(shape);
  if (!(hidden && elementFeatures && edgeBasis > 1 && embedding && angleBasis > 1 && fcOutputs))
    throw new UnitcellError("MISMATCH", `shapes of ${ALIGNN_MARKS.join(", ")} are not an ALIGNN's`);
  const model = args.get("model");
  const training = new SettingsReader(new Map(Object.entries(overrides)), args);
  const settings = new SettingsReader(model instanceof Map ? (model as ReadonlyMap<string, TorchValue>) : undefined);
  const norm = stateDict.has("atom_embedding.layer.1.running_mean") ? "batch" : "layer";
  const name = settings.choice("name", ["alignn", "alignn_atomwise"], norm === "batch" ? "alignn" : "alignn_atomwise");
  if ((name === "alignn") !== (norm === "batch"))
    throw new UnitcellError("MISMATCH", `model.name is ${name}, but the tensors are of ${norm} norms`);
  const extraFeatures = shape("extra_feature_embedding.layer.0.weight")[0] ?? 0;
  const outputs = extraFeatures > 0 ? (shape("fc3.weight")[0] ?? 0) : fcOutputs;
  checkExtraFeatures(extraFeatures);
  checkElementFeatures(training, elementFeatures);
  const classification = settings.flag("classification", false);
  const config: AlignnConfig = {
    type: "alignn",
    task: classification ? "classification" : "regression",
    norm,
    outputs,
    elementFeatures,
    hidden,
    embedding,
    edgeBasis,
    angleBasis,
    alignnLayers: countLayers(stateDict, /^alignn_layers\.(\d+)\.node_update\.src_gate\.weight$/),
    gcnLayers: countLayers(stateDict, /^gcn_layers\.(\d+)\.src_gate\.weight$/),
    link: settings.choice("link", ["identity", "log", "logit"], "identity"),
    extraFeatures,
    ...(norm === "layer" && atomwiseSettings(settings)),
    graph: graphSettings(training, countLayers(stateDict, /^alignn_layers\.(\d+)\./) > 0),
  };
  if (norm === "batch" && classification && outputs < 2)
    throw new UnitcellError(
      "MISMATCH",
      `a classifier with log-probabilities needs 2 outputs or more, found ${outputs}`,
    );
  if (norm === "layer" && classification && outputs !== 1)
    throw new UnitcellError("MISMATCH", `a classifier that ends in a sigmoid has 1 output, found ${outputs}`);
  compareSizes(settings, {
    alignn_layers: config.alignnLayers,
    gcn_layers: config.gcnLayers,
    hidden_features: hidden,
    embedding_features: embedding,
    edge_input_features: edgeBasis,
    triplet_input_features: angleBasis,
    atom_input_features: elementFeatures,
    extra_features: extraFeatures,
  });
  return {
    config,
    found: [...training.found, ...settings.found],
    assumed: [...training.assumed("ALIGNN"), ...settings.assumed("ALIGNN")],
    property: propertyName(args),
  };
}

/** @throws {UnitcellError} UNSUPPORTED for strategies that upstream itself lacks or gets wrong */
function graphSettings(settings: SettingsReader, lineGraph: boolean): AlignnConfig["graph"] {
  const strategy = settings.raw("neighbor_strategy");
  if (strategy === "radius_graph_jarvis")
    throw new UnitcellError(
      "UNSUPPORTED",
      "neighbor_strategy radius_graph_jarvis: upstream squares its bond vectors in place, so its graphs are not what " +
        "the model's name says; train with radius_graph or k-nearest",
    );
  if (settings.choice("neighbor_strategy", ["k-nearest", "radius_graph"], "k-nearest") === "radius_graph")
    return {
      select: "radius-graph",
      cutoff: settings.number("cutoff", 8, { above: 0, most: MOST.cutoff }),
      cutoffExtra: settings.number("cutoff_extra", 3, { above: 0, most: MOST.cutoff }),
      lineGraph,
    };
  return {
    select: "shell",
    cutoff: settings.number("cutoff", 8, { above: 0, most: MOST.cutoff }),
    maxNeighbors: settings.positiveInteger("max_neighbors", 12, MOST.neighbors),
    canonize: settings.flag("use_canonize", true),
    neighborPolicy: "upstream",
    lineGraph,
  };
}

/** Settings of alignn_atomwise that change its graph-level output. */
function atomwiseSettings(settings: SettingsReader): Pick<AlignnConfig, "envelope" | "penalty"> {
  const envelope = settings.flag("use_cutoff_function", false) && {
    cutoff: settings.number("inner_cutoff", 3, { above: 0, most: MOST.cutoff }),
    exponent: settings.positiveInteger("exponent", 5, MOST.exponent),
    multiply: settings.flag("multiply_cutoff", false),
  };
  // Upstream adds the penalty to the output in place; with energy_mult_natoms it goes to a copy that is not returned.
  const penalty = !settings.flag("energy_mult_natoms", true) &&
    settings.flag("use_penalty", true) && {
      factor: settings.number("penalty_factor", 0.1),
      threshold: settings.number("penalty_threshold", 1),
    };
  return { ...(envelope && { envelope }), ...(penalty && { penalty }) };
}

function checkElementFeatures(settings: SettingsReader, columns: number): void {
  const byColumns = columns === FEATURE_COLUMNS.atomic_number ? "atomic_number" : "cgcnn";
  const features = settings.choice("atom_features", ["cgcnn", "atomic_number"], byColumns);
  if (FEATURE_COLUMNS[features] !== columns)
    throw new UnitcellError(
      "MISMATCH",
      `the network takes ${columns} features per element, atom_features ${features} has ${FEATURE_COLUMNS[features]}`,
    );
}

function checkExtraFeatures(count: number): void {
  if (count !== 0 && count !== LATTICE_PROPERTIES)
    throw new UnitcellError(
      "UNSUPPORTED",
      `the network takes ${count} extra features; only the ${LATTICE_PROPERTIES} lattice parameters (use_lattice_prop) are known`,
    );
}

/** `target` names a column of the data set; "target" itself is what a user's own data are called. */
function propertyName(args: ReadonlyMap<string, TorchValue>): string | undefined {
  const target = args.get("target");
  return typeof target === "string" && target !== "target" ? target : undefined;
}

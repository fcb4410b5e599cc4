import type { Checkpoint } from "../checkpoint.js";
import type { MegnetConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { TorchValue } from "../formats/values.js";
import { SYMBOLS } from "../structures/elements.js";
import type { StateDict } from "../tensor.js";
import { countLayers, type Recognized, type Settings } from "./architecture.js";
import { MOST, SettingsReader, shownSetting } from "./settings-reader.js";

const STATE_TABLE = "embedding.layer_state_embedding.weight";

/** MEGNet's config as matgl writes it: sizes from the tensors, the rest from its init_args, else their defaults. */
export function readMegnetConfig(
  stateDict: StateDict,
  { args }: Checkpoint,
  overrides: Settings,
): Recognized<MegnetConfig> {
  const shape = (name: string): readonly number[] => stateDict.get(name)?.shape ?? [];
  const settings = new SettingsReader(new Map(Object.entries(overrides)), args);
  refuseOthers(settings, stateDict);
  const [, stateFeatures] = shape("state_encoder.layers.0.weight");
  const [stateTypes] = stateDict.has(STATE_TABLE) ? shape(STATE_TABLE) : [0];
  const head = layerSizes(stateDict, "output_proj");
  const classification = settings.flag("is_classification", false);
  const config: MegnetConfig = {
    type: "megnet",
    task: classification ? "classification" : "regression",
    outputs: head[head.length - 1],
    elementFeatures: shape("embedding.layer_node_embedding.weight")[1],
    edgeBasis: shape("bond_expansion.rbf.centers")[0],
    gaussWidth: settings.number("gauss_width", 0.5, { above: 0 }),
    encoder: layerSizes(stateDict, "edge_encoder"),
    dense: layerSizes(stateDict, "blocks.1.edge_func"),
    conv: layerSizes(stateDict, "blocks.0.conv.edge_func"),
    head,
    blocks: countLayers(stateDict, /^blocks\.(\d+)\.conv\.edge_func\.layers\.0\.weight$/),
    set2setWidth: shape("edge_s2s.lstm.weight_hh_l0")[1],
    set2setSteps: settings.positiveInteger("niters_set2set", 2, MOST.set2setSteps),
    stateFeatures,
    stateTypes,
    graph: { select: "sphere", cutoff: settings.number("cutoff", 4, { above: 0, most: MOST.cutoff }) },
  };
  const sizes = [
    ...config.encoder,
    ...config.conv,
    ...head,
    config.set2setWidth,
    config.elementFeatures,
    stateFeatures,
  ];
  if (!sizes.every((size) => size > 0) || sizes.length < 6)
    throw new UnitcellError("MISMATCH", "shapes of the tensors are not a MEGNet's");
  if (classification && config.outputs !== 1)
    throw new UnitcellError("MISMATCH", `a classifier that ends in a sigmoid has 1 output, found ${config.outputs}`);
  return { config, found: settings.found, assumed: settings.assumed("MEGNet"), property: undefined };
}

/** Outputs of an MLP's linear layers; matgl numbers activations too, so linears are layers 0, 2, 4. */
function layerSizes(stateDict: StateDict, at: string): number[] {
  const sizes: number[] = [];
  for (let i = 0; stateDict.has(`${at}.layers.${i}.weight`); i += 2)
    sizes.push(stateDict.get(`${at}.layers.${i}.weight`)!.shape[0]);
  return sizes;
}

/** @throws {UnitcellError} UNSUPPORTED for variants of MEGNet that compute otherwise */
function refuseOthers(settings: SettingsReader, stateDict: StateDict): void {
  const activation = settings.raw("activation_type");
  if (activation !== undefined && activation !== "softplus2")
    throw new UnitcellError("UNSUPPORTED", `activation_type softplus2 is known, found ${shownSetting(activation)}`);
  if (stateDict.has("edge_s2s.lstm.weight_hh_l1"))
    throw new UnitcellError("UNSUPPORTED", "Set2Set readouts with more than one LSTM layer are not known");
}

/** Z below 95 but Po, At, Rn, Fr, Ra, in order. Source: matgl's DEFAULT_ELEMENTS. */
const DEFAULT_ELEMENTS: readonly number[] = Array.from({ length: 94 }, (_, i) => i + 1).filter((z) => z < 84 || z > 88);

/**
 * Atomic numbers in the order of the element table's rows: init_args' element_types, else matgl's default.
 * @throws {UnitcellError} MISMATCH when there are not as many as rows, CORRUPT when one names no element
 */
export function megnetElements(args: Checkpoint["args"], rows: number): readonly number[] {
  const types = args?.get("element_types");
  const numbers = Array.isArray(types) ? types.map(atomicNumber) : DEFAULT_ELEMENTS;
  if (numbers.length !== rows)
    throw new UnitcellError(
      "MISMATCH",
      `the element table has ${rows} rows, ${Array.isArray(types) ? "element_types" : "matgl's default"} names ${numbers.length}`,
    );
  return numbers;
}

function atomicNumber(symbol: TorchValue): number {
  const number = typeof symbol === "string" ? SYMBOLS.indexOf(symbol) : -1;
  if (number < 1) throw new UnitcellError("CORRUPT", `element_types: ${shownSetting(symbol)} names no element`);
  return number;
}

import type { Checkpoint } from "../checkpoint.js";
import { CGCNN_GRAPH_DEFAULTS, type CgcnnConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { listNames, prefixHint, withoutWrapperPrefixes } from "../load-report.js";
import type { StateDict } from "../tensor.js";

/** Arguments of upstream's CIFData by their own names: radius, dmin and step in Å. */
export type GraphSettings = Record<keyof typeof CGCNN_GRAPH_DEFAULTS, number>;

/** Tensors whose shapes tell the sizes. */
const RECOGNIZED = ["embedding.weight", "convs.0.fc_full.weight", "conv_to_fc.weight", "fc_out.weight"] as const;

type Arguments = NonNullable<Checkpoint["args"]>;

/**
 * CGCNN's config from a checkpoint: sizes from the tensors' shapes, task and graph settings from the saved arguments,
 * else from the output's width and the published defaults (named in `assumed`).
 * @throws {UnitcellError} UNSUPPORTED for another architecture; MISMATCH where shapes and arguments disagree
 */
export function readCgcnnConfig(
  { stateDict: found, args = new Map() }: Checkpoint,
  overrides: Partial<GraphSettings> = {},
): { config: CgcnnConfig; assumed: string[]; property: string | undefined } {
  const stateDict = withoutWrapperPrefixes(found);
  const shape = (name: string): readonly number[] => stateDict.get(name)?.shape ?? [];
  const [[hidden, elementFeatures], [gates, inputs], [dense], [outputs]] = RECOGNIZED.map(shape);
  if (!(hidden && elementFeatures && dense && outputs && gates === 2 * hidden && inputs > 2 * hidden))
    throw notCgcnn([...found.keys()]);
  const assumed: string[] = [];
  const settings = graphSettings(args, overrides, assumed);
  const config: CgcnnConfig = {
    type: "cgcnn",
    task: readTask(args, outputs),
    outputs,
    elementFeatures,
    hidden,
    convs: countLayers(stateDict, /^convs\.(\d+)\.fc_full\.weight$/),
    dense,
    denseLayers: 1 + countLayers(stateDict, /^fcs\.(\d+)\.weight$/),
    graph: { select: "nearest", cutoff: settings.radius, maxNeighbors: settings.max_num_nbr },
    basis: { first: settings.dmin, step: settings.step, count: inputs - 2 * hidden },
  };
  compareWithArguments(config, args);
  checkBasis(config, settings);
  return { config, assumed, property: propertyName(args) };
}

function graphSettings(args: Arguments, overrides: Partial<GraphSettings>, assumed: string[]): GraphSettings {
  const settings: GraphSettings = { ...CGCNN_GRAPH_DEFAULTS };
  const missing: string[] = [];
  for (const name of Object.keys(settings) as (keyof GraphSettings)[]) {
    const value = overrides[name] ?? args.get(name);
    if (value === undefined) missing.push(`${name} ${settings[name]}`);
    else if (typeof value === "number" && Number.isFinite(value)) settings[name] = value;
    else throw new UnitcellError("CORRUPT", `argument "${name}" must be a number, found ${String(value)}`);
  }
  if (missing.length)
    assumed.push(`graph settings not in the checkpoint, CGCNN's defaults used: ${missing.join(", ")}`);
  return settings;
}

function readTask(args: Arguments, outputs: number): CgcnnConfig["task"] {
  const task = args.get("task") ?? (outputs === 1 ? "regression" : "classification");
  if ((task === "regression" && outputs === 1) || (task === "classification" && outputs > 1)) return task;
  throw new UnitcellError("MISMATCH", `task ${JSON.stringify(task)} does not go with ${outputs} outputs`);
}

/**
 * Highest layer number that matches, plus one; gaps are caught when the state dict is read. Numbers beyond the count of
 * tensors are no layer's: a name must not make us expect a billion of them.
 */
function countLayers(stateDict: StateDict, name: RegExp): number {
  let count = 0;
  for (const key of stateDict.keys()) {
    const layer = Number(name.exec(key)?.[1] ?? -1);
    if (layer < stateDict.size) count = Math.max(count, layer + 1);
  }
  return count;
}

function compareWithArguments(config: CgcnnConfig, args: Arguments): void {
  const found = { atom_fea_len: config.hidden, n_conv: config.convs, h_fea_len: config.dense, n_h: config.denseLayers };
  const contradictions = Object.entries(found)
    .filter(([name, size]) => args.has(name) && args.get(name) !== size)
    .map(([name, size]) => `${name} is ${String(args.get(name))} in the arguments, ${size} by the tensors`);
  if (contradictions.length) throw new UnitcellError("MISMATCH", contradictions.join("; "), { contradictions });
}

/** As numpy.arange(dmin, radius + step, step) counts. */
function checkBasis({ basis }: CgcnnConfig, { dmin, radius, step }: GraphSettings): void {
  const count = Math.ceil((radius + step - dmin) / step);
  if (count !== basis.count)
    throw new UnitcellError(
      "MISMATCH",
      `the network takes ${basis.count} Gaussians, but radius ${radius}, dmin ${dmin} and step ${step} Å give ${count}; ` +
        "give the graph settings it was trained with",
    );
}

/** Upstream's own training code kept [file, task, property] in `data_options`. */
function propertyName(args: Arguments): string | undefined {
  const options = args.get("data_options");
  const name = Array.isArray(options) ? options[2] : undefined;
  return typeof name === "string" ? name : undefined;
}

function notCgcnn(names: readonly string[]): UnitcellError {
  const hint = prefixHint(names, new Set<string>(RECOGNIZED));
  return new UnitcellError("UNSUPPORTED", `tensors are not those of a CGCNN: ${listNames(names) || "none"}${hint}`);
}

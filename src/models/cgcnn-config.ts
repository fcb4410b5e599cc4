import type { Checkpoint } from "../checkpoint.js";
import type { CgcnnConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import type { StateDict } from "../tensor.js";
import { countLayers, type Recognized, type Settings } from "./architecture.js";
import { CGCNN_MARKS } from "./marks.js";
import { compareSizes, MOST, SettingsReader, shownSetting } from "./settings-reader.js";

type Arguments = NonNullable<Checkpoint["args"]>;

/**
 * CGCNN's config from a checkpoint: sizes from the tensors' shapes, task and graph settings from the saved arguments,
 * else from the output's width and the published defaults (CIFData in CGCNN's data.py).
 */
export function readCgcnnConfig(
  stateDict: StateDict,
  { args = new Map() }: Checkpoint,
  overrides: Settings,
): Recognized<CgcnnConfig> {
  const [[hidden, elementFeatures], [gates, inputs], [dense], [outputs]] = CGCNN_MARKS.map(
    (name) => stateDict.get(name)!.shape,
  );
  if (!(hidden && elementFeatures && dense && outputs && gates === 2 * hidden && inputs > 2 * hidden))
    throw new UnitcellError("MISMATCH", `shapes of ${CGCNN_MARKS.join(", ")} are not a CGCNN's`);
  const settings = new SettingsReader(new Map(Object.entries(overrides)), args);
  const cutoff = settings.number("radius", 8, { above: 0, most: MOST.cutoff });
  const maxNeighbors = settings.positiveInteger("max_num_nbr", 12, MOST.neighbors);
  const basis = {
    first: settings.number("dmin", 0),
    step: settings.number("step", 0.2, { above: 0 }),
    count: inputs - 2 * hidden,
  };
  const config: CgcnnConfig = {
    type: "cgcnn",
    task: readTask(args, outputs),
    outputs,
    elementFeatures,
    hidden,
    convs: countLayers(stateDict, /^convs\.(\d+)\.fc_full\.weight$/),
    dense,
    denseLayers: 1 + countLayers(stateDict, /^fcs\.(\d+)\.weight$/),
    graph: { select: "nearest", cutoff, maxNeighbors },
    basis,
  };
  compareSizes(settings, {
    atom_fea_len: hidden,
    n_conv: config.convs,
    h_fea_len: dense,
    n_h: config.denseLayers,
  });
  checkBasis(config);
  return { config, found: settings.found, assumed: settings.assumed("CGCNN"), property: propertyName(args) };
}

function readTask(args: Arguments, outputs: number): CgcnnConfig["task"] {
  const task = args.get("task") ?? (outputs === 1 ? "regression" : "classification");
  if ((task === "regression" && outputs === 1) || (task === "classification" && outputs > 1)) return task;
  throw new UnitcellError("MISMATCH", `task ${shownSetting(task)} does not go with ${outputs} outputs`);
}

/** As numpy.arange(dmin, radius + step, step) counts. */
function checkBasis({ basis, graph: { cutoff } }: CgcnnConfig): void {
  const count = Math.ceil((cutoff + basis.step - basis.first) / basis.step);
  if (count !== basis.count)
    throw new UnitcellError(
      "MISMATCH",
      `the network takes ${basis.count} Gaussians, but radius ${cutoff}, dmin ${basis.first} and step ${basis.step} Å ` +
        `give ${count}; give the graph settings it was trained with`,
    );
}

/** Upstream's own training code kept [file, task, property] in `data_options`. */
function propertyName(args: Arguments): string | undefined {
  const options = args.get("data_options");
  const name = Array.isArray(options) ? options[2] : undefined;
  return typeof name === "string" ? name : undefined;
}

import { isUnitcellError } from "./errors.js";
import { listNames, withoutWrapperPrefixes } from "./load-report.js";
import { recognizeModel } from "./models/from-checkpoint.js";
import { findKnown, nearestKnown } from "./models/recognize.js";
import type { CheckpointSummary } from "./summary.js";
import type { StateDict, Tensor } from "./tensor.js";

/** Which network a checkpoint is of, as far as names and shapes of tensors and saved settings tell. */
export interface ArchitectureSummary {
  /** "CGCNN", "ALIGNN", "MEGNet"; undefined for any other. */
  readonly name: string | undefined;
  readonly task: "regression" | "classification" | undefined;
  readonly property: string | undefined;
  /** Settings that the checkpoint records, "cutoff 8". */
  readonly found: readonly string[];
  /** Settings that it does not record and published defaults would supply, one sentence each. */
  readonly assumed: readonly string[];
  /** Why no model would be made of it: of an unknown one what is nearest, else the error's code and message. */
  readonly problem: string | undefined;
}

/**
 * The architecture of what inspectCheckpoint has summarised; undefined where no state dict was found. Nothing more is
 * read. A function of its own, so that whoever only inspects does not load the networks.
 */
export function summarizeArchitecture(summary: CheckpointSummary): ArchitectureSummary | undefined {
  if (summary.stateDict === undefined) return undefined;
  const stateDict: StateDict = new Map();
  // Recognising looks at names and shapes alone.
  for (const { key, dtype, shape } of summary.tensors)
    if (key !== undefined) stateDict.set(key, { dtype, shape } as unknown as Tensor);
  const bare = withoutWrapperPrefixes(stateDict);
  const name = findKnown(bare)?.title;
  const nothing = { name, task: undefined, property: undefined, found: [], assumed: [] };
  if (name === undefined) {
    const nearest = nearestKnown(bare);
    return {
      ...nothing,
      problem: nearest && `nearest is ${nearest.title}, which would also have ${listNames(nearest.lacking)}`,
    };
  }
  const { args, layout = "plain" } = summary;
  try {
    const { config, found, assumed, property } = recognizeModel({
      stateDict,
      ...(args && { args }),
      layout,
      extra: new Map(),
    });
    return { name, task: config.task, property, found, assumed, problem: undefined };
  } catch (error) {
    if (!isUnitcellError(error)) throw error;
    return { ...nothing, problem: `${error.code}: ${error.message}` };
  }
}

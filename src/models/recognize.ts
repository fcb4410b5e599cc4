import type { Checkpoint } from "../checkpoint.js";
import type { ModelConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { listNames, prefixHint, withoutWrapperPrefixes } from "../load-report.js";
import type { StateDict } from "../tensor.js";
import { ALIGNN } from "./alignn.js";
import type { Architecture, Recognized, Settings } from "./architecture.js";
import { CGCNN } from "./cgcnn.js";
import { MEGNET } from "./megnet.js";

const ARCHITECTURES: readonly Architecture[] = [CGCNN, ALIGNN, MEGNET];

/** The architecture of a config. */
export function architectureOf({ type }: ModelConfig): Architecture {
  return ARCHITECTURES.find((architecture) => architecture.type === type)!;
}

/**
 * Which architecture a checkpoint is of, by the names and shapes of its tensors, and with which settings. Tensor data is
 * not looked at.
 * @param settings by the names of the reference code; they win over the checkpoint's own
 * @throws {UnitcellError} UNSUPPORTED when it is of none, with the tensors found; MISMATCH when tensors and settings
 *   contradict each other
 */
export function recognizeModel(checkpoint: Checkpoint, settings: Settings = {}): Recognized {
  const stateDict = withoutWrapperPrefixes(checkpoint.stateDict);
  const architecture = findArchitecture(stateDict);
  if (architecture) return architecture.readConfig(stateDict, checkpoint, settings);
  const names = [...checkpoint.stateDict.keys()];
  const nearest = nearestArchitecture(stateDict);
  const hint = nearest
    ? `; nearest is ${nearest.title}, which would also have ${listNames(nearest.lacking)}`
    : prefixHint(names, new Set(ARCHITECTURES.flatMap(({ marks }) => marks)));
  const titles = ARCHITECTURES.map(({ title }) => title).join(", ");
  throw new UnitcellError(
    "UNSUPPORTED",
    `the tensors are of no known architecture (${titles}): ${listNames(names) || "there are none"}${hint}`,
    { names },
  );
}

/** By the names that it is known by; undefined for a network of another kind. */
export function findArchitecture(stateDict: StateDict): Architecture | undefined {
  return ARCHITECTURES.find((row) => lacking(row, stateDict).length === 0);
}

/** That of which there is the most, and what is lacking; undefined where there is nothing of any. */
export function nearestArchitecture(stateDict: StateDict): { title: string; lacking: string[] } | undefined {
  const share = (row: Architecture) => 1 - lacking(row, stateDict).length / row.marks.length;
  const nearest = ARCHITECTURES.reduce((best, row) => (share(row) > share(best) ? row : best));
  return share(nearest) > 0 ? { title: nearest.title, lacking: lacking(nearest, stateDict) } : undefined;
}

function lacking({ marks }: Architecture, stateDict: StateDict): string[] {
  return marks.filter((name) => !stateDict.has(name));
}

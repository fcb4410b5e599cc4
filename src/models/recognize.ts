/** Which network a checkpoint is of, by the names of its tensors alone. */
import { UnitcellError } from "../errors.js";
import { listNames, prefixHint } from "../load-report.js";
import type { StateDict } from "../tensor.js";
import { KNOWN, type Known } from "./known.js";

/**
 * The network that has these tensors, wrapper prefixes taken off.
 * @param names as the checkpoint has them, for the message
 * @throws {UnitcellError} UNSUPPORTED when it is of none, with the tensors found
 */
export function recognize(stateDict: StateDict, names: readonly string[]): Known {
  const known = findKnown(stateDict);
  if (known) return known;
  const nearest = nearestKnown(stateDict);
  const hint = nearest
    ? `; nearest is ${nearest.title}, which would also have ${listNames(nearest.lacking)}`
    : prefixHint(names, new Set(KNOWN.flatMap(({ marks }) => marks)));
  const titles = KNOWN.map(({ title }) => title).join(", ");
  throw new UnitcellError(
    "UNSUPPORTED",
    `the tensors are of no known architecture (${titles}): ${listNames(names) || "there are none"}${hint}`,
    { names },
  );
}

/** By the names that it is known by; undefined for a network of another kind. */
export function findKnown(stateDict: StateDict): Known | undefined {
  return KNOWN.find((row) => lacking(row, stateDict).length === 0);
}

/** That of which there is the most, and what is lacking; undefined where there is nothing of any. */
export function nearestKnown(stateDict: StateDict): { title: string; lacking: string[] } | undefined {
  const share = (row: Known) => 1 - lacking(row, stateDict).length / row.marks.length;
  const nearest = KNOWN.reduce((best, row) => (share(row) > share(best) ? row : best));
  return share(nearest) > 0 ? { title: nearest.title, lacking: lacking(nearest, stateDict) } : undefined;
}

function lacking({ marks }: Known, stateDict: StateDict): string[] {
  return marks.filter((name) => !stateDict.has(name));
}

/** One level of a file's value at a time, so that a file of a million values is opened as far as someone looks. */
import { treeOf } from "../../cli/tree.js";
import { UnitcellError } from "../../errors.js";
import type { TorchValue } from "../../formats/values.js";
import { type Part, partsOf } from "../../formats/walk.js";
import type { TreeLevel } from "../messages.js";

export interface TreeLevelOptions {
  readonly most: number;
}

/** @param path by position among the parts of each value, from the root */
export function treeLevel(root: TorchValue, path: readonly number[], { most }: TreeLevelOptions): TreeLevel {
  let at: Part = { value: root, place: undefined };
  for (const index of path) {
    const part = partsOf(at)[index];
    if (!part) throw new UnitcellError("NOT_FOUND", `the value has no part ${path.join(", ")}`);
    at = part;
  }
  const { children = [] } = treeOf(at.value, { depth: 1, limit: most, fold: false });
  const parts = partsOf(at);
  return {
    nodes: children.map(({ key, kind, text }) => ({
      kind,
      ...(key !== undefined && { key }),
      ...(text !== undefined && { text }),
    })),
    opens: children.map((_, i) => partsOf(parts[i]).length > 0),
    total: parts.length,
  };
}

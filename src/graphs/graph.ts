import type { GraphConfig } from "../config.js";
import type { Structure } from "../structures/structure.js";
import { buildNearestGraph } from "./nearest.js";
import { buildRadiusGraph } from "./radius.js";
import { buildShellGraph } from "./shell.js";
import { buildSphereGraph } from "./sphere.js";
import type { Warning } from "./warnings.js";

/**
 * N atoms and their E edges, edges sorted by receiving atom:
 *   numbers (N,) atomic numbers; start (N + 1,) first edge of each atom; source (E,) the neighbouring atom of each edge;
 *   lengths (E,) Å
 */
export interface CrystalGraph {
  readonly numAtoms: number;
  readonly numEdges: number;
  readonly numbers: Uint8Array;
  readonly start: Int32Array;
  readonly source: Int32Array;
  readonly lengths: Float64Array;
  /** (E, 3) Å: position of the receiving atom less that of the sending one. Where the rule asks for a line graph. */
  readonly vectors?: Float64Array;
  /** (6,) a, b, c (Å) and alpha, beta, gamma (degrees) as ALIGNN rounds them; of its rules only. */
  readonly cell?: Float64Array;
  /** Å, the cutoff really used. */
  readonly cutoff: number;
  /** Where the graph is not upstream's own; its line graph then is not either (line-graph.ts). */
  readonly neighborPolicy?: "symmetric";
  readonly warnings: readonly Warning[];
}

/**
 * The graph of a structure by the rule of a model's reference code.
 * @throws {UnitcellError} ARGUMENT when the settings are not positive, and what checkStructure finds; CORRUPT when
 *   atoms or their images overlap; UNSUPPORTED when a rule has no graph for the crystal; LIMIT when it would have more
 *   than MAX_NEIGHBORS edges, or its cutoff would have to grow too far
 */
export function buildGraph(structure: Structure, config: GraphConfig): CrystalGraph {
  switch (config.select) {
    case "nearest":
      return buildNearestGraph(structure, config);
    case "shell":
      return buildShellGraph(structure, config);
    case "sphere":
      return buildSphereGraph(structure, config);
    case "radius-graph":
      return buildRadiusGraph(structure, config);
  }
}

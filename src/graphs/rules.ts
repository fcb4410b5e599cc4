/** The rules of graphs, each loaded when a model of it runs; graph.ts has them all at hand. */

import type { GraphConfig } from "../config.js";
import { loaded } from "../errors.js";
import type { Structure } from "../structures/structure.js";
import type { CrystalGraph } from "./graph.js";

export type GraphRule = (structure: Structure) => CrystalGraph;

/** What builds a model's graphs. Each throws what buildGraph does. */
export async function graphRule(config: GraphConfig): Promise<GraphRule> {
  switch (config.select) {
    case "nearest": {
      const { buildNearestGraph } = await loaded(import("./nearest.js"));
      return (structure) => buildNearestGraph(structure, config);
    }
    case "shell": {
      const { buildShellGraph } = await loaded(import("./shell.js"));
      return (structure) => buildShellGraph(structure, config);
    }
    case "sphere": {
      const { buildSphereGraph } = await loaded(import("./sphere.js"));
      return (structure) => buildSphereGraph(structure, config);
    }
    case "radius-graph": {
      const { buildRadiusGraph } = await loaded(import("./radius.js"));
      return (structure) => buildRadiusGraph(structure, config);
    }
  }
}

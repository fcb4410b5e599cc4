/** The rules of graphs, each loaded when a model of it runs; graph.ts has them all at hand. */

import type { GraphConfig } from "../config.js";
import { loaded, UnitcellError } from "../errors.js";
import type { Structure } from "../structures/structure.js";
import type { CrystalGraph } from "./graph.js";

export type GraphRule = (structure: Structure) => CrystalGraph;

/** What builds a model's graphs. Each throws what buildGraph does, and LIMIT for more edges than `maxEdges`. */
export async function graphRule(config: GraphConfig, maxEdges = Number.POSITIVE_INFINITY): Promise<GraphRule> {
  const build = await builder(config, maxEdges);
  return (structure) => {
    const graph = build(structure);
    if (graph.numEdges > maxEdges)
      throw new UnitcellError("LIMIT", `expected at most ${maxEdges} edges, the graph has ${graph.numEdges}`, {
        limit: maxEdges,
      });
    return graph;
  };
}

async function builder(config: GraphConfig, maxEdges: number): Promise<GraphRule> {
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
      return (structure) => buildSphereGraph(structure, config, maxEdges);
    }
    case "radius-graph": {
      const { buildRadiusGraph } = await loaded(import("./radius.js"));
      return (structure) => buildRadiusGraph(structure, config);
    }
  }
}

import type { ShellGraphConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { checkStructure, type Structure } from "../structures/structure.js";
import { sortEdges } from "./edges.js";
import type { CrystalGraph } from "./graph.js";
import { cellParameters, cutoffExtended, openAxesNote, roundedLattice } from "./jarvis.js";
import { shellEdges } from "./shell-bonds.js";
import { SHELL_RULES } from "./shell-rules.js";
import { findShells, type Shells } from "./shell-search.js";
import { nameAtoms, structureNotes, type Warning } from "./warnings.js";

/**
 * ALIGNN's "k-nearest" graph: each atom bonds to every neighbour no farther than its `maxNeighbors`-th, and each bond
 * gives an edge either way. Where an atom has fewer neighbours the cutoff grows, which a warning tells. The edge set is
 * upstream's own to the last bit, with what is odd about it:
 *  - the shell at the last place is cut by rounding: "no farther" is an exact float64 comparison, and coordinates come
 *    from a lattice rounded to 5 decimals while images do not (a warning names the atoms whose shell was cut);
 *  - a bond kept by one end only counts for both (`canonize`); without `canonize` each end that keeps a bond adds it
 *    once more;
 *  - with `canonize`, too, a bond from an atom to its own image is there twice in each direction;
 *  - far images are missed where coordinates are spread over more than one cell;
 *  - every axis repeats, whatever the structure says (a warning tells).
 *
 * neighborPolicy "symmetric" is the graph upstream means: whole shells, the lattice as given, each bond once in each
 * direction (without `canonize`, once for each end that keeps it), also those to an atom's own images, which upstream
 * doubles in a small cell but not in a supercell, and its line graph has them follow themselves, as their images do in a
 * supercell. It is the same for any order of atoms, origin, orientation, cell and
 * supercell; the cutoff grows by doubling, not to the cell's longest edge. Predictions differ from upstream's.
 * Source: nearest_neighbor_edges, canonize_edge and build_undirected_edgedata in ALIGNN's graphs.py.
 * @throws {UnitcellError} ARGUMENT when the settings are not positive, and what checkStructure finds; CORRUPT when atoms
 *   or their images overlap; LIMIT when the cutoff grows beyond MAX_CUTOFF or there are more than MAX_NEIGHBORS edges
 */
export function buildShellGraph(structure: Structure, config: ShellGraphConfig): CrystalGraph {
  const { cutoff, maxNeighbors, neighborPolicy, lineGraph } = config;
  if (!(cutoff > 0 && Number.isFinite(cutoff) && Number.isInteger(maxNeighbors) && maxNeighbors > 0))
    throw new UnitcellError(
      "ARGUMENT",
      `graph needs a positive cutoff and neighbour count, found ${cutoff} Å, ${maxNeighbors}`,
    );
  checkStructure(structure);
  const rule = SHELL_RULES[neighborPolicy];
  if (!rule)
    throw new UnitcellError("ARGUMENT", `expected neighborPolicy "upstream" or "symmetric", found "${neighborPolicy}"`);
  const shells = findShells(structure, config, rule);
  const { edges, cut } = shellEdges(structure, shells, { ...rule, canonize: config.canonize });
  const { vectors, ...sorted } = sortEdges(structure.numbers.length, edges);
  return {
    numAtoms: structure.numbers.length,
    numEdges: sorted.source.length,
    numbers: structure.numbers,
    ...sorted,
    ...(lineGraph && { vectors }),
    cell: cellParameters(roundedLattice(structure.lattice)),
    cutoff: shells.cutoff,
    ...(neighborPolicy === "symmetric" && { neighborPolicy }),
    warnings: describe(structure, config, shells, neighborPolicy === "upstream" ? cut : []),
  };
}

function describe(structure: Structure, config: ShellGraphConfig, shells: Shells, cut: readonly number[]): Warning[] {
  const { cutoff, maxNeighbors } = config;
  const range = { from: cutoff, to: shells.cutoff };
  const warnings = [
    ...structureNotes(structure),
    ...openAxesNote(structure),
    ...cutoffExtended(structure, shells.short, `fewer than ${maxNeighbors} neighbours`, range),
  ];
  if (cut.length)
    warnings.push({
      code: "neighbor-tie",
      message:
        `${nameAtoms(structure, cut)}: rounding in the reference code cut the shell of equally distant neighbours at the ` +
        `last of ${maxNeighbors} places, as it does here; neighborPolicy "symmetric" closes it`,
      atoms: cut,
    });
  return warnings;
}

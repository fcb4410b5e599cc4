import type { NearestGraphConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { ELECTRONEGATIVITY } from "../structures/elements.js";
import { checkStructure, type Structure } from "../structures/structure.js";
import { clusterValues } from "./clusters.js";
import { type Coloring, refineColors } from "./colors.js";
import type { CrystalGraph } from "./graph.js";
import { checkDistances, findNeighbors, type NeighborLists, TIE_TOLERANCE } from "./neighbors.js";
import { allCuts, proportionalCut, randomCut, type ShellCut } from "./ties.js";
import { nameAtoms, structureNotes, type Warning } from "./warnings.js";

/** What a graph is assembled from; the colours are worked out only where a choice depends on them. */
interface Parts {
  readonly structure: Structure;
  readonly config: NearestGraphConfig;
  readonly lists: NeighborLists;
  readonly colors: Coloring | undefined;
  readonly cluster: Int32Array | undefined;
}

/**
 * CGCNN's graph: edges to the `maxNeighbors` nearest atoms within `cutoff`, periodic images included.
 *
 * An atom with fewer neighbours is filled up with edges to one atom of the crystal at length cutoff + 1 Å, as upstream
 * does (CIFData in CGCNN's data.py takes atom 0 after pymatgen has sorted a CIF's sites by electronegativity). Here it
 * is the least electronegative atom, of the lowest colour among equals: the same atom in any atom order.
 * Ties at the cut are resolved as ties.ts describes. Both are named in `warnings` where they can change a prediction.
 * @throws {UnitcellError} ARGUMENT when the settings are not positive, and what checkStructure finds; CORRUPT when
 *   atoms or their images overlap
 */
export function buildNearestGraph(structure: Structure, config: NearestGraphConfig): CrystalGraph {
  return assemble(analyse(structure, config), proportionalCut);
}

/** Graphs tried for the range of predictions over tie choices: all choices up to so many, else so many random ones. */
export const MAX_TIE_CHOICES = 256;

/**
 * The same crystal with its tied shells cut otherwise: every choice of neighbours where there are at most
 * MAX_TIE_CHOICES (`exhaustive`), else that many: buildNearestGraph's own, which random ones may never come near, and random ones
 * from a fixed seed. None when no tie matters.
 */
export function tieVariants(
  structure: Structure,
  config: NearestGraphConfig,
): { graphs: readonly CrystalGraph[]; exhaustive: boolean } {
  const parts = analyse(structure, config);
  const choices = new Map<number, readonly number[][] | undefined>();
  const graph = assemble(parts, (shell) => {
    choices.set(
      shell.atom,
      allCuts(shell.entries, (entry) => parts.lists.index[entry], shell.room, MAX_TIE_CHOICES),
    );
    return proportionalCut(shell);
  });
  if (!graph.warnings.some((warning) => warning.code === "neighbor-tie")) return { graphs: [], exhaustive: true };
  const total = [...choices.values()].reduce(
    (product, cuts) => product * (cuts?.length ?? Number.POSITIVE_INFINITY),
    1,
  );
  const exhaustive = total <= MAX_TIE_CHOICES;
  const random = randomCut();
  const graphs = Array.from({ length: Math.min(total, MAX_TIE_CHOICES) }, (_, n) => {
    if (!exhaustive) return n === 0 ? graph : assemble(parts, random);
    // n counts through the choices, one digit per atom.
    const digits = new Map<number, number>();
    for (const [atom, cuts] of choices) {
      digits.set(atom, n % cuts!.length);
      n = Math.floor(n / cuts!.length);
    }
    return assemble(parts, ({ atom }) => choices.get(atom)![digits.get(atom)!]);
  });
  return { graphs, exhaustive };
}

function analyse(structure: Structure, config: NearestGraphConfig): Parts {
  const { cutoff, maxNeighbors } = config;
  if (!(cutoff > 0 && Number.isFinite(cutoff) && Number.isInteger(maxNeighbors) && maxNeighbors > 0))
    throw new UnitcellError(
      "ARGUMENT",
      `graph needs a positive cutoff and neighbour count, found ${cutoff} Å, ${maxNeighbors}`,
    );
  checkStructure(structure);
  const lists = findNeighbors(structure, cutoff, maxNeighbors);
  checkDistances(lists);
  let uneven = false;
  for (let i = 0; i < structure.numbers.length; i++) uneven ||= lists.start[i + 1] - lists.start[i] !== maxNeighbors;
  const cluster = uneven ? clusterValues(lists.distance, TIE_TOLERANCE).ids : undefined;
  const colors = cluster && refineColors(structure.numbers, lists, cluster);
  return { structure, config, lists, colors, cluster };
}

function assemble(parts: Parts, cut: ShellCut): CrystalGraph {
  const { structure, config, lists } = parts;
  const N = structure.numbers.length;
  const k = config.maxNeighbors;
  const start = new Int32Array(N + 1);
  for (let i = 0; i < N; i++) start[i + 1] = (i + 1) * k;
  const source = new Int32Array(N * k);
  const lengths = new Float64Array(N * k);
  const tied: number[] = [];
  const short: number[] = [];
  for (let i = 0; i < N; i++) {
    const found = lists.start[i + 1] - lists.start[i];
    const entries = found > k ? cutTies(parts, i, cut, tied) : undefined;
    for (let slot = 0; slot < Math.min(found, k); slot++) {
      const entry = entries ? entries[slot] : lists.start[i] + slot;
      source[i * k + slot] = lists.index[entry];
      lengths[i * k + slot] = lists.distance[entry];
    }
    if (found < k) short.push(i);
  }
  const padding = short.length ? paddingAtom(parts) : 0;
  for (const i of short) {
    const filled = lists.start[i + 1] - lists.start[i];
    source.fill(padding, i * k + filled, (i + 1) * k);
    lengths.fill(config.cutoff + 1, i * k + filled, (i + 1) * k);
  }
  return {
    numAtoms: N,
    numEdges: N * k,
    numbers: structure.numbers,
    start,
    source,
    lengths,
    cutoff: config.cutoff,
    warnings: describe(structure, config, tied, short),
  };
}

/** The first k neighbours of atom i, its tied shell cut; notes the atom when the cut could have gone otherwise. */
function cutTies(parts: Parts, i: number, cut: ShellCut, tied: number[]): number[] {
  const { lists, config, cluster } = parts;
  const colors = parts.colors!;
  const [from, end] = [lists.start[i], lists.start[i + 1]];
  const color = (entry: number) => colors.atoms[lists.index[entry]];
  let shell = from + config.maxNeighbors - 1;
  while (shell > from && cluster![shell - 1] === cluster![shell]) shell--;
  const entries = Array.from({ length: end - shell }, (_, at) => shell + at);
  if (entries.some((entry) => color(entry) !== color(shell))) tied.push(i);
  const kept = Array.from({ length: shell - from }, (_, at) => from + at);
  const room = config.maxNeighbors - kept.length;
  return kept.concat(cut({ entries, color, room, atom: i, own: colors.atoms[i], colors: colors.count }));
}

function paddingAtom({ structure, colors }: Parts): number {
  let best = 0;
  const rank = (i: number) => ELECTRONEGATIVITY[structure.numbers[i]];
  for (let i = 1; i < structure.numbers.length; i++)
    if (rank(i) < rank(best) || (rank(i) === rank(best) && colors!.atoms[i] < colors!.atoms[best])) best = i;
  return best;
}

function describe(structure: Structure, config: NearestGraphConfig, tied: number[], short: number[]): Warning[] {
  const warnings = structureNotes(structure);
  if (tied.length)
    warnings.push({
      code: "neighbor-tie",
      message:
        `${nameAtoms(structure, tied)}: different neighbours tie for the last of ${config.maxNeighbors} places; ` +
        "the reference code picks by accident, here they share the places in proportion",
      atoms: tied,
    });
  if (short.length)
    warnings.push({
      code: "few-neighbors",
      message:
        `${nameAtoms(structure, short)}: fewer than ${config.maxNeighbors} neighbours within ${config.cutoff} Å; ` +
        "filled up with distant edges as the reference code does",
      atoms: short,
    });
  return warnings;
}

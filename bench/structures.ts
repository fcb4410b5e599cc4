/** What the bench works on: checkpoint and structure files that are there, and crystals made up on the spot. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadCheckpoint, type Model, modelFromCheckpoint, parseStructures, type Structure } from "../src/index.js";
import { seededRandom } from "../src/random.js";
import { fixturesRoot } from "../test/fixtures.js";

/** Files by path from the repository root. */
export interface Inputs {
  /** Which files these are, for people. */
  readonly description: string;
  readonly checkpoint: string;
  /** CIF and POSCAR files: what both sides read. */
  readonly structures: readonly string[];
  /** The same and extended XYZ: what networks run on. */
  readonly crystals: readonly string[];
  /** One small CIF, of rutile: a whole process's only input. */
  readonly small: string;
}

/** The shared fixtures with a published checkpoint where they are, else the repository's own examples; some of them when `quick`. */
export function findInputs(quick: boolean): Inputs {
  const published = join(fixturesRoot, "cgcnn/formation-energy-per-atom.pth.tar");
  if (existsSync(published))
    return inputs("shared fixtures, published checkpoint", published, join(fixturesRoot, "structures"), quick ? 4 : 1);
  return inputs("the repository's examples", "examples/saved_models/cgcnn_ionic_best.pt", "examples/structures", 1);
}

/** Every `each`-th structure of a folder. */
function inputs(kind: string, checkpoint: string, folder: string, each: number): Inputs {
  const files = readdirSync(folder).filter((name) => /\.(cif|vasp|extxyz)$/.test(name));
  const all = files.sort().map((name) => join(folder, name));
  const crystals = all.filter((_, i) => i % each === 0);
  const structures = crystals.filter((path) => !path.endsWith(".extxyz"));
  const small = all.find((path) => /rutile\.cif$/.test(path)) ?? all[0];
  const name = checkpoint.slice(checkpoint.lastIndexOf("/") + 1);
  return {
    description: `${kind} (${name}, ${structures.length} CIF and POSCAR files)`,
    checkpoint,
    structures,
    crystals,
    small,
  };
}

export async function readModel(path: string): Promise<Model> {
  return modelFromCheckpoint(await loadCheckpoint(readFileSync(path)));
}

/** The first structure of a file, which is the one upstream reads. */
export function readStructure(path: string): Structure {
  return parseStructures(readFileSync(path, "utf8"), { filename: path })[0];
}

/** File name without folder and extension. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/\.\w+$/, "");
}

/** Files that show the range of sizes, by the number of atoms of their structures: about 1, 28 and 216. */
export function namedFiles<File extends { path: string; atoms: number }>(files: readonly File[]): File[] {
  const nearest = (atoms: number) =>
    files.reduce((best, file) => (Math.abs(file.atoms - atoms) < Math.abs(best.atoms - atoms) ? file : best));
  return [...new Set([1, 28, 216].map(nearest))];
}

const ATOMS_PER_CUBIC_ANGSTROM = 0.05;

/** Atoms of two elements on a simple cubic grid, each moved by up to 0.2 of the spacing: dense, and without ties. */
export function jitteredCell(atoms: number, seed = 1): Structure {
  const random = seededRandom(seed);
  const side = Math.ceil(Math.cbrt(atoms) - 1e-9);
  const layers = Math.ceil(atoms / side ** 2); // along c only what is filled
  const spacing = Math.cbrt(atoms / ATOMS_PER_CUBIC_ANGSTROM / (side * side * layers));
  const moved = () => 0.4 * (random() - 0.5);
  const fracCoords = new Float64Array(3 * atoms);
  for (let i = 0; i < atoms; i++) {
    fracCoords[3 * i] = ((i % side) + moved()) / side;
    fracCoords[3 * i + 1] = ((Math.floor(i / side) % side) + moved()) / side;
    fracCoords[3 * i + 2] = (Math.floor(i / side ** 2) + moved()) / layers;
  }
  return {
    lattice: Float64Array.of(side * spacing, 0, 0, 0, side * spacing, 0, 0, 0, layers * spacing),
    pbc: [true, true, true],
    numbers: Uint8Array.from({ length: atoms }, (_, i) => (i % 2 ? 8 : 12)),
    fracCoords,
  };
}

/** Shorter by up to 2 % in all directions: another crystal of the same symmetry, and no bond lost. `by` from 0 to 1. */
export function pressed(structure: Structure, by: number): Structure {
  return { ...structure, lattice: structure.lattice.map((x) => x * (1 - 0.02 * by)) };
}

/** n x n x n cells of the perovskite SrTiO3, where neighbours of Ti and O tie at the cut: 5 n³ atoms. */
export function perovskite(n: number): Structure {
  const cell = [
    [38, 0, 0, 0],
    [22, 0.5, 0.5, 0.5],
    [8, 0.5, 0.5, 0],
    [8, 0.5, 0, 0.5],
    [8, 0, 0.5, 0.5],
  ];
  const numbers: number[] = [];
  const frac: number[] = [];
  for (let cellIndex = 0; cellIndex < n ** 3; cellIndex++) {
    const [i, j, k] = [cellIndex % n, Math.floor(cellIndex / n) % n, Math.floor(cellIndex / n ** 2)];
    for (const [number, x, y, z] of cell) {
      numbers.push(number);
      frac.push((i + x) / n, (j + y) / n, (k + z) / n);
    }
  }
  const side = 3.905 * n; // Å
  return {
    lattice: Float64Array.of(side, 0, 0, 0, side, 0, 0, 0, side),
    pbc: [true, true, true],
    numbers: Uint8Array.from(numbers),
    fracCoords: Float64Array.from(frac),
  };
}

/** Without its first atom: the defect's neighbourhoods are all different out to half the cell. */
export function vacancy({ numbers, fracCoords, ...rest }: Structure): Structure {
  return { ...rest, numbers: numbers.slice(1), fracCoords: fracCoords.slice(3) };
}

const CATIONS = [3, 11, 12, 19, 20, 22, 25, 26, 28, 30, 38, 56];
const ANIONS = [8, 9, 16, 17];

/** So many binary crystals of 2 to 12 atoms, each made when it is asked for. */
export async function* binaryCrystals(count: number, seed = 1): AsyncGenerator<Structure> {
  const random = seededRandom(seed);
  const pick = (from: readonly number[]) => from[Math.floor(random() * from.length)];
  for (let made = 0; made < count; made++) {
    const atoms = 2 + Math.floor(random() * 11);
    const [cation, anion] = [pick(CATIONS), pick(ANIONS)];
    const { numbers, ...cell } = jitteredCell(atoms, made + 1);
    yield { ...cell, numbers: numbers.map((_, i) => (i % 2 ? anion : cation)), id: String(made) };
  }
}

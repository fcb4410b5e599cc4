/** What ALIGNN's two graph rules share: how its structure library, jarvis, rounds a cell and which images it looks at. */
import { UnitcellError } from "../errors.js";
import { fma } from "../structures/double-double.js";
import { invert } from "../structures/linear-algebra.js";
import type { Structure } from "../structures/structure.js";
import { arcCos } from "../structures/trigonometry.js";
import { nameAtoms, type Warning } from "./warnings.js";

/**
 * Cutoffs do not grow beyond this (Å), where upstream's would: a cell that asks for more is no crystal, and a number in
 * a file is not trusted.
 */
export const MAX_CUTOFF = 10_000;

/** Round half to even, numpy's rint. */
function rint(x: number): number {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** numpy's around: not the nearest decimal, but this very arithmetic. */
function around(x: number, decimals: number): number {
  const scale = 10 ** decimals;
  return rint(x * scale) / scale;
}

/** The lattice as jarvis' Lattice holds it: every component rounded to 5 decimals of an Å. */
export function roundedLattice(lattice: Float64Array): Float64Array {
  const rounded = new Float64Array(9);
  for (let i = 0; i < 9; i++) rounded[i] = around(lattice[i], 5);
  return rounded;
}

/** Lengths of the rows of a lattice, rounded to 6 decimals as Python's round does. */
function roundedLengths(rows: Float64Array): number[] {
  return [0, 3, 6].map((i) => {
    const square = rows[i] * rows[i] + rows[i + 1] * rows[i + 1] + rows[i + 2] * rows[i + 2];
    return Number(Math.sqrt(square).toFixed(6));
  });
}

/** Longest edge of the cell, Å. */
export function longestEdge(rounded: Float64Array): number {
  return Math.max(...roundedLengths(rounded));
}

/**
 * (6,) a, b, c in Å to 6 decimals and alpha, beta, gamma in degrees to 4, of a rounded lattice.
 * Source: jarvis' Lattice.lat_lengths and lat_angles (90° where the product of two lengths is below 0.01 Å²).
 */
export function cellParameters(rounded: Float64Array): Float64Array {
  const lengths = roundedLengths(rounded);
  const angles = [0, 1, 2].map((i) => {
    const [j, k] = [(i + 1) % 3, (i + 2) % 3];
    const product = lengths[j] * lengths[k];
    if (!(product > 1e-2)) return 90;
    const [u, v] = [3 * j, 3 * k];
    const dot = rounded[u] * rounded[v] + rounded[u + 1] * rounded[v + 1] + rounded[u + 2] * rounded[v + 2];
    const cosine = dot / product;
    return around((180 * arcCos(Math.min(1, Math.max(-1, cosine)))) / Math.PI, 4);
  });
  return Float64Array.of(...lengths, ...angles);
}

/** Whole cells from low[k] up to, but not including, high[k] along each axis. */
export interface ImageRange {
  readonly low: readonly number[];
  readonly high: readonly number[];
}

/**
 * Images the neighbour search of either rule looks at for reach `reach` (Å). The upper end is exclusive upstream, so
 * for coordinates spread over more than one cell far images are missed.
 * @param reciprocal lengths of the reciprocal vectors, without 2 pi, 1/Å
 */
export function imageRange(fracCoords: Float64Array, reach: number, reciprocal: readonly number[]): ImageRange {
  const cells = reciprocal.map((length) => Math.ceil(reach * length));
  const { low, high } = spread(fracCoords);
  return {
    low: cells.map((n, k) => Math.floor(low[k]) - n),
    high: cells.map((n, k) => Math.ceil(high[k]) + n),
  };
}

/** Whether the image at image[at..at+2] is looked at. */
export function inside({ low, high }: ImageRange, image: Float64Array, at: number): boolean {
  for (let k = 0; k < 3; k++) if (!(image[at + k] >= low[k] && image[at + k] < high[k])) return false;
  return true;
}

/**
 * From atom i to atom j in the image at image[at..at+2], by upstream's float64 arithmetic: images come from the lattice
 * as given, T = numpy.dot(image, L), `positions` from the rounded one; X = T + position_j, D = X - position_i.
 */
export function displace(
  out: Float64Array,
  L: Float64Array,
  positions: Float64Array,
  i: number,
  j: number,
  image: Float64Array,
  at: number,
): void {
  const a = image[at];
  const b = image[at + 1];
  const c = image[at + 2];
  // A product with 0, 1 or 2 is exact, so that fusing it changes nothing and costs something.
  const exact = Math.abs(b) < 3 && Math.abs(c) < 3;
  for (let x = 0; x < 3; x++) {
    const T = exact ? a * L[x] + b * L[3 + x] + c * L[6 + x] : fma(c, L[6 + x], fma(b, L[3 + x], a * L[x]));
    out[x] = T + positions[3 * j + x] - positions[3 * i + x];
  }
}

/** float64 noise of distances computed in two ways, generously. */
const NOISE = 1e-7; // Å

/**
 * Most that upstream's distances differ from the crystal's own, Å: two atoms' coordinates differ by at most the spread
 * of all of them, so their positions by so much of the rounding.
 */
export function roundingMargin({ lattice, fracCoords }: Structure, rounded: Float64Array): number {
  const { low, high } = spread(fracCoords);
  return [0, 1, 2].reduce((sum, axis) => {
    const row = [0, 1, 2].map((x) => rounded[3 * axis + x] - lattice[3 * axis + x]);
    return sum + (high[axis] - low[axis]) * Math.sqrt(row.reduce((square, x) => square + x * x, 0));
  }, NOISE);
}

/** Least and largest coordinate along each axis. */
function spread(fracCoords: Float64Array) {
  const low = new Float64Array(3).fill(Number.POSITIVE_INFINITY);
  const high = new Float64Array(3).fill(Number.NEGATIVE_INFINITY);
  for (let axis = 0; axis < 3; axis++)
    for (let i = axis; i < fracCoords.length; i += 3) {
      low[axis] = Math.min(low[axis], fracCoords[i]);
      high[axis] = Math.max(high[axis], fracCoords[i]);
    }
  return { low, high };
}

/** Lengths of the reciprocal vectors without 2 pi, 1/Å. */
export function reciprocalLengths(lattice: Float64Array): number[] {
  const inverse = invert(lattice);
  return [0, 1, 2].map((k) => Math.sqrt([0, 3, 6].reduce((square, i) => square + inverse[i + k] * inverse[i + k], 0)));
}

/** The same, rounded as jarvis does: the reciprocal lattice (with 2 pi) is a lattice like any other. */
export function roundedReciprocalLengths(rounded: Float64Array): number[] {
  const inverse = invert(rounded);
  const reciprocal = Float64Array.from([0, 3, 6, 1, 4, 7, 2, 5, 8], (i) => around(2 * Math.PI * inverse[i], 5));
  return roundedLengths(reciprocal).map((length) => length / (2 * Math.PI));
}

/** Upstream knows no axes that do not repeat. */
export function openAxesNote({ pbc }: Structure): Warning[] {
  const open = ["a", "b", "c"].filter((_, k) => !pbc[k]);
  if (open.length === 0) return [];
  const axes = open.length === 1 ? `axis ${open[0]}` : `axes ${open.join(" and ")}`;
  const message = `the structure does not repeat along ${axes}; the reference code repeats every axis, and so does this graph`;
  return [{ code: "structure-note", message }];
}

/** What was missing at the first cutoff, and how far it grew. */
export function cutoffExtended(
  structure: Structure,
  atoms: readonly number[],
  missing: string,
  { from, to }: { readonly from: number; readonly to: number },
): Warning[] {
  if (atoms.length === 0) return [];
  const message = `${nameAtoms(structure, atoms)}: ${missing} within ${from} Å; the cutoff was extended to ${to} Å`;
  return [{ code: "cutoff-extended", message, atoms }];
}

/** @throws {UnitcellError} LIMIT when the cutoff has grown beyond MAX_CUTOFF */
export function checkCutoff(cutoff: number, missing: string): void {
  if (cutoff > MAX_CUTOFF)
    throw new UnitcellError("LIMIT", `some atom has ${missing} within ${MAX_CUTOFF} Å, as far as a cutoff may grow`, {
      limit: MAX_CUTOFF,
    });
}

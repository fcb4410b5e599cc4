/**
 * Inverse and determinant of 3x3 matrices, and Cartesian to fractional coordinates, with the bits of numpy.
 * numpy leaves these to LAPACK; the order of operations and what is fused are those of OpenBLAS 0.3 with its AVX-512
 * kernels (found by comparing bits, on dgetrf, dgesv and dgemv), where pymatgen's and ASE's numbers come from.
 */
import { fma } from "./double-double.js";
import { exponential, logarithm } from "./exponential.js";

/** P m = L U: the factors in one row-major matrix (L has ones on its diagonal), row i of P m is row rows[i] of m. */
interface Factors {
  readonly lu: Float64Array;
  readonly rows: readonly number[];
}

/** Gaussian elimination with partial pivoting, one column at a time, by products with the pivot's reciprocal. */
function factorize(m: ArrayLike<number>): Factors {
  const lu = Float64Array.from(m);
  const rows = [0, 1, 2];
  for (let j = 0; j < 3; j++) {
    for (let i = 1; i < 3; i++) {
      const terms = Math.min(i, j);
      if (terms === 0) continue;
      let dot = lu[3 * i] * lu[j];
      if (terms === 2) dot = fma(lu[3 * i + 1], lu[3 + j], dot);
      lu[3 * i + j] -= dot;
    }
    let pivot = j;
    for (let i = j + 1; i < 3; i++) if (Math.abs(lu[3 * i + j]) > Math.abs(lu[3 * pivot + j])) pivot = i;
    if (pivot !== j) {
      const row = rows[j];
      rows[j] = rows[pivot];
      rows[pivot] = row;
      for (let k = 0; k < 3; k++) {
        const kept = lu[3 * j + k];
        lu[3 * j + k] = lu[3 * pivot + k];
        lu[3 * pivot + k] = kept;
      }
    }
    const reciprocal = 1 / lu[4 * j];
    for (let i = j + 1; i < 3; i++) lu[3 * i + j] *= reciprocal;
  }
  return { lu, rows };
}

/** Column `column` of the inverse into out: x of m x = b, b the unit vector. */
function solveUnit({ lu, rows }: Factors, out: Float64Array, column: number): void {
  let x = rows[0] === column ? 1 : 0;
  let y = rows[1] === column ? 1 : 0;
  let z = rows[2] === column ? 1 : 0;
  y = fma(-lu[3], x, y);
  z -= fma(lu[7], y, lu[6] * x);
  z *= 1 / lu[8];
  y = (y - lu[5] * z) * (1 / lu[4]);
  x = fma(-lu[1], y, x - lu[2] * z) * (1 / lu[0]);
  out[column] = x;
  out[3 + column] = y;
  out[6 + column] = z;
}

/** Inverse of a row-major (3, 3) matrix, as numpy.linalg.inv; not finite when it is singular. */
export function invert(m: ArrayLike<number>): Float64Array {
  const factors = factorize(m);
  const out = new Float64Array(9);
  for (let column = 0; column < 3; column++) solveUnit(factors, out, column);
  return out;
}

/** |determinant| of a row-major (3, 3) matrix, as numpy.linalg.det has it: by the logarithms of the pivots. */
export function absoluteDeterminant(m: ArrayLike<number>): number {
  const { lu } = factorize(m);
  const pivots = [lu[0], lu[4], lu[8]].map(Math.abs);
  if (pivots.includes(0)) return 0;
  return exponential(pivots.reduce((sum, pivot) => sum + logarithm(pivot), 0));
}

/** Rows (N, 3) times a row-major (3, 3) matrix, as numpy.dot where BLAS fuses multiply and add. */
export function dotRows(rows: ArrayLike<number>, m: ArrayLike<number>): Float64Array {
  const out = new Float64Array(rows.length);
  for (let i = 0; i < rows.length; i += 3)
    for (let j = 0; j < 3; j++) out[i + j] = fma(rows[i + 2], m[6 + j], fma(rows[i + 1], m[3 + j], rows[i] * m[j]));
  return out;
}

/** Cartesian rows (N, 3) in Å times the inverse of a lattice, as pymatgen's Lattice.get_fractional_coords. */
export function toFractional(positions: ArrayLike<number>, lattice: ArrayLike<number>): Float64Array {
  return dotRows(positions, invert(lattice));
}

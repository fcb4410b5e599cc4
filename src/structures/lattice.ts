/** Lattices from cell lengths and angles. */
import { UnitcellError } from "../errors.js";
import { arcCos, cos, sin } from "./trigonometry.js";

/**
 * Lattice rows from cell lengths (Å) and angles (degrees), with the bits of pymatgen's Lattice.from_parameters (2022.11),
 * which puts c along z and a in the xz plane. A right angle leaves 6e-17 of a length there, and so it does here.
 * @throws {UnitcellError} CORRUPT when a length is not positive or the angles close no cell
 */
export function latticeFromParameters(
  lengths: readonly [number, number, number],
  angles: readonly [number, number, number],
): Float64Array {
  const [a, b, c] = lengths;
  checkParameters(lengths, angles);
  const radians = angles.map((angle) => angle * (Math.PI / 180));
  const [cosAlpha, cosBeta, cosGamma] = radians.map(cos);
  const [sinAlpha, sinBeta] = radians.map(sin);
  const cosGammaStar = (cosAlpha * cosBeta - cosGamma) / (sinAlpha * sinBeta);
  const gammaStar = arcCos(Math.min(1, Math.max(-1, cosGammaStar)));
  return Float64Array.of(
    a * sinBeta,
    0,
    a * cosBeta,
    -b * sinAlpha * cos(gammaStar),
    b * sinAlpha * sin(gammaStar),
    b * cosAlpha,
    0,
    0,
    c,
  );
}

function checkParameters(lengths: readonly number[], angles: readonly number[]): void {
  const [a, b, c] = lengths;
  for (const length of lengths)
    if (!(length > 0 && Number.isFinite(length)))
      throw new UnitcellError("CORRUPT", `cell lengths must be positive, found ${a}, ${b}, ${c} Å`, { lengths });
  const [alpha, beta, gamma] = angles;
  const closes =
    angles.every((angle) => angle > 0 && angle < 180) &&
    alpha + beta + gamma < 360 &&
    alpha + beta > gamma &&
    beta + gamma > alpha &&
    gamma + alpha > beta;
  if (!closes) throw new UnitcellError("CORRUPT", `cell angles ${alpha}, ${beta}, ${gamma}° close no cell`, { angles });
}

/**
 * Hall symbols to symmetry operators.
 * Source: S. R. Hall, Acta Cryst. A37, 517 (1981), with the 1994 extensions of International Tables B, section 1.4
 * (explicit axes, `*`, change of basis). A symbol is a lattice letter, up to four rotations with translation subscripts,
 * and an optional shift `(0 0 -1)` in twelfths or change of basis `(x-y,x+y,z)`.
 */
import { UnitcellError } from "../errors.js";
import { invert } from "./linear-algebra.js";
import { located, quote } from "./lines.js";
import {
  compose,
  generateGroup,
  identityOperator,
  parseOperator,
  type SymmetryOperator,
  wrapTranslation,
} from "./symmetry.js";

/** Centring translations by lattice letter. */
const LATTICES: Readonly<Record<string, readonly (readonly number[])[]>> = {
  P: [],
  A: [[0, 1 / 2, 1 / 2]],
  B: [[1 / 2, 0, 1 / 2]],
  C: [[1 / 2, 1 / 2, 0]],
  I: [[1 / 2, 1 / 2, 1 / 2]],
  R: [[2 / 3, 1 / 3, 1 / 3]],
  H: [[2 / 3, 1 / 3, 0]],
  F: [
    [0, 1 / 2, 1 / 2],
    [1 / 2, 0, 1 / 2],
  ],
};

/** Translation subscripts. */
const SHIFTS: Readonly<Record<string, readonly number[]>> = {
  a: [1 / 2, 0, 0],
  b: [0, 1 / 2, 0],
  c: [0, 0, 1 / 2],
  n: [1 / 2, 1 / 2, 1 / 2],
  u: [1 / 4, 0, 0],
  v: [0, 1 / 4, 0],
  w: [0, 0, 1 / 4],
  d: [1 / 4, 1 / 4, 1 / 4],
};

/** Rotations about z (`1` has no axis), about the diagonals a-b (') and a+b ("), and about a+b+c (*). */
const ROTATIONS: Readonly<Record<string, readonly number[]>> = {
  "1": [1, 0, 0, 0, 1, 0, 0, 0, 1],
  "2": [-1, 0, 0, 0, -1, 0, 0, 0, 1],
  "3": [0, -1, 0, 1, -1, 0, 0, 0, 1],
  "4": [0, -1, 0, 1, 0, 0, 0, 0, 1],
  "6": [1, -1, 0, 1, 0, 0, 0, 0, 1],
  "2'": [0, -1, 0, -1, 0, 0, 0, 0, -1],
  '2"': [0, 1, 0, 1, 0, 0, 0, 0, -1],
  "3*": [0, 0, 1, 1, 0, 0, 0, 1, 0],
};

const INVERSION: SymmetryOperator = { rotation: [-1, 0, 0, 0, -1, 0, 0, 0, -1], translation: [0, 0, 0] };

/** The longest Hall symbol in use has about 30 characters. */
const MAX_SYMBOL_LENGTH = 100;

const ROTATION_WORD = /^(-?)([12346])([xyz]?)(['"*]?)([abcnuvwd1-5]*)$/;

/** The rotation about z re-expressed about x or y by cyclic permutation of the axes. */
function aboutAxis(rotation: readonly number[], axis: number): number[] {
  const out = new Array<number>(9);
  const turn = axis + 1; // z, index 2, is where it is after three steps
  for (let i = 0; i < 3; i++)
    for (let j = 0; j < 3; j++) out[3 * ((i + turn) % 3) + ((j + turn) % 3)] = rotation[3 * i + j];
  return out;
}

/** What a rotation word leaves for the default axis of the next one. */
interface Previous {
  readonly order: number;
  readonly axis: number;
}

/**
 * Where no axis is written: first along z; a 2 along x after 2 or 4, along a-b after 3 or 6; a 3 further on along a+b+c.
 */
function defaultAxis(order: number, position: number, previous: Previous | undefined): "x" | "z" | "'" | "*" {
  if (position === 1 && order === 2) return previous && previous.order % 2 === 0 && previous.order !== 6 ? "x" : "'";
  return position > 0 && order === 3 ? "*" : "z";
}

function readRotation(word: string, position: number, previous: Previous | undefined): [SymmetryOperator, Previous] {
  const match = ROTATION_WORD.exec(word);
  if (!match) throw new UnitcellError("CORRUPT", `"${word}" is not a rotation`, { word });
  const [, minus, digit, letter, mark, subscripts] = match;
  const order = Number(digit);
  let axis = letter ? "xyz".indexOf(letter) : 2;
  let diagonal = mark;
  if (!letter && !mark && order > 1) {
    const standard = defaultAxis(order, position, previous);
    if (standard === "x") axis = 0;
    else if (standard !== "z") diagonal = standard;
  }
  // ' and " lie across the axis of the rotation before them unless an axis is written.
  if ((diagonal === "'" || diagonal === '"') && !letter) axis = previous?.axis ?? 2;
  const base = ROTATIONS[digit + diagonal];
  if (!base) throw new UnitcellError("CORRUPT", `there is no rotation "${digit}${diagonal}"`, { word });
  const rotation = diagonal === "*" ? base : aboutAxis(base, axis);
  const translation = [0, 0, 0];
  for (const subscript of subscripts) {
    const shift = SHIFTS[subscript];
    // A digit is a screw: that part of the order, along the rotation axis.
    if (shift) for (let i = 0; i < 3; i++) translation[i] += shift[i];
    else translation[axis] += Number(subscript) / order;
  }
  const signed = minus ? rotation.map((entry) => -entry || 0) : rotation;
  return [
    { rotation: signed, translation: translation.map(wrapTranslation) },
    { order, axis },
  ];
}

/** `(0 0 -1)`: an origin shift in twelfths; `(x-y,x+y,z)`: a change of basis. */
function readBasisChange(text: string): SymmetryOperator {
  if (text.includes(",")) return parseOperator(text);
  const twelfths = text.trim().split(/\s+/).map(Number);
  if (twelfths.length !== 3 || !twelfths.every(Number.isInteger))
    throw new UnitcellError("CORRUPT", `"(${text})" is not three twelfths or a change of basis`, { text });
  return { rotation: identityOperator.rotation, translation: twelfths.map((n) => n / 12) };
}

/** V S V⁻¹. V keeps volumes (parseOperator checked), so its inverse is integer. */
function changeBasis(operator: SymmetryOperator, change: SymmetryOperator): SymmetryOperator {
  const rotation = Array.from(invert(change.rotation), (entry) => Math.round(entry) || 0);
  const [u, v, w] = change.translation;
  const translation = [0, 3, 6].map((i) => -(rotation[i] * u + rotation[i + 1] * v + rotation[i + 2] * w));
  return compose(compose(change, operator), { rotation, translation });
}

/** Generators in the order of the symbol: centrings, inversion, rotations. */
function readGenerators(lattice: string, minus: string, words: readonly string[]): SymmetryOperator[] {
  const generators = LATTICES[lattice.toUpperCase()].map(
    (translation): SymmetryOperator => ({ rotation: identityOperator.rotation, translation }),
  );
  if (minus) generators.push(INVERSION);
  if (words.length === 0 || words.length > 4)
    throw new UnitcellError("CORRUPT", `expected 1 to 4 rotations, found ${words.length}`, { words });
  let previous: Previous | undefined;
  for (const [position, word] of words.entries()) {
    const [operator, state] = readRotation(word, position, previous);
    generators.push(operator);
    previous = state;
  }
  return generators;
}

/**
 * Every operator of the group a Hall symbol names, identity first.
 * @throws {UnitcellError} CORRUPT when the symbol cannot be read or its rotations do not close within 192 operators
 */
export function hallOperators(symbol: string): SymmetryOperator[] {
  return located(`Hall symbol ${quote(symbol)}`, () => {
    if (symbol.length > MAX_SYMBOL_LENGTH)
      throw new UnitcellError("LIMIT", `${symbol.length} characters, at most ${MAX_SYMBOL_LENGTH} are read`);
    const match = /^\s*(-?)\s*([pabcirhf])[\s_]*([^()]*)(?:\(([^()]*)\)\s*)?$/i.exec(symbol);
    if (!match) throw new UnitcellError("CORRUPT", "expected a lattice letter and rotations", { symbol });
    const [, minus, lattice, rotations, change] = match;
    const words = rotations.toLowerCase().split(/[\s_]+/);
    const generators = readGenerators(lattice, minus, words.filter(Boolean));
    if (change === undefined) return generateGroup(generators, 192);
    const basis = readBasisChange(change);
    return generateGroup(
      generators.map((operator) => changeBasis(operator, basis)),
      192,
    );
  });
}

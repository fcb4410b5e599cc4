/**
 * Symmetry operators in fractional coordinates: reading `x,y,z` strings, group closure, the fit to a cell.
 * Rotations are exact integers; translations are in [0, 1) and, where a file rounds them (0.3333), put back on 1/24.
 */
import { UnitcellError } from "../errors.js";
import { determinant } from "./structure.js";

/** x' = rotation · x + translation. rotation (3, 3) row-major integers, translation (3,) in [0, 1). */
export interface SymmetryOperator {
  readonly rotation: readonly number[];
  readonly translation: readonly number[];
  /** The translation as a file lists it (-1/3, 3/2): the same but for whole cells and the last bit. */
  readonly listed?: readonly number[];
}

/** A conventional cell has at most 192; more are met in supercells written with all their translations. */
export const MAX_OPERATORS = 1536;

/** How far an operator may change the metric, relative: 0.01 is 0.5 % of a length or 0.6 degrees of an angle. */
const METRIC_TOLERANCE = 0.01;

/** Decimal translations this close to a multiple of 1/24 are meant to be it (0.33, 0.667); p/q is taken as written. */
const TRANSLATION_SNAP = 0.005;

/** Two translations closer than this are one; far below 1/24, far above rounding errors. */
const TRANSLATION_STEP = 1e-4;

const IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1];
export const identityOperator: SymmetryOperator = { rotation: IDENTITY, translation: [0, 0, 0] };

/** One signed term of an operator component: p/q, a decimal, an integer, or an axis. */
const TERM = /([+-]?)(?:(\d+)\/(\d+)|(\d*\.\d+|\d+\.?)|([xyz]))/y;

/** To [0, 1), so that rounding errors just below 1 become 0. */
export function wrapTranslation(t: number): number {
  const wrapped = t - Math.floor(t);
  return 1 - wrapped < 1e-9 ? 0 : wrapped;
}

interface Component {
  readonly row: readonly number[];
  readonly shift: number;
}

/** `1/2+x`, `-X + Y`, `z-.25`; undefined when it is none of that. */
function parseComponent(text: string): Component | undefined {
  const source = text.replace(/\s+/g, "").toLowerCase();
  const row = [0, 0, 0];
  let shift = 0;
  TERM.lastIndex = 0;
  for (let at = 0; at < source.length; at = TERM.lastIndex) {
    const match = TERM.exec(source);
    // Only the first term may go without a sign.
    if (!match || (at > 0 && match[1] === "")) return undefined;
    const sign = match[1] === "-" ? -1 : 1;
    if (match[5]) row["xyz".indexOf(match[5])] += sign;
    else shift += sign * (match[4] ? snapDecimal(Number(match[4])) : Number(match[2]) / Number(match[3]));
  }
  return row.some((entry) => entry !== 0) && Number.isFinite(shift) ? { row, shift } : undefined;
}

function snapDecimal(value: number): number {
  const nearest = Math.round(value * 24) / 24;
  return Math.abs(value - nearest) < TRANSLATION_SNAP ? nearest : value;
}

/**
 * Read one operator. `seen` lets a list of operators share its components: 192 operators have about 40.
 * @throws {UnitcellError} CORRUPT when it is not three sums of x, y, z and fractions, or is singular
 */
export function parseOperator(text: string, seen = new Map<string, Component | undefined>()): SymmetryOperator {
  const components = text.split(",").map((part) => {
    if (!seen.has(part)) seen.set(part, parseComponent(part));
    return seen.get(part);
  });
  const [x, y, z] = components;
  if (components.length !== 3 || !x || !y || !z)
    throw new UnitcellError("CORRUPT", `expected a symmetry operator such as "-y, x-y, z+1/2", found "${text}"`, {
      operator: text,
    });
  const rotation = [...x.row, ...y.row, ...z.row];
  if (Math.abs(determinant(rotation)) !== 1)
    throw new UnitcellError("CORRUPT", `symmetry operator "${text}" does not keep volumes`, { operator: text });
  const listed = [x, y, z].map((component) => component.shift);
  return { rotation, translation: listed.map(wrapTranslation), listed };
}

/** The operator as text, in the spelling of International Tables: `-y,x-y,z+1/2`. */
export function formatOperator({ rotation, translation }: SymmetryOperator): string {
  return [0, 1, 2]
    .map((i) => {
      const axes = ["x", "y", "z"].map((axis, j) => {
        const entry = rotation[3 * i + j];
        const size = Math.abs(entry) > 1 ? Math.abs(entry) : "";
        return entry ? `${entry > 0 ? "+" : "-"}${size}${axis}` : "";
      });
      return (axes.join("") + formatShift(translation[i])).replace(/^\+/, "");
    })
    .join(",");
}

function formatShift(shift: number): string {
  if (shift === 0) return "";
  for (const q of [2, 3, 4, 6, 8, 12, 24])
    if (Math.abs(shift * q - Math.round(shift * q)) < TRANSLATION_STEP) return `+${Math.round(shift * q)}/${q}`;
  return `+${Number(shift.toFixed(4))}`;
}

/** a after b: x -> a(b(x)). */
export function compose(a: SymmetryOperator, b: SymmetryOperator): SymmetryOperator {
  const rotation = new Array<number>(9);
  const translation = new Array<number>(3);
  for (let i = 0; i < 9; i += 3) {
    const p = a.rotation[i];
    const q = a.rotation[i + 1];
    const r = a.rotation[i + 2];
    for (let j = 0; j < 3; j++) rotation[i + j] = p * b.rotation[j] + q * b.rotation[3 + j] + r * b.rotation[6 + j];
    const shift = p * b.translation[0] + q * b.translation[1] + r * b.translation[2];
    translation[i / 3] = wrapTranslation(shift + a.translation[i / 3]);
  }
  return { rotation, translation };
}

/**
 * Equal for equal operators: a number where entries are -2..2 and translations on 1/24, which is all but odd supercells.
 * There, a translation near a rounding edge could miss its equal: one more reason to snap them.
 */
function operatorKey({ rotation, translation }: SymmetryOperator): number | string {
  let key = 0;
  let exact = true;
  for (let i = 0; i < 9; i++) {
    key = key * 5 + rotation[i] + 2;
    exact &&= rotation[i] >= -2 && rotation[i] <= 2;
  }
  for (let i = 0; i < 3; i++) {
    const step = Math.round(translation[i] * 24);
    key = key * 24 + (step % 24);
    exact &&= Math.abs(translation[i] * 24 - step) < TRANSLATION_STEP;
  }
  if (exact) return key;
  const steps = Math.round(1 / TRANSLATION_STEP);
  return [...rotation, ...translation.map((t) => Math.round(t * steps) % steps)].join();
}

type Group = Map<number | string, SymmetryOperator>;

/**
 * All products of the generators, by Dimino's algorithm: a new generator turns the group so far into cosets, so each
 * operator is made once and only coset representatives meet every generator.
 * @param admit called before an operator is added; throws to stop. left after right gave the product
 */
function closure(
  generators: Iterable<SymmetryOperator>,
  admit: (key: number | string, left: SymmetryOperator, right: SymmetryOperator, size: number) => void,
): Group {
  const group: Group = new Map([[operatorKey(identityOperator), identityOperator]]);
  const used: SymmetryOperator[] = [];
  for (const generator of generators) {
    if (group.has(operatorKey(generator))) continue;
    used.push(generator);
    const subgroup = [...group.values()];
    const representatives: SymmetryOperator[] = [];
    const addCoset = (left: SymmetryOperator, right: SymmetryOperator) => {
      const representative = compose(left, right);
      if (group.has(operatorKey(representative))) return;
      representatives.push(representative);
      for (const element of subgroup) {
        const product = compose(representative, element);
        const key = operatorKey(product);
        admit(key, representative, element, group.size);
        group.set(key, product);
      }
    };
    addCoset(generator, identityOperator);
    for (const representative of representatives) for (const left of used) addCoset(left, representative);
  }
  return group;
}

/**
 * All products of the generators, identity first; at most `limit` operators.
 * @throws {UnitcellError} CORRUPT when they do not close within the limit
 */
export function generateGroup(generators: readonly SymmetryOperator[], limit = MAX_OPERATORS): SymmetryOperator[] {
  const group = closure(generators, (_key, _left, _right, size) => {
    if (size >= limit)
      throw new UnitcellError("CORRUPT", `symmetry operators generate more than ${limit} others`, { limit });
  });
  return [...group.values()];
}

/**
 * Drop repeated operators and check that the rest are a group: a list cut short would silently lose atoms.
 * @throws {UnitcellError} MISMATCH naming a product that is not in the list; LIMIT above MAX_OPERATORS
 */
export function checkGroup(operators: readonly SymmetryOperator[]): SymmetryOperator[] {
  if (operators.length > MAX_OPERATORS)
    throw new UnitcellError("LIMIT", `${operators.length} symmetry operators, at most ${MAX_OPERATORS} are read`, {
      count: operators.length,
    });
  const listed: Group = new Map();
  for (const operator of operators) {
    const key = operatorKey(operator);
    if (!listed.has(key)) listed.set(key, operator);
  }
  closure(listed.values(), (key, left, right) => {
    if (!listed.has(key)) throw notClosed(left, right);
  });
  if (!listed.has(operatorKey(identityOperator)))
    throw new UnitcellError("MISMATCH", "the symmetry operators lack the identity x,y,z");
  return [...listed.values()];
}

function notClosed(left: SymmetryOperator, right: SymmetryOperator): UnitcellError {
  const [a, b, c] = [left, right, compose(left, right)].map(formatOperator);
  return new UnitcellError(
    "MISMATCH",
    `the symmetry operators are not a group: "${b}" followed by "${a}" gives "${c}", which is not listed`,
    { operators: [b, a], missing: c },
  );
}

/** Metric tensor (3, 3) of lattice rows: dot products of the cell vectors, Å². */
export function metricTensor(lattice: ArrayLike<number>): number[] {
  const dot = (i: number, j: number) =>
    lattice[i] * lattice[j] + lattice[i + 1] * lattice[j + 1] + lattice[i + 2] * lattice[j + 2];
  return [0, 3, 6].flatMap((i) => [0, 3, 6].map((j) => dot(i, j)));
}

/** The first operator that does not map the lattice onto itself (Rᵀ G R = G within METRIC_TOLERANCE), or undefined. */
export function operatorOffLattice(
  operators: readonly SymmetryOperator[],
  metric: readonly number[],
): SymmetryOperator | undefined {
  // One check per rotation: centred groups repeat each rotation two to four times.
  const checked = new Map<string, boolean>();
  return operators.find(({ rotation }) => {
    const key = rotation.join();
    if (!checked.has(key)) checked.set(key, keepsMetric(rotation, metric));
    return !checked.get(key);
  });
}

function keepsMetric(r: readonly number[], g: readonly number[]): boolean {
  for (let i = 0; i < 3; i++)
    for (let j = i; j < 3; j++) {
      let mapped = 0;
      for (let k = 0; k < 3; k++) for (let l = 0; l < 3; l++) mapped += r[3 * k + i] * g[3 * k + l] * r[3 * l + j];
      const scale = Math.sqrt(g[4 * i] * g[4 * j]);
      if (!(Math.abs(mapped - g[3 * i + j]) <= METRIC_TOLERANCE * scale)) return false;
    }
  return true;
}

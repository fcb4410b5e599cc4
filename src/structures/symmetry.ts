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
  return { rotation, translation: [x, y, z].map((component) => wrapTranslation(component.shift)) };
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
    const [p, q, r] = [a.rotation[i], a.rotation[i + 1], a.rotation[i + 2]];
    for (let j = 0; j < 3; j++) rotation[i + j] = p * b.rotation[j] + q * b.rotation[3 + j] + r * b.rotation[6 + j];
    const [u, v, w] = b.translation;
    translation[i / 3] = wrapTranslation(p * u + q * v + r * w + a.translation[i / 3]);
  }
  return { rotation, translation };
}

/** Equal for equal operators. A translation near a rounding edge could miss its equal: that is why they are snapped. */
function operatorKey({ rotation, translation }: SymmetryOperator): string {
  const steps = Math.round(1 / TRANSLATION_STEP);
  let key = "";
  for (const entry of rotation) key += String.fromCharCode(256 + entry);
  for (const t of translation) key += `,${Math.round(t * steps) % steps}`;
  return key;
}

/**
 * All products of the generators; at most `limit` operators.
 * @throws {UnitcellError} CORRUPT when they do not close within the limit
 */
export function generateGroup(generators: readonly SymmetryOperator[], limit = MAX_OPERATORS): SymmetryOperator[] {
  const group = [identityOperator];
  const keys = new Set([operatorKey(identityOperator)]);
  for (let at = 0; at < group.length; at++)
    for (const generator of generators) {
      const product = compose(generator, group[at]);
      const key = operatorKey(product);
      if (keys.has(key)) continue;
      if (group.length === limit)
        throw new UnitcellError("CORRUPT", `symmetry operators generate more than ${limit} others`, { limit });
      keys.add(key);
      group.push(product);
    }
  return group;
}

/**
 * Drop repeated operators and check that the rest are a group: a list cut short would silently lose atoms.
 * Generators are picked greedily, so the cost is operators times generators (at most 8 or so), not squared.
 * @throws {UnitcellError} MISMATCH naming a product that is not in the list; LIMIT above MAX_OPERATORS
 */
export function checkGroup(operators: readonly SymmetryOperator[]): SymmetryOperator[] {
  if (operators.length > MAX_OPERATORS)
    throw new UnitcellError("LIMIT", `${operators.length} symmetry operators, at most ${MAX_OPERATORS} are read`, {
      count: operators.length,
    });
  const listed = new Map(operators.map((operator) => [operatorKey(operator), operator]));
  const reached = new Map([[operatorKey(identityOperator), identityOperator]]);
  const generators: SymmetryOperator[] = [];
  for (const [key, operator] of listed) {
    if (reached.has(key)) continue;
    generators.push(operator);
    // Products of a new generator with all that was reached, then of all generators with what that adds.
    const queue = Array.from(reached.values(), (element): [SymmetryOperator, SymmetryOperator] => [operator, element]);
    for (const [left, right] of queue) {
      const product = compose(left, right);
      const productKey = operatorKey(product);
      if (reached.has(productKey)) continue;
      if (!listed.has(productKey)) throw notClosed(left, right, product);
      reached.set(productKey, product);
      for (const generator of generators) queue.push([generator, product]);
    }
  }
  if (!listed.has(operatorKey(identityOperator)))
    throw new UnitcellError("MISMATCH", "the symmetry operators lack the identity x,y,z");
  return [...listed.values()];
}

function notClosed(left: SymmetryOperator, right: SymmetryOperator, product: SymmetryOperator): UnitcellError {
  const [a, b, c] = [left, right, product].map(formatOperator);
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

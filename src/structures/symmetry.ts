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

const PLUS = 43;
const MINUS = 45;
const POINT = 46;
const SLASH = 47;

/** To [0, 1), so that rounding errors just below 1 become 0. */
export function wrapTranslation(t: number): number {
  const wrapped = t - Math.floor(t);
  return 1 - wrapped < 1e-9 ? 0 : wrapped;
}

/** One line of an operator: a row of the rotation, and the shift. */
interface Component {
  x: number;
  y: number;
  z: number;
  shift: number;
}

/**
 * Read `1/2+x`, `-X + Y`, `z-.25` from text[at..end) into `out`: terms of p/q, a decimal, an integer or an axis, of which
 * only the first may go without a sign. White space means nothing. False when it is none of that.
 */
function readComponent(text: string, at: number, end: number, out: Component): boolean {
  while (at < end && text.charCodeAt(at) === 32) at++;
  if (readTerms(text, at, end, out)) return true;
  const stripped = text.slice(at, end).replace(/\s+/g, "");
  return stripped.length < end - at && readTerms(stripped, 0, stripped.length, out);
}

function readTerms(text: string, begin: number, end: number, out: Component): boolean {
  out.x = out.y = out.z = out.shift = 0;
  for (let at = begin; at < end; ) {
    const code = text.charCodeAt(at);
    const sign = code === MINUS ? -1 : 1;
    if (code === MINUS || code === PLUS) at++;
    else if (at > begin) return false;
    const axis = text.charCodeAt(at) | 32; // in lower case
    if (at < end && axis === 120) out.x += sign;
    else if (at < end && axis === 121) out.y += sign;
    else if (at < end && axis === 122) out.z += sign;
    else {
      const after = readNumber(text, at, end, sign, out);
      if (after === at) return false;
      at = after;
      continue;
    }
    at++;
  }
  return (out.x !== 0 || out.y !== 0 || out.z !== 0) && Number.isFinite(out.shift);
}

/** Add a number at text[at..end) to the shift; returns where it ends, `at` when there is none. */
function readNumber(text: string, at: number, end: number, sign: number, out: Component): number {
  let after = skipDigits(text, at, end);
  if (after > at && after < end && text.charCodeAt(after) === SLASH) {
    const quotient = skipDigits(text, after + 1, end);
    if (quotient === after + 1) return at;
    out.shift += (sign * Number(text.slice(at, after))) / Number(text.slice(after + 1, quotient));
    return quotient;
  }
  if (after < end && text.charCodeAt(after) === POINT) {
    const whole = after - at;
    after = skipDigits(text, after + 1, end);
    if (whole === 0 && after === at + 1) return at;
  }
  if (after > at) out.shift += sign * snapDecimal(Number(text.slice(at, after)));
  return after;
}

function skipDigits(text: string, at: number, end: number): number {
  for (; at < end; at++) {
    const code = text.charCodeAt(at);
    if (code < 48 || code > 57) break;
  }
  return at;
}

function snapDecimal(value: number): number {
  const nearest = Math.round(value * 24) / 24;
  return Math.abs(value - nearest) < TRANSLATION_SNAP ? nearest : value;
}

/** Where parseOperator reads the three, one after the other. */
const component: Component = { x: 0, y: 0, z: 0, shift: 0 };

/**
 * Read one operator.
 * @throws {UnitcellError} CORRUPT when it is not three sums of x, y, z and fractions, or is singular
 */
export function parseOperator(text: string): SymmetryOperator {
  const rotation: number[] = [];
  const listed: number[] = [];
  let at = 0;
  for (let i = 0; i < 3; i++) {
    const comma = text.indexOf(",", at);
    const end = i < 2 ? comma : text.length;
    if (i < 2 === comma < 0) throw noOperator(text);
    if (!readComponent(text, at, end, component)) throw noOperator(text);
    rotation.push(component.x, component.y, component.z);
    listed.push(component.shift);
    at = end + 1;
  }
  if (Math.abs(determinant(rotation)) !== 1)
    throw new UnitcellError("CORRUPT", `symmetry operator "${text}" does not keep volumes`, { operator: text });
  const [u, v, w] = listed;
  return { rotation, translation: [wrapTranslation(u), wrapTranslation(v), wrapTranslation(w)], listed };
}

function noOperator(text: string): UnitcellError {
  return new UnitcellError("CORRUPT", `expected a symmetry operator such as "-y, x-y, z+1/2", found "${text}"`, {
    operator: text,
  });
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
  if (!isGroupOnGrid([...listed.values()]))
    closure(listed.values(), (key, left, right) => {
      if (!listed.has(key)) throw notClosed(left, right);
    });
  if (!listed.has(operatorKey(identityOperator)))
    throw new UnitcellError("MISMATCH", "the symmetry operators lack the identity x,y,z");
  return [...listed.values()];
}

/** Steps a cell's edge is divided into: all translations of the space groups are whole numbers of them. */
const GRID = 24;

/**
 * Whether distinct operators are surely a group: closure's algorithm on whole numbers, several times as fast. False, too,
 * where an entry is beyond -2..2 or a translation not on 1/24, and without the identity.
 */
export function isGroupOnGrid(operators: readonly SymmetryOperator[]): boolean {
  const n = operators.length;
  const entries = new Int8Array(12 * n); // rotation (9,), translation (3,) in 1/24
  const rotations = new Map<number, number>();
  const numbers = new Map<number, number>(); // of operators, by rotation and translation
  for (let i = 0; i < n; i++) {
    const { rotation, translation } = operators[i];
    for (let k = 0; k < 9; k++) {
      if (!(rotation[k] >= -2 && rotation[k] <= 2)) return false;
      entries[12 * i + k] = rotation[k];
    }
    for (let k = 0; k < 3; k++) {
      const step = Math.round(translation[k] * GRID);
      if (!(Math.abs(translation[k] * GRID - step) < TRANSLATION_STEP)) return false;
      entries[12 * i + 9 + k] = step % GRID;
    }
    const key = rotationKey(entries, 12 * i);
    const number = rotations.get(key) ?? rotations.size;
    rotations.set(key, number);
    numbers.set(number * GRID ** 3 + translationKey(entries, 12 * i + 9), i);
  }
  const product = new Int8Array(12);
  /** Number of the operator left after right, or -1. */
  const multiply = (left: number, right: number): number => {
    const a = 12 * left;
    const b = 12 * right;
    for (let i = 0; i < 3; i++) {
      const p = entries[a + 3 * i];
      const q = entries[a + 3 * i + 1];
      const r = entries[a + 3 * i + 2];
      for (let j = 0; j < 3; j++)
        product[3 * i + j] = p * entries[b + j] + q * entries[b + 3 + j] + r * entries[b + 6 + j];
      const shift = p * entries[b + 9] + q * entries[b + 10] + r * entries[b + 11] + entries[a + 9 + i];
      product[9 + i] = ((shift % GRID) + GRID) % GRID;
    }
    for (let k = 0; k < 9; k++) if (product[k] < -2 || product[k] > 2) return -1;
    const rotation = rotations.get(rotationKey(product, 0));
    return rotation === undefined ? -1 : (numbers.get(rotation * GRID ** 3 + translationKey(product, 9)) ?? -1);
  };
  const identity = operators.findIndex((operator) => operatorKey(operator) === operatorKey(identityOperator));
  if (identity < 0) return false;
  const group = [identity];
  const isIn = new Uint8Array(n);
  isIn[identity] = 1;
  const used: number[] = [];
  for (let generator = 0; generator < n; generator++) {
    if (isIn[generator]) continue;
    used.push(generator);
    const order = group.length;
    // The cosets begin at multiples of the subgroup's order, each with its representative.
    for (let coset = 0; coset < group.length; coset += order)
      for (const left of used) {
        const representative = multiply(left, group[coset]);
        if (representative < 0) return false;
        if (isIn[representative]) continue;
        for (let e = 0; e < order; e++) {
          const element = multiply(representative, group[e]);
          if (element < 0) return false;
          isIn[element] = 1;
          group.push(element);
        }
      }
  }
  return true;
}

/** Entries -2..2 as digits to base 5. */
function rotationKey(entries: Int8Array, at: number): number {
  let key = 0;
  for (let k = at; k < at + 9; k++) key = 5 * key + entries[k] + 2;
  return key;
}

function translationKey(entries: Int8Array, at: number): number {
  return (entries[at] * GRID + entries[at + 1]) * GRID + entries[at + 2];
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
  const kept = new Set<number>();
  for (const operator of operators) {
    const { rotation } = operator;
    let key = 0;
    let small = true; // else it could share the key with another
    for (let k = 0; k < 9; k++) {
      key = 5 * key + rotation[k] + 2;
      small &&= rotation[k] >= -2 && rotation[k] <= 2;
    }
    if (small && kept.has(key)) continue;
    if (!keepsMetric(rotation, metric)) return operator;
    if (small) kept.add(key);
  }
  return undefined;
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

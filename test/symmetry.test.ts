import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { hallOperators } from "../src/structures/hall.js";
import { latticeFromParameters } from "../src/structures/lattice.js";
import { MERGE_DISTANCE, orbitExpander } from "../src/structures/orbit.js";
import {
  operatorsByName,
  type SpaceGroupNames,
  settingsBySymbol,
  spaceGroupSettings,
} from "../src/structures/space-groups.js";
import table from "../src/structures/space-groups.json";
import {
  checkGroup,
  compose,
  formatOperator,
  generateGroup,
  isGroupOnGrid,
  metricTensor,
  operatorOffLattice,
  parseOperator,
  type SymmetryOperator,
} from "../src/structures/symmetry.js";

type Cell = [a: number, b: number, c: number, alpha: number, beta: number, gamma: number];

function metricOf([a, b, c, alpha, beta, gamma]: Cell): number[] {
  return metricTensor(latticeFromParameters([a, b, c], [alpha, beta, gamma]));
}

function throwsWith(run: () => unknown, code: ErrorCode, message: RegExp): void {
  try {
    run();
  } catch (error) {
    assert.ok(isUnitcellError(error, code), `expected ${code}, got ${error}`);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`expected ${code}`);
}

// --- Hall symbols -----------------------------------------------------------------------------------------------

/** The same canonical text as test/fixtures/make-spacegroups.py. */
function operatorHash(operators: readonly SymmetryOperator[]): string {
  const lines = operators.map(({ rotation, translation }) =>
    [...rotation, ...translation.map((t) => Math.round(t * 24) % 24)].join(),
  );
  return `${lines.length} ${createHash("sha256").update(lines.sort().join("\n")).digest("hex").slice(0, 12)}`;
}

const spglib = JSON.parse(readFileSync("test/fixtures/space-group-operators.json", "utf8")) as { settings: string[] };
const settings = table.settings.split("\n").map((line) => line.split("|"));

test("Hall symbols: all 530 settings expand to spglib's operators", () => {
  assert.is(settings.length, 530);
  const wrong = settings.flatMap(([number, choice, hall], i) => {
    const hash = operatorHash(hallOperators(hall));
    return hash === spglib.settings[i] ? [] : [`${number}:${choice} ${hall}: ${hash}, expected ${spglib.settings[i]}`];
  });
  assert.equal(wrong, []);
});

test("Hall symbols: every setting is a closed group", () => {
  for (const [, , hall] of settings) assert.is(checkGroup(hallOperators(hall)).length, hallOperators(hall).length);
});

const sameHall: [name: string, symbol: string, other: string][] = [
  ["underscores for spaces", "P_4_-2", "P 4 -2"],
  ["any case", "-p 2YBC", "-P 2ybc"],
  ["no space after the lattice letter", "-C2yc", "-C 2yc"],
  ["a shift of zero", "P 31 2 (0 0 0)", "P 31 2"],
  ["a change of basis that is a permutation: unique axis b to c", "P 2y (z,x,y)", "P 2"],
  ["a shift written as a change of basis", "P 31 2c (x,y,z+1/12)", "P 31 2c (0 0 1)"],
];
for (const [name, symbol, other] of sameHall)
  test(`Hall symbol: ${name}`, () =>
    assert.is(operatorHash(hallOperators(symbol)), operatorHash(hallOperators(other))));

for (const bad of [
  "",
  "Q 2",
  "P",
  "P 5",
  "P 2 2 2 2 2",
  "P 2q",
  "P 4'",
  "P 2 (1 2)",
  "P 2 (x,y)",
  "P 2 (0 0 1",
  "P 4 3x",
])
  test(`Hall symbol: "${bad}" is refused`, () =>
    throwsWith(() => hallOperators(bad), "CORRUPT", /^Hall symbol ".*": /));

// --- operators --------------------------------------------------------------------------------------------------

const operatorRows: [text: string, formatted: string][] = [
  ["x,y,z", "x,y,z"],
  ["1/2+x, 1/2-y, -z", "x+1/2,-y+1/2,-z"],
  [" X , -Y+0.5 , Z - 1/4 ", "x,-y+1/2,z+3/4"],
  ["-y,x-y,z+0.333", "-y,x-y,z+1/3"],
  ["-Y, X-Y, .6667+Z", "-y,x-y,z+2/3"],
  ["+x,+y,+z", "x,y,z"],
  ["x+1,y-1,z", "x,y,z"],
  ["x + 1/5,y,z", "x+0.2,y,z"],
  ["- x, - y, 1 / 2 + z", "-x,-y,z+1/2"],
  ["x+1/4+1/4,y,z", "x+1/2,y,z"],
];
for (const [text, formatted] of operatorRows)
  test(`operator "${text}"`, () => assert.is(formatOperator(parseOperator(text)), formatted));

const badOperators = [
  "",
  "x,y",
  "x,y,z,x",
  "x,q,z",
  "x,y,z+1/0",
  "x,y,",
  "x,x,z",
  "x,y,1/2",
  "xy,y,z",
  "x,y,z+",
  "x,y,2z",
  "1/2x,y,z",
];
for (const text of badOperators)
  test(`operator "${text}" is refused`, () => throwsWith(() => parseOperator(text), "CORRUPT", /symmetry operator/));

test("compose: the second operator acts first", () => {
  const [screw, mirror] = ["-x,y+1/2,-z", "x,y,-z+1/4"].map((text) => parseOperator(text));
  assert.is(formatOperator(compose(screw, mirror)), "-x,y+1/2,z+3/4");
});

test("group: repeated operators are dropped", () =>
  assert.is(checkGroup(["x,y,z", "-x,-y,-z", "-X,-Y,-Z+1"].map((text) => parseOperator(text))).length, 2));

const notGroups: [name: string, operators: string[], message: RegExp][] = [
  ["a product is missing", ["x,y,z", "-x,y,-z", "x,-y,z"], /"-x,-y,-z", which is not listed/],
  ["a four-fold axis cut short", ["x,y,z", "-y,x,z"], /"-x,-y,z", which is not listed/],
  ["no identity", ["-x,-y,-z"], /"x,y,z", which is not listed|lack the identity/],
  ["two different origins", ["x,y,z", "-x,-y,-z", "-x+1/2,-y,-z"], /not listed/],
];
for (const [name, operators, message] of notGroups)
  test(`not a group: ${name}`, () =>
    throwsWith(() => checkGroup(operators.map((o) => parseOperator(o))), "MISMATCH", message));

/** Whether operators generate no others. */
function generatesItself(operators: SymmetryOperator[]): boolean {
  try {
    return generateGroup(operators, operators.length).length === operators.length;
  } catch {
    return false;
  }
}

test("group: the fast check agrees with generating, on all 530 settings, whole, cut short and with one operator moved", () => {
  let groups = 0;
  for (const { hall } of spaceGroupSettings()) {
    const operators = hallOperators(hall);
    const at = Math.floor(operators.length / 2);
    const without = operators.filter((_, i) => i !== at);
    const { rotation, translation } = operators[at];
    const moved = { rotation, translation: [(translation[0] + 1 / 24) % 1, translation[1], translation[2]] };
    for (const list of [operators, [...operators].reverse(), without, [...without, moved]].filter(
      (l) => l.length > 0,
    )) {
      const found = isGroupOnGrid(list);
      assert.is(found, generatesItself(list), `${hall}, ${list.length} operators`);
      groups += found ? 1 : 0;
    }
  }
  assert.ok(groups >= 2 * 530 && groups < 3 * 530, `${groups}`);
  assert.not.ok(isGroupOnGrid(["x,y,z", "x+0.1,y,z"].map((text) => parseOperator(text))), "off the grid");
});

test("group: generators that never close stop at the limit", () =>
  throwsWith(() => generateGroup([parseOperator("x+y,y,z")], 192), "CORRUPT", /more than 192/));

const cubic = hallOperators("P 4 2 3");
const metricRows: [name: string, cell: Cell, fits: boolean][] = [
  ["exact", [4, 4, 4, 90, 90, 90], true],
  ["rounded lengths", [4.0001, 3.9999, 4, 90, 90, 90], true],
  ["a relaxed cell, 0.3 % off", [4, 4.012, 4, 90, 90.05, 90], true],
  ["tetragonal cell", [4, 4, 4.1, 90, 90, 90], false],
  ["an angle one degree off", [4, 4, 4, 90, 91, 90], false],
];
for (const [name, cell, fits] of metricRows)
  test(`cubic operators on a cell: ${name}`, () =>
    assert.is(operatorOffLattice(cubic, metricOf(cell)) === undefined, fits));

// --- names ------------------------------------------------------------------------------------------------------

const symbolRows: [symbol: string, first: string, count?: number][] = [
  ["P21/c", "14:b1"],
  ["P 1 21/c 1", "14:b1", 1],
  ["P 1 2_1/c 1", "14:b1", 1],
  ["P 2(1)/c", "14:b1"],
  ["P 21/n", "14:b2"],
  ["B 2/b", "15:-c1"],
  ["C 1 2/c 1", "15:b1", 1],
  ["P63mc", "186", 1],
  ["F m -3 m", "225", 1],
  ["F m 3 m", "225", 1],
  ["Pa3", "205", 1],
  ["P 21 3", "198", 1],
  ["R 3 m", "160:H", 2],
  ["R -3 m :R", "166:R", 1],
  ["R-3mH", "166:H", 1],
  ["R -3 m R", "166:R", 1],
  ["F d -3 m", "227:2", 2],
  ["Fd-3m:1", "227:1", 1],
  ["F d 3 m S", "227:1", 1],
  ["F d -3 m Z", "227:2", 1],
  ["P 1 21/c 1 :b1", "14:b1", 1],
  ["C m c a", "64", 1],
  ["C m c e", "64", 1],
  ["A b m 2", "39", 1],
  ["P b n m", "62:cab", 1],
  ["P 21/n 21/m 21/a", "62", 1],
  ["I 41/a m d :2", "141:2", 1],
  ["P 42/m n m", "136", 1],
  ["P 3 2 1", "150", 1],
  ["P 32", "145", 1],
  ["P 32 2 1", "154", 1],
  ["p 1", "1", 1],
];
for (const [symbol, first, count] of symbolRows)
  test(`Hermann-Mauguin "${symbol}" is ${first}`, () => {
    const found = settingsBySymbol(symbol);
    assert.is(found[0] && (found[0].choice ? `${found[0].number}:${found[0].choice}` : `${found[0].number}`), first);
    if (count !== undefined) assert.is(found.length, count);
  });

const CUBE: Cell = [5, 5, 5, 90, 90, 90];
const HEXAGONAL: Cell = [5, 5, 9, 90, 90, 120];
const MONOCLINIC: Cell = [5, 6, 7, 90, 99, 90];
const named: [name: string, names: SpaceGroupNames, cell: Cell, order: number, note?: RegExp][] = [
  ["number 225", { number: 225 }, CUBE, 192],
  ["number 227 is origin choice 2", { number: 227 }, CUBE, 192, /assumed F 41\/d -3 2\/m \(227:2\), not .*227:1/],
  ["origin said", { hermannMauguin: "F d -3 m :1" }, CUBE, 192],
  ["number 14 is unique axis b", { number: 14 }, MONOCLINIC, 4, /\(14:b1\), not .*14:b2.*14:b3/],
  ["the cell tells unique axis c", { hermannMauguin: "P 21/n" }, [5, 6, 7, 90, 90, 99], 4],
  ["the cell tells hexagonal axes", { hermannMauguin: "R -3 m" }, HEXAGONAL, 36],
  ["the cell tells rhombohedral axes", { hermannMauguin: "R -3 m" }, [5, 5, 5, 70, 70, 70], 12],
  ["short symbol with right angles", { hermannMauguin: "P 21/c" }, [5, 6, 7, 90, 90, 90], 4, /14:b1\), not .*14:a3/],
  ["the symbol wins over the number", { hermannMauguin: "P m -3 m", number: 1 }, CUBE, 48],
  ["the Hall symbol wins over both", { hall: "P 1", hermannMauguin: "P m -3 m" }, CUBE, 1],
  ["centred triclinic", { hermannMauguin: "C -1" }, [5, 6, 7, 91, 92, 93], 4],
  ["body-centred P1 of VESTA", { hermannMauguin: "I 1" }, CUBE, 2],
];
for (const [name, names, cell, order, note] of named)
  test(`operators by name: ${name}`, () => {
    const found = operatorsByName(names, metricOf(cell))!;
    assert.is(found.operators.length, order);
    if (note) assert.match(found.note ?? "", note);
    else assert.is(found.note, undefined);
  });

const misnamed: [name: string, names: SpaceGroupNames, cell: Cell, code: ErrorCode, message: RegExp][] = [
  ["unknown symbol", { hermannMauguin: "P 5 m" }, CUBE, "CORRUPT", /"P 5 m" is not in International Tables/],
  ["unknown qualifier", { hermannMauguin: "F d -3 m :3" }, CUBE, "CORRUPT", /not in International Tables/],
  ["number 231", { number: 231 }, CUBE, "CORRUPT", /number 231 is not/],
  ["cubic group, hexagonal cell", { number: 225 }, HEXAGONAL, "MISMATCH", /does not fit the cell/],
  ["monoclinic angle for Pnma", { hermannMauguin: "P n m a" }, MONOCLINIC, "MISMATCH", /does not fit the cell/],
];
for (const [name, names, cell, code, message] of misnamed)
  test(`operators by name: ${name} is refused`, () =>
    throwsWith(() => operatorsByName(names, metricOf(cell)), code, message));

test("no name at all is no answer", () => assert.is(operatorsByName({}, metricOf(CUBE)), undefined));

// --- orbits -----------------------------------------------------------------------------------------------------

const hcp = hallOperators("-P 6c 2c");
const hcpCell: Cell = [2.95, 2.95, 4.68, 90, 90, 120];
const orbits: [name: string, site: number[], multiplicity: number, first: number[], moved: boolean][] = [
  ["exact special position", [1 / 3, 2 / 3, 1 / 4], 2, [1 / 3, 2 / 3, 1 / 4], false],
  ["three decimals", [0.333, 0.667, 0.25], 2, [1 / 3, 2 / 3, 1 / 4], true],
  ["two decimals", [0.33, 0.67, 0.25], 2, [1 / 3, 2 / 3, 1 / 4], true],
  ["across a cell face", [0, 0, 0.999], 2, [0, 0, 0], true],
  ["outside the cell", [1 / 3 - 2, 2 / 3 + 1, 0.25], 2, [1 / 3, 2 / 3, 1 / 4], false],
  ["a rounded line position", [0.1667, 0.3333, 0.25], 6, [0.16665, 0.3333, 0.25], true],
  ["general", [0.1, 0.3, 0.07], 24, [0.1, 0.3, 0.07], false],
];
for (const [name, site, multiplicity, first, moved] of orbits)
  test(`orbit: ${name}`, () => {
    const orbit = orbitExpander(hcp, metricOf(hcpCell))(site);
    assert.is(orbit.coords.length, 3 * multiplicity);
    for (const [k, x] of first.entries()) {
      const d = orbit.coords[k] - x;
      assert.ok(Math.abs(d - Math.round(d)) < 2e-5, `${k}: ${orbit.coords[k]}, expected ${x}`);
    }
    assert.is(orbit.moved > 0, moved);
    assert.ok(orbit.moved < MERGE_DISTANCE);
  });

/** A cell that fits the group: the mean of a triclinic metric (about 8 Å edges) over all its rotations. */
function symmetricMetric(operators: readonly SymmetryOperator[]): number[] {
  const start = metricOf([8, 8.5, 9, 85, 95, 100]);
  const sum = new Array<number>(9).fill(0);
  for (const { rotation: r } of operators)
    for (let i = 0; i < 9; i++)
      for (let k = 0; k < 9; k++)
        sum[i] +=
          (r[3 * Math.floor(k / 3) + Math.floor(i / 3)] * start[k] * r[3 * (k % 3) + (i % 3)]) / operators.length;
  return sum;
}

test("orbit: in all 530 settings, sites rounded to three decimals have the images of the exact ones", () => {
  const fractions = [0, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 3 / 8, 1 / 2, 5 / 8, 2 / 3, 3 / 4, 5 / 6, 7 / 8];
  for (const [index, [number, choice, hall]] of settings.entries()) {
    const operators = hallOperators(hall);
    const metric = symmetricMetric(operators);
    assert.is(operatorOffLattice(operators, metric), undefined, hall);
    const expand = orbitExpander(operators, metric);
    for (let i = 0; i < 12; i++) {
      const site = [1, 5, 7].map((step, k) => fractions[(index + i * step + k) % fractions.length]);
      const rounded = site.map((x) => Number(x.toFixed(3)));
      const counts = [site, rounded].map((x) => expand(x).coords.length / 3);
      assert.is(counts[1], counts[0], `${number}:${choice} at ${site}`);
    }
  }
});

test("orbit: a site between special position and free atom is refused", () => {
  const expand = orbitExpander(hallOperators("P 6"), metricOf([10, 10, 10, 90, 90, 120]));
  throwsWith(() => expand([0.007, 0, 0]), "CORRUPT", /on no special position/);
});

test.run();

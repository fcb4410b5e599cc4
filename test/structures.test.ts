import { test } from "uvu";
import * as assert from "uvu/assert";
import { isUnitcellError } from "../src/errors.js";
import { SYMBOLS } from "../src/structures/elements.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";
import { metricTensor } from "../src/structures/symmetry.js";
import { fixtureJson, fixtureNames, fixtureText, haveFixtures } from "./fixtures.js";
import { parseAll } from "./parsed.js";

interface Expected {
  file: string;
  lattice: number[][];
  species: string[];
  frac_coords: number[][];
}

interface Malformed {
  file: string;
  problem: string;
  expect: string;
  expected?: Expected;
}

const TOLERANCE = 1e-6; // Å

/** Same cell (any orientation) and same sites as a set modulo lattice translations. */
function assertSameCrystal(actual: Structure, expected: Expected): void {
  const metric = metricTensor(expected.lattice.flat());
  for (const [i, g] of metricTensor(actual.lattice).entries())
    assert.ok(
      Math.abs(g - metric[i]) < TOLERANCE * Math.sqrt(metric[0] + metric[4] + metric[8]),
      `metric ${i}: ${g}, expected ${metric[i]}`,
    );
  assert.is(actual.numbers.length, expected.species.length);
  const left = new Set(actual.numbers.keys());
  for (const [j, target] of expected.frac_coords.entries()) {
    let nearest = { atom: -1, distance: Infinity };
    for (const atom of left) {
      if (SYMBOLS[actual.numbers[atom]] !== expected.species[j]) continue;
      const d = target.map((x, k) => actual.fracCoords[3 * atom + k] - x).map((x) => x - Math.round(x));
      const square = d.reduce((sum, u, p) => sum + d.reduce((part, v, q) => part + u * v * metric[3 * p + q], 0), 0);
      const distance = Math.sqrt(Math.max(0, square));
      if (distance < nearest.distance) nearest = { atom, distance };
    }
    assert.ok(
      nearest.distance < TOLERANCE,
      `${expected.species[j]} at ${target}: nearest is ${nearest.distance} Å away`,
    );
    left.delete(nearest.atom);
  }
}

/** What index.json asks for, by its word. */
const CHECKS: Record<string, (row: Malformed, results: ReturnType<typeof parseAll>) => void> = {
  reject: (_, [first]) => assert.ok(isUnitcellError(first), "expected an error"),
  "unsupported-disorder": (_, [first]) => {
    assert.ok(isUnitcellError(first, "UNSUPPORTED"));
    assert.match(first.message, /disordered structure: Na1 \(occupancy/);
  },
  // An element beyond a model's table is the model's to refuse: as a structure it is fine.
  "unsupported-element": (_, [first]) => assert.ok("numbers" in first! && first.numbers.includes(101)),
  accept: (row, [first]) => assertSameCrystal(first as Structure, row.expected!),
  "accept-as-H-or-reject-clearly": (_, [first]) => {
    assert.ok("numbers" in first!);
    assert.equal([...first.numbers], [1, 17]);
    assert.match(first.notes!.join(), /D1: deuterium/);
  },
};

if (haveFixtures("structures")) {
  const expectations = fixtureNames("structures").filter((name) => name.endsWith(".json"));
  test("fixtures: there are 54", () => assert.is(expectations.length, 54));
  for (const name of expectations) {
    const expected = fixtureJson<Expected>(`structures/${name}`);
    test(`fixture ${expected.file}`, () => {
      const [first] = parseStructures(fixtureText(`structures/${expected.file}`), { filename: expected.file });
      assertSameCrystal(first, expected);
      assert.is(first.id, name.slice(0, -".json".length));
    });
  }
  const { files } = fixtureJson<{ files: Malformed[] }>("structures/malformed/index.json");
  for (const row of files)
    test(`malformed ${row.file}: ${row.problem}`, () =>
      CHECKS[row.expect](row, parseAll(fixtureText(`structures/malformed/${row.file}`), { filename: row.file })));
}

test.run();

/** What distinct numbers are made of a batch: all of them, each once, ascending, and every row's own. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bindDistinct, distinctSources, moveToDistinct } from "../src/ops/distinct.js";
import { ProgramBuilder } from "../src/ops/program.js";
import { seededRandom } from "../src/random.js";

const p = new ProgramBuilder(new Map());
const basis = { first: 0, step: 1, count: 2 };
const sum = p.segmentSum(p.gaussian(p.input("lengths", "E", 1), basis), "crystalEdgeStart", "B");
const program = moveToDistinct(p.build(sum));

const random = seededRandom(3);
const many = (count: number, kinds: number) =>
  Float32Array.from({ length: count }, () => Math.floor(kinds * random()) / 7 - 1);

const ROWS: [name: string, numbers: Float32Array][] = [
  ["no number", Float32Array.of()],
  ["one", Float32Array.of(2)],
  ["equal ones", Float32Array.of(2, 2, 2)],
  ["neighbours in the last bit stay apart", Float32Array.of(1, 1 + 2 ** -23, 1 - 2 ** -24, 1)],
  ["0 and -0 are one", Float32Array.of(-0, 1, 0, -1)],
  ["in the middle of a buffer", Float32Array.of(9, 3, 1, 3, 9).subarray(1, 4)],
  ["more than the first table holds", many(5000, 3000)],
  ["all distinct", Float32Array.from({ length: 2000 }, (_, i) => Math.sin(i))],
];
for (const [name, lengths] of ROWS)
  test(`distinct numbers: ${name}`, () => {
    const sizes = { B: 1, N: 1, E: lengths.length, T: 0 };
    const { inputs, sizes: bound } = bindDistinct(distinctSources(program), {
      sizes,
      inputs: new Map([["lengths", lengths]]),
    });
    const [values, rows] = [inputs.get("lengths.distinct")!, inputs.get("lengths.row")!];
    assert.equal(
      [...values],
      [...new Set(Array.from(lengths, (x) => x + 0))].sort((a, b) => a - b),
    );
    assert.ok(values.every((x) => !Object.is(x, -0)));
    assert.equal([bound.L, bound.C], [values.length, 0]);
    assert.equal(
      Array.from(rows, (r) => values[r]),
      Array.from(lengths, (x) => x + 0),
    );
  });

test("what no program reads is not made", () => {
  const plain = new ProgramBuilder(new Map());
  const mean = plain.segmentMean(plain.input("lengths", "E", 1), "crystalEdgeStart", "B");
  const untouched = moveToDistinct(plain.build(mean));
  const batch = { sizes: { B: 1, N: 1, E: 2, T: 0 }, inputs: new Map([["lengths", Float32Array.of(1, 1)]]) };
  assert.equal([...bindDistinct(distinctSources(untouched), batch).inputs.keys()], ["lengths"]);
});

test.run();

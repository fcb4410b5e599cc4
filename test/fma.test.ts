/** One rounding and not two: against whole-number arithmetic. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fusedMultiplyAdd } from "../src/graphs/fma.js";
import { seededRandom } from "../src/random.js";
import { exactFma } from "./exact-fma.js";

const CASES: [what: string, a: number, b: number, c: number][] = [
  ["the product's lost digits come back", 1 + 2 ** -30, 1 - 2 ** -30, -1],
  ["a tie of the product broken by the addend", 1 + 2 ** -52, 1 + 2 ** -1, 2 ** -200],
  ["a tie broken downwards", 1 + 2 ** -52, 1 + 2 ** -1, -(2 ** -200)],
  ["cancelling to nothing", 3, 5, -15],
  ["zero times anything", 0, 7.25, 0.1],
  ["negative zero as addend", 0.1, 0.2, -0],
];
for (const [what, a, b, c] of CASES)
  test(`fused multiply-add: ${what}`, () => assert.is(fusedMultiplyAdd(a, b, c), exactFma(a, b, c)));

test("fused multiply-add: 200,000 random triples, sizes far apart and near cancellation", () => {
  const random = seededRandom(5);
  const number = (spread: number) => (2 * random() - 1) * 2 ** Math.round(spread * (random() - 0.5));
  let fused = 0;
  for (let i = 0; i < 200_000; i++) {
    const [a, b] = [number(20), number(20)];
    const c = i % 3 ? number(120) : -a * b * (1 + number(100));
    const exact = exactFma(a, b, c);
    assert.is(fusedMultiplyAdd(a, b, c), exact, `${a} * ${b} + ${c}`);
    if (exact !== a * b + c) fused++;
  }
  assert.ok(fused > 10_000, `only ${fused} differ from two roundings`);
});

test.run();

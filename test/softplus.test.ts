/** Softplus and its slope in float64 against the same of exponentials and logarithms that are the nearest doubles. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { sigmoid, softplus } from "../src/models/softplus.js";
import { exponential, logarithm } from "../src/structures/exponential.js";

const EPSILON = 2 ** -52;

/** From far in either tail, where e^-|x| is at the end of the doubles, to around 0. */
const POINTS = Array.from({ length: 4001 }, (_, i) => (i - 2000) / 100).flatMap((x) => [x, x * 35, x / 1000]);

/** Largest error, in units of EPSILON, of a value relative to what is expected, after what the expectation may be off. */
function largest(f: (x: number) => number, expected: (x: number) => readonly [value: number, off: number]): number {
  return Math.max(
    ...POINTS.map((x) => {
      const [value, off] = expected(x);
      return Math.max(0, Math.abs(f(x) - value) - off) / Math.max(value, Number.MIN_VALUE / EPSILON) / EPSILON;
    }),
  );
}

test("softplus within 3 epsilon", () => {
  const worst = largest(softplus, (x) => {
    const e = exponential(-Math.abs(x));
    // Of a small e the series of log(1 + e), since the sum would lose its digits; of others the sum is rounded.
    const tail = e < 1e-5 ? e - (e * e) / 2 + (e * e * e) / 3 : logarithm(1 + e);
    return [Math.max(x, 0) + tail, e < 1e-5 ? 0 : EPSILON / 2];
  });
  console.log(`  softplus: ${worst.toFixed(2)} epsilon at most`);
  assert.ok(worst <= 3, `${worst}`);
});

test("its slope within 3 epsilon", () => {
  const worst = largest(sigmoid, (x) => {
    const e = exponential(-Math.abs(x));
    return [x < 0 ? e / (1 + e) : 1 / (1 + e), 0];
  });
  console.log(`  slope: ${worst.toFixed(2)} epsilon at most`);
  assert.ok(worst <= 3, `${worst}`);
});

test("at the ends", () => {
  assert.equal([softplus(0), sigmoid(0)], [Math.LN2, 0.5]);
  assert.equal([softplus(1000), softplus(-1000)], [1000, 0]);
  assert.equal([sigmoid(1000), sigmoid(-1000)], [1, 0]);
  assert.ok(Number.isNaN(softplus(Number.NaN)));
  assert.equal([exponential(-1000), exponential(Number.NEGATIVE_INFINITY)], [0, 0]);
});

test.run();

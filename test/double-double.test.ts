import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fma } from "../src/structures/double-double.js";
import { exponential, logarithm, power } from "../src/structures/exponential.js";
import { arcCos, cos, sin } from "../src/structures/trigonometry.js";

test("fma rounds once: a * b + c in exact integers, rounded by Number", () => {
  const integer = fc.bigInt({ min: -(2n ** 53n), max: 2n ** 53n });
  const wide = fc.tuple(integer, fc.nat(60)).map(([n, shift]) => n << BigInt(shift));
  // Near the middle between two doubles, where rounding twice shows.
  const near = fc.tuple(integer, integer, fc.nat(60)).map(([n, m, shift]) => (n << BigInt(shift)) + (m & 1n));
  fc.assert(
    fc.property(integer, integer, fc.oneof(wide, near), (a, b, c) => {
      const rounded = Number(c);
      assert.is(fma(Number(a), Number(b), rounded), Number(a * b + BigInt(rounded)));
    }),
    { numRuns: 20_000, seed: 3 },
  );
});

test("fma: where rounding the sum of two errors first would be wrong", () =>
  assert.is(fma(1 + 2 ** -30, 1 + 2 ** -30, 2 ** 53), Number(((2n ** 53n) << 60n) + (2n ** 30n + 1n) ** 2n) / 2 ** 60));

/** From mpmath with 300 bits, rounded to the nearest double. */
const rounded: [name: string, found: number, expected: number][] = [
  ["exp 0.5", exponential(0.5), 1.6487212707001282],
  ["exp 1e-3", exponential(1e-3), 1.0010005001667084],
  ["exp -7.25", exponential(-7.25), 0.000710174388842549],
  ["exp 20.1", exponential(20.1), 536190464.42938966],
  ["log 0.3", logarithm(0.3), -1.2039728043259361],
  ["log near 1", logarithm(1.0000001), 9.999999505838704e-8],
  ["log 650.25", logarithm(650.25), 6.477356904328761],
  ["log 1", logarithm(1), 0],
  ["0.7^(1/3)", power(0.7, 1 / 3), 0.8879040017426006],
  ["7.479^(1/3)", power(7.479, 1 / 3), 1.9556051745521308],
  ["123.25^(1/3)", power(123.25, 1 / 3), 4.976556922877624],
  // numpy's, not the nearest: pymatgen's lattices hang on these.
  ["cos 90°", cos(Math.PI / 2), 6.123233995736766e-17],
  ["sin 90°", sin(Math.PI / 2), 1],
  ["cos 120°, a bit off", cos(120 * (Math.PI / 180)), -0.4999999999999997],
  ["arccos of a rounding error", arcCos(-6.123233995736766e-17), Math.PI / 2],
  ["arccos 1", arcCos(1), 0],
  ["arccos -1", arcCos(-1), Math.PI],
  ["cos 0", cos(0), 1],
  ["sin 0", sin(0), 0],
];
for (const [name, found, expected] of rounded) test(`rounded: ${name}`, () => assert.is(found, expected));

test("trigonometry is right within 4 units in the last place", () => {
  for (let i = -4000; i <= 4000; i++) {
    const angle = i / 500;
    assert.ok(Math.abs(cos(angle) - Math.cos(angle)) < 5e-16 && Math.abs(sin(angle) - Math.sin(angle)) < 5e-16);
    assert.ok(Math.abs(arcCos(i / 4000) - Math.acos(i / 4000)) < 1e-15, `${i / 4000}`);
  }
});

test.run();

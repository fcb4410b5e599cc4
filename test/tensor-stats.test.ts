import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DTYPE_BYTES, type DType, elementReader, type Tensor } from "../src/tensor.js";
import { StatsAccumulator, type TensorStats, tensorStats } from "../src/tensor-stats.js";
import { throwsCode } from "./throws.js";

const over = (dtype: DType, numbers: ArrayBufferView): Tensor => {
  const data = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return { dtype, shape: [data.length / DTYPE_BYTES[dtype]], data };
};
const none = {
  min: undefined,
  max: undefined,
  mean: undefined,
  nan: 0,
  positiveInfinity: 0,
  negativeInfinity: 0,
  zeros: 0,
};
const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

const rows: [name: string, tensor: Tensor, expected: Partial<TensorStats>][] = [
  [
    "f32",
    over("f32", Float32Array.of(1, -2, 0, -0, nan)),
    { count: 5, min: -2, max: 1, mean: -0.25, nan: 1, zeros: 2 },
  ],
  [
    "f64 with infinities",
    over("f64", Float64Array.of(inf, inf, 1)),
    { count: 3, min: 1, max: inf, mean: inf, positiveInfinity: 2 },
  ],
  [
    "both infinities",
    over("f64", Float64Array.of(inf, -inf)),
    { count: 2, min: -inf, max: inf, mean: nan, positiveInfinity: 1, negativeInfinity: 1 },
  ],
  ["only NaN", over("f32", Float32Array.of(nan, nan)), { count: 2, nan: 2 }],
  ["nothing", over("f32", Float32Array.of()), { count: 0 }],
  ["no 64-bit integers", over("i64", BigInt64Array.of()), { count: 0 }],
  [
    "f16",
    over("f16", Uint16Array.of(0x3c00, 0xc000, 0x7c00, 0x7e00, 0x8000)),
    { count: 5, min: -2, max: inf, mean: inf, nan: 1, positiveInfinity: 1, zeros: 1 },
  ],
  ["bf16", over("bf16", Uint16Array.of(0x3f80, 0x4040)), { count: 2, min: 1, max: 3, mean: 2 }],
  ["f8_e4m3fn", over("f8_e4m3fn", Uint8Array.of(0x38, 0x7f, 0xb8)), { count: 3, min: -1, max: 1, mean: 0, nan: 1 }],
  [
    "f8_e8m0fnu, which has no zero",
    over("f8_e8m0fnu", Uint8Array.of(127, 128, 255)),
    { count: 3, min: 1, max: 2, mean: 1.5, nan: 1 },
  ],
  [
    "i64 within 2^53",
    over("i64", BigInt64Array.of(-3n, 0n, 2n ** 40n)),
    { count: 3, min: -3, max: 2 ** 40, mean: (2 ** 40 - 3) / 3, zeros: 1 },
  ],
  [
    "i64 beyond",
    over("i64", BigInt64Array.of(2n ** 53n + 1n, -(2n ** 63n), 2n ** 53n)),
    { count: 3, min: -(2n ** 63n), max: 2n ** 53n + 1n, mean: (-(2 ** 63) + 2 ** 54) / 3 },
  ],
  [
    "u64 beyond",
    over("u64", BigUint64Array.of(2n ** 64n - 1n, 2n ** 64n - 2n)),
    { count: 2, min: 2n ** 64n - 2n, max: 2n ** 64n - 1n, mean: 2 ** 64 },
  ],
  [
    "i32",
    over("i32", Int32Array.of(-(2 ** 31), 2 ** 31 - 1)),
    { count: 2, min: -(2 ** 31), max: 2 ** 31 - 1, mean: -0.5 },
  ],
  [
    "u32",
    over("u32", Uint32Array.of(2 ** 32 - 1)),
    { count: 1, min: 2 ** 32 - 1, max: 2 ** 32 - 1, mean: 2 ** 32 - 1 },
  ],
  ["i8", over("i8", Int8Array.of(-128, 127)), { count: 2, min: -128, max: 127, mean: -0.5 }],
  ["bool", over("bool", Uint8Array.of(0, 1, 1, 0)), { count: 4, min: 0, max: 1, mean: 0.5, zeros: 2 }],
  ["qi8 as stored", over("qi8", Int8Array.of(-1, 3)), { count: 2, min: -1, max: 3, mean: 1 }],
  ["qu8 as stored", over("qu8", Uint8Array.of(200, 0)), { count: 2, min: 0, max: 200, mean: 100, zeros: 1 }],
  ["qi32 as stored", over("qi32", Int32Array.of(-5)), { count: 1, min: -5, max: -5, mean: -5 }],
  ["c64 by parts", over("c64", Float32Array.of(nan, 1, -inf, 0)), { count: 4, nan: 1, negativeInfinity: 1, zeros: 1 }],
  ["c128 by parts", over("c128", Float64Array.of(inf, nan)), { count: 2, nan: 1, positiveInfinity: 1 }],
  ["c32 by parts", over("c32", Uint16Array.of(0x7c00, 0x3c00)), { count: 2, positiveInfinity: 1 }],
];
for (const [name, tensor, expected] of rows)
  test(`stats: ${name}`, () => assert.equal(tensorStats(tensor), { ...none, ...expected }));

const REAL = [
  "f64",
  "f32",
  "f16",
  "bf16",
  "i64",
  "i32",
  "i16",
  "i8",
  "u8",
  "bool",
  "u64",
  "u32",
  "u16",
  "f8_e4m3fn",
  "f8_e5m2",
  "f8_e4m3fnuz",
  "f8_e5m2fnuz",
  "f8_e8m0fnu",
] as const;
test("stats: any bits of any real dtype agree with one element at a time, and cutting into pieces changes nothing", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...REAL),
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(40),
      fc.nat(7),
      (dtype, bits, cut, shift) => {
        const size = DTYPE_BYTES[dtype];
        const count = Math.floor(bits.length / size);
        // Unaligned on purpose.
        const data = new Uint8Array(shift + count * size).subarray(shift);
        data.set(bits.subarray(0, count * size));
        const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
        const numbers = Array.from({ length: count }, (_, i) => elementReader(dtype)(view, i));
        const real = numbers.filter((n) => !Number.isNaN(n));
        const whole = tensorStats({ dtype, shape: [count], data });
        const number = (value: number | bigint | undefined) => value !== undefined && Number(value);
        assert.is(whole.count, count);
        assert.is(whole.nan, count - real.length);
        assert.is(whole.zeros, real.filter((n) => n === 0).length);
        assert.is(whole.positiveInfinity, real.filter((n) => n === inf).length);
        assert.is(whole.negativeInfinity, real.filter((n) => n === -inf).length);
        assert.ok(number(whole.min) === (real.length > 0 && Math.min(...real) + 0));
        assert.ok(number(whole.max) === (real.length > 0 && Math.max(...real) + 0));
        assert.equal(whole.mean, real.length ? real.reduce((sum, n) => sum + n, 0) / real.length : undefined);
        const pieces = new StatsAccumulator(dtype);
        const step = size * (cut + 1);
        for (let at = 0; at < data.length; at += step) pieces.add(data.subarray(at, at + step));
        assert.equal(pieces.result(), whole);
      },
    ),
    { numRuns: 1000 },
  );
});

test("stats: more than one block", () => {
  const values = Float32Array.from({ length: 10_000 }, (_, i) => i - 100);
  values[9_000] = nan;
  values[9_001] = -inf;
  const { count, min, max, nan: nans, negativeInfinity, zeros } = tensorStats(over("f32", values));
  assert.equal([count, min, max, nans, negativeInfinity, zeros], [10_000, -inf, 9_899, 1, 1, 1]);
});

for (const dtype of ["qu4x2", "qu2x4", "f4_e2m1fn_x2"] as const)
  test(`stats: packed ${dtype} is refused`, () =>
    throwsCode(() => new StatsAccumulator(dtype), "UNSUPPORTED", /packed/));
test("stats: a cut element", () =>
  throwsCode(() => new StatsAccumulator("c64").add(new Uint8Array(4)), "ARGUMENT", /whole elements of c64/));

test.run();

import { test } from "uvu";
import * as assert from "uvu/assert";
import { castTensor } from "../src/formats/cast.js";
import { seededRandom } from "../src/random.js";
import { DTYPE_BYTES, type DType, elementReader, type Tensor, TORCH_DTYPES } from "../src/tensor.js";
import torchCasts from "./fixtures/casts.json" with { type: "json" };
import { throwsCode } from "./throws.js";

const over = (dtype: DType, numbers: ArrayBufferView): Tensor => {
  const data = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return { dtype, shape: [data.length / DTYPE_BYTES[dtype]], data };
};
const halves = ({ data }: Tensor) => new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
const floats = ({ data }: Tensor) => new Float32Array(data.buffer, data.byteOffset, data.length / 4);

for (const { from, to, input, output } of torchCasts)
  test(`cast: ${from} to ${to} as torch does`, () => {
    const source = Uint8Array.from(Buffer.from(input, "hex"));
    assert.is(Buffer.from(castTensor(over(from as DType, source), to as DType).data).toString("hex"), output);
  });

/** Every finite value of a 16-bit float with its bits, ascending, positive ones only; and what would come after the last. */
function ladder(dtype: "f16" | "bf16"): { values: Float64Array; overflow: number } {
  const bits = Uint16Array.from({ length: dtype === "f16" ? 0x7c00 : 0x7f80 }, (_, i) => i);
  const read = elementReader(dtype);
  const values = Float64Array.from(bits, (_, i) => read(new DataView(bits.buffer), i));
  return { values, overflow: 2 * values[values.length - 1] - values[values.length - 2] };
}

/** The nearest rung by bisection and comparison of distances, which are exact in float64: shares nothing with the code. */
function nearest({ values, overflow }: ReturnType<typeof ladder>, value: number): number {
  const size = Math.abs(value);
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0;
  let [low, high] = [0, values.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] <= size) low = middle;
    else high = middle;
  }
  const above = high === values.length ? overflow : values[high];
  const [down, up] = [size - values[low], above - size];
  return sign | (down < up || (down === up && low % 2 === 0) ? low : high);
}

for (const dtype of ["f16", "bf16"] as const) {
  const rungs = ladder(dtype);

  test(`cast: all ${dtype} patterns to f32 and f64, and back`, () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const read = elementReader(dtype);
    const wide = castTensor(over(dtype, all), "f32");
    const values = floats(wide);
    const doubles = new Float64Array(castTensor(over(dtype, all), "f64").data.buffer);
    const back = halves(castTensor(wide, dtype));
    for (let i = 0; i < 65536; i++) {
      const expected = read(new DataView(all.buffer), i);
      assert.ok(Object.is(values[i], expected) && Object.is(doubles[i], expected), `${dtype} ${i}`);
      const none = Number.isNaN(expected);
      assert.ok(none ? Number.isNaN(read(new DataView(back.buffer), i)) : back[i] === i, `${dtype} ${i} back`);
    }
  });

  test(`cast: f32 to ${dtype} is the nearest, ties to even`, () => {
    const random = seededRandom(7);
    const values: number[] = [];
    // Each tie between neighbours, its own neighbours in float32, and random bit patterns.
    for (let i = 0; i < rungs.values.length; i++) {
      const tie = (rungs.values[i] + (rungs.values[i + 1] ?? rungs.overflow)) / 2;
      const bits = new Uint32Array(Float32Array.of(tie).buffer)[0];
      const near = new Float32Array(Uint32Array.of(bits - 1, bits, bits + 1).buffer);
      values.push(...(bits ? near : [tie]), -tie);
    }
    const patterns = Uint32Array.from({ length: 200_000 }, () => random() * 2 ** 32);
    const input = Float32Array.from([...values, ...new Float32Array(patterns.buffer)]);
    const out = halves(castTensor(over("f32", input), dtype));
    const read = elementReader(dtype);
    for (const [i, value] of input.entries()) {
      if (Number.isNaN(value)) assert.ok(Number.isNaN(read(new DataView(out.buffer), i)));
      else if (out[i] !== nearest(rungs, value)) assert.is(out[i], nearest(rungs, value), String(value));
    }
  });
}

test("cast: 64-bit integers to f32 are rounded once", () => {
  const random = seededRandom(3);
  const wide = BigInt64Array.from({ length: 20_000 }, (_, i) => {
    const bits = BigInt(Math.floor(random() * 2 ** 32)) << 32n;
    // Ties of float32, and one to either side, at every magnitude; and anything.
    const tie = (BigInt(Math.floor(2 ** 23 * (1 + random()))) * 2n + 1n) << BigInt(i % 38);
    return i % 2 ? BigInt.asIntN(64, bits | BigInt(i)) : (tie + BigInt((i % 3) - 1)) * (i % 4 ? 1n : -1n);
  });
  /** Nearest multiple of 2^k that has 24 bits, in integers throughout. */
  const exact = (value: bigint) => {
    const size = value < 0n ? -value : value;
    const shift = BigInt(Math.max(0, size.toString(2).length - 24));
    const [low, rest] = [size >> shift, size & ((1n << shift) - 1n)];
    const twice = 2n * rest - (1n << shift);
    const up = shift > 0n && (twice > 0n || (twice === 0n && low % 2n === 1n)) ? 1n : 0n;
    return Number((low + up) << shift) * (value < 0n ? -1 : 1);
  };
  for (const [dtype, integers] of [
    ["i64", wide],
    ["u64", new BigUint64Array(wide.buffer)],
  ] as const) {
    const single = floats(castTensor(over(dtype, integers), "f32"));
    const double = new Float64Array(castTensor(over(dtype, integers), "f64").data.buffer);
    for (let i = 0; i < integers.length; i++) {
      if (single[i] !== exact(integers[i])) assert.is(single[i], exact(integers[i]), `${dtype} ${integers[i]}`);
      assert.is(double[i], Number(integers[i]));
    }
  }
});

const small: [dtype: DType, numbers: ArrayBufferView, expected: number[]][] = [
  ["i32", Int32Array.of(-(2 ** 31), 16777217), [-(2 ** 31), 16777216]],
  ["u32", Uint32Array.of(2 ** 32 - 1), [2 ** 32]],
  ["i16", Int16Array.of(-32768, 1), [-32768, 1]],
  ["u16", Uint16Array.of(65535), [65535]],
  ["i8", Int8Array.of(-128), [-128]],
  ["u8", Uint8Array.of(255), [255]],
  ["bool", Uint8Array.of(0, 1), [0, 1]],
  ["f32", Float32Array.of(), []],
];
for (const [dtype, numbers, expected] of small)
  test(`cast: ${dtype} to f32 and f64`, () => {
    assert.equal([...floats(castTensor(castTensor(over(dtype, numbers), "f64"), "f32"))], expected);
    assert.equal([...floats(castTensor(over(dtype, numbers), "f32"))], expected);
  });

test("cast: shape, unaligned data, more than one block, and the same dtype", () => {
  const values = Float32Array.from({ length: 10_001 }, (_, i) => i / 4);
  const bytes = new Uint8Array(1 + values.byteLength);
  bytes.set(new Uint8Array(values.buffer), 1);
  const tensor: Tensor = { dtype: "f32", shape: [1, 10_001], data: bytes.subarray(1) };
  const wide = castTensor(tensor, "f64");
  assert.equal(wide.shape, [1, 10_001]);
  assert.equal([...new Float64Array(wide.data.buffer)], [...values]);
  assert.is(castTensor(tensor, "f32"), tensor);
  // A Buffer from a pool starts anywhere.
  const pooled = Buffer.concat([Buffer.from([0]), Buffer.from(values.buffer)]).subarray(1);
  assert.equal(castTensor({ ...tensor, data: pooled }, "f64").data, wide.data);
});

const refused: [from: DType, to: DType][] = [
  ["f32", "i32"],
  ["i32", "i64"],
  ["c64", "f32"],
  ["qi8", "f32"],
  ["f8_e5m2", "f32"],
  ["f32", "f8_e5m2"],
  ["f32", "bool"],
  ["qu4x2", "f32"],
];
for (const [from, to] of refused)
  test(`cast: ${from} to ${to} is refused`, () =>
    throwsCode(
      () => castTensor({ dtype: from, shape: [0], data: new Uint8Array(0) }, to),
      "UNSUPPORTED",
      new RegExp(`from ${TORCH_DTYPES[from]} to ${TORCH_DTYPES[to]}`),
    ));
test("cast: data that does not fit the shape", () =>
  throwsCode(
    () => castTensor({ dtype: "f32", shape: [2], data: new Uint8Array(4) }, "f16"),
    "MISMATCH",
    /needs 8 bytes, found 4/,
  ));

test.run();

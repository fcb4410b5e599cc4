/** Each kernel against float64, on sizes that reach every remainder loop. Prints the error bounds that math.ts states. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { KernelMemory } from "../src/kernels.js";
import { seededRandom } from "../src/random.js";
import { sigmoid, softplus } from "./oracle.js";

const memory = new KernelMemory();
const { kernels } = memory;

/** Deterministic values in [-1, 1). */
function values(count: number, seed = 1): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: count }, () => 2 * random() - 1);
}

/** Runs a kernel on a fresh output of `count` floats with a guard behind it that must stay untouched. */
function run(count: number, kernel: (out: number) => void): Float32Array {
  const padded = Math.ceil(count / 4) * 4;
  const out = memory.allocate(4 * padded + 16);
  memory.f32(out, padded + 4).fill(12345);
  kernel(out);
  assert.equal([...memory.f32(out + 4 * padded, 4)], [12345, 12345, 12345, 12345], "wrote past the end");
  return memory.f32(out, count).slice();
}

function scoped(name: string, body: () => void) {
  test(name, () => {
    const mark = memory.mark();
    body();
    memory.release(mark);
  });
}

const ACTIVATIONS: [
  name: string,
  kernel: (out: number, x: number, n: number) => void,
  exact: (x: number) => number,
  bound: number,
][] = [
  ["sigmoid", kernels.sigmoidForward, sigmoid, 1.7e-7],
  ["softplus", kernels.softplusForward, softplus, 1.7e-7],
];

for (const [name, kernel, exact, bound] of ACTIVATIONS) {
  scoped(`${name}: relative error at most ${bound} on [-80, 80]`, () => {
    const n = 1 << 18;
    const x = Float32Array.from({ length: n }, (_, i) => -80 + (160 * i) / n);
    const found = run(n, (out) => kernel(out, memory.put(x), n));
    let worst = 0;
    for (let i = 0; i < n; i++) worst = Math.max(worst, Math.abs(found[i] / exact(x[i]) - 1));
    console.log(`  ${name}: largest relative error ${worst.toExponential(2)}`);
    assert.ok(worst <= bound, `${worst}`);
  });

  scoped(`${name}: NaN, infinities and zero`, () => {
    const x = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0);
    const [nan, high, low, zero] = run(4, (out) => kernel(out, memory.put(x), 4));
    assert.ok(Number.isNaN(nan));
    assert.ok(high >= Math.min(exact(Number.POSITIVE_INFINITY), 2e38), `${high}`);
    assert.ok(low >= 0 && low < 1e-37, `${low}`);
    assert.ok(Math.abs(zero - exact(0)) < 1e-7);
  });
}

const LINEAR: [R: number, O: number, K: number][] = [
  [1, 1, 1],
  [2, 16, 16],
  [3, 17, 15],
  [5, 7, 3],
  [129, 33, 169],
  [130, 128, 169],
  [257, 2, 32],
];

for (const [R, O, K] of LINEAR)
  scoped(`linear (${R}, ${K}) to (${R}, ${O}) agrees with float64, each row whatever the others`, () => {
    const [x, weight, scale, shift] = [values(R * K), values(O * K, 2), values(O, 3), values(O, 4)];
    const packed = memory.allocate(kernels.packedBytes(O, K));
    kernels.packWeight(packed, memory.put(weight), memory.put(scale), memory.put(shift), O, K);
    const at = memory.put(x);
    const found = run(R * O, (out) => kernels.linearForward(out, at, packed, R, O, K));
    for (let r = 0; r < R; r++) {
      const alone = run(O, (out) => kernels.linearForward(out, at + 4 * r * K, packed, 1, O, K));
      for (let o = 0; o < O; o++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += x[r * K + k] * weight[o * K + k];
        const exact = sum * scale[o] + shift[o];
        assert.ok(
          Math.abs(found[r * O + o] - exact) <= 1e-6 * Math.sqrt(K),
          `[${r}, ${o}] ${found[r * O + o]} ${exact}`,
        );
        assert.is(found[r * O + o], alone[o], `row ${r} alone has other bits`);
      }
    }
  });

for (const F of [1, 4, 7, 64]) {
  scoped(`segments of ${F} columns: sum and mean, an empty one included`, () => {
    const starts = Int32Array.of(0, 3, 3, 8);
    const x = values(8 * F);
    const [at, start] = [memory.put(x), memory.put(starts)];
    const sums = run(3 * F, (out) => kernels.segmentSumForward(out, at, start, 3, F));
    const means = run(3 * F, (out) => kernels.segmentMeanForward(out, at, start, 3, F));
    for (let s = 0; s < 3; s++)
      for (let f = 0; f < F; f++) {
        let sum = 0;
        for (let r = starts[s]; r < starts[s + 1]; r++) sum += x[r * F + f];
        const count = starts[s + 1] - starts[s];
        assert.ok(Math.abs(sums[s * F + f] - sum) < 1e-6);
        if (count) assert.ok(Math.abs(means[s * F + f] - sum / count) < 1e-6);
        else assert.ok(Number.isNaN(means[s * F + f]));
      }
  });

  scoped(`gate, affine and gather with ${F} columns`, () => {
    const R = 5;
    const z = values(R * 2 * F).map((v) => 6 * v);
    const [scale, shift] = [values(F, 2), values(F, 3)];
    const gate = run(R * F, (out) => kernels.gateForward(out, memory.put(z), R, F));
    const affine = run(R * F, (out) =>
      kernels.affineForward(out, memory.put(z), memory.put(scale), memory.put(shift), R, F),
    );
    const index = Int32Array.of(4, 0, 0, 3, 1);
    const gathered = run(R * F, (out) => kernels.gatherForward(out, memory.put(z), memory.put(index), R, F));
    const added = run(R * F, (out) =>
      kernels.gatherAddForward(out, memory.put(gathered), memory.put(z), memory.put(index), R, F),
    );
    for (let r = 0; r < R; r++)
      for (let f = 0; f < F; f++) {
        assert.is(added[r * F + f], 2 * gathered[r * F + f]);
        const exact = sigmoid(z[r * 2 * F + f]) * softplus(z[r * 2 * F + F + f]);
        assert.ok(Math.abs(gate[r * F + f] - exact) <= 4e-7 * exact);
        assert.ok(Math.abs(affine[r * F + f] - (z[r * F + f] * scale[f] + shift[f])) < 1e-6);
        assert.is(gathered[r * F + f], z[index[r] * F + f]);
      }
  });
}

scoped("gate equals sigmoid times softplus bit for bit", () => {
  const [R, F] = [3, 7];
  const z = values(R * 2 * F).map((v) => 9 * v);
  const half = (first: number) =>
    Float32Array.from({ length: R * F }, (_, i) => z[Math.floor(i / F) * 2 * F + first + (i % F)]);
  const padded = (x: Float32Array) => memory.put(Float32Array.of(...x, 0, 0, 0));
  const s = padded(run(R * F, (out) => kernels.sigmoidForward(out, padded(half(0)), R * F)));
  const p = padded(run(R * F, (out) => kernels.softplusForward(out, padded(half(F)), R * F)));
  const product = run(R * F, (out) => kernels.mulForward(out, s, p, R * F));
  const gate = run(R * F, (out) => kernels.gateForward(out, memory.put(z), R, F));
  assert.equal(gate, product);
});

for (const K of [1, 2, 3, 4, 41])
  scoped(`${K} Gaussians`, () => {
    const lengths = Float32Array.of(0, 0.95, 2.5, 7.99, 9, 30);
    const found = run(6 * K, (out) => kernels.gaussianForward(out, memory.put(lengths), 0.1, 0.2, 0.2, 6, K));
    for (let e = 0; e < 6; e++)
      for (let k = 0; k < K; k++) {
        const square = ((lengths[e] - 0.1 - 0.2 * k) / 0.2) ** 2;
        const exact = Math.exp(-square);
        // The exponent is rounded to float32 before exp: half a unit in its last place.
        const bound = (1e-7 + square * 2 ** -24) * exact + Math.exp(-60);
        assert.ok(Math.abs(found[e * K + k] - exact) <= bound, `${found[e * K + k]} ${exact}`);
      }
  });

scoped("logSoftmax of large and small rows", () => {
  const x = Float32Array.of(1000, 1001, -3, -3, 0.5, 0.25);
  const found = run(6, (out) => kernels.logSoftmaxForward(out, memory.put(x), 3, 2));
  const row = (a: number, b: number) => [-Math.log1p(Math.exp(b - a)), -Math.log1p(Math.exp(a - b))];
  const exact = [...row(1000, 1001), ...row(-3, -3), ...row(0.5, 0.25)];
  for (const [i, e] of exact.entries()) assert.ok(Math.abs(found[i] - e) < 1e-6);
});

scoped("add, mul and column copies", () => {
  const [a, b] = [values(6), values(6, 2)];
  const sum = run(6, (out) => kernels.addForward(out, memory.put(a), memory.put(b), 6));
  const product = run(6, (out) => kernels.mulForward(out, memory.put(a), memory.put(b), 6));
  for (let i = 0; i < 6; i++) {
    assert.is(sum[i], Math.fround(a[i] + b[i]));
    assert.is(product[i], Math.fround(a[i] * b[i]));
  }
  const copied = run(12, (out) => {
    memory.f32(out, 12).fill(0);
    kernels.copyColumns(out + 4, 4, memory.put(a), 2, 3, 2);
  });
  assert.equal([...copied], [0, a[0], a[1], 0, 0, a[2], a[3], 0, 0, a[4], a[5], 0]);
});

test.run();

/**
 * Each kernel against float64, on sizes that reach every remainder loop. Prints the error bounds that math.ts states.
 * The file runs itself once more, with UNITCELL_KERNELS=relaxed, for the other build: in a process of its own, since Node 20
 * has relaxed SIMD behind a flag.
 */
import { execFileSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { KernelMemory, kernelVariant } from "../src/kernels.js";
import { seededRandom } from "../src/random.js";
import { envelope, sigmoid, softplus } from "./oracle.js";
import { throwsCode } from "./throws.js";

const SELF = "build/test/kernels.test.js";
const relaxed = process.env.UNITCELL_KERNELS === "relaxed";
const memory = new KernelMemory(kernelVariant(relaxed));
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

/**
 * Bounds of relative errors, near 0 too, just above what either build gives (1e-7 is one rounding and a half). Tanh was one
 * scalar in float64 within 2e-7 of max(1, |tanh|); on lanes it has 2.3e-7, and keeps it for the smallest numbers.
 */
const ACTIVATIONS: [
  name: string,
  kernel: (out: number, x: number, n: number) => void,
  exact: (x: number) => number,
  limit: number,
  bound: number,
][] = [
  ["exp", kernels.expForward, Math.exp, 87, 1e-7],
  ["sigmoid", kernels.sigmoidForward, sigmoid, 80, 1.7e-7],
  ["silu", kernels.siluForward, (x) => x * sigmoid(x), 80, 2e-7],
  ["softplus", kernels.softplusForward, softplus, 80, 1.7e-7],
  ["tanh", kernels.tanhForward, Math.tanh, 80, 2.5e-7],
];

for (const [name, kernel, exact, limit, bound] of ACTIVATIONS) {
  scoped(`${name}: relative error at most ${bound} on [-${limit}, ${limit}]`, () => {
    // Evenly spaced numbers, and as many whose size halves down to 2^-120 and below.
    const n = 1 << 18;
    const even = Float32Array.from({ length: n }, (_, i) => limit * ((2 * i) / n - 1));
    const small = even.map((x, i) => (x === 0 ? 1e-30 : (x / limit) * 2 ** (-(120 * i) / n)));
    let worst = { error: 0, at: 0 };
    for (const x of [even, small]) {
      const found = run(n, (out) => kernel(out, memory.put(x), n));
      for (let i = 0; i < n; i++) {
        const error = x[i] === 0 ? Math.abs(found[i] - exact(0)) : Math.abs(found[i] / exact(x[i]) - 1);
        if (!(error <= worst.error)) worst = { error, at: x[i] };
      }
    }
    console.log(`  ${name}: largest relative error ${worst.error.toExponential(2)}, at ${worst.at}`);
    assert.ok(worst.error <= bound, `${worst.error} at ${worst.at}`);
  });

  scoped(`${name}: NaN, infinities and zero`, () => {
    const x = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0);
    const [nan, high, low, zero] = run(4, (out) => kernel(out, memory.put(x), 4));
    assert.ok(Number.isNaN(nan));
    assert.ok(high >= Math.min(exact(Number.POSITIVE_INFINITY), 2e38), `${high}`);
    if (name === "tanh") assert.is(low, -1);
    else if (name !== "silu") assert.ok(low >= 0 && low < 1e-37, `${low}`);
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
  [7, 32, 256],
  [53, 40, 300],
  [3, 129, 1025],
];

for (const [R, O, K] of LINEAR)
  scoped(`linear (${R}, ${K}) to (${R}, ${O}) agrees with float64, each row whatever the others`, () => {
    const [x, weight, scale, shift] = [values(R * K), values(O * K, 2), values(O, 3), values(O, 4)];
    const packed = memory.allocate(kernels.packedBytes(O, K));
    kernels.packWeight(packed, memory.put(weight), memory.put(scale), memory.put(shift), O, K);
    const at = memory.put(x);
    const found = run(R * O, (out) => kernels.linearForward(out, at, packed, R, O, K, 0));
    for (let r = 0; r < R; r++) {
      const alone = run(O, (out) => kernels.linearForward(out, at + 4 * r * K, packed, 1, O, K, 0));
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

/** Activation codes of an epilogue. */
const CODES = [
  undefined,
  kernels.softplusForward,
  kernels.shiftedSoftplusForward,
  kernels.siluForward,
  kernels.sigmoidForward,
  kernels.tanhForward,
];

for (const [R, O, K] of [
  [1, 16, 5],
  [101, 33, 40],
  [50, 64, 257],
])
  for (const [code, activation] of CODES.entries())
    scoped(
      `linear (${R}, ${K}) to (${R}, ${O}): the epilogue with activation ${code} equals its parts bit for bit`,
      () => {
        const packed = memory.allocate(kernels.packedBytes(O, K));
        const weight = memory.put(values(O * K, 2));
        kernels.packWeight(packed, weight, memory.put(values(O, 3)), memory.put(values(O, 4)), O, K);
        const x = memory.put(values(R * K));
        const tables = [5, 6, 7].map((seed) => memory.put(values(9 * O, seed)));
        const indices = [8, 9, 10].map((seed) => memory.put(Int32Array.from(values(R, seed), (v) => (v + 1) * 4.5)));
        const residual = memory.put(values(R * O, 11));
        for (const count of [0, 1, 3])
          for (const from of [0, residual]) {
            const pairs = tables.flatMap((table, j) => [table, indices[j]]).slice(0, 2 * count);
            const epilogue = memory.put(Int32Array.of(code, from, count, ...pairs));
            const fused = run(R * O, (out) => kernels.linearForward(out, x, packed, R, O, K, epilogue));
            const parts = run(R * O, (out) => {
              kernels.linearForward(out, x, packed, R, O, K, 0);
              for (let j = 0; j < count; j++) kernels.gatherAddForward(out, out, tables[j], indices[j], R, O);
              activation?.(out, out, R * O);
              if (from) kernels.addForward(out, out, from, R * O);
            });
            assert.equal(fused, parts);
          }
      },
    );

for (const K of [1, 3, 6, 41, 300])
  scoped(`linear over a band of ${K} columns equals the whole one bit for bit`, () => {
    const [R, O] = [131, 33];
    const packed = memory.allocate(kernels.packedBytes(O, K));
    const weight = memory.put(values(O * K, 2));
    kernels.packWeight(packed, weight, memory.put(values(O, 3)), memory.put(values(O, 4)), O, K);
    // A band that moves from left to right; then rows of zeros, a full row, and -0 at an end.
    const x = values(R * K);
    for (let r = 0; r < R; r++)
      for (let k = 0; k < K; k++)
        if (Math.abs(k - (r * K) / 100) > 5 && r < 100) x[r * K + k] = 0;
        else if (r >= 100 && r < 125) x[r * K + k] = 0;
    x[130 * K] = -0;
    const at = memory.put(x);
    assert.equal(
      run(R * O, (out) => kernels.bandedLinearForward(out, at, packed, R, O, K)),
      run(R * O, (out) => kernels.linearForward(out, at, packed, R, O, K, 0)),
    );
  });

for (const F of [1, 4, 7, 64]) {
  scoped(`segments of ${F} columns: sum and mean, an empty one included`, () => {
    const starts = Int32Array.of(0, 3, 3, 8);
    const x = values(8 * F);
    const [at, start] = [memory.put(x), memory.put(starts)];
    const sums = run(3 * F, (out) => kernels.segmentSumForward(out, at, start, 0, 3, F));
    const means = run(3 * F, (out) => kernels.segmentMeanForward(out, at, start, 0, 3, F));
    for (let s = 0; s < 3; s++)
      for (let f = 0; f < F; f++) {
        let sum = 0;
        for (let r = starts[s]; r < starts[s + 1]; r++) sum += x[r * F + f];
        const count = starts[s + 1] - starts[s];
        assert.ok(Math.abs(sums[s * F + f] - sum) < 1e-6);
        assert.ok(Math.abs(means[s * F + f] - sum / Math.max(1, count)) < 1e-6);
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
    const centers = Float64Array.from({ length: 44 }, (_, k) => 0.1 + 0.2 * k);
    const gamma = 25;
    const found = run(6 * K, (out) =>
      kernels.gaussianForward(out, memory.put(lengths), memory.put(centers), gamma, 6, K),
    );
    for (let e = 0; e < 6; e++)
      for (let k = 0; k < K; k++) {
        const exponent = gamma * (lengths[e] - centers[k]) ** 2;
        const exact = Math.exp(-exponent);
        // The exponent is rounded to float32 before exp: half a unit in its last place.
        const bound = (1e-7 + exponent * 2 ** -24) * exact + Math.exp(-60);
        assert.ok(Math.abs(found[e * K + k] - exact) <= bound, `${found[e * K + k]} ${exact}`);
      }
  });

scoped("envelope and hinge: inside, at and beyond the cutoff", () => {
  const x = Float32Array.of(0, 0.5, 2.9999, 3, 3.1);
  for (const exponent of [3, 5, 6]) {
    const u = run(5, (out) => kernels.envelopeForward(out, memory.put(x), 3, exponent, 5));
    for (const [i, v] of u.entries()) assert.ok(Math.abs(v - envelope(x[i], { cutoff: 3, exponent })) < 1e-7, `${v}`);
  }
  assert.equal([...run(5, (out) => kernels.hingeForward(out, memory.put(x), 0.5, 2, 5))], [1, 0.75, 0, 0, 0]);
});

scoped("shifted softplus is softplus less log 2", () => {
  const x = values(4096).map((v) => 20 * v);
  const found = run(4096, (out) => kernels.shiftedSoftplusForward(out, memory.put(x), 4096));
  for (let i = 0; i < 4096; i++) {
    const exact = softplus(x[i]) - Math.LN2;
    assert.ok(Math.abs(found[i] - exact) <= 2e-7 * Math.max(1, Math.abs(exact)), `${x[i]}: ${found[i]}`);
  }
});

for (const F of [1, 4, 7, 65]) {
  scoped(`layer norm of ${F} columns, large mean included`, () => {
    const R = 3;
    const x = values(R * F).map((v, i) => v + (i < F ? 0 : 300));
    const [weight, bias] = [values(F, 2), values(F, 3)];
    const found = run(R * F, (out) =>
      kernels.layerNormForward(out, memory.put(x), memory.put(weight), memory.put(bias), 1e-5, 0, 0, R, F),
    );
    for (let r = 0; r < R; r++) {
      const row = x.subarray(r * F, (r + 1) * F);
      const mean = row.reduce((sum, v) => sum + v, 0) / F;
      const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / F;
      for (let f = 0; f < F; f++) {
        const exact = ((row[f] - mean) / Math.sqrt(variance + 1e-5)) * weight[f] + bias[f];
        assert.ok(Math.abs(found[r * F + f] - exact) <= 2e-6, `${found[r * F + f]} ${exact}`);
      }
    }
  });

  scoped(
    `layer norm and sums of ${F} columns, activated and added to a residual, equal their parts bit for bit`,
    () => {
      const R = 150; // more than are finished at a time
      const padded = (x: Float32Array) => memory.put(Float32Array.of(...x, 0, 0, 0));
      const [x, y, residual] = [padded(values(R * F)), padded(values(R * F, 2)), padded(values(R * F, 3))];
      const [weight, bias] = [memory.put(values(F, 4)), memory.put(values(F, 5))];
      const index = memory.put(Int32Array.from({ length: R }, (_, r) => (7 * r) % R));
      const kernel: ((out: number, residual: number, activation: number) => void)[] = [
        (out, to, silu) => kernels.layerNormForward(out, x, weight, bias, 1e-5, to, silu, R, F),
        (out, to, silu) => kernels.gatherSumForward(out, x, 0, y, index, 0, 0, silu, to, R, F),
      ];
      for (const forward of kernel) {
        const plain = padded(run(R * F, (out) => forward(out, 0, 0)));
        const activated = padded(run(R * F, (out) => kernels.siluForward(out, plain, R * F)));
        const added = run(R * F, (out) => kernels.addForward(out, residual, activated, R * F));
        assert.equal(
          run(R * F, (out) => forward(out, residual, 3)),
          added,
        );
      }
    },
  );

  scoped(`attention over segments of ${F} columns, an empty one and large products included`, () => {
    const starts = Int32Array.of(0, 3, 3, 8);
    const x = values(8 * F).map((v) => 40 * v);
    const query = values(3 * F, 2);
    const found = run(3 * F, (out) =>
      kernels.segmentAttentionForward(out, memory.put(x), memory.put(query), memory.put(starts), 0, 3, F),
    );
    for (let s = 0; s < 3; s++) {
      const logits = Array.from({ length: starts[s + 1] - starts[s] }, (_, i) => {
        let dot = 0;
        for (let f = 0; f < F; f++) dot += x[(starts[s] + i) * F + f] * query[s * F + f];
        return dot;
      });
      const weights = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
      const total = weights.reduce((sum, w) => sum + w, 0);
      for (let f = 0; f < F; f++) {
        const exact = weights.reduce((sum, w, i) => sum + (w / total) * x[(starts[s] + i) * F + f], 0);
        assert.ok(Math.abs(found[s * F + f] - exact) <= 4e-6, `${found[s * F + f]} ${exact}`);
      }
    }
  });

  scoped(`weighted segments of ${F} columns are those of rows repeated; weights of 1 leave the bits`, () => {
    const [R, S] = [8, 3];
    const starts = Int32Array.of(0, 3, 3, 8);
    const weights = Float32Array.of(1, 3, 2, 1, 2, 4, 1, 1);
    const often = Array.from(weights).flatMap((w, r) => Array.from({ length: w }, () => r));
    const places = starts.map((row) => weights.subarray(0, row).reduce((sum, w) => sum + w, 0));
    const [x, query] = [values(R * F), memory.put(values(S * F, 2))];
    const index = Int32Array.of(4, 0, 0, 3, 1, 2, 4, 4);
    const v = memory.put(values(5 * F, 3));
    const rows = Float32Array.from(often.flatMap((r) => [...x.subarray(r * F, (r + 1) * F)]));
    type Kernel = (out: number, x: number, index: number, starts: number, weights: number) => void;
    const kernel: Record<string, Kernel> = {
      sum: (out, at, _, start, w) => kernels.segmentSumForward(out, at, start, w, S, F),
      mean: (out, at, _, start, w) => kernels.segmentMeanForward(out, at, start, w, S, F),
      attention: (out, at, _, start, w) => kernels.segmentAttentionForward(out, at, query, start, w, S, F),
      gatedMean: (out, at, from, start, w) =>
        kernels.gatedMeanForward(out, v, from, at, 0, 0, 0, 0, 0, start, w, S, F, 1e-6),
    };
    const [once, start, from] = [memory.put(x), memory.put(starts), memory.put(index)];
    const [all, place, each] = [
      memory.put(rows),
      memory.put(places),
      memory.put(Int32Array.from(often, (r) => index[r])),
    ];
    const [given, ones] = [memory.put(weights), memory.put(new Float32Array(R).fill(1))];
    for (const [name, forward] of Object.entries(kernel)) {
      const weighted = run(S * F, (out) => forward(out, once, from, start, given));
      const repeated = run(S * F, (out) => forward(out, all, each, place, 0));
      for (const [i, w] of weighted.entries())
        assert.ok(Math.abs(w - repeated[i]) < 2e-6, `${name}: ${w} ${repeated[i]}`);
      const unit = run(S * F, (out) => forward(out, once, from, start, ones));
      assert.equal(
        unit,
        run(S * F, (out) => forward(out, once, from, start, 0)),
        name,
      );
    }
  });

  scoped(`gated mean of ${F} columns equals its parts, an empty segment gives 0`, () => {
    const [R, S] = [8, 3];
    const starts = Int32Array.of(0, 3, 3, 8);
    const index = Int32Array.of(4, 0, 0, 3, 1, 2, 4, 4);
    const [m, v] = [values(R * F).map((z) => 5 * z), values(5 * F, 2)];
    const [at, start] = [memory.put(index), memory.put(starts)];
    const padded = (x: Float32Array) => memory.put(Float32Array.of(...x, 0, 0, 0));
    const fused = run(S * F, (out) =>
      kernels.gatedMeanForward(out, padded(v), at, padded(m), 0, 0, 0, 0, 0, start, 0, S, F, 1e-6),
    );
    const gate = run(R * F, (out) => kernels.sigmoidForward(out, padded(m), R * F));
    const gathered = run(R * F, (out) => kernels.gatherForward(out, padded(v), at, R, F));
    const product = run(R * F, (out) => kernels.mulForward(out, padded(gate), padded(gathered), R * F));
    const above = run(S * F, (out) => kernels.segmentSumForward(out, padded(product), start, 0, S, F));
    const below = run(S * F, (out) => kernels.segmentSumForward(out, padded(gate), start, 0, S, F));
    const ratio = run(S * F, (out) => kernels.ratioForward(out, padded(above), padded(below), 1e-6, S * F));
    // Its sums are float32, the parts' float64.
    for (const [i, x] of fused.entries()) assert.ok(Math.abs(x - ratio[i]) < 1e-6, `${x} ${ratio[i]}`);
    assert.ok(fused.subarray(F, 2 * F).every((x) => x === 0));
    for (let f = 0; f < F; f++) {
      let [sum, total] = [0, 0];
      for (let r = 3; r < 8; r++) {
        sum += sigmoid(m[r * F + f]) * v[index[r] * F + f];
        total += sigmoid(m[r * F + f]);
      }
      assert.ok(Math.abs(fused[2 * F + f] - sum / (total + 1e-6)) < 1e-6);
    }
  });

  scoped(`sums of gathered rows of ${F} columns, and the gates of them, equal their parts bit for bit`, () => {
    const [R, S] = [8, 3];
    const start = memory.put(Int32Array.of(0, 3, 3, 8));
    const own = memory.put(Int32Array.of(0, 0, 0, 2, 2, 2, 2, 2)); // the segment of each row
    const index = memory.put(Int32Array.of(4, 0, 0, 3, 1, 2, 4, 4));
    const weights = memory.put(Float32Array.of(1, 3, 2, 1, 2, 4, 1, 1));
    const padded = (x: Float32Array) => memory.put(Float32Array.of(...x, 0, 0, 0));
    const value = (rows: number, columns: number, seed: number) =>
      padded(values(rows * columns, seed).map((x) => 3 * x));
    const added = (columns: number, a: number, b: number, at: number) =>
      padded(run(R * columns, (out) => kernels.gatherAddForward(out, a, b, at, R, columns)));

    const [s, a, b] = [value(S, 2 * F, 1), value(5, 2 * F, 2), value(R, 2 * F, 3)];
    const spread = padded(run(R * 2 * F, (out) => kernels.gatherForward(out, s, own, R, 2 * F)));
    const two = added(2 * F, spread, a, index);
    const three = run(R * 2 * F, (out) => kernels.addForward(out, two, b, R * 2 * F));
    assert.equal(
      run(R * 2 * F, (out) => kernels.gatherSumForward(out, s, own, a, index, b, 0, 0, 0, R, 2 * F)),
      three,
    );
    assert.equal(
      run(R * 2 * F, (out) => kernels.gatherSumForward(out, spread, 0, a, index, 0, 0, 0, 0, R, 2 * F)),
      memory.f32(two, R * 2 * F).slice(),
    );
    const z = padded(three);
    const gate = padded(run(R * F, (out) => kernels.gateForward(out, z, R, F)));
    for (const w of [0, weights])
      assert.equal(
        run(S * F, (out) => kernels.gatedSumForward(out, s, a, index, b, 0, start, w, S, F)),
        run(S * F, (out) => kernels.segmentSumForward(out, gate, start, w, S, F)),
      );

    const [x, y, m, v] = [value(R, F, 4), value(5, F, 5), value(S, F, 6), value(5, F, 7)];
    const rest: [number, number, number, number] = [start, weights, S, F];
    const mean = (terms: [number, number, number, number, number, number]) =>
      run(S * F, (out) => kernels.gatedMeanForward(out, v, index, ...terms, ...rest, 1e-6));
    const once = added(F, x, y, index);
    assert.equal(mean([x, 0, y, index, 0, 0]), mean([once, 0, 0, 0, 0, 0]));
    assert.equal(mean([x, 0, y, index, m, own]), mean([added(F, once, m, own), 0, 0, 0, 0, 0]));
  });

  scoped(`rows of ${F} columns scaled, and zeros`, () => {
    const [x, a] = [values(3 * F), values(3, 2)];
    const scaled = run(3 * F, (out) => kernels.scaleRowsForward(out, memory.put(x), memory.put(a), 3, F));
    for (let i = 0; i < 3 * F; i++) assert.is(scaled[i], Math.fround(x[i] * a[Math.floor(i / F)]));
    assert.ok(run(3 * F, (out) => kernels.zerosForward(out, 3 * F)).every((z) => z === 0));
  });
}

for (const [R, F] of [
  [1, 1],
  [5, 7],
  [131, 20],
  [9, 640],
])
  scoped(`normAct of (${R}, ${F}) equals affine, activation and sum bit for bit, in place too`, () => {
    const [scale, shift] = [memory.put(values(F, 2)), memory.put(values(F, 3))];
    const [x, residual] = [values(R * F).map((v) => 9 * v), memory.put(values(R * F, 4))];
    for (const [code, activation] of CODES.entries())
      for (const from of [0, residual]) {
        const at = memory.put(x);
        const parts = run(R * F, (out) => {
          kernels.affineForward(out, at, scale, shift, R, F);
          activation?.(out, out, R * F);
          if (from) kernels.addForward(out, out, from, R * F);
        });
        const fused = run(R * F, (out) => kernels.normActForward(out, at, scale, shift, from, code, R, F));
        assert.equal(fused, parts);
        kernels.normActForward(at, at, scale, shift, from, code, R, F);
        assert.equal(memory.f32(at, R * F), parts);
      }
  });

for (const w of [1, 4, 7, 64])
  scoped(`LSTM step ${w} wide agrees with float64`, () => {
    const B = 3;
    const [gates, cell] = [values(B * 4 * w).map((v) => 6 * v), values(B * w, 2).map((v) => 3 * v)];
    const at = memory.put(gates);
    const cells = run(B * w, (out) => kernels.lstmCellForward(out, at, memory.put(cell), B, w));
    const hidden = run(B * w, (out) => kernels.lstmOutputForward(out, at, memory.put(cells), B, w));
    for (let b = 0; b < B; b++)
      for (let j = 0; j < w; j++) {
        const [i, f, g, o] = [0, 1, 2, 3].map((k) => gates[b * 4 * w + k * w + j]);
        const c = sigmoid(f) * cell[b * w + j] + sigmoid(i) * Math.tanh(g);
        assert.ok(Math.abs(cells[b * w + j] - c) <= 1e-6, `${cells[b * w + j]} ${c}`);
        assert.ok(Math.abs(hidden[b * w + j] - sigmoid(o) * Math.tanh(c)) <= 1e-6);
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

if (!relaxed)
  test("all of these on the relaxed build", () => {
    const flags = Number.parseInt(process.versions.node, 10) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];
    const env = { ...process.env, UNITCELL_KERNELS: "relaxed" };
    const output = execFileSync(process.execPath, ["--enable-source-maps", ...flags, SELF], { env, encoding: "utf8" });
    for (const line of output.match(/^.*largest.*$/gm) ?? []) console.log(`  relaxed: ${line.replace(/^.* {2}/, "")}`);
  });

if (!relaxed && kernelVariant() === "baseline")
  test("an engine without relaxed SIMD says so when asked for it", () =>
    throwsCode(() => kernelVariant(true), "BACKEND", /relaxed/));

test.run();

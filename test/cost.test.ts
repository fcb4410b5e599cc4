/** Operations counted from cost rows, against counts by hand. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../src/models/model.js";
import { programWork } from "../src/ops/cost.js";
import type { OpName } from "../src/ops/ops.js";
import { ALGEBRA_PASSES, FUSION_PASSES, REQUIRED_PASSES } from "../src/ops/passes.js";
import { type Axis, type Program, ProgramBuilder, type Value } from "../src/ops/program.js";
import { haveFixtures } from "./fixtures.js";
import { publishedModel } from "./goldens.js";
import { alignnModel } from "./goldens-alignn.js";
import { megnetModel } from "./goldens-megnet.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";

const B = 3;
const N = 100;
const E = 1200;
const T = 14400;
const SIZES: Record<Axis, number> = { B, N, E, T, L: E, C: T };

/** Multiply-adds of all linears: of the layers' sizes in the papers. */
const ALIGNN_LINEARS =
  N * 92 * 256 +
  E * (80 * 64 + 64 * 256) +
  T * (40 * 64 + 64 * 256) +
  4 * (4 * N + E) * 256 * 256 + // four ALIGNN layers: first the bonds between atoms
  4 * (4 * E + T) * 256 * 256 + // then the angles between bonds
  4 * (4 * N + E) * 256 * 256 + // four more on bonds alone
  B * 256;
/** Four convolutions and a dense layer of 32, as published for formation energies. */
const CGCNN_LINEARS = N * 92 * 64 + 4 * E * (2 * 64 + 41) * 128 + B * (64 * 32 + 32);
const SET2SET = 2 * (64 * 128 + 32 * 128);
const MEGNET_LINEARS =
  N * (16 * 64 + 64 * 32) +
  E * (100 * 64 + 64 * 32) +
  B * (2 * 64 + 64 * 32) +
  3 * E * (4 * 32 * 64 + 64 * 64 + 64 * 32) +
  3 * N * (3 * 32 * 64 + 64 * 64 + 64 * 32) +
  3 * B * (3 * 32 * 64 + 64 * 64 + 64 * 32) +
  2 * (N + E + B) * (32 * 64 + 64 * 32) + // the dense layers of the second and third block
  B * (2 * SET2SET + (5 * 32 * 32 + 32 * 16 + 16));

function linears(program: Program): number {
  return programWork({ ...program, nodes: program.nodes.filter(({ op }) => op === "linear") })(SIZES);
}

if (haveFixtures("cgcnn") && haveFixtures("alignn") && haveFixtures("megnet"))
  for (const [name, open, expected] of [
    ["CGCNN", () => publishedModel("formation-energy-per-atom.pth.tar"), CGCNN_LINEARS],
    ["ALIGNN", () => alignnModel("alignn_default"), ALIGNN_LINEARS],
    ["MEGNet", megnetModel, MEGNET_LINEARS],
  ] as const)
    test(`linears of the published ${name}, from its layers' sizes`, async () => {
      const { program } = (await open()) as Model;
      assert.is(linears(program), 2 * expected);
    });

test("a whole CGCNN, operation by operation", () => {
  const { program } = randomCgcnn({ hidden: 64, convs: 4, dense: 32, denseLayers: 1 });
  const exp = 20;
  const softplus = 2 * exp + 1;
  const expected =
    2 * CGCNN_LINEARS +
    E * 41 * (exp + 3) +
    4 * (2 * E * 128 + E * 64 * (exp + 2 + softplus + 1)) + // normalised, gated
    4 * (2 * E * 64 + N * 64 * (2 + 1 + softplus)) + // weighted and summed; normalised, added, activated
    2 * N * 64 + // the mean over weighted atoms
    B * 64 +
    B * (64 + 32) * softplus;
  assert.is(programWork(program)(SIZES), expected);
});

for (const [name, { program }] of [
  ["CGCNN", randomCgcnn()],
  ["ALIGNN", randomAlignn()],
  ["ALIGNN with batch norms", randomAlignn({ norm: "batch" })],
  ["ALIGNN with a cell's features", randomAlignn({ extraFeatures: 6 })],
  ["MEGNet", randomMegnet()],
] as const) {
  test(`${name}: what is fused takes what its parts take`, () => {
    const apart = [...REQUIRED_PASSES, ...ALGEBRA_PASSES].reduce((p, pass) => pass(p), program);
    for (const [i, pass] of FUSION_PASSES.entries()) {
      const fused = FUSION_PASSES.slice(0, i + 1).reduce((p, one) => one(p), apart);
      assert.is(programWork(fused)(SIZES), programWork(apart)(SIZES), pass.name);
    }
  });

  test(`${name}: algebra takes no work to speak of more`, () => {
    const apart = REQUIRED_PASSES.reduce((p, pass) => pass(p), program);
    const algebra = ALGEBRA_PASSES.reduce((p, pass) => pass(p), apart);
    assert.ok(programWork(algebra)(SIZES) <= 1.01 * programWork(apart)(SIZES));
  });
}

/** Operations that the networks above lack: 7 columns, from what they read. */
const OTHERS: [op: OpName, build: (p: ProgramBuilder, x: Value) => Value, expected: number][] = [
  ["concat", (p, x) => p.concat(x, x), 0],
  ["layerNorm", (p, x) => p.layerNorm(x, "norm"), 8 * 7 * E],
  ["tanh", (p, x) => p.tanh(x), 24 * 7 * E],
  ["exp", (p, x) => p.exp(x), 20 * 7 * E],
  ["logSoftmax", (p, x) => p.logSoftmax(x), (24 * 7 + 20) * E],
  ["hinge", (p, x) => p.hinge(x, { factor: 1, threshold: 1 }), 3 * 7 * E],
  ["envelope", (p, x) => p.envelope(x, { cutoff: 4, exponent: 3 }), 50 * 7 * E],
  ["scaleRows", (p, x) => p.scaleRows(x, p.input("lengths", "E", 1)), 7 * E],
  ["segmentSum", (p, x) => p.segmentSum(x, "edgeStart", "N"), 7 * E],
  ["segmentMean", (p, x) => p.segmentMean(x, "edgeStart", "N"), 7 * (E + N)],
  [
    "segmentAttention",
    (p, x) => p.segmentAttention(x, p.zeros("N", 7), "edgeStart", "edgeWeight"),
    (4 * 7 + 22) * E + 7 * N,
  ],
];
for (const [op, build, expected] of OTHERS)
  test(`${op} alone`, () => {
    const ones = { shape: [7], data: new Float32Array(7) };
    const p = new ProgramBuilder(
      new Map([
        ["norm.weight", ones],
        ["norm.bias", ones],
      ]),
    );
    const program = p.build(build(p, p.input("x", "E", 7)));
    assert.is(programWork(program)(SIZES), expected);
  });

test.run();

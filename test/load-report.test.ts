/** What of a state dict fits a model: every way it can fail to, alone and together, and what is done about wrappers. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { UnitcellError } from "../src/errors.js";
import {
  describeLoadReport,
  type ExpectedTensor,
  type LoadReport,
  matchStateDict,
  withoutWrapperPrefixes,
} from "../src/load-report.js";
import { DTYPE_BYTES, type DType, numElements, type StateDict, type Tensor } from "../src/tensor.js";
import { throwsCode } from "./throws.js";

type Row = [name: string, shape: number[], dtype?: DType];

function zeros(shape: readonly number[], dtype: DType = "f32"): Tensor {
  return { dtype, shape, data: new Uint8Array(DTYPE_BYTES[dtype] * numElements(shape)) };
}
const stateDictOf = (...rows: Row[]): StateDict => new Map(rows.map(([name, ...of]) => [name, zeros(...of)]));
const named = (...names: string[]): StateDict => stateDictOf(...names.map((name): Row => [name, [2]]));
const wanting = (...names: string[]): Map<string, ExpectedTensor> =>
  new Map(names.map((name) => [name, { shape: [2], dtype: "f32" }]));

const MODEL: ReadonlyMap<string, ExpectedTensor> = new Map<string, ExpectedTensor>([
  ["a.weight", { shape: [3, 2], dtype: "f32" }],
  ["a.bias", { shape: [3], dtype: "f32" }],
  ["bn.weight", { shape: [3], dtype: "f32" }],
  ["bn.num_batches_tracked", { shape: [], optional: true }],
]);
const WHOLE: Row[] = [
  ["a.weight", [3, 2]],
  ["a.bias", [3]],
  ["bn.weight", [3]],
  ["bn.num_batches_tracked", [], "i64"],
];

/** The whole state dict with rows replaced, or taken out (undefined), and others after them. */
function changed(changes: Record<string, Row | undefined>, ...added: Row[]): StateDict {
  const rows = WHOLE.map((row) => (row[0] in changes ? changes[row[0]] : row));
  return stateDictOf(...rows.filter((row) => row !== undefined), ...added);
}

const EMPTY = { missing: [], unexpected: [], wrongShape: [], wrongType: [], remapped: [], cast: [] };
const ALL = WHOLE.map(([name]) => name);
const allBut = (...names: string[]) => ALL.filter((name) => !names.includes(name));

const FITS: [what: string, stateDict: StateDict, report: Partial<LoadReport>][] = [
  ["the model's own", changed({}), {}],
  [
    "without batch counters, as torch before 0.4.1 wrote",
    changed({ "bn.num_batches_tracked": undefined }),
    { matched: allBut("bn.num_batches_tracked") },
  ],
  ["a counter of another type, which is no cast", changed({ "bn.num_batches_tracked": [ALL[3], [], "f16"] }), {}],
  ...(["f64", "f16", "bf16", "i64", "u8", "bool", "f8_e5m2"] as const).map(
    (from): [string, StateDict, Partial<LoadReport>] => [
      `${from} is cast`,
      changed({ "a.bias": ["a.bias", [3], from] }),
      { cast: [{ name: "a.bias", from, to: "f32" }] },
    ],
  ),
  [
    "one name with a prefix",
    changed({ "a.bias": ["module.a.bias", [3]] }),
    { remapped: [{ from: "module.a.bias", to: "a.bias" }] },
  ],
  [
    "remapped and cast",
    changed({ "a.bias": ["_orig_mod.a.bias", [3], "f64"] }),
    { remapped: [{ from: "_orig_mod.a.bias", to: "a.bias" }], cast: [{ name: "a.bias", from: "f64", to: "f32" }] },
  ],
];
for (const [what, stateDict, report] of FITS)
  for (const strict of [true, false])
    test(`fits${strict ? "" : ", not strict"}: ${what}`, () => {
      const found = matchStateDict(MODEL, stateDict, { strict });
      assert.equal(found.report, { ...EMPTY, matched: ALL, ...report });
      assert.equal([...found.tensors.keys()], found.report.matched);
      const sources = new Map(found.report.remapped.map(({ from, to }) => [to, from]));
      for (const [name, tensor] of found.tensors) assert.is(tensor, stateDict.get(sources.get(name) ?? name));
    });

const REFUSED: [what: string, stateDict: StateDict, report: Partial<LoadReport>, message: RegExp][] = [
  [
    "missing",
    changed({ "a.bias": undefined }),
    { matched: allBut("a.bias"), missing: ["a.bias"] },
    /: 1 missing: a\.bias$/,
  ],
  [
    "unexpected",
    changed({}, ["c", [1]], ["module.d", [1]]),
    { unexpected: ["c", "module.d"] },
    /: 2 unexpected: c, module\.d$/,
  ],
  [
    "an unexpected counter",
    changed({}, ["z.num_batches_tracked", [], "i64"]),
    { unexpected: ["z.num_batches_tracked"] },
    /: 1 unexpected: z\.num_batches_tracked$/,
  ],
  [
    "wrong shape",
    changed({ "a.weight": ["a.weight", [2, 3]] }),
    { matched: allBut("a.weight"), wrongShape: [{ name: "a.weight", expected: [3, 2], found: [2, 3] }] },
    /: 1 of another shape: a\.weight is \[2,3\], expected \[3,2\]$/,
  ],
  [
    "wrong rank of as many elements",
    changed({ "a.bias": ["a.bias", [3, 1]] }),
    { matched: allBut("a.bias"), wrongShape: [{ name: "a.bias", expected: [3], found: [3, 1] }] },
    /a\.bias is \[3,1\], expected \[3\]/,
  ],
  ...(["c64", "qi8", "qu4x2"] as const).map((found): [string, StateDict, Partial<LoadReport>, RegExp] => [
    `${found}, which no cast makes real`,
    changed({ "a.bias": ["a.bias", [3], found] }),
    { matched: allBut("a.bias"), wrongType: [{ name: "a.bias", expected: "f32", found }] },
    /: 1 of a type that cannot be cast: a\.bias is \w+, expected float32$/,
  ]),
  [
    "all together",
    stateDictOf(["a.weight", [3], "f64"], ["module.bn.weight", [3], "f16"], ["module.c", [1]], ["d", [2]]),
    {
      matched: ["bn.weight"],
      missing: ["a.bias"],
      unexpected: ["module.c", "d"],
      wrongShape: [{ name: "a.weight", expected: [3, 2], found: [3] }],
      remapped: [{ from: "module.bn.weight", to: "bn.weight" }],
      cast: [{ name: "bn.weight", from: "f16", to: "f32" }],
    },
    new RegExp(
      "^the state dict does not fit the model: 1 missing: a\\.bias; 2 unexpected: module\\.c, d; " +
        "1 of another shape: a\\.weight is \\[3\\], expected \\[3,2\\]; 1 remapped: module\\.bn\\.weight to bn\\.weight; " +
        "1 cast: bn\\.weight from float16 to float32$",
    ),
  ],
];
for (const [what, stateDict, partial, message] of REFUSED) {
  const report = { ...EMPTY, matched: ALL, ...partial };
  test(`refused: ${what}`, () =>
    throwsCode(() => matchStateDict(MODEL, stateDict), "MISMATCH", {
      message,
      check: (error) => assert.equal(error.detail.report, report),
    }));
  test(`not strict: ${what}`, () => {
    const found = matchStateDict(MODEL, stateDict, { strict: false });
    assert.equal(found.report, report);
    assert.equal([...found.tensors.keys()], report.matched);
  });
}

const REMAPPED: [what: string, from: string, to: string][] = [
  ["DataParallel", "module.x.w", "x.w"],
  ["DataParallel twice", "module.module.x.w", "x.w"],
  ["torch.compile", "_orig_mod.x.w", "x.w"],
  ["a compiled submodule", "x._orig_mod.w", "x.w"],
  ["compiled at every level", "_orig_mod.x._orig_mod._orig_mod.w", "x.w"],
  ["DataParallel of a compiled model", "module._orig_mod.x.w", "x.w"],
  ["a compiled DataParallel", "_orig_mod.module.x.w", "x.w"],
  ["any stacking", "module._orig_mod.module._orig_mod.x._orig_mod.w", "x.w"],
  ["DataParallel of a model with a submodule called module", "module.module.w", "module.w"],
  ["the same, compiled outside", "_orig_mod.module.w", "module.w"],
  ["the same, the submodule compiled", "module._orig_mod.w", "module.w"],
  ["the same, all of it", "module._orig_mod.module._orig_mod.w", "module.w"],
  ["a submodule called module.module", "module.module.module.w", "module.module.w"],
  ["a Lightning module, matgl's TransformedTargetModel", "model.x.w", "x.w"],
  ["a Lightning module of matgl's", "model.model.x.w", "x.w"],
  ["DataParallel of a Lightning module", "module.model.x.w", "x.w"],
  ["a Lightning module of DataParallel", "model.module.x.w", "x.w"],
  ["a Lightning module, compiled inside", "model._orig_mod.x.w", "x.w"],
  ["a Lightning module of a model with a submodule called model", "model.model.w", "model.w"],
  ["a submodule called model.module", "model.module.model.module.w", "model.module.w"],
];
for (const [what, from, to] of REMAPPED)
  test(`remapped: ${what}: ${from}`, () => {
    const { report } = matchStateDict(wanting(to), named(from));
    assert.equal(report, { ...EMPTY, matched: [to], remapped: [{ from, to }] });
  });

const KEPT: [what: string, expected: string[], names: string[], unexpected: string[]][] = [
  ["a submodule called module", ["module.w", "x"], ["module.w", "x"], []],
  ["module.w and w, both the model's", ["module.w", "w"], ["module.w", "w"], []],
  ["module within a name is a name", ["x", "e.w"], ["x", "e.module.w"], ["e.module.w"]],
  [
    "a name that only ends in the prefix",
    ["x", "w"],
    ["x", "submodule.w", "my_orig_mod.w"],
    "submodule.w my_orig_mod.w".split(" "),
  ],
  [
    "a tensor called like the prefix",
    ["x"],
    ["x", "module", "_orig_mod", "e._orig_mod"],
    ["module", "_orig_mod", "e._orig_mod"],
  ],
  ["no prefix is put on", ["x", "module.w"], ["x", "w"], ["w"]],
  ["a submodule called model", ["model.w", "x"], ["model.w", "x"], []],
  ["model within a name is a name", ["x", "e.w"], ["x", "e.model.w"], ["e.model.w"]],
  ["a name that only ends in model", ["x", "w"], ["x", "submodel.w"], ["submodel.w"]],
];
for (const [what, expected, names, unexpected] of KEPT)
  test(`not remapped: ${what}`, () => {
    const { report } = matchStateDict(wanting(...expected), named(...names), { strict: false });
    assert.equal(report.remapped, []);
    assert.equal(report.unexpected, unexpected);
  });

const COLLISIONS: [what: string, expected: string[], names: string[], name: string, from: string[]][] = [
  ["with and without", ["w"], ["w", "module.w"], "w", ["w", "module.w"]],
  ["the other way round", ["w"], ["module.w", "w"], "w", ["module.w", "w"]],
  ["with and without model", ["w"], ["w", "model.w"], "w", ["w", "model.w"]],
  ["two wrappers", ["w", "v"], ["_orig_mod.w", "v", "module.w"], "w", ["_orig_mod.w", "module.w"]],
  // DataParallel of {w, module.w}: nothing tells its "module.w" from the model's own.
  ["a wrapped w that is the model's module.w", ["w", "module.w"], ["module.w", "module.module.w"], "module.w", []],
];
for (const [what, expected, names, name, from] of COLLISIONS)
  for (const strict of [true, false])
    test(`collision${strict ? "" : ", not strict"}: ${what}`, () =>
      throwsCode(() => matchStateDict(wanting(...expected), named(...names), { strict }), "MISMATCH", {
        message: /several names become one .*: .* would all be /,
        check: ({ detail }) => assert.equal(detail.collisions, [{ name, from: from.length ? from : names }]),
      }));

const NO_MATCH: [what: string, expected: ReadonlyMap<string, ExpectedTensor>, stateDict: StateDict, message: RegExp][] =
  [
    ["an empty state dict", MODEL, new Map(), /the model wants a\.weight, .*; the state dict has no tensors$/],
    ["a model without tensors", new Map(), named("w"), /wants nothing; the state dict has w$/],
    ["neither", new Map(), new Map(), /wants nothing; the state dict has no tensors$/],
    ["other names", wanting("w"), named("v.x", "u.x"), /the model wants w; the state dict has v\.x, u\.x$/],
    ["only a counter fits", MODEL, stateDictOf(["bn.num_batches_tracked", [], "i64"]), /no tensor .* fits/],
    ["every shape is wrong", wanting("w"), stateDictOf(["w", [5]]), /1 of another shape: w is \[5\], expected \[2\]$/],
    [
      "a prefix we do not know",
      wanting("a.w", "b.w"),
      named("net.a.w", "net.b.w", "net.c.w"),
      /; every name starts with "net\."; without it 2 would fit: take it off the names first$/,
    ],
    [
      "a prefix of two parts, under a wrapper",
      wanting("a.w", "b.w"),
      named("module.model.my.net.a.w", "module.model.my.net.b.w"),
      /; every name starts with "my\.net\."; without it 2 would fit/,
    ],
    ["another network with a prefix", wanting("a"), named("net.x", "net.y"), /; every name starts with "net\."$/],
    [
      "many names",
      wanting(..."abcdefgh"),
      named(..."ABCDEFG"),
      /wants a, b, c, d, e and 3 more; the state dict has A, B, C, D, E and 2 more$/,
    ],
  ];
for (const [what, expected, stateDict, message] of NO_MATCH)
  for (const strict of [true, false])
    test(`nothing fits${strict ? "" : ", not strict"}: ${what}`, () =>
      throwsCode(() => matchStateDict(expected, stateDict, { strict }), "MISMATCH", message));

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as UnitcellError).message;
  }
  return assert.unreachable() as never;
}

test("messages name 20 of each kind, the report all; names are cut and escaped", () => {
  const lost = Array.from({ length: 30 }, (_, i) => `lost${i}`);
  const extra = Array.from({ length: 25 }, (_, i) => `extra${i}`);
  const message = messageOf(() => matchStateDict(wanting("w", ...lost), named("w", ...extra)));
  assert.match(message, /30 missing: lost0, .*, lost19 and 10 more; 25 unexpected: extra0, .*, extra19 and 5 more$/);
  assert.match(
    messageOf(() => matchStateDict(wanting("w"), named("w", "\x1b[2J\n"))),
    /unexpected: "\\u001b\[2J\\n"$/,
  );
  assert.ok(messageOf(() => matchStateDict(wanting("w"), named("w", "x".repeat(1e6)))).length < 300);
});

test("hostile names take linear time", () => {
  const names = ["module.", "_orig_mod.", "model.", "a."].map((part) => part.repeat(1e6));
  const { report } = matchStateDict(wanting("w"), named("w", ...names), { strict: false });
  assert.is(report.unexpected.length, 4);
  assert.throws(() => matchStateDict(wanting("w"), named(names[3])));
});

test("describeLoadReport: nothing to say of a perfect fit, a line for each kind else", () => {
  assert.equal(describeLoadReport(matchStateDict(MODEL, changed({})).report), []);
  const names = [..."abcdefg"];
  const { report } = matchStateDict(wanting(...names, "z"), named(...names.map((name) => `module.${name}`)), {
    strict: false,
  });
  assert.equal(describeLoadReport(report), [
    "1 missing: z",
    "7 remapped: module.a to a, module.b to b, module.c to c, module.d to d, module.e to e and 2 more",
  ]);
});

test("withoutWrapperPrefixes: of two names that become one, that which needs no change", () => {
  const stateDict = named(
    "module.a",
    "a",
    "_orig_mod.b",
    "module.b",
    "c",
    "module.c",
    "e._orig_mod.d",
    "module.model.f",
  );
  const bare = withoutWrapperPrefixes(stateDict);
  assert.equal([...bare.keys()], ["a", "b", "c", "e.d", "f"]);
  assert.is(bare.get("a"), stateDict.get("a"));
  assert.is(bare.get("b"), stateDict.get("_orig_mod.b"));
  assert.is(bare.get("c"), stateDict.get("c"));
});

test.run();

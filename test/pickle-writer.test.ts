/** Pickles equal to CPython's, values Python has no counterpart of, and nesting of any depth. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Pickler } from "../src/formats/pickler.js";
import { Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import {
  ByteArray,
  Complex,
  Float,
  NumpyArray,
  NumpyDtype,
  NumpyScalar,
  OrderedDict,
  PythonGlobal,
  PythonObject,
  placeFloat,
  TorchConstant,
  type TorchValue,
} from "../src/formats/values.js";
import { throwsCode } from "./throws.js";

function pickle(value: unknown): Uint8Array {
  return new Pickler(() => {}).dump(value as TorchValue);
}

function hex(value: unknown): string {
  return Buffer.from(pickle(value)).toString("hex");
}

const list: TorchValue[] = [];
list.push(list);
const inTuple: TorchValue[] = [];
const recursiveTuple = Object.freeze([inTuple]);
inTuple.push(recursiveTuple);
const dict = new Map<TorchValue, TorchValue>();
dict.set("d", dict);

/**
 * As CPython 3.11 writes them:
 * python3 -c "import pickle, sys; from collections import OrderedDict; print(pickle.dumps(eval(sys.argv[1]), 2).hex())" EXPRESSION
 */
const cpython: [expression: string, value: unknown, expected: string][] = [
  ["None", null, "80024e2e"],
  [
    "[True, 7, 300, -1, 70000, 2**40, -2**63]",
    [true, 7, 300, -1, 70000, 2 ** 40, -(2n ** 63n)],
    "80025d710028884b074d2c014affffffff4a701101008a060000000000018a080000000000000080652e",
  ],
  [
    "[0.5, 1.0, -0.0]",
    [0.5, new Float(1), -0],
    "80025d710028473fe0000000000000473ff0000000000000478000000000000000652e",
  ],
  ["'\\ud800é€😀'", "\ud800é€😀", "8002580c000000eda080c3a9e282acf09f988071002e"],
  ["(1, (2, 3), ())", tuple(1, tuple(2, 3), tuple()), "80024b014b024b03867100298771012e"],
  [
    "[[], [1], {'a': 1}]",
    [[], [1], new Map([["a", 1]])],
    "80025d7100285d71015d71024b01617d710358010000006171044b0173652e",
  ],
  [
    "{'a': 'a', 1: 'a'}",
    new Map<unknown, unknown>([
      ["a", "a"],
      [1, "a"],
    ]),
    "80027d710028580100000061710168014b016801752e",
  ],
  [
    "OrderedDict(a=1)",
    new OrderedDict([["a", 1]]),
    "800263636f6c6c656374696f6e730a4f726465726564446963740a71002952710158010000006171024b01732e",
  ],
  [
    "[b'\\x00\\xff', bytearray(b'xy')]",
    [Uint8Array.of(0, 255), ByteArray.of(0x78, 0x79)],
    "80025d710028635f636f646563730a656e636f64650a7101580300000000c3bf710258060000006c6174696e317103867104527105635f5f6275696c74696e5f5f0a6279746561727261790a71066801580200000078797107680386710852710985710a52710b652e",
  ],
  ["{7}", new Set([7]), "8002635f5f6275696c74696e5f5f0a7365740a71005d71014b07618571025271032e"],
  [
    "frozenset({7})",
    Object.freeze(new Set([7])),
    "8002635f5f6275696c74696e5f5f0a66726f7a656e7365740a71005d71014b07618571025271032e",
  ],
  [
    "1-2j",
    new Complex(1, -2),
    "8002635f5f6275696c74696e5f5f0a636f6d706c65780a7100473ff000000000000047c0000000000000008671015271022e",
  ],
  ["(lambda l: l.append(l) or l)([])", list, "80025d71006800612e"],
  ["(lambda l: (t := (l,), l.append(t))[0])([])", recursiveTuple, "80025d71006800857101613068012e"],
  ["(lambda d: d.update(d=d) or d)({})", dict, "80027d710058010000006471016800732e"],
];
for (const [expression, value, expected] of cpython)
  test(`as CPython: ${expression}`, () => assert.is(hex(value), expected));

function tuple(...items: unknown[]): readonly unknown[] {
  return Object.freeze(items);
}

test("whole numbers are floats where the reader marked their place", () => {
  const marked: TorchValue[] = [];
  marked.push(placeFloat(new Float(1), marked, 0), 1);
  assert.is(hex(marked), hex([new Float(1), 1]));
  assert.is(hex([2 ** 53]), hex([2n ** 53n]));
  assert.is(hex([2 ** 60]), hex([new Float(2 ** 60)]));
});

const unsavable: [name: string, value: unknown, message: RegExp][] = [
  ["undefined", undefined, /^cannot save value: undefined has no/],
  [
    "a function in a dict in a list",
    new Map([["optimizer", [0, 1, 2, () => 0]]]),
    /value\["optimizer"\]\[3\]: a function/,
  ],
  ["a symbol", [Symbol("s")], /value\[0\]: a symbol/],
  ["a plain object", [{}], /value\[0\]: a plain object \(a dict is a Map\)/],
  ["a Date", new OrderedDict([["when", new Date(0) as never]]), /value\["when"\]: an object of class Date/],
  ["a typed array", [new Float32Array(1)], /value\[0\]: an object of class Float32Array/],
  ["a hole", new Array(1), /value\[0\]: undefined/],
  ["a list as a key", new Map([[[1], 1]]), /value\.keys\(\): Python cannot hash a list/],
  ["a dict in a set", new Set([new Map()]), /which Python cannot hash/],
  ["a tensor of floats", { dtype: "f32", shape: [1], data: new Float32Array(1) }, /a tensor's data are its bytes/],
  ["a state", Object.assign(new PythonObject("m.C", "newobj", []), { state: () => 0 }), /value\.state: a function/],
  ["an external reference", [new PythonObject("m.C", "persid", [1])], /value\[0\]: an external reference/],
  ["a name without a module", new PythonGlobal("C"), /"module.name", found "C"/],
  ["a name of two lines", new PythonGlobal("m.a\nb"), /on one line|"module.name"/],
  [
    "a tensor of the wrong size",
    [{ dtype: "f32", shape: [2], data: new Uint8Array(4) }],
    /value\[0\]: .* needs 8 bytes, found 4/,
  ],
  ["a tensor of an unknown dtype", [{ dtype: "f128", shape: [], data: new Uint8Array(16) }], /dtype f128/],
  ["a tensor of negative size", [{ dtype: "u8", shape: [-1], data: new Uint8Array(0) }], /shape \[-1\]/],
  ["a view past its storage", view([3], [1], 2), /needs 20 bytes, its storage has 16/],
  ["a view with a negative stride", view([2], [-1], 2), /whole number as tensor stride, found -1/],
  [
    "a view of another dtype",
    Object.assign(view([1], [1], 0), { dtype: "i32" }),
    /dtype i32 looks into a storage of f32/,
  ],
  [
    "a quantized tensor without a quantizer",
    { dtype: "qi8", shape: [1], data: new Uint8Array(1) },
    /needs a quantizer/,
  ],
  ["a device with a strange index", new TorchConstant("device", "cuda:x"), /is no device/],
  ["a tuple that contains only itself", selfTuple(), /contains itself/],
  ["a tensor whose attributes are it", selfTensor(), /contains itself/],
];
for (const [name, value, message] of unsavable)
  test(`refused: ${name}`, () => throwsCode(() => pickle(value), "ARGUMENT", message));

function view(shape: number[], strides: number[], offset: number): TorchTensor {
  const storage = new Storage("0", "f32", 4, "cpu", new Uint8Array(16));
  return TorchTensor.over(storage, { dtype: "f32", shape, strides, offset });
}

function selfTuple(): unknown {
  const items: unknown[] = ["x"];
  items.push(items);
  return Object.freeze(items);
}

function selfTensor(): unknown {
  const tensor = view([1], [1], 0);
  tensor.attributes = Object.freeze([tensor]);
  return tensor;
}

test("the path of a deep value is shortened", async () => {
  let value: unknown = () => 0;
  for (let i = 0; i < 1000; i++) value = [value];
  await throwsCode(() => pickle(value), "ARGUMENT", {
    check: ({ message }) => assert.ok(message.length < 200, message),
  });
});

const wrappers: [name: string, wrap: (inner: TorchValue) => unknown][] = [
  ["lists", (inner) => [inner]],
  ["tuples", (inner) => Object.freeze([inner])],
  ["dicts", (inner) => new Map([["k", inner]])],
  ["frozen sets", (inner) => Object.freeze(new Set([inner]))],
  ["objects", (inner) => new PythonObject("m.C", "reduce", [inner])],
];
for (const [name, wrap] of wrappers)
  test(`100,000 nested ${name}`, () => {
    let value: unknown = null;
    for (let i = 0; i < 100_000; i++) value = wrap(value as TorchValue);
    assert.ok(pickle(value).length > 200_000);
  });

test("a list shared in a chain is written once", () => {
  let value: TorchValue[] = [];
  for (let i = 0; i < 100; i++) value = [value, value];
  assert.ok(pickle(value).length < 2000);
});

const objects: [name: string, value: PythonObject, opcodes: string][] = [
  ["a call", new PythonObject("m.f", "reduce", [1]), "636d0a660a71004b01857101527102"],
  ["__new__", new PythonObject("m.C", "newobj", []), "636d0a430a710029817101"],
  [
    "__new__ with names",
    new PythonObject("m.C", "newobj_ex", [], new Map([["a", 1]])),
    "636d0a430a7100297d710158010000006171024b0173927103",
  ],
  ["an old instance", new PythonObject("m.C", "inst", [1]), "284b01696d0a430a7100"],
  ["an old object", new PythonObject("m.C", "obj", [1]), "28636d0a430a71004b016f7101"],
  [
    "a state",
    Object.assign(new PythonObject("builtins.C", "newobj", []), { state: null }),
    "635f5f6275696c74696e5f5f0a430a7100298171014e62",
  ],
  [
    "items",
    Object.assign(new PythonObject("m.C", "newobj", []), { listItems: [1, 2], dictItems: new Map([[3, 4]]) }),
    "636d0a430a710029817101284b014b02654b034b0473",
  ],
];
for (const [name, value, opcodes] of objects) test(`object: ${name}`, () => assert.is(hex(value), `8002${opcodes}2e`));

const f8 = new NumpyDtype("f8", "<");
const doubles = (...values: number[]) => new Uint8Array(Float64Array.from(values).buffer);

/** As numpy 1.24 writes them: pickle.dumps(EXPRESSION, 2). */
const numpy: [expression: string, value: unknown, expected: string][] = [
  [
    "np.array([[1., 2.]])",
    new NumpyArray(f8, [1, 2], false, doubles(1, 2)),
    "8002636e756d70792e636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7100636e756d70790a6e6461727261790a71014b00857102635f636f646563730a656e636f64650a7103580100000062710458060000006c6174696e317105867106527107877108527109284b014b014b0286710a636e756d70790a64747970650a710b58020000006638710c898887710d52710e284b0358010000003c710f4e4e4e4affffffff4affffffff4b00747110628968035811000000000000000000c3b03f000000000000004071116805867112527113747114622e",
  ],
  [
    "np.float64(1.5)",
    new NumpyScalar(f8, doubles(1.5), 1.5),
    "8002636e756d70792e636f72652e6d756c746961727261790a7363616c61720a7100636e756d70790a64747970650a71015802000000663871028988877103527104284b0358010000003c71054e4e4e4affffffff4affffffff4b0074710662635f636f646563730a656e636f64650a71075809000000000000000000c3b83f710858060000006c6174696e31710986710a52710b86710c52710d2e",
  ],
  [
    "np.dtype('>i4')",
    new NumpyDtype("i4", ">"),
    "8002636e756d70790a64747970650a71005802000000693471018988877102527103284b0358010000003e71044e4e4e4affffffff4affffffff4b00747105622e",
  ],
  [
    "np.array(['ab'])",
    new NumpyArray(new NumpyDtype("U2", "<"), [1], false, Uint8Array.of(97, 0, 0, 0, 98, 0, 0, 0)),
    "8002636e756d70792e636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7100636e756d70790a6e6461727261790a71014b00857102635f636f646563730a656e636f64650a7103580100000062710458060000006c6174696e317105867106527107877108527109284b014b0185710a636e756d70790a64747970650a710b58020000005532710c898887710d52710e284b0358010000003c710f4e4e4e4b084b044b08747110628968035808000000610000006200000071116805867112527113747114622e",
  ],
  [
    "np.array([1, None], dtype=object)",
    new NumpyArray(new NumpyDtype("O8"), [2], false, new Uint8Array(0), [1, null]),
    "8002636e756d70792e636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7100636e756d70790a6e6461727261790a71014b00857102635f636f646563730a656e636f64650a7103580100000062710458060000006c6174696e317105867106527107877108527109284b014b0285710a636e756d70790a64747970650a710b58020000004f38710c898887710d52710e284b0358010000007c710f4e4e4e4affffffff4affffffff4b3f74711062895d7111284b014e65747112622e",
  ],
  [
    "np.bool_(True)",
    new NumpyScalar(new NumpyDtype("b1"), Uint8Array.of(1), true),
    "8002636e756d70792e636f72652e6d756c746961727261790a7363616c61720a7100636e756d70790a64747970650a71015802000000623171028988877103527104284b0358010000007c71054e4e4e4affffffff4affffffff4b0074710662635f636f646563730a656e636f64650a7107580100000001710858060000006c6174696e31710986710a52710b86710c52710d2e",
  ],
  [
    "np.array([b'xyz'])",
    new NumpyArray(new NumpyDtype("S3"), [1], false, Uint8Array.of(120, 121, 122)),
    "8002636e756d70792e636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7100636e756d70790a6e6461727261790a71014b00857102635f636f646563730a656e636f64650a7103580100000062710458060000006c6174696e317105867106527107877108527109284b014b0185710a636e756d70790a64747970650a710b58020000005333710c898887710d52710e284b0358010000007c710f4e4e4e4b034b014b0074711062896803580300000078797a71116805867112527113747114622e",
  ],
  [
    "[np.zeros(1), np.zeros(1)]",
    [new NumpyArray(f8, [1], false, doubles(0)), new NumpyArray(f8, [1], false, doubles(0))],
    "80025d710028636e756d70792e636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7101636e756d70790a6e6461727261790a71024b00857103635f636f646563730a656e636f64650a7104580100000062710558060000006c6174696e31710686710752710887710952710a284b014b0185710b636e756d70790a64747970650a710c58020000006638710d898887710e52710f284b0358010000003c71104e4e4e4affffffff4affffffff4b0074711162896804580800000000000000000000007112680686711352711474711562680168024b008571166808877117527118284b014b01857119680f89680458080000000000000000000000711a680686711b52711c74711d62652e",
  ],
];
for (const [expression, value, expected] of numpy)
  test(`as numpy: ${expression}`, () => assert.is(hex(value), expected));

test.run();

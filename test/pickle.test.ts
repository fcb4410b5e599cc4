/** The pickle machine alone: every opcode, floats and ints told apart, inert objects, names found. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ByteReader, DEFAULT_LIMITS } from "../src/bytes.js";
import { NamesFound, type PickleClass, type PickleContext, readPickle, scanPickles } from "../src/formats/pickle.js";
import { readLong1 } from "../src/formats/pickle-scalars.js";
import { RARE_OPCODES } from "../src/formats/rare-opcodes.js";
import {
  ByteArray,
  isFloatAt,
  isFloatKey,
  PythonGlobal,
  PythonObject,
  TorchConstant,
  type TorchValue,
} from "../src/formats/values.js";
import { global, int, OPCODE_BYTES, ops, str, tuple, u16, u32, u64, utf8 } from "./build-files.js";
import { throwsCode } from "./throws.js";

const point: PickleClass = {
  create: (args) => new Map([["args", [...args]]]),
  build: (target, state) => void (target as Map<string, TorchValue>).set("state", state),
};
const constant = new TorchConstant("dtype", "constant");
const context: PickleContext = {
  rareOpcodes: RARE_OPCODES,
  classes: new Map([["test.Point", point]]),
  constants: new Map([["test.CONSTANT", constant]]),
  isInert: (name) => name === "test.Inert" || name === "builtins.object",
  persistentId: (id) => ["id", id],
  limits: DEFAULT_LIMITS,
};

type Parts = readonly (string | readonly number[])[];

/** As files are read by default: unknown names are an error, before whatever else is wrong. */
function read(...parts: Parts): TorchValue {
  const found = new NamesFound();
  try {
    return readPickle(new ByteReader(Uint8Array.from(ops(...parts, "STOP"))), context, found);
  } finally {
    found.refuseUnknown();
  }
}

/** As unknownClasses "inert" reads it. */
function readInert(...parts: Parts): { value: TorchValue; found: NamesFound } {
  const found = new NamesFound();
  const value = readPickle(new ByteReader(Uint8Array.from(ops(...parts, "STOP"))), context, found);
  return { value, found };
}

const long1: [name: string, bytes: number[], expected: number | bigint][] = [
  ["empty is zero", [0x00], 0],
  ["255 needs a sign byte", [0x02, 0xff, 0x00], 255],
  ["-1", [0x01, 0xff], -1],
  ["-256", [0x02, 0x00, 0xff], -256],
  ["2^53 - 1 is a number", [0x07, ...u64(2n ** 53n - 1n).slice(0, 7)], 2 ** 53 - 1],
  ["2^53 is a bigint", [0x07, ...u64(2n ** 53n).slice(0, 7)], 2n ** 53n],
  ["2^63 is not truncated", [0x09, 0, 0, 0, 0, 0, 0, 0, 0x80, 0], 2n ** 63n],
];
for (const [name, bytes, expected] of long1)
  test(`LONG1: ${name}`, () => assert.is(readLong1(new ByteReader(Uint8Array.from(bytes)), DEFAULT_LIMITS), expected));

const bytes = (...values: number[]) => Uint8Array.from(values);
const made = (args: TorchValue[]) => new Map([["args", args]]);

/** At least one row per opcode; the name starts with it. */
const rows: [name: string, parts: Parts, expected: TorchValue][] = [
  ["INT", ["INT", utf8("-12\n")], -12],
  ["INT 01 is True", ["INT", utf8("01\n")], true],
  ["INT 00 is False", ["INT", utf8("00\n")], false],
  ["INT beyond 2^53", ["INT", utf8("9007199254740993\n")], 9007199254740993n],
  ["BININT is signed", ["BININT", [0xff, 0xff, 0xff, 0xff]], -1],
  ["BININT1", ["BININT1", [200]], 200],
  ["BININT2", ["BININT2", u16(65535)], 65535],
  ["LONG", ["LONG", utf8("-3L\n")], -3],
  ["LONG1", ["LONG1", [1, 5]], 5],
  ["LONG4", ["LONG4", u32(2), [0, 1]], 256],
  ["FLOAT", ["FLOAT", utf8("1e-3\n")], 0.001],
  ["FLOAT -inf", ["FLOAT", utf8("-inf\n")], Number.NEGATIVE_INFINITY],
  ["BINFLOAT is big-endian", ["BINFLOAT", [0x3f, 0xf8, 0, 0, 0, 0, 0, 0]], 1.5],
  ["NONE", ["NONE"], null],
  ["NEWTRUE", ["NEWTRUE"], true],
  ["NEWFALSE", ["NEWFALSE"], false],
  ["STRING", ["STRING", utf8("'a\\x41\\n\\'\\101\\q'\n")], "aA\n'A\\q"],
  ["BINSTRING", ["BINSTRING", u32(2), utf8("hi")], "hi"],
  ["SHORT_BINSTRING that is no UTF-8 is bytes", ["SHORT_BINSTRING", [2, 0xff, 1]], bytes(0xff, 1)],
  ["UNICODE", ["UNICODE", [...utf8("a\\u00e9\\U0001F40D"), 0xe5, 10]], "aé🐍å"],
  ["BINUNICODE", [str("Å🐍")], "Å🐍"],
  ["BINUNICODE keeps a byte order mark", [str("\ufeffa")], "\ufeffa"],
  ["BINUNICODE keeps a lone surrogate", ["BINUNICODE", u32(4), [0x61, 0xed, 0xa0, 0x80]], "a\ud800"],
  ["SHORT_BINUNICODE", ["SHORT_BINUNICODE", [1], utf8("x")], "x"],
  ["BINUNICODE8", ["BINUNICODE8", u64(1), utf8("x")], "x"],
  ["BINBYTES", ["BINBYTES", u32(1), [7]], bytes(7)],
  ["SHORT_BINBYTES", ["SHORT_BINBYTES", [1, 7]], bytes(7)],
  ["BINBYTES8", ["BINBYTES8", u64(1), [7]], bytes(7)],
  ["BYTEARRAY8", ["BYTEARRAY8", u64(1), [7]], ByteArray.of(7)],
  ["EMPTY_TUPLE", ["EMPTY_TUPLE"], []],
  ["TUPLE1", [int(1), "TUPLE1"], [1]],
  ["TUPLE2 keeps order", [int(1), int(2), "TUPLE2"], [1, 2]],
  ["TUPLE3", [int(1), int(2), int(3), "TUPLE3"], [1, 2, 3]],
  ["MARK and TUPLE", ["MARK", int(1), int(2), "TUPLE"], [1, 2]],
  ["EMPTY_LIST", ["EMPTY_LIST"], []],
  ["LIST", ["MARK", int(1), "LIST"], [1]],
  ["APPEND", ["EMPTY_LIST", int(1), "APPEND"], [1]],
  ["APPENDS keeps order", ["EMPTY_LIST", "MARK", int(1), int(2), "APPENDS"], [1, 2]],
  ["EMPTY_DICT", ["EMPTY_DICT"], new Map()],
  ["DICT", ["MARK", int(1), int(2), "DICT"], new Map([[1, 2]])],
  ["SETITEM", ["EMPTY_DICT", str("a"), int(1), "SETITEM"], new Map([["a", 1]])],
  [
    "SETITEMS keeps order",
    ["EMPTY_DICT", "MARK", int(9), int(1), int(3), int(2), "SETITEMS"],
    new Map([
      [9, 1],
      [3, 2],
    ]),
  ],
  ["SETITEM of __proto__ is a key", ["EMPTY_DICT", str("__proto__"), int(1), "SETITEM"], new Map([["__proto__", 1]])],
  ["EMPTY_SET and ADDITEMS", ["EMPTY_SET", "MARK", int(1), int(2), "ADDITEMS"], new Set([1, 2])],
  ["FROZENSET", ["MARK", int(1), "FROZENSET"], new Set([1])],
  ["POP", [int(1), int(2), "POP"], 1],
  ["POP takes a mark too", [int(1), "MARK", "POP"], 1],
  ["POP_MARK", [int(1), "MARK", int(2), "POP_MARK"], 1],
  ["DUP", [int(1), "DUP", "TUPLE2"], [1, 1]],
  ["PUT and GET", [int(7), "PUT", utf8("300\n"), "POP", "GET", utf8("300\n")], 7],
  ["BINPUT and BINGET", [int(7), "BINPUT", [1], "POP", "BINGET", [1]], 7],
  ["LONG_BINPUT and LONG_BINGET at 2^32 - 1", [int(7), "LONG_BINPUT", u32(-1), "POP", "LONG_BINGET", u32(-1)], 7],
  ["MEMOIZE counts entries, not indices", [int(7), "BINPUT", [5], int(8), "MEMOIZE", "POP", "POP", "BINGET", [1]], 8],
  ["GLOBAL of a constant", [global("test", "CONSTANT")], constant],
  ["STACK_GLOBAL", [str("test"), str("CONSTANT"), "STACK_GLOBAL"], constant],
  ["REDUCE", [global("test", "Point"), int(1), "TUPLE1", "REDUCE"], made([1])],
  ["NEWOBJ", [global("test", "Point"), int(1), "TUPLE1", "NEWOBJ"], made([1])],
  ["NEWOBJ_EX", [global("test", "Point"), int(1), "TUPLE1", "EMPTY_DICT", "NEWOBJ_EX"], made([1])],
  ["INST", ["MARK", int(1), "INST", utf8("test\nPoint\n")], made([1])],
  ["OBJ", ["MARK", global("test", "Point"), int(1), "OBJ"], made([1])],
  [
    "BUILD",
    [global("test", "Point"), "EMPTY_TUPLE", "REDUCE", int(5), "BUILD"],
    new Map<string, TorchValue>([
      ["args", []],
      ["state", 5],
    ]),
  ],
  ["PERSID", ["PERSID", utf8("k\n")], ["id", "k"]],
  ["BINPERSID", [str("k"), "BINPERSID"], ["id", "k"]],
  ["PROTO 5", ["PROTO", [5], "NONE"], null],
  ["FRAME", ["FRAME", u64(2), "NONE"], null],
];
for (const [name, parts, expected] of rows) test(`pickle: ${name}`, () => assert.equal(read(...parts), expected));

test("pickle: every opcode has a row here or in attacks.test.ts", () => {
  const covered = new Set(rows.flatMap(([, parts]) => parts.filter((part) => typeof part === "string")));
  const named = rows.flatMap(([name]) => name.split(/[^A-Z0-9_]+/));
  for (const opcode of [...named, "STOP"]) covered.add(opcode);
  const refused = ["EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"];
  assert.equal([...OPCODE_BYTES.keys()].filter((name) => !covered.has(name)).sort(), refused);
  assert.is(OPCODE_BYTES.size, 68);
});

test("pickle: the reader is left after STOP", () => {
  const reader = new ByteReader(Uint8Array.from([...ops("NONE", "STOP"), 1, 2]));
  readPickle(reader, context, new NamesFound());
  assert.is(reader.remaining, 2);
});

test("pickle: a list can hold itself and is the same object", () => {
  const list = read("EMPTY_LIST", "BINPUT", [0], "BINGET", [0], "APPEND") as TorchValue[];
  assert.is(list[0], list);
});

test("pickle: tuples and frozensets are frozen, lists and sets are not", () => {
  assert.ok(Object.isFrozen(read("EMPTY_TUPLE")));
  assert.ok(Object.isFrozen(read("MARK", "FROZENSET")));
  assert.not(Object.isFrozen(read("EMPTY_LIST")));
  assert.not(Object.isFrozen(read("EMPTY_SET")));
});

const one = ops("BINFLOAT", [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);

test("pickle: 1.0 is the number 1, and its container knows that it was a float", () => {
  const list = read("EMPTY_LIST", "MARK", one, int(1), "APPENDS", one, "APPEND") as TorchValue[];
  assert.equal(list, [1, 1, 1]);
  assert.equal(
    [0, 1, 2].map((i) => isFloatAt(list, i)),
    [true, false, true],
  );
  const pair = read(one, int(1), "TUPLE2") as TorchValue[];
  assert.equal([isFloatAt(pair, 0), isFloatAt(pair, 1)], [true, false]);
  const dict = read("EMPTY_DICT", one, int(2), "SETITEM", str("a"), one, "SETITEM") as Map<TorchValue, TorchValue>;
  assert.equal([...dict], [
    [1, 2],
    ["a", 1],
  ] as [TorchValue, TorchValue][]);
  assert.equal([isFloatKey(dict, 1), isFloatAt(dict, 1)], [true, false]);
  assert.equal([isFloatKey(dict, "a"), isFloatAt(dict, "a")], [false, true]);
  const set = read("EMPTY_SET", "MARK", one, int(2), "ADDITEMS") as Set<TorchValue>;
  assert.equal([isFloatAt(set, 1), isFloatAt(set, 2)], [true, false]);
  assert.is(read(one), 1);
});

const inert: [name: string, parts: Parts, expected: Partial<PythonObject>][] = [
  ["REDUCE", [global("a", "B"), tuple(int(1)), "REDUCE"], { type: "a.B", how: "reduce", args: [1] }],
  ["NEWOBJ", [global("a", "B"), tuple(), "NEWOBJ"], { type: "a.B", how: "newobj", args: [] }],
  [
    "NEWOBJ_EX with keywords",
    [global("a", "B"), tuple(), "EMPTY_DICT", str("k"), int(2), "SETITEM", "NEWOBJ_EX"],
    { type: "a.B", how: "newobj_ex", args: [], kwargs: new Map([["k", 2]]) },
  ],
  ["INST", ["MARK", int(1), "INST", utf8("a\nB\n")], { type: "a.B", how: "inst", args: [1] }],
  ["OBJ", ["MARK", global("a", "B"), int(1), "OBJ"], { type: "a.B", how: "obj", args: [1] }],
  [
    "a call of what a call gave",
    [global("a", "B"), tuple(), "REDUCE", tuple(int(1)), "REDUCE"],
    { type: "a.B()", how: "reduce", args: [1] },
  ],
  [
    "BUILD is its state",
    [global("a", "B"), tuple(), "NEWOBJ", "EMPTY_DICT", "BUILD"],
    { type: "a.B", state: new Map() },
  ],
  [
    "APPENDS and ADDITEMS are its items",
    [global("a", "B"), tuple(), "NEWOBJ", int(1), "APPEND", "MARK", int(2), "ADDITEMS"],
    { type: "a.B", listItems: [1, 2] },
  ],
  [
    "SETITEMS are its dict items",
    [global("a", "B"), tuple(), "NEWOBJ", str("k"), int(1), "SETITEM"],
    { type: "a.B", dictItems: new Map([["k", 1]]) },
  ],
  [
    "Python 2's __builtin__ is builtins",
    [global("__builtin__", "object"), tuple(), "REDUCE"],
    { type: "builtins.object" },
  ],
];
for (const [name, parts, expected] of inert)
  test(`pickle: inert object: ${name}`, () => {
    const { value, found } = readInert(...parts);
    assert.instance(value, PythonObject);
    for (const [key, part] of Object.entries(expected)) assert.equal((value as never)[key], part, key);
    assert.equal([...found.globals], [expected.type === "builtins.object" ? "__builtin__.object" : "a.B"]);
    assert.equal([...found.unknown], expected.type === "builtins.object" ? [] : ["a.B"]);
  });

test("pickle: an unknown name as a value is a PythonGlobal, and the same one each time", () => {
  const [a, b] = readInert(global("a", "f"), global("a", "f"), "TUPLE2").value as TorchValue[];
  assert.equal(a, new PythonGlobal("a.f"));
  assert.is(a, b);
});

test("pickle: names are listed in order of first appearance, as written, the allowed ones too", () => {
  const { found } = readInert(global("test", "Point"), global("os", "x"), global("test", "Inert"), "TUPLE3");
  assert.equal([...found.globals], ["test.Point", "os.x", "test.Inert"]);
  assert.equal([...found.unknown], ["os.x"]);
});

test("pickle: a scan lists the names of every pickle until one breaks", () => {
  const found = new NamesFound();
  const pickles = ops(global("a", "b"), "STOP", global("c", "d"), "TUPLE2", "STOP", global("e", "f"), "STOP");
  scanPickles(Uint8Array.from(pickles), context, found);
  assert.equal([...found.unknown], ["a.b", "c.d"]);
});

const unsafe: [name: string, parts: Parts, globals: string[]][] = [
  ["GLOBAL and REDUCE", [global("os", "system"), str("x"), "TUPLE1", "REDUCE"], ["os.system"]],
  ["a name that is popped again", [global("os", "system"), "POP", "NONE"], ["os.system"]],
  ["all names, not only the first", [global("a", "b"), global("c", "d"), "TUPLE2"], ["a.b", "c.d"]],
  ["names before a broken stream", [global("os", "system"), "APPENDS"], ["os.system"]],
  ["an allowed module with a dotted name", [str("test"), str("Point.mro"), "STACK_GLOBAL"], ["test.Point.mro"]],
  ["a name that ends in CR", [global("test", "Point\r")], ["test.Point\r"]],
  [
    "a name inside the arguments of an allowed one",
    [global("test", "Point"), global("os", "x"), "TUPLE1", "REDUCE"],
    ["os.x"],
  ],
  [
    "a name inherited from Object",
    [global("constructor", "x"), global("__proto__", "y"), "TUPLE2"],
    ["constructor.x", "__proto__.y"],
  ],
];
for (const [name, parts, globals] of unsafe)
  test(`pickle: UNSAFE lists ${name}`, () =>
    throwsCode(() => read(...parts), "UNSAFE", {
      message: /nothing was run/,
      check: (error) => assert.equal(error.detail.globals, globals),
    }));

test.run();

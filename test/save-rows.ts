/** Values beside the Python expressions of the equal ones, for torch.save to write the same bytes. */
import { rowMajorStrides, Storage, TorchTensor } from "../src/formats/torch-tensors.js";
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
  SparseTensor,
  TorchConstant,
  TorchSize,
  type TorchValue,
} from "../src/formats/values.js";
import { DTYPE_BYTES, type DType, numElements, type Tensor } from "../src/tensor.js";

/** A JavaScript value and the Python expression of the equal one, with the same objects in the same places. */
export const SAVE_ROWS: readonly [expression: string, value: unknown][] = [
  ["None", null],
  [
    "[True, False, None, -1, 255, 256, 65535, 65536, 2**31-1, 2**31, -2**31, -2**31-1]",
    [true, false, null, -1, 255, 256, 65535, 65536, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1],
  ],
  [
    "[2**63, -2**63, 2**64, -2**200, 2**2031-1, 2**2040, -2**4000, 127 << 40, 128 << 40, -128 << 40, 2**53+1]",
    [
      2n ** 63n,
      -(2n ** 63n),
      2n ** 64n,
      -(2n ** 200n),
      2n ** 2031n - 1n,
      2n ** 2040n,
      -(2n ** 4000n),
      127 * 2 ** 40,
      128 * 2 ** 40,
      -128 * 2 ** 40,
      2n ** 53n + 1n,
    ],
  ],
  ["[1.0, -0.0, 0.1, float('inf'), 1e300, 5e-324]", [new Float(1), -0, 0.1, Number.POSITIVE_INFINITY, 1e300, 5e-324]],
  ["['', 'a', 'a', 'ä€😀', chr(0xd800), 'a\\0b']", ["", "a", "a", "ä€😀", "\ud800", "a\0b"]],
  [
    "[(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, ['x'], {'k': 1}]",
    [tuple(), tuple(1), tuple(1, 2), tuple(1, 2, 3), tuple(1, 2, 3, 4), [], new Map(), ["x"], new Map([["k", 1]])],
  ],
  [
    "(lambda l, d: [l, l, d, d, (l,)])([1], {'x': 2})",
    ((l: TorchValue, d: TorchValue): unknown => [l, l, d, d, tuple(l)])([1], new Map([["x", 2]])),
  ],
  ...[999, 1000, 1001, 2000, 2001].flatMap((count): [string, unknown][] => {
    const numbers = Array.from({ length: count }, (_, i) => i);
    const pairs = numbers.map((i): [number, number] => [i, i]);
    return [
      [`list(range(${count}))`, numbers],
      [`tuple(range(${count}))`, Object.freeze([...numbers])],
      [`{i: i for i in range(${count})}`, new Map(pairs)],
      [`OrderedDict((i, i) for i in range(${count}))`, new OrderedDict(pairs)],
      [`set(range(${count}))`, new Set(numbers)],
    ];
  }),
  [
    "[str(i) * 2 for i in range(300)] * 2",
    (() => {
      const list = Array.from({ length: 300 }, (_, i) => String(i).repeat(2));
      return [...list, ...list];
    })(),
  ],
  [
    "[b'ab\\xff', b'x', b'y' * 300, bytearray(b'ab'), bytearray(), bytearray(b'z')]",
    [
      Uint8Array.of(97, 98, 255),
      Uint8Array.of(120),
      new Uint8Array(300).fill(121),
      ByteArray.of(97, 98),
      new ByteArray(0),
      ByteArray.of(122),
    ],
  ],
  [
    "[set(), {5}, frozenset(), frozenset([3]), 1+2j]",
    [new Set(), new Set([5]), Object.freeze(new Set()), Object.freeze(new Set([3])), new Complex(1, 2)],
  ],
  [
    "[torch.float32, torch.float32, torch.device('cuda', 1), torch.device('cpu'), torch.strided, torch.sparse_coo, torch.strided]",
    [
      new TorchConstant("dtype", "float32"),
      new TorchConstant("dtype", "float32"),
      new TorchConstant("device", "cuda:1"),
      new TorchConstant("device", "cpu"),
      new TorchConstant("layout", "strided"),
      new TorchConstant("layout", "sparse_coo"),
      new TorchConstant("layout", "strided"),
    ],
  ],
  [
    "[torch.per_tensor_affine, torch.Size([2, 3]), torch.Size([]), torch.Size([1, 2, 3, 4])]",
    [new TorchConstant("qscheme", "per_tensor_affine"), size(2, 3), size(), size(1, 2, 3, 4)],
  ],
  [
    "[torch.zeros(2, 3), torch.zeros(0), torch.tensor(1.0), torch.zeros(2, dtype=torch.uint16), torch.zeros(1, 1, 1, 1)]",
    [
      zeros("f32", 2, 3),
      zeros("f32", 0),
      { dtype: "f32", shape: [], data: Uint8Array.of(0, 0, 0x80, 0x3f) },
      zeros("u16", 2),
      zeros("f32", 1, 1, 1, 1),
    ],
  ],
  ["(lambda t: [t, t, t.T, t[1:], t.expand(4, 2, 3)])(torch.zeros(2, 3))", views()],
  [
    "OrderedDict(w=torch.nn.Parameter(torch.zeros(2)), f=torch.nn.Parameter(torch.zeros(1), requires_grad=False))",
    new OrderedDict([
      ["w", parameter(2, true)],
      ["f", parameter(1, false)],
    ]),
  ],
  ["torch.nn.Linear(1, 1, bias=False, device='meta').state_dict()", linear()],
  [
    "setattr(t := torch.zeros(2), 'note', [1]) or setattr(p := torch.nn.Parameter(torch.zeros(2)), 'note', 'x') or [t, p]",
    withAttributes(),
  ],
  [
    "[torch.zeros(2, dtype=torch.complex64).conj(), torch._neg_view(torch.zeros(2)), torch._neg_view(torch.zeros(2, dtype=torch.complex64).conj())]",
    lazy(),
  ],
  [
    "torch.sparse_coo_tensor([[0, 0]], [0., 0.], (3,))",
    new SparseTensor(
      "sparse_coo",
      new Map([
        ["indices", zeros("i64", 1, 2)],
        ["values", zeros("f32", 2)],
      ]),
      [3],
      false,
    ),
  ],
  [
    "torch.sparse_csr_tensor([0, 0], torch.zeros(0, dtype=torch.int64), torch.zeros(0), (1, 2))",
    new SparseTensor(
      "sparse_csr",
      new Map([
        ["crow_indices", zeros("i64", 2)],
        ["col_indices", zeros("i64", 0)],
        ["values", zeros("f32", 0)],
      ]),
      [1, 2],
    ),
  ],
  ["torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8)", quantized()],
  [
    "[torch.zeros(3).storage(), torch.zeros(3).untyped_storage()]",
    [new Storage("", "f32", 3, "cpu", new Uint8Array(12)), new Storage("", undefined, 12, "cpu", new Uint8Array(12))],
  ],
  ["(lambda t: [t, t.view(torch.uint16)])(torch.zeros(4, dtype=torch.uint8))", bytesAndWords(false)],
  ["(lambda t: [t.view(torch.uint16), t])(torch.zeros(4, dtype=torch.uint8))", bytesAndWords(true)],
  ["(lambda l: l.append(l) or l)([])", recursive()],
  ["(lambda l: (t := (l, 1), l.append(t))[0])([])", recursiveTuple(1)],
  ["(lambda l: (t := (l, 1, 2, 3), l.append(t))[0])([])", recursiveTuple(3)],
];

function tuple(...items: TorchValue[]): readonly TorchValue[] {
  return Object.freeze(items);
}

function size(...sizes: number[]): TorchSize {
  const made = new TorchSize();
  for (const value of sizes) made.push(value);
  return Object.freeze(made) as TorchSize;
}

function zeros(dtype: DType, ...shape: number[]): Tensor {
  return { dtype, shape, data: new Uint8Array(DTYPE_BYTES[dtype] * numElements(shape)) };
}

function zerosView(dtype: DType, ...shape: number[]): TorchTensor {
  const { data } = zeros(dtype, ...shape);
  const storage = new Storage("", dtype, numElements(shape), "cpu", data);
  return TorchTensor.over(storage, { dtype, shape, strides: rowMajorStrides(shape), offset: 0 });
}

function views(): unknown {
  const whole = zerosView("f32", 2, 3);
  const view = (shape: number[], strides: number[], offset: number) =>
    TorchTensor.over(whole.storage, { dtype: "f32", shape, strides, offset });
  return [whole, whole, view([3, 2], [1, 3], 0), view([1, 3], [3, 1], 3), view([4, 2, 3], [0, 3, 1], 0)];
}

function parameter(count: number, requiresGrad: boolean): TorchTensor {
  return Object.assign(zerosView("f32", count), { isParameter: true, requiresGrad });
}

function linear(): unknown {
  const dict = new OrderedDict([
    ["weight", TorchTensor.over(undefined, { dtype: "f32", shape: [1, 1], strides: [1, 1], offset: 0 })],
  ]);
  dict.attributes = new Map([["_metadata", new OrderedDict([["", new Map([["version", 1]])]])]]);
  return dict;
}

function withAttributes(): unknown {
  const plain = Object.assign(zerosView("f32", 2), { attributes: new Map([["note", [1]]]) });
  return [plain, Object.assign(parameter(2, true), { attributes: new Map([["note", "x"]]) })];
}

function lazy(): unknown {
  return [
    Object.assign(zerosView("c64", 2), { conj: true }),
    Object.assign(zerosView("f32", 2), { neg: true }),
    Object.assign(zerosView("c64", 2), { conj: true, neg: true }),
  ];
}

function quantized(): unknown {
  return Object.assign(zerosView("qi8", 2), { quantizer: [new TorchConstant("qscheme", "per_tensor_affine"), 1, 0] });
}

/** One storage, uint8 to one tensor and untyped to another. */
function bytesAndWords(wordsFirst: boolean): unknown {
  const bytes = zerosView("u8", 4);
  const words = TorchTensor.over(bytes.storage, { dtype: "u16", shape: [2], strides: [1], offset: 0 });
  return wordsFirst ? [words, bytes] : [bytes, words];
}

function recursive(): unknown {
  const list: TorchValue[] = [];
  list.push(list);
  return list;
}

function recursiveTuple(more: number): unknown {
  const list: TorchValue[] = [];
  const made = tuple(list, ...[1, 2, 3].slice(0, more));
  list.push(made);
  return made;
}

const f8 = new NumpyDtype("f8", "<");
const doubles = (...values: number[]) => new Uint8Array(Float64Array.from(values).buffer);

/** Values that only the full mode of torch.load reads, and what must then hold of them, in Python. */
export const FULL_MODE_ROWS: readonly [value: unknown, check: string][] = [
  [Object.freeze(new Set([1, "a"])), "lambda v: v == frozenset([1, 'a'])"],
  [2n ** 4000n, "lambda v: v == 2**4000"],
  [new Uint8Array(0), "lambda v: v == b''"],
  [
    new SparseTensor(
      "sparse_coo",
      new Map([
        ["indices", zeros("i64", 1, 2)],
        ["values", zeros("f32", 2)],
      ]),
      [3],
    ),
    "lambda v: v.is_sparse and v.shape == (3,)",
  ],
  [recursiveTuple(3), "lambda v: v[0][0] is v and v[1:] == (1, 2, 3)"],
  [recursive(), "lambda v: v[0] is v and len(v) == 1"],
  [selfState(), "lambda v: v.me is v and type(v).__name__ == 'Namespace'"],
  [
    new PythonObject("collections.Counter", "reduce", [new Map([["a", 2]])]),
    "lambda v: v['a'] == 2 and type(v).__name__ == 'Counter'",
  ],
  [
    Object.assign(new PythonObject("collections.deque", "reduce", []), { listItems: [1, 2, 3] }),
    "lambda v: list(v) == [1, 2, 3]",
  ],
  [new PythonObject("builtins.slice", "reduce", [1, 2, 3]), "lambda v: v == slice(1, 2, 3)"],
  [new PythonObject("datetime.timedelta", "newobj_ex", [], new Map([["days", 2]])), "lambda v: v.days == 2"],
  [new PythonObject("datetime.timedelta", "inst", [3]), "lambda v: v.days == 3"],
  [new PythonObject("datetime.timedelta", "obj", [3]), "lambda v: v.days == 3"],
  [new PythonGlobal("builtins.len"), "lambda v: v is len"],
  [new NumpyArray(f8, [1, 2], false, doubles(1, 2)), "lambda v: v.tolist() == [[1, 2]] and v.dtype == 'f8'"],
  [new NumpyArray(f8, [2, 2], true, doubles(1, 2, 3, 4)), "lambda v: v.tolist() == [[1, 3], [2, 4]]"],
  [new NumpyArray(new NumpyDtype("O8"), [2], false, new Uint8Array(0), [1, null]), "lambda v: v.tolist() == [1, None]"],
  [
    new NumpyArray(new NumpyDtype("U2", "<"), [1], false, Uint8Array.of(97, 0, 0, 0, 98, 0, 0, 0)),
    "lambda v: v.tolist() == ['ab']",
  ],
  [new NumpyScalar(f8, doubles(1.5), 1.5), "lambda v: v == 1.5 and type(v).__name__ == 'float64'"],
  [new NumpyDtype("i4", ">"), "lambda v: v == '>i4'"],
];

function selfState(): unknown {
  const object = new PythonObject("argparse.Namespace", "newobj", []);
  object.state = new Map([["me", object]]);
  return object;
}

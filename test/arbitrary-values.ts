/**
 * Random TorchValues for fast-check: every kind that torch 2.13 loads with weights_only=True, with storages, tensors
 * and containers that occur more than once.
 */
import fc, { type Arbitrary } from "fast-check";
import { rowMajorStrides, Storage, storedBytes, TorchTensor } from "../src/formats/torch-tensors.js";
import {
  ByteArray,
  Complex,
  Float,
  OrderedDict,
  SparseTensor,
  TorchConstant,
  TorchSize,
  type TorchValue,
} from "../src/formats/values.js";
import { DTYPE_BYTES, type DType, TORCH_DTYPES } from "../src/tensor.js";

/** Dtypes with a storage class, which torch 1.13 reads too. */
const OLD_DTYPES: readonly DType[] = "f64 f32 f16 bf16 i64 i32 i16 i8 u8 bool c128 c64".split(" ") as DType[];
/** Dtypes that torch 2 saves as untyped bytes. */
const NEW_DTYPES: readonly DType[] =
  "u64 u32 u16 c32 f8_e4m3fn f8_e5m2 f8_e4m3fnuz f8_e5m2fnuz f8_e8m0fnu f4_e2m1fn_x2".split(" ") as DType[];
const FLOATING = /^(f64|f32|f16|bf16|c128|c64)$/;
/** Numbers in a storage. */
const MOST_ELEMENTS = 12;

/** Any value, about 30 nodes of it. */
export function torchValues(): Arbitrary<TorchValue> {
  return pool([...OLD_DTYPES, ...NEW_DTYPES]).chain(values);
}

/** Names to tensors of dtypes that torch 1.13 has: what nn.Module.state_dict() gives. */
export function stateDicts(): Arbitrary<OrderedDict> {
  return pool(OLD_DTYPES)
    .chain(({ tensors }) => {
      // 1.13 has neither lazy bits in files nor parameters with attributes.
      for (const tensor of tensors) Object.assign(tensor, { conj: false, neg: false, attributes: undefined });
      const items = fc.array(fc.tuple(fc.string(), fc.constantFrom(...tensors)), { maxLength: 6 });
      return fc.tuple(items, fc.boolean());
    })
    .map(([items, versions]) => {
      const dict = new OrderedDict(items);
      if (versions) dict.attributes = new Map([["_metadata", new OrderedDict([["", new Map([["version", 2]])]])]]);
      return dict;
    });
}

interface Pool {
  readonly storages: readonly Storage[];
  readonly tensors: readonly TorchTensor[];
}

/** Storages and views of them, from which a value takes some more than once. */
function pool(dtypes: readonly DType[]): Arbitrary<Pool> {
  return fc.array(storage(dtypes), { minLength: 1, maxLength: 4 }).chain((storages) =>
    fc
      .array(
        fc.constantFrom(...storages).chain((chosen) => tensor(chosen, dtypes)),
        { minLength: 1, maxLength: 5 },
      )
      .map((tensors) => ({ storages, tensors })),
  );
}

function storage(dtypes: readonly DType[]): Arbitrary<Storage> {
  return fc.tuple(fc.constantFrom(...dtypes), fc.integer({ min: 0, max: MOST_ELEMENTS })).chain(([dtype, numel]) => {
    const typed = OLD_DTYPES.includes(dtype);
    const size = numel * DTYPE_BYTES[dtype];
    const most = dtype === "bool" ? 1 : 255;
    return fc
      .uint8Array({ minLength: size, maxLength: size, max: most })
      .map((bytes) => new Storage("?", typed ? dtype : undefined, typed ? numel : size, "cpu", bytes));
  });
}

/** A view that fits: contiguous, transposed, strided, expanded, with an offset or without dimensions. */
function tensor(over: Storage, dtypes: readonly DType[]): Arbitrary<TorchTensor> {
  const fitting = NEW_DTYPES.filter((dtype) => over.byteLength % DTYPE_BYTES[dtype] === 0 && dtypes.includes(dtype));
  const dtype = over.dtype ? fc.constant(over.dtype) : fc.constantFrom(...fitting);
  const sizes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 });
  const flags = fc.record({
    grad: fc.boolean(),
    parameter: fc.boolean(),
    conj: fc.boolean(),
    neg: fc.boolean(),
    attribute: fc.option(fc.constantFrom<TorchValue>(1, "x", null, new Float(2)), { freq: 6, nil: undefined }),
  });
  return fc
    .tuple(dtype, sizes, fc.array(fc.nat(3), { minLength: 3, maxLength: 3 }), fc.nat(), flags)
    .map(([type, shape, steps, start, flag]) => {
      const numel = over.byteLength / DTYPE_BYTES[type];
      const strides = fitStrides(shape, steps, numel);
      const empty = shape.includes(0);
      const room = empty ? numel : numel - 1 - shape.reduce((last, size, axis) => last + (size - 1) * strides[axis], 0);
      const made = TorchTensor.over(over, {
        dtype: type,
        shape: room < 0 ? [0] : shape,
        strides: room < 0 ? [1] : strides,
        offset: room > 0 ? start % (room + 1) : 0,
      });
      const differentiable = FLOATING.test(type);
      made.requiresGrad = differentiable && flag.grad;
      made.isParameter = differentiable && flag.parameter;
      made.conj = /^c(64|128)$/.test(type) && flag.conj;
      made.neg = differentiable && flag.neg;
      if (flag.attribute !== undefined) made.attributes = new Map([["note", flag.attribute]]);
      return made;
    });
}

/** Strides that keep the last element below `numel` where possible: row-major ones, or the steps asked for. */
function fitStrides(shape: readonly number[], steps: readonly number[], numel: number): number[] {
  const last = (strides: readonly number[]) => shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis], 0);
  const asked = steps.slice(0, shape.length);
  for (const strides of [rowMajorStrides(shape), asked]) if (last(strides) < numel) return strides;
  return asked.map(() => 0);
}

const layouts = ["strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc"];
const schemes = ["per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric"];

const constants: Arbitrary<TorchConstant> = fc.oneof(
  fc.constantFrom(...OLD_DTYPES, ...NEW_DTYPES).map((dtype) => new TorchConstant("dtype", TORCH_DTYPES[dtype])),
  fc.constantFrom("cpu", "cuda:0", "cuda:1", "cuda", "meta", "mps").map((name) => new TorchConstant("device", name)),
  fc.constantFrom(...layouts).map((name) => new TorchConstant("layout", name)),
  fc.constantFrom(...schemes).map((name) => new TorchConstant("qscheme", name)),
);

const floats: Arbitrary<number> = fc.oneof(
  fc.double(),
  fc.constantFrom(0.1, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324, 2 ** 60, 1e300),
);
const integers: Arbitrary<number | bigint> = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer(),
  fc.nat(300),
  fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }),
  fc.constantFrom(
    255,
    256,
    65535,
    65536,
    -1,
    2 ** 31 - 1,
    2 ** 31,
    -(2 ** 31),
    -(2 ** 31) - 1,
    2n ** 63n,
    -(2n ** 63n),
  ),
  fc.constantFrom(2n ** 2031n - 1n, -(2n ** 2031n), 2 ** 53),
);
/** Any text: unicode, controls, and surrogates without a partner. */
const strings: Arbitrary<string> = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("", "\ud800", "a\udc00\ud83d", "\0", "__proto__", "storage", "cpu", "0", "latin1"),
);
const bytes: Arbitrary<Uint8Array> = fc.uint8Array({ maxLength: 6 });

const scalars: Arbitrary<TorchValue> = fc.oneof(
  fc.constantFrom<TorchValue>(null, true, false),
  integers,
  floats.map((value) => (Number.isInteger(value) ? new Float(value) : value)),
  strings,
  bytes,
  bytes.map((value) => ByteArray.from(value)),
  fc.tuple(floats, floats).map(([re, im]) => new Complex(re, im)),
  constants,
  fc.array(fc.nat(9), { maxLength: 5 }).map(sizeOf),
);

function sizeOf(sizes: readonly number[]): TorchSize {
  const size = new TorchSize();
  for (const value of sizes) size.push(value);
  return Object.freeze(size) as TorchSize;
}

/** Keys that Python, where 1, 1.0 and True are one key, holds apart as a Map does. */
const keys: Arbitrary<TorchValue> = fc.oneof(strings, fc.integer({ min: 2 }), fc.constant(null), fc.constant(0.5));

/** Members of a set; Python compares bytes by value. */
const members = fc.uniqueArray(fc.oneof(keys, bytes), { maxLength: 4, selector: (member) => String(member) });

function dense(dtype: DType, shape: readonly number[], data: ArrayLike<number>): TorchTensor {
  const typed = dtype === "i64" ? BigInt64Array.from(Array.from(data, BigInt)) : Float32Array.from(data);
  const numel = data.length;
  const over = new Storage("?", dtype, numel, "cpu", new Uint8Array(typed.buffer));
  return TorchTensor.over(over, { dtype, shape, strides: rowMajorStrides(shape), offset: 0 });
}

const sparse: Arbitrary<SparseTensor> = fc.oneof(
  fc.constantFrom(undefined, true, false).map((coalesced) => {
    const parts: [string, TorchTensor][] = [
      ["indices", dense("i64", [2, 2], [0, 1, 2, 0])],
      ["values", dense("f32", [2], [0.5, -1])],
    ];
    return new SparseTensor("sparse_coo", new Map(parts), [2, 3], coalesced);
  }),
  fc.constantFrom("sparse_csr", "sparse_csc").map((layout) => {
    const [compressed, plain] =
      layout === "sparse_csr" ? ["crow_indices", "col_indices"] : ["ccol_indices", "row_indices"];
    const parts: [string, TorchTensor][] = [
      [compressed, dense("i64", [3], [0, 1, 2])],
      [plain, dense("i64", [2], [1, 0])],
      ["values", dense("f32", [2], [3, 4])],
    ];
    return new SparseTensor(layout, new Map(parts), [2, 2]);
  }),
);

const quantized: Arbitrary<TorchTensor> = fc.oneof(
  fc.constantFrom<DType>("qi8", "qu8", "qi32").map((dtype) => {
    const made = rawTensor(dtype, [3]);
    made.quantizer = Object.freeze([new TorchConstant("qscheme", "per_tensor_affine"), 0.5, 3]);
    return made;
  }),
  fc.constantFrom<DType>("qi8", "qu8").map((dtype) => {
    const made = rawTensor(dtype, [2, 2]);
    const scales = doubles([0.5, 0.25]);
    made.quantizer = Object.freeze([
      new TorchConstant("qscheme", "per_channel_affine"),
      scales,
      dense("i64", [2], [0, 1]),
      1,
    ]);
    return made;
  }),
);

function doubles(values: readonly number[]): TorchTensor {
  const over = new Storage("?", "f64", values.length, "cpu", new Uint8Array(Float64Array.from(values).buffer));
  return TorchTensor.over(over, { dtype: "f64", shape: [values.length], strides: [1], offset: 0 });
}

function rawTensor(dtype: DType, shape: readonly number[]): TorchTensor {
  const numel = shape.reduce((product, size) => product * size, 1);
  const over = new Storage("?", dtype, numel, "cpu", new Uint8Array(storedBytes(dtype, numel)).fill(7));
  return TorchTensor.over(over, { dtype, shape, strides: rowMajorStrides(shape), offset: 0 });
}

const meta: Arbitrary<TorchTensor> = fc
  .constantFrom<DType>("f32", "i64", "f8_e5m2")
  .map((dtype) => TorchTensor.over(undefined, { dtype, shape: [2, 3], strides: [3, 1], offset: 0 }));

function values({ storages, tensors }: Pool): Arbitrary<TorchValue> {
  const views = fc.constantFrom(...tensors);
  const leaf = fc.oneof(
    { weight: 6, arbitrary: scalars },
    { weight: 6, arbitrary: views },
    { weight: 1, arbitrary: fc.constantFrom(...storages) },
    { weight: 1, arbitrary: sparse },
    { weight: 1, arbitrary: quantized },
    { weight: 1, arbitrary: meta },
  );
  const shared = fc.oneof(fc.array(leaf, { maxLength: 3 }), dict(leaf));
  return fc.array(shared, { minLength: 1, maxLength: 3 }).chain((known) => nested(leaf, known));
}

function dict(item: Arbitrary<TorchValue>): Arbitrary<Map<TorchValue, TorchValue>> {
  return fc.array(fc.tuple(keys, item), { maxLength: 4 }).map((items) => new Map(items));
}

function orderedDict(item: Arbitrary<TorchValue>): Arbitrary<OrderedDict> {
  const attributes = fc.option(fc.dictionary(fc.string({ unit: "grapheme" }), item, { maxKeys: 2, minKeys: 1 }));
  return fc.tuple(fc.array(fc.tuple(keys, item), { maxLength: 4 }), attributes).map(([items, named]) => {
    const made = new OrderedDict(items);
    if (named) made.attributes = new Map(Object.entries(named));
    return made;
  });
}

/** Containers of leaves, of containers that may occur more than once, and of each other. */
function nested(leaf: Arbitrary<TorchValue>, shared: readonly TorchValue[]): Arbitrary<TorchValue> {
  const { value } = fc.letrec<{ value: TorchValue }>((tie) => {
    const item = tie("value");
    const items = fc.array(item, { maxLength: 5 });
    return {
      value: fc.oneof(
        { depthSize: "small", withCrossShrink: true },
        { weight: 4, arbitrary: leaf },
        { weight: 1, arbitrary: fc.constantFrom(...shared) },
        { weight: 2, arbitrary: items },
        { weight: 2, arbitrary: items.map((parts) => Object.freeze(parts)) },
        { weight: 2, arbitrary: dict(item) },
        { weight: 1, arbitrary: orderedDict(item) },
        { weight: 1, arbitrary: members.map((items) => new Set(items)) },
      ),
    };
  });
  // A container at the root: most leaves alone are other tests' rows.
  return fc.oneof(fc.array(value, { maxLength: 6 }), dict(value), orderedDict(value));
}

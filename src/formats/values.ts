/**
 * What a torch file can hold, as JavaScript. Python types that JavaScript has are those; the others are the classes below,
 * plain data without behaviour. None of them ever runs anything a file names.
 *
 * | Python                    | here                                                                        |
 * | ------------------------- | --------------------------------------------------------------------------- |
 * | None, bool, str           | null, boolean, string (lone surrogates kept)                                |
 * | int                       | number, a bigint beyond 2^53                                                |
 * | float                     | number; that 1.0 is not 1 is kept beside its container (isFloatAt)          |
 * | complex                   | Complex                                                                     |
 * | bytes, bytearray          | Uint8Array, ByteArray                                                       |
 * | list, tuple               | Array, frozen Array                                                         |
 * | torch.Size                | TorchSize, a frozen Array                                                   |
 * | set, frozenset            | Set, frozen Set                                                             |
 * | dict, OrderedDict         | Map, OrderedDict                                                            |
 * | torch.Tensor, Parameter   | TorchTensor                                                                 |
 * | sparse tensor             | SparseTensor                                                                |
 * | storage                   | Storage                                                                     |
 * | dtype, device, layout     | TorchConstant                                                               |
 * | numpy array, scalar, dtype| NumpyArray, NumpyScalar, NumpyDtype                                         |
 * | a class or function       | PythonGlobal                                                                |
 * | any other object          | PythonObject: its class's name, arguments and state, inert                  |
 *
 * Where JavaScript tells less apart: -0.0 as a key or member of a set is 0.0; a whole float saved alone, outside any
 * container, reads as an int; NaN twice in one dict or set is refused.
 */
import type { Tensor } from "../tensor.js";
import type { Storage, TorchTensor } from "./torch-tensors.js";

/** What a pickle of a checkpoint may hold, as JavaScript's own types where there are such. */
export type TorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly TorchValue[]
  | ReadonlySet<TorchValue>
  | ReadonlyMap<TorchValue, TorchValue>
  | Tensor
  | TorchTensor
  | SparseTensor
  | Storage
  | Float
  | Complex
  | TorchConstant
  | NumpyArray
  | NumpyScalar
  | NumpyDtype
  | PythonGlobal
  | PythonObject;

/**
 * A Python float whose value is whole, for writing: `new Float(1)` is saved as 1.0 where 1 would be an int. The reader
 * never gives one: it gives the number and remembers the place.
 */
export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Places in containers that hold whole floats: keys of maps, indices of arrays, members of sets. */
const floatPlaces = new WeakMap<object, Set<unknown>>();
/** Maps with float keys, and which they are. */
const floatKeys = new WeakMap<object, Set<unknown>>();

/**
 * True when the number at this place was read as a Python float. A number put there later is still saved as a float; a
 * copy of the container has no places (1.0 is then saved as 1, which Python calls equal).
 * @param place the key of a Map, the index of an array, the member of a Set, "state" of a PythonObject
 */
export function isFloatAt(container: object, place: unknown): boolean {
  return floatPlaces.get(container)?.has(place) ?? false;
}

/** True when this key of the Map was read as a Python float. */
export function isFloatKey(container: object, key: unknown): boolean {
  return floatKeys.get(container)?.has(key) ?? false;
}

/** Unwraps a Float that goes into a container, and remembers where. */
export function placeFloat<T>(value: T | Float, container: object, place: unknown): T | number {
  if (!(value instanceof Float)) return value;
  mark(floatPlaces, container, place);
  return value.value;
}

/** As placeFloat, for a key. */
export function placeFloatKey<T>(key: T | Float, container: object): T | number {
  if (!(key instanceof Float)) return key;
  mark(floatKeys, container, key.value);
  return key.value;
}

function mark(places: WeakMap<object, Set<unknown>>, container: object, place: unknown): void {
  const known = places.get(container);
  if (known) known.add(place);
  else places.set(container, new Set([place]));
}

/** Python's complex. */
export class Complex {
  readonly re: number;
  readonly im: number;

  constructor(re: number, im: number) {
    this.re = re;
    this.im = im;
  }
}

/** Python's bytearray: bytes that a program may change. */
export class ByteArray extends Uint8Array {}

/** torch.Size: the sizes of a tensor, as a value. */
export class TorchSize extends Array<number> {
  /** Methods such as map give plain arrays. */
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }

  static ofSizes(sizes: readonly number[]): TorchSize {
    const size = new TorchSize();
    for (const value of sizes) size.push(value);
    return Object.freeze(size) as TorchSize;
  }
}

/** collections.OrderedDict, as nn.Module.state_dict() gives. */
export class OrderedDict extends Map<TorchValue, TorchValue> {
  /** Its Python attributes; a state dict keeps `_metadata` (module versions) there. */
  attributes: Map<TorchValue, TorchValue> | undefined;
}

/** torch.float32, torch.device("cuda:0"), torch.strided, torch.per_tensor_affine. */
export class TorchConstant {
  readonly kind: "dtype" | "device" | "layout" | "qscheme";
  /** "float32", "cuda:0", "strided". */
  readonly name: string;

  constructor(kind: TorchConstant["kind"], name: string) {
    this.kind = kind;
    this.name = name;
  }

  /** As Python prints it, without quotes. */
  toString(): string {
    return this.kind === "device" ? this.name : `torch.${this.name}`;
  }
}

/** torch.sparse_coo and the compressed layouts, in the parts torch saves. */
export class SparseTensor {
  /** "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr" or "sparse_bsc". */
  readonly layout: string;
  /** COO: indices (sparse dims, nnz) and values; compressed: crow_indices and col_indices (or ccol, row) and values. */
  readonly parts: ReadonlyMap<string, Tensor>;
  readonly shape: readonly number[];
  /** COO files of torch 2 say it. */
  readonly isCoalesced: boolean | undefined;

  constructor(layout: string, parts: ReadonlyMap<string, Tensor>, shape: readonly number[], isCoalesced?: boolean) {
    this.layout = layout;
    this.parts = parts;
    this.shape = shape;
    this.isCoalesced = isCoalesced;
  }
}

/** numpy.dtype. */
export class NumpyDtype {
  /** Kind and size as numpy writes them: "f8", "i4", "b1", "U4", "S3", "O8", "V16", "M8". */
  readonly code: string;
  /** "<", ">" or "|" (not applicable). */
  readonly order: string;
  /** The rest of its state where it is more than a code: fields of a structured dtype, units of a date. */
  readonly state: readonly TorchValue[] | undefined;
  /** A dtype that numpy makes by a call which is not on the closed list (StringDType): what the file says of it. */
  readonly inert: PythonObject | undefined;

  constructor(code: string, order = "|", state?: readonly TorchValue[], inert?: PythonObject) {
    this.code = code;
    this.order = order;
    this.state = state;
    this.inert = inert;
  }

  toString(): string {
    return this.order + this.code;
  }
}

/** A numpy scalar, e.g. a metric computed with numpy. */
export class NumpyScalar {
  readonly dtype: NumpyDtype;
  /** As stored, in the dtype's byte order. */
  readonly bytes: Uint8Array;
  /** The value where it is a bool, integer, float, complex, string or bytes; else undefined. */
  readonly value: boolean | number | bigint | string | Complex | Uint8Array | undefined;

  constructor(dtype: NumpyDtype, bytes: Uint8Array, value: NumpyScalar["value"]) {
    this.dtype = dtype;
    this.bytes = bytes;
    this.value = value;
  }
}

/** numpy.ndarray. */
export class NumpyArray {
  readonly dtype: NumpyDtype;
  readonly shape: readonly number[];
  /** True: column-major. */
  readonly fortran: boolean;
  /** As stored: the dtype's byte order, the array's own axis order; empty for an array of objects. */
  readonly bytes: Uint8Array;
  /** Elements of an array of objects, or of structures that hold objects. */
  readonly items: readonly TorchValue[] | undefined;

  constructor(
    dtype: NumpyDtype,
    shape: readonly number[],
    fortran: boolean,
    bytes: Uint8Array,
    items?: readonly TorchValue[],
  ) {
    this.dtype = dtype;
    this.shape = shape;
    this.fortran = fortran;
    this.bytes = bytes;
    this.items = items;
  }
}

/** A class or function as a value: only its name, which nothing looks up. */
export class PythonGlobal {
  /** "module.name", Python 2's __builtin__ and copy_reg as builtins and copyreg. */
  readonly name: string;
  /** Part of the name up to where what is inside the module begins: "module" of "module.Class.Inner" too. */
  readonly module: string;

  /** @param module needed for a class inside a class, where it is not all up to the last dot */
  constructor(name: string, module = name.slice(0, Math.max(name.lastIndexOf("."), 0))) {
    this.name = name;
    this.module = module;
  }
}

/** An object of a class unitcell does not build: what the file says of it, and no behaviour. */
export class PythonObject {
  /** "module.name" of the class or function it was made with. */
  readonly type: string;
  /** The pickle opcode that made it: a call, `cls.__new__`, or one of the old spellings; persid: an external reference. */
  readonly how: "reduce" | "newobj" | "newobj_ex" | "inst" | "obj" | "persid";
  readonly args: readonly TorchValue[];
  readonly kwargs: ReadonlyMap<TorchValue, TorchValue> | undefined;
  /** What made it, where `type` only describes that: a class inside a class, or what a call gave. */
  readonly callee: PythonGlobal | PythonObject | undefined;
  /**
   * What BUILD gave: its attributes, mostly a Map; undefined when there was none. That it was a whole float is kept as
   * isFloatAt(object, "state").
   */
  state: TorchValue | undefined;
  /** Items of a list subclass (or set, or deque). */
  listItems: TorchValue[] | undefined;
  /** Items of a dict subclass. */
  dictItems: Map<TorchValue, TorchValue> | undefined;

  constructor(
    type: string,
    how: PythonObject["how"],
    args: readonly TorchValue[],
    kwargs?: ReadonlyMap<TorchValue, TorchValue>,
    callee?: PythonGlobal | PythonObject,
  ) {
    this.type = type;
    this.how = how;
    this.args = args;
    this.kwargs = kwargs;
    this.callee = callee;
  }
}

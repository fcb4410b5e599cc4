/**
 * The closed list: every name a torch file may use, and what it stands for here. A name that is not in a row below is
 * refused. Sources: torch/_utils.py, torch/_tensor.py, torch/_weights_only_unpickler.py.
 */
import { UnitcellError } from "../errors.js";
import type { DType } from "../tensor.js";
import { numpyGlobals } from "./numpy-values.js";
import { PickleClass, type PickleValue } from "./pickle.js";
import { emptySlot, sizesOf, type TensorSlot, type TensorTable } from "./torch-tensors.js";

/** Storage classes by name; null: known, but elements no Tensor can hold. */
const STORAGE_DTYPES: ReadonlyMap<string, DType | null> = new Map([
  ["Double", "f64"],
  ["Float", "f32"],
  ["Half", "f16"],
  ["BFloat16", "bf16"],
  ["Long", "i64"],
  ["Int", "i32"],
  ["Short", "i16"],
  ["Char", "i8"],
  ["Byte", "u8"],
  ["Bool", "bool"],
  ["ComplexDouble", null],
  ["ComplexFloat", null],
  ["QInt8", null],
  ["QInt32", null],
  ["QUInt8", null],
  ["QUInt4x2", null],
  ["QUInt2x4", null],
]);

/** torch.<name> as a value; the ones a Tensor can have carry our dtype. */
const DTYPES: ReadonlyMap<string, DType | null> = new Map([
  ["float64", "f64"],
  ["float32", "f32"],
  ["float16", "f16"],
  ["bfloat16", "bf16"],
  ["int64", "i64"],
  ["int32", "i32"],
  ["int16", "i16"],
  ["int8", "i8"],
  ["uint8", "u8"],
  ["bool", "bool"],
  ...[
    "complex32 complex64 complex128 quint8 qint8 qint32 quint4x2 quint2x4 uint16 uint32 uint64",
    "float8_e5m2 float8_e4m3fn float8_e5m2fnuz float8_e4m3fnuz float8_e8m0fnu float4_e2m1fn_x2",
  ].flatMap((names) => names.split(" ").map((name): [string, null] => [name, null])),
]);

const QSCHEMES =
  "per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams";

/** A storage class: what the second field of a persistent id must be. */
export class StorageClass {
  readonly name: string;
  /** undefined: untyped bytes; null: a dtype no Tensor can hold. */
  readonly dtype: DType | null | undefined;

  constructor(name: string, dtype: DType | null | undefined) {
    this.name = name;
    this.dtype = dtype;
  }
}

/** Names that never change between files. */
const CONSTANTS: readonly [string, PickleValue][] = [
  ...["torch", "torch.cuda"].flatMap((module) =>
    [...STORAGE_DTYPES].map(([name, dtype]): [string, PickleValue] => {
      const full = `${module}.${name}Storage`;
      return [full, new StorageClass(full, dtype)];
    }),
  ),
  ["torch.storage.UntypedStorage", new StorageClass("torch.storage.UntypedStorage", undefined)],
  // As Python prints them, so that a saved dtype reads as a word.
  ...[...DTYPES.keys(), ...QSCHEMES.split(" ")].map((name): [string, PickleValue] => [
    `torch.${name}`,
    `torch.${name}`,
  ]),
];

/** Known names whose values are no part of TorchValue yet. */
const NOT_YET: readonly [name: string, what: string][] = [
  ["torch._utils._rebuild_sparse_tensor", "a sparse tensor"],
  ["torch._utils._rebuild_sparse_csr_tensor", "a sparse tensor"],
  ["torch._utils._rebuild_qtensor", "a quantized tensor"],
  ["torch._utils._rebuild_nested_tensor", "a nested tensor"],
  ["torch._utils._rebuild_meta_tensor_no_storage", "a meta tensor, which has no data"],
  ["torch._utils._rebuild_wrapper_subclass", "a tensor subclass"],
  ["torch._utils._rebuild_device_tensor_from_numpy", "a tensor of another device"],
  ["torch._utils._rebuild_device_tensor_from_cpu_tensor", "a tensor of another device"],
  ["__builtin__.complex", "a complex number"],
  ["builtins.complex", "a complex number"],
];

/** The list for one file: tensors it makes are noted in `table`. */
export function torchGlobals(table: TensorTable): ReadonlyMap<string, PickleValue> {
  const classes = [...tensorGlobals(table), ...pythonGlobals(), ...numpyGlobals()];
  for (const [name, what] of NOT_YET) classes.push(new PickleClass(name, () => refuse(what)));
  const globals = new Map(CONSTANTS);
  for (const row of classes) globals.set(row.name, row);
  return globals;
}

function tensorGlobals(table: TensorTable): PickleClass[] {
  const utils = (name: string, create: PickleClass["create"]) => new PickleClass(`torch._utils.${name}`, create);
  /** Pre-0.4 tensors and parameters: NEWOBJ makes the object, BUILD gives (storage, offset, size, stride). */
  const build = (target: PickleValue, state: PickleValue) => {
    if (!Array.isArray(state) || state.length !== 4) throw corrupt("a tensor has a malformed state");
    table.add(state[0], state.slice(1), undefined, target as TensorSlot);
  };
  const oldTensors = [...STORAGE_DTYPES.keys()].flatMap((name) =>
    ["torch", "torch.cuda"].map((module) => new PickleClass(`${module}.${name}Tensor`, emptySlot, build)),
  );
  return [
    utils("_rebuild_tensor", (args) => table.add(args[0], needed(args, 4, 4).slice(1))),
    utils("_rebuild_tensor_v2", (args) => {
      refuseLazyBits(needed(args, 6, 7)[6]);
      return table.add(args[0], args.slice(1, 4));
    }),
    utils("_rebuild_tensor_v3", (args) => {
      refuseLazyBits(needed(args, 7, 8)[7]);
      return table.add(args[0], args.slice(1, 4), dtypeOf(args[6]));
    }),
    // Hooks and requires_grad are training state that a value does not have.
    utils("_rebuild_parameter", (args) => tensorOf(needed(args, 3, 3)[0])),
    utils("_rebuild_parameter_with_state", (args) => tensorOf(needed(args, 4, 4)[0])),
    new PickleClass("torch._tensor._rebuild_from_type_v2", rebuildFromType),
    new PickleClass("torch.Tensor"),
    new PickleClass("torch.nn.parameter.Parameter", (args) => tensorOf(needed(args, 1, 2)[0])),
    ...oldTensors,
  ];
}

/** (function, type, arguments, attributes): the function is a row of this list, the attributes are dropped. */
function rebuildFromType(args: readonly PickleValue[]): PickleValue {
  const [rebuild, type, inner] = needed(args, 4, 4);
  const plain = type instanceof PickleClass && /^torch\.(Tensor|nn\.parameter\.Parameter)$/.test(type.name);
  if (!plain) throw new UnitcellError("UNSUPPORTED", "a tensor subclass");
  if (!(rebuild instanceof PickleClass && rebuild.create) || !rebuild.name.startsWith("torch._utils._rebuild_"))
    throw corrupt("a tensor names no rebuild function");
  if (!Array.isArray(inner)) throw corrupt(`${rebuild.name} needs a tuple of arguments`);
  return rebuild.create(inner);
}

function pythonGlobals(): PickleClass[] {
  const namespace = new PickleClass("argparse.Namespace", () => new Map(), addItems);
  return [
    // The state of an OrderedDict is its __dict__ (a state_dict keeps `_metadata` there): not items, so left out.
    new PickleClass("collections.OrderedDict", createDict, (_target, state) => requireDict(state)),
    new PickleClass("collections.Counter", createDict),
    namespace,
    new PickleClass("torch.Size", (args) => Object.freeze(args.length === 0 ? [] : sizesOf(args[0], "torch.Size"))),
    new PickleClass("torch.device", createDevice),
    new PickleClass("torch.serialization._get_layout", (args) => textOf(args[0], "a layout")),
    new PickleClass("_codecs.encode", encodeLatin1),
    ...["__builtin__", "builtins"].flatMap((module) => [
      new PickleClass(`${module}.set`, createSet),
      new PickleClass(`${module}.frozenset`, (args) => Object.freeze(createSet(args))),
      new PickleClass(`${module}.bytearray`, createBytes),
      new PickleClass(`${module}.bytes`, createBytes),
    ]),
  ];
}

/** OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]); Counter({key: count}). */
function createDict(args: readonly PickleValue[]): PickleValue {
  const [items] = needed(args, 0, 1);
  if (items === undefined) return new Map();
  if (items instanceof Map) return new Map(items);
  if (!Array.isArray(items)) throw corrupt("a dict is made from something that holds no items");
  return new Map(
    items.map((pair): [PickleValue, PickleValue] => {
      if (!Array.isArray(pair) || pair.length !== 2) throw corrupt("a dict is made from something other than pairs");
      return [pair[0], pair[1]];
    }),
  );
}

/** argparse.Namespace: its attributes are all it is. */
function addItems(target: PickleValue, state: PickleValue): void {
  for (const [key, value] of requireDict(state)) (target as Map<PickleValue, PickleValue>).set(key, value);
}

function createDevice(args: readonly PickleValue[]): PickleValue {
  const [type, index] = needed(args, 1, 2);
  const name = index === undefined || index === null ? type : `${textOf(type, "a device")}:${String(index)}`;
  if (typeof name === "string" && /^[a-z]+(:\d+)?$/.test(name)) return name;
  throw corrupt("torch.device names no device");
}

function createSet(args: readonly PickleValue[]): PickleValue[] {
  const [items] = needed(args, 0, 1);
  if (items === undefined) return [];
  if (!Array.isArray(items)) throw corrupt("a set is made from something that is not a list");
  return [...items];
}

/** bytes(), bytearray(bytes), bytearray(text, "latin-1"). A bare number would ask for that many zeros. */
function createBytes(args: readonly PickleValue[]): PickleValue {
  const [content, encoding] = needed(args, 0, 2);
  if (content === undefined) return new Uint8Array(0);
  if (content instanceof Uint8Array && encoding === undefined) return content.slice();
  return encodeLatin1(args);
}

/** _codecs.encode(text, "latin1"): how protocol 2 writes bytes. No other codec is data. */
function encodeLatin1(args: readonly PickleValue[]): PickleValue {
  const [text, encoding] = needed(args, 2, 2);
  if (typeof text !== "string" || typeof encoding !== "string")
    throw corrupt("bytes are written as text and an encoding");
  if (!/^latin-?1$/.test(encoding))
    throw new UnitcellError("UNSAFE", `_codecs.encode with ${JSON.stringify(encoding)}; only latin1 is data`, {
      globals: ["_codecs.encode"],
    });
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 255) throw corrupt(`character ${code} does not fit in a byte`);
    bytes[i] = code;
  }
  return bytes;
}

/** A lazily conjugated or negated tensor is not the bytes it stores. */
function refuseLazyBits(metadata: PickleValue | undefined): void {
  if (metadata === undefined || metadata === null) return;
  if ([...requireDict(metadata).values()].some((bit) => bit === true)) refuse("a lazily conjugated or negated tensor");
}

function dtypeOf(value: PickleValue): DType {
  const name = typeof value === "string" ? value.replace(/^torch\./, "") : "";
  const dtype = DTYPES.get(name);
  if (dtype === null) refuse(`a tensor of dtype ${name}`);
  if (!dtype) throw corrupt("a tensor has no dtype");
  return dtype;
}

/** A tensor made earlier; anything else in its place is refused. */
function tensorOf(value: PickleValue | undefined): PickleValue {
  if (isTensor(value)) return value;
  throw corrupt("a parameter wraps something that is not a tensor");
}

/** True for the tensor objects the rows above make. */
export function isTensor(value: unknown): value is TensorSlot {
  return typeof value === "object" && value !== null && "dtype" in value && "shape" in value && "data" in value;
}

function needed(args: readonly PickleValue[], least: number, most: number): readonly PickleValue[] {
  if (args.length >= least && args.length <= most) return args;
  throw corrupt(`expected ${least === most ? least : `${least} to ${most}`} arguments, found ${args.length}`);
}

function requireDict(value: PickleValue): Map<PickleValue, PickleValue> {
  if (value instanceof Map) return value;
  throw corrupt("expected a dict as state");
}

function textOf(value: PickleValue | undefined, what: string): string {
  if (typeof value === "string") return value;
  throw corrupt(`${what} is not a string`);
}

function refuse(what: string): never {
  throw new UnitcellError("UNSUPPORTED", `the file holds ${what}, which unitcell does not read`);
}

function corrupt(message: string): UnitcellError {
  return new UnitcellError("CORRUPT", `malformed pickle: ${message}`);
}

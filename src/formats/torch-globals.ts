/**
 * The closed list: every name a torch file may use, and what it stands for here. A name that is not on it is refused, or
 * shown as an inert object when the caller asks for that. Sources: torch/_utils.py, torch/_tensor.py,
 * torch/_weights_only_unpickler.py, torch/jit/_pickle.py.
 */
import type { Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { type DType, TORCH_DTYPES } from "../tensor.js";
import type { ReadSettings } from "./container.js";
import { numpyClasses } from "./numpy-values.js";
import { describe, isTuple, KeyCount, type PickleClass, type PickleContext } from "./pickle-machine.js";
import { pythonClasses } from "./python-classes.js";
import { isStorageClass, type StorageTable, sizesOf, storageClasses } from "./torch-storages.js";
import { TorchTensor } from "./torch-tensors.js";
import { PythonGlobal, SparseTensor, TorchConstant, TorchSize, type TorchValue } from "./values.js";

const DTYPES: ReadonlyMap<string, DType> = new Map(
  Object.entries(TORCH_DTYPES).map(([dtype, name]) => [name, dtype as DType]),
);

/** Values that a pickle names. */
const CONSTANTS: ReadonlyMap<string, TorchConstant> = new Map([
  ...names("dtype", [...DTYPES.keys()]),
  ...names("qscheme", [
    "per_tensor_affine",
    "per_tensor_symmetric",
    "per_channel_affine",
    "per_channel_symmetric",
    "per_channel_affine_float_qparams",
  ]),
]);

function names(kind: TorchConstant["kind"], all: readonly string[]): [string, TorchConstant][] {
  return all.map((name) => [`torch.${name}`, new TorchConstant(kind, name)]);
}

/**
 * Names that are plain data as inert objects: containers of the standard library, types as values, kinds of tensor that
 * have no class here.
 */
const INERT: ReadonlySet<string> = new Set([
  "argparse.Namespace",
  "collections.Counter",
  "collections.defaultdict",
  "copyreg._reconstructor",
  "numpy.ndarray",
  "torch.Tensor",
  ..."object dict list set frozenset tuple int long float str bytes bool complex"
    .split(" ")
    .map((name) => `builtins.${name}`),
  "torch._utils._rebuild_nested_tensor",
  "torch._utils._rebuild_wrapper_subclass",
  "torch._utils._rebuild_device_tensor_from_numpy",
  "torch._utils._rebuild_device_tensor_from_cpu_tensor",
]);

/** Classes that TorchScript compiled; their code is text in the archive, which nothing here reads. */
const TORCHSCRIPT = /^__torch__(\.[A-Za-z0-9_]+)+$/;

/** What the pickles of one file may name; tensors are noted in `table`. */
export function torchContext(
  table: StorageTable,
  { limits, inert }: Pick<ReadSettings, "limits" | "inert">,
  persistentId?: PickleContext["persistentId"],
): PickleContext {
  const keys = new KeyCount(limits);
  const classes = new Map<string, PickleClass>([
    ...tensorClasses(table, limits),
    ...torchClasses(limits),
    ...pythonClasses(keys),
    ...numpyClasses(limits),
    ...TORCHSCRIPT_WRAPPERS,
  ]);
  return {
    classes,
    constants: CONSTANTS,
    isInert: (name) => INERT.has(name) || isStorageClass(name) || TORCHSCRIPT.test(name) || inert.has(name),
    limits,
    keys,
    ...(persistentId && { persistentId }),
  };
}

/** Rebuild functions of torch._utils by name, and the classes that old files use. */
function tensorClasses(table: StorageTable, limits: Limits): [string, PickleClass][] {
  const rebuild = tensorRebuilders(table, limits);
  const fromType = (args: readonly TorchValue[]) => rebuildFromType(args, rebuild);
  /** Before 0.4 NEWOBJ made the tensor and BUILD gave it (storage, offset, size, stride). */
  const old: PickleClass = {
    create: () => new TorchTensor(),
    build(target, state) {
      if (!isTuple(state) || state.length !== 4) throw corrupt("a tensor has a malformed state");
      table.view(state[0], state, 1, undefined, target as TorchTensor);
    },
  };
  return [
    ...[...rebuild].map(([name, create]): [string, PickleClass] => [`torch._utils.${name}`, { create }]),
    ["torch._tensor._rebuild_from_type_v2", { create: fromType }],
    ["torch.nn.parameter.Parameter", { create: (args) => parameter(needed(args, 1, 2)) }],
    ["torch.nn.parameter.Buffer", { create: (args) => tensorOf(needed(args, 1, 2)[0]) }],
    ...storageClasses("Tensor").map(([name]): [string, PickleClass] => [name, old]),
  ];
}

type Create = PickleClass["create"];

function tensorRebuilders(table: StorageTable, limits: Limits): ReadonlyMap<string, Create> {
  return new Map<string, Create>([
    ["_rebuild_tensor", (args) => table.view(needed(args, 4, 4)[0], args, 1)],
    [
      "_rebuild_tensor_v2",
      (args) => lazyBits(training(table.view(needed(args, 6, 7)[0], args, 1), args[4]), args[6], table),
    ],
    [
      "_rebuild_tensor_v3",
      (args) =>
        lazyBits(training(table.view(needed(args, 7, 8)[0], args, 1, dtypeOf(args[6])), args[4]), args[7], table),
    ],
    ["_rebuild_parameter", (args) => parameter(needed(args, 3, 3))],
    ["_rebuild_parameter_with_state", (args) => withAttributes(parameter(needed(args, 4, 4)), args[3])],
    ["_rebuild_qtensor", (args) => quantized(training(table.view(needed(args, 7, 7)[0], args, 1), args[5]), args[4])],
    ["_rebuild_sparse_tensor", rebuildSparse],
    ["_rebuild_sparse_csr_tensor", rebuildSparse],
    ["_rebuild_meta_tensor_no_storage", (args) => rebuildMeta(args, limits)],
  ]);
}

/** (function, type, arguments, attributes): the function is one of ours, the type a plain tensor or parameter. */
function rebuildFromType(args: readonly TorchValue[], rebuild: ReadonlyMap<string, Create>): TorchValue {
  const [func, type, inner, state] = needed(args, 4, 4);
  const plain = type instanceof PythonGlobal && /^torch\.(Tensor|nn\.parameter\.(Parameter|Buffer))$/.test(type.name);
  if (!plain) throw new UnitcellError("UNSUPPORTED", `a tensor subclass, ${describe(type)}`);
  const create = func instanceof PythonGlobal ? rebuild.get(func.name.replace(/^torch\._utils\./, "")) : undefined;
  if (!create) throw corrupt(`a tensor is rebuilt by ${describe(func)}`);
  if (!isTuple(inner)) throw corrupt("a tensor is rebuilt from something other than a tuple");
  const tensor = create(inner);
  return tensor instanceof TorchTensor ? withAttributes(tensor, state) : tensor;
}

function training(tensor: TorchTensor, requiresGrad: TorchValue | undefined): TorchTensor {
  tensor.requiresGrad = requiresGrad === true;
  return tensor;
}

function parameter(args: readonly TorchValue[]): TorchTensor {
  const tensor = training(tensorOf(args[0]), args[1] ?? true);
  tensor.isParameter = true;
  return tensor;
}

function withAttributes(tensor: TorchTensor, state: TorchValue | undefined): TorchTensor {
  tensor.attributes = state;
  return tensor;
}

/** {'conj': True} or {'neg': True}: the tensor is not the bytes it stores. */
function lazyBits(tensor: TorchTensor, metadata: TorchValue | undefined, table: StorageTable): TorchTensor {
  if (metadata === undefined || metadata === null) return tensor;
  if (!(metadata instanceof Map)) throw corrupt(`the metadata of a tensor is ${describe(metadata)}`);
  tensor.conj = metadata.get("conj") === true;
  tensor.neg = metadata.get("neg") === true;
  if (tensor.conj || tensor.neg) table.countCopy(tensor);
  return tensor;
}

function quantized(tensor: TorchTensor, quantizer: TorchValue | undefined): TorchTensor {
  if (!isTuple(quantizer) || !(quantizer[0] instanceof TorchConstant) || quantizer[0].kind !== "qscheme")
    throw corrupt(`a quantizer is ${describe(quantizer)}`);
  tensor.quantizer = quantizer;
  return tensor;
}

/** Names of the parts by layout, in the order torch writes them; the size follows. */
const SPARSE_PARTS: ReadonlyMap<string, readonly string[]> = new Map([
  ["sparse_coo", ["indices", "values"]],
  ["sparse_csr", ["crow_indices", "col_indices", "values"]],
  ["sparse_csc", ["ccol_indices", "row_indices", "values"]],
  ["sparse_bsr", ["crow_indices", "col_indices", "values"]],
  ["sparse_bsc", ["ccol_indices", "row_indices", "values"]],
]);

/** (layout, (parts..., size[, is_coalesced])). */
function rebuildSparse(args: readonly TorchValue[]): SparseTensor {
  const [layout, data] = needed(args, 2, 2);
  const name = layout instanceof TorchConstant ? layout.name : "";
  const parts = SPARSE_PARTS.get(name);
  if (!parts) throw corrupt(`a sparse tensor has ${describe(layout)} as layout`);
  if (!isTuple(data) || data.length < parts.length + 1 || data.length > parts.length + 2)
    throw corrupt(`a ${name} tensor has malformed parts`);
  const shape = data[parts.length];
  if (!(shape instanceof TorchSize)) throw corrupt("a sparse tensor's size is no torch.Size");
  const coalesced = data[parts.length + 1];
  return new SparseTensor(
    name,
    new Map(parts.map((part, i) => [part, tensorOf(data[i])])),
    shape,
    typeof coalesced === "boolean" ? coalesced : undefined,
  );
}

/** (dtype, size, stride, requires_grad): a description without data. */
function rebuildMeta(args: readonly TorchValue[], limits: Limits): TorchTensor {
  const [dtype, size, stride, requiresGrad] = needed(args, 4, 4);
  const [shape, strides] = [sizesOf(size, "size", limits), sizesOf(stride, "stride", limits)];
  if (shape.length !== strides.length)
    throw corrupt(`a tensor has ${shape.length} sizes and ${strides.length} strides`);
  return training(TorchTensor.over(undefined, { dtype: dtypeOf(dtype), shape, strides, offset: 0 }), requiresGrad);
}

/** torch's own small values. */
function torchClasses(limits: Limits): [string, PickleClass][] {
  return [
    [
      "torch.Size",
      { create: (args) => TorchSize.ofSizes(args.length === 0 ? [] : sizesOf(args[0], "torch.Size", limits)) },
    ],
    ["torch.device", { create: createDevice }],
    ["torch.serialization._get_layout", { create: createLayout }],
  ];
}

function createDevice(args: readonly TorchValue[]): TorchConstant {
  const [type, index] = needed(args, 1, 2);
  const isNumber = typeof index === "number" || typeof index === "bigint";
  if (typeof type === "string" && (isNumber || index === undefined || index === null)) {
    const name = isNumber ? `${type}:${index}` : type;
    if (/^[a-z]+(:\d+)?$/.test(name)) return new TorchConstant("device", name);
  }
  throw corrupt("torch.device names no device");
}

function createLayout(args: readonly TorchValue[]): TorchConstant {
  const [name] = needed(args, 1, 1);
  const layout = typeof name === "string" ? /^torch\.(strided|_mkldnn|jagged|sparse_\w+)$/.exec(name)?.[1] : undefined;
  if (layout === undefined) throw corrupt("torch.serialization._get_layout names no layout");
  return new TorchConstant("layout", layout);
}

/** TorchScript wraps typed containers in calls that only carry the type. */
const TORCHSCRIPT_WRAPPERS: readonly [string, PickleClass][] = [
  ["restore_type_tag", 2],
  ["build_intlist", 1],
  ["build_tensorlist", 1],
  ["build_doublelist", 1],
  ["build_boollist", 1],
].map(([name, count]) => [
  `torch.jit._pickle.${name}`,
  { create: (args) => needed(args, count as number, count as number)[0] },
]);

function dtypeOf(value: TorchValue | undefined): DType {
  const name = value instanceof TorchConstant && value.kind === "dtype" ? value.name : undefined;
  const dtype = name === undefined ? undefined : DTYPES.get(name);
  if (dtype) return dtype;
  if (name === undefined) throw corrupt(`a tensor has ${describe(value)} as dtype`);
  throw new UnitcellError("UNSUPPORTED", `a tensor of dtype torch.${name}`);
}

/** A tensor made earlier; anything else in its place is refused. */
function tensorOf(value: TorchValue | undefined): TorchTensor {
  if (value instanceof TorchTensor) return value;
  throw corrupt(`expected a tensor, found ${describe(value)}`);
}

/** The arguments, when there are as many as torch writes. */
export function needed(args: readonly TorchValue[], least: number, most: number): readonly TorchValue[] {
  if (args.length >= least && args.length <= most) return args;
  throw corrupt(`expected ${least === most ? least : `${least} to ${most}`} arguments, found ${args.length}`);
}

function corrupt(message: string): UnitcellError {
  return new UnitcellError("CORRUPT", `malformed pickle: ${message}`);
}

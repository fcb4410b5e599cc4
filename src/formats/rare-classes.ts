/**
 * The rest of the closed list (torch-globals.ts), which files of plain tensors do not name: other kinds of tensor, torch's
 * small values, TorchScript's wrappers, numpy, Python's sets and bytes.
 */
import type { Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { numpyClasses } from "./numpy-values.js";
import { describe, isTuple, type KeyCount, type PickleClass } from "./pickle-machine.js";
import { pythonClasses } from "./python-classes.js";
import { corrupt, dtypeOf, lazyBits, needed, parameter, rebuildV2, tensorOf, training } from "./torch-globals.js";
import { type StorageTable, sizesOf, storageClasses } from "./torch-storages.js";
import { TorchTensor } from "./torch-tensors.js";
import { PythonGlobal, SparseTensor, TorchConstant, TorchSize, type TorchValue } from "./values.js";

export function rareClasses(table: StorageTable, limits: Limits, keys: KeyCount): [string, PickleClass][] {
  return [
    ...tensorClasses(table, limits),
    ...TORCH_CLASSES,
    ...pythonClasses(keys),
    ...numpyClasses(limits),
    ...TORCHSCRIPT_WRAPPERS,
  ];
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
    ["_rebuild_tensor_v2", (args) => rebuildV2(args, table)],
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

function withAttributes(tensor: TorchTensor, state: TorchValue | undefined): TorchTensor {
  tensor.attributes = state;
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
const TORCH_CLASSES: readonly [string, PickleClass][] = [
  ["torch.device", { create: createDevice }],
  ["torch.serialization._get_layout", { create: createLayout }],
];

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

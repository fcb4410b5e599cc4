/**
 * The closed list: every name a torch file may use, and what it stands for here. A name that is not on it is refused, or
 * shown as an inert object when the caller asks for that. Sources: torch/_utils.py, torch/_tensor.py,
 * torch/_weights_only_unpickler.py, torch/jit/_pickle.py.
 */
import type { Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { type DType, TORCH_DTYPES } from "../tensor.js";
import type { ReadSettings } from "./container.js";
import { createOrderedDict } from "./ordered-dict.js";
import {
  describe,
  KeyCount,
  type OpcodeTable,
  type PickleClass,
  type PickleContext,
  RareNeeded,
} from "./pickle-machine.js";
import { isStorageClass, type StorageTable, sizesOf } from "./torch-storages.js";
import { TorchTensor } from "./torch-tensors.js";
import { TorchConstant, TorchSize, type TorchValue } from "./values.js";

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

/** The classes of a closed list by name. */
type Classes = readonly [name: string, row: PickleClass][];

/** What few pickles need, with its code: rare-parts.ts. */
export interface Rare {
  readonly opcodes: OpcodeTable;
  readonly classes: (table: StorageTable, limits: Limits, keys: KeyCount) => Classes;
}

/** Where rare classes are from; what is matched and none of them costs no more than a second reading. */
const MAY_BE_RARE = /^(torch|numpy|builtins|_codecs)\./;

/** The closed list, by name. @throws {RareNeeded} from has and get */
class ClassTable {
  private readonly rows: ReadonlyMap<string, PickleClass>;
  private readonly isWhole: boolean;

  constructor(usual: Classes, rare: Classes | undefined) {
    this.rows = new Map([...usual, ...(rare ?? [])]);
    this.isWhole = rare !== undefined;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  get(name: string): PickleClass | undefined {
    const row = this.rows.get(name);
    if (!row && !this.isWhole && MAY_BE_RARE.test(name) && !isStorageClass(name)) throw new RareNeeded();
    return row;
  }
}

/**
 * What the pickles of one file may name; tensors are noted in `table`.
 * @param rare without it, a pickle that needs some of it makes reading end with RareNeeded
 */
export function torchContext(
  table: StorageTable,
  { limits, inert }: Pick<ReadSettings, "limits" | "inert">,
  rare: Rare | undefined,
  persistentId?: PickleContext["persistentId"],
): PickleContext {
  const keys = new KeyCount(limits);
  return {
    classes: new ClassTable(usualClasses(table, limits, keys), rare?.classes(table, limits, keys)),
    constants: CONSTANTS,
    isInert: (name) => INERT.has(name) || isStorageClass(name) || TORCHSCRIPT.test(name) || inert.has(name),
    limits,
    keys,
    ...(rare && { rareOpcodes: rare.opcodes }),
    ...(persistentId && { persistentId }),
  };
}

/** What files of tensors name; all else on the list is in rare-classes.ts. */
function usualClasses(table: StorageTable, limits: Limits, keys: KeyCount): [string, PickleClass][] {
  return [
    ["torch._utils._rebuild_tensor_v2", { create: (args) => rebuildV2(args, table) }],
    ["torch._utils._rebuild_parameter", { create: (args) => parameter(needed(args, 3, 3)) }],
    ["torch.Size", { create: (args) => createSize(args, limits) }],
    ["collections.OrderedDict", { create: (args) => createOrderedDict(args, keys) }],
  ];
}

/** (storage, offset, size, stride, requires_grad, hooks[, metadata]). */
export function rebuildV2(args: readonly TorchValue[], table: StorageTable): TorchTensor {
  return lazyBits(training(table.view(needed(args, 6, 7)[0], args, 1), args[4]), args[6], table);
}

function createSize(args: readonly TorchValue[], limits: Limits): TorchSize {
  return TorchSize.ofSizes(args.length === 0 ? [] : sizesOf(args[0], "torch.Size", limits));
}

export function training(tensor: TorchTensor, requiresGrad: TorchValue | undefined): TorchTensor {
  tensor.requiresGrad = requiresGrad === true;
  return tensor;
}

export function parameter(args: readonly TorchValue[]): TorchTensor {
  const tensor = training(tensorOf(args[0]), args[1] ?? true);
  tensor.isParameter = true;
  return tensor;
}

/** {'conj': True} or {'neg': True}: the tensor is not the bytes it stores. */
export function lazyBits(tensor: TorchTensor, metadata: TorchValue | undefined, table: StorageTable): TorchTensor {
  if (metadata === undefined || metadata === null) return tensor;
  if (!(metadata instanceof Map)) throw corrupt(`the metadata of a tensor is ${describe(metadata)}`);
  tensor.conj = metadata.get("conj") === true;
  tensor.neg = metadata.get("neg") === true;
  if (tensor.conj || tensor.neg) table.countCopy(tensor);
  return tensor;
}

export function dtypeOf(value: TorchValue | undefined): DType {
  const name = value instanceof TorchConstant && value.kind === "dtype" ? value.name : undefined;
  const dtype = name === undefined ? undefined : DTYPES.get(name);
  if (dtype) return dtype;
  if (name === undefined) throw corrupt(`a tensor has ${describe(value)} as dtype`);
  throw new UnitcellError("UNSUPPORTED", `a tensor of dtype torch.${name}`);
}

/** A tensor made earlier; anything else in its place is refused. */
export function tensorOf(value: TorchValue | undefined): TorchTensor {
  if (value instanceof TorchTensor) return value;
  throw corrupt(`expected a tensor, found ${describe(value)}`);
}

/** The arguments, when there are as many as torch writes. */
export function needed(args: readonly TorchValue[], least: number, most: number): readonly TorchValue[] {
  if (args.length >= least && args.length <= most) return args;
  throw corrupt(`expected ${least === most ? least : `${least} to ${most}`} arguments, found ${args.length}`);
}

export function corrupt(message: string): UnitcellError {
  return new UnitcellError("CORRUPT", `malformed pickle: ${message}`);
}

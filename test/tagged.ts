/**
 * Describes a loaded file as the shared torch corpus does: tagged JSON, a list of tensors, a list of storages (its README
 * explains them), so that a manifest entry and what was read are compared as plain data.
 */
import { createHash } from "node:crypto";
import { Storage, TorchTensor } from "../src/formats/torch-tensors.js";
import {
  ByteArray,
  Complex,
  isFloatAt,
  isFloatKey,
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
import { TORCH_DTYPES } from "../src/tensor.js";

/** A node, loosely: the manifest's own words. */
export type Tagged = null | boolean | string | { [key: string]: unknown };

export interface Description {
  root: Tagged;
  tensors: Record<string, unknown>[];
  storages: Record<string, unknown>[];
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

function floatBits(value: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return bytes.toString("hex");
}

/** Containers that may be shared or cyclic, and are numbered when they are. */
function isContainer(value: TorchValue): value is Extract<TorchValue, object> {
  if (value instanceof TorchSize) return false;
  if (Array.isArray(value)) return value.length > 0 || !Object.isFrozen(value);
  return value instanceof Map || value instanceof Set || value instanceof PythonObject;
}

function children(value: TorchValue): TorchValue[] {
  if (value instanceof OrderedDict) return [...[...value].flat(), ...(value.attributes ? [value.attributes] : [])];
  if (value instanceof Map) return [...value].flat() as TorchValue[];
  if (Array.isArray(value) || value instanceof Set) return [...(value as Iterable<TorchValue>)];
  if (value instanceof PythonObject) {
    const { args, kwargs, state, listItems, dictItems } = value;
    const items = dictItems ? ([...dictItems].flat() as TorchValue[]) : [];
    return [args, kwargs ?? null, state ?? null, ...(listItems ?? []), ...items];
  }
  return [];
}

class Describer {
  readonly tensors: Record<string, unknown>[] = [];
  readonly storages: Record<string, unknown>[] = [];
  private readonly counts = new Map<TorchValue, number>();
  private readonly ids = new Map<TorchValue, number>();
  private readonly tensorIndex = new Map<TorchTensor, number>();
  private readonly storageIndex = new Map<Storage, number>();

  constructor(root: TorchValue) {
    const open = [root];
    while (open.length > 0) {
      const value = open.pop()!;
      if (!isContainer(value)) continue;
      const count = (this.counts.get(value) ?? 0) + 1;
      this.counts.set(value, count);
      if (count === 1) open.push(...children(value));
    }
  }

  node(value: TorchValue, isFloat = false): Tagged {
    if (value === null || typeof value === "boolean" || typeof value === "string") return value;
    if (typeof value === "bigint") return { k: "int", v: String(value) };
    if (typeof value === "number")
      return isFloat || !Number.isSafeInteger(value)
        ? { k: "float", bits: floatBits(value) }
        : { k: "int", v: String(value) };
    const leaf = this.leaf(value);
    if (leaf) return leaf;
    if (!isContainer(value)) return this.container(value);
    const id = this.ids.get(value);
    if (id !== undefined) return { k: "ref", id };
    if ((this.counts.get(value) ?? 0) < 2) return this.container(value);
    this.ids.set(value, this.ids.size);
    return { id: this.ids.size - 1, ...this.container(value) };
  }

  private leaf(
    value: Exclude<TorchValue, null | boolean | string | number | bigint>,
  ): { [key: string]: unknown } | undefined {
    if (value instanceof ByteArray) return { k: "bytearray", hex: hex(value) };
    if (value instanceof Uint8Array)
      return value.length <= 64
        ? { k: "bytes", hex: hex(value) }
        : { k: "bytes", len: value.length, sha256: sha256(value) };
    if (value instanceof Complex) return { k: "complex", re: floatBits(value.re), im: floatBits(value.im) };
    if (value instanceof TorchConstant) return { k: `torch.${value.kind}`, v: value.name };
    if (value instanceof TorchSize) return { k: "torch.Size", items: [...value] };
    if (value instanceof TorchTensor) return this.tensor(value);
    if (value instanceof Storage)
      return {
        k: "storage",
        i: this.storage(value),
        dtype: value.dtype ? TORCH_DTYPES[value.dtype] : "uint8",
        numel: value.numel,
      };
    if (value instanceof SparseTensor) return this.sparse(value);
    if (value instanceof PythonGlobal) return { k: "global", v: value.name };
    if (value instanceof NumpyDtype) return { k: "np.dtype", v: dtypeOf(value) };
    if (value instanceof NumpyScalar) return { k: "np.scalar", dtype: dtypeOf(value.dtype), hex: hex(value.bytes) };
    if (value instanceof NumpyArray) {
      const { dtype, shape, fortran, bytes, items } = value;
      return {
        k: "np.ndarray",
        dtype: dtypeOf(dtype),
        shape,
        fortran,
        ...(items ? { items: this.list(items) } : { sha256_raw: sha256(bytes), nbytes: bytes.length }),
      };
    }
    return undefined;
  }

  private container(value: TorchValue): { [key: string]: unknown } {
    if (value instanceof OrderedDict)
      return {
        k: "OrderedDict",
        items: this.pairs(value),
        ...(value.attributes && { attrs: this.node(value.attributes) }),
      };
    if (value instanceof Map) return { k: "dict", items: this.pairs(value) };
    if (value instanceof Set)
      return {
        k: Object.isFrozen(value) ? "frozenset" : "set",
        items: [...value].map((member) => this.node(member, isFloatAt(value, member))),
      };
    if (Array.isArray(value)) return { k: Object.isFrozen(value) ? "tuple" : "list", items: this.list(value) };
    if (value instanceof PythonObject) return this.object(value);
    throw new TypeError(`no description for ${Object.prototype.toString.call(value)}`);
  }

  private object(object: PythonObject): { [key: string]: unknown } {
    const { type, how, args, kwargs, callee, state, listItems, dictItems } = object;
    return {
      k: "object",
      class: callee instanceof PythonObject ? this.node(callee) : type,
      how,
      ...(args.length && { args: this.list(args) }),
      ...(kwargs && { kwargs: this.node(kwargs) }),
      // A dict as state is described in place, not as a value that may be shared.
      ...(state !== undefined && {
        state:
          state instanceof Map && !(state instanceof OrderedDict)
            ? this.container(state)
            : this.node(state, isFloatAt(object, "state")),
      }),
      ...(listItems?.length && { listitems: this.list(listItems) }),
      ...(dictItems?.size && { dictitems: this.pairs(dictItems) }),
    };
  }

  private list(items: readonly TorchValue[]): Tagged[] {
    return items.map((item, i) => this.node(item, isFloatAt(items, i)));
  }

  private pairs(map: ReadonlyMap<TorchValue, TorchValue>): [Tagged, Tagged][] {
    return [...map].map(([key, item]) => [this.node(key, isFloatKey(map, key)), this.node(item, isFloatAt(map, key))]);
  }

  private storage(storage: Storage): number {
    const known = this.storageIndex.get(storage);
    if (known !== undefined) return known;
    this.storageIndex.set(storage, this.storages.length);
    this.storages.push({
      key: storage.key,
      location: storage.location,
      nbytes: storage.byteLength,
      sha256: sha256(storage.bytes!),
    });
    return this.storages.length - 1;
  }

  private tensor(tensor: TorchTensor): { [key: string]: unknown } {
    const known = this.tensorIndex.get(tensor);
    if (known !== undefined) return { k: "tensor", i: known };
    const i = this.tensors.length;
    this.tensorIndex.set(tensor, i);
    const { dtype, shape, strides, offset, storage, storageView, conj, neg } = tensor;
    const row: Record<string, unknown> = {
      dtype: TORCH_DTYPES[dtype],
      shape: [...shape],
      stride: [...strides],
      offset: offset - (storageView?.offset ?? 0),
      requires_grad: tensor.requiresGrad,
    };
    this.tensors.push(row);
    if (storage) {
      // The corpus hashes the stored bytes, before conjugation.
      const stored = TorchTensor.over(storage, { dtype, shape, strides, offset }).data;
      Object.assign(row, { storage: this.storage(storage), nbytes: stored.length, sha256: sha256(stored) });
    } else Object.assign(row, { storage: null, nbytes: 0, sha256: null, device: "meta" });
    if (storageView) row.storage_view = { ...storageView };
    if (tensor.isParameter) row.parameter = true;
    if (conj || neg) row.view_metadata = { ...(conj && { conj }), ...(neg && { neg }) };
    if (tensor.quantizer)
      row.quant = this.list(tensor.quantizer).map((node, at) => (at === 0 ? (node as { v: string }).v : node));
    if (tensor.attributes !== undefined) row.state = this.node(tensor.attributes);
    return { k: "tensor", i };
  }

  private sparse({ layout, parts, shape, isCoalesced }: SparseTensor): { [key: string]: unknown } {
    const data: Record<string, unknown> = {};
    for (const [name, part] of parts) data[name] = this.node(part);
    data.size = this.node(shape as TorchSize);
    if (isCoalesced !== undefined) data.is_coalesced = isCoalesced;
    return { k: "sparse", layout, data };
  }
}

/** A code, or the fields of a structured dtype with their offsets. */
function dtypeOf(dtype: NumpyDtype): unknown {
  const [names, fields] = [dtype.state?.[3], dtype.state?.[4]];
  if (!Array.isArray(names) || !(fields instanceof Map)) return (dtype.order === "|" ? "|" : dtype.order) + dtype.code;
  return names.map((name) => {
    const [field, offset] = fields.get(name) as [NumpyDtype, number];
    return [name, dtypeOf(field), offset];
  });
}

export function describeValue(root: TorchValue): Description {
  const describer = new Describer(root);
  return { root: describer.node(root), tensors: describer.tensors, storages: describer.storages };
}

/**
 * A copy in one spelling: members of sets sorted, what only says where a value was found or how Python prints it left out.
 * The key `type` of storages names the class, which `dtype` of the tensors already says.
 */
export function canonical(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(canonical);
  if (typeof node !== "object" || node === null) return node;
  const entries = Object.entries(node as Record<string, unknown>);
  const { k } = node as { k?: string };
  if (k === "object" && (node as { class?: string }).class === "torch._utils._rebuild_sparse_csr_tensor")
    return canonical(csrNode(node as CsrCall));
  const out: Record<string, unknown> = {};
  for (const [key, value] of entries.sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (key === "path" || key === "also" || (key === "type" && "location" in node)) continue;
    if (k === "float" && key === "v") continue;
    // The corpus calls both opcodes of old-style instances "inst".
    out[key] = k === "object" && key === "how" && value === "obj" ? "inst" : canonical(value);
  }
  if (k === "set" || k === "frozenset") out.items = (out.items as unknown[]).map((item) => JSON.stringify(item)).sort();
  return out;
}

interface CsrCall {
  args: [{ v: string }, { items: unknown[] }];
}

/** torch 1's own call for CSR, which the corpus leaves as a call, as the sparse tensor it makes. */
function csrNode({ args: [layout, { items }] }: CsrCall): unknown {
  const [crow_indices, col_indices, values, size] = items;
  return { k: "sparse", layout: layout.v, data: { crow_indices, col_indices, values, size } };
}

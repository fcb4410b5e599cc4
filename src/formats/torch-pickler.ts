/**
 * torch's own values in a pickle: the calls of torch/_utils.py and torch/_tensor.py that rebuild them, spelled as
 * torch 2.13 does. 1.13 reads all of them that it has a meaning for, except lazy conj and neg bits.
 */
import { DTYPE_BYTES, type DType, numElements, type Tensor, TORCH_DTYPES } from "../tensor.js";
import { describe, Part } from "./pickle-path.js";
import { OP } from "./pickle-writer.js";
import { classDtype, referenceDtype } from "./pickled-storages.js";
import type { Pickler, Steps } from "./pickler.js";
import { extent, rowMajorStrides, Storage, storedBytes, TorchTensor } from "./torch-tensors.js";
import { SparseTensor, TorchConstant, TorchSize, type TorchValue } from "./values.js";

const ATTRIBUTES = new Part(".attributes");
const QUANTIZER = new Part(".quantizer");

/** Writes a torch value that holds no other values; false when it is none or holds some. */
export function writeTorchAtom(p: Pickler, value: object): boolean {
  if (value instanceof TorchTensor) {
    if (hasAttributes(value)) return false;
    writeTensor(p, value);
    p.reduce(value);
  } else if (value instanceof Storage) writeStorage(p, value, classDtype(value));
  else if (value instanceof TorchConstant) writeConstant(p, value);
  else if (value instanceof TorchSize) {
    writeSize(p, value);
    p.reduce(value);
  } else if (isTensor(value)) {
    if (!(value.data instanceof Uint8Array)) p.fail("a tensor's data are its bytes, a Uint8Array");
    writeDense(p, value);
    p.reduce(value);
  } else return false;
  return true;
}

/** The steps of a torch value that holds other values; undefined when it is none. */
export function torchSteps(p: Pickler, value: unknown): Steps | undefined {
  if (value instanceof TorchTensor) return value.isParameter ? parameterWithState(p, value) : tensorWithState(p, value);
  return value instanceof SparseTensor ? sparse(p, value) : undefined;
}

/** A hand-made tensor, or something that was meant to be one. */
function isTensor(value: object): value is Tensor {
  return "dtype" in value && "shape" in value && "data" in value;
}

function hasAttributes({ attributes }: TorchTensor): boolean {
  return attributes !== undefined && attributes !== null && !(attributes instanceof Map && attributes.size === 0);
}

function writeStorage(p: Pickler, storage: Storage, dtype: DType | undefined): void {
  p.storages.write(storage, dtype, p.out, (message) => p.fail(message));
}

function writeConstant(p: Pickler, constant: TorchConstant): void {
  const { out } = p;
  const { kind, name } = constant;
  if (kind === "dtype" || kind === "qscheme") out.global(`torch.${name}`);
  else if (kind === "layout") writeLayout(p, name);
  else {
    const [type, index] = name.split(":");
    out.global("torch.device");
    out.string(type);
    if (index !== undefined) {
      if (!/^\d{1,3}$/.test(index)) p.fail(`${JSON.stringify(name)} is no device`);
      out.int(Number(index));
    }
    out.tuple(index === undefined ? 1 : 2);
    out.put();
    p.reduce(constant);
  }
}

function writeLayout(p: Pickler, name: string): void {
  const { out } = p;
  p.singleton(`layout ${name}`, () => {
    out.global("torch.serialization._get_layout");
    out.string(`torch.${name}`);
    out.tuple(1);
    out.put();
    out.op(OP.REDUCE);
  });
}

/** torch.Size and its arguments, before REDUCE. */
function writeSize(p: Pickler, sizes: readonly number[]): void {
  p.out.global("torch.Size");
  writeSizes(p, sizes, "size");
  p.out.tuple(1);
  p.out.put();
}

/** A new tuple of sizes or strides. */
function writeSizes(p: Pickler, sizes: readonly number[], what: string): void {
  const { out } = p;
  if (sizes.length > 3) out.op(OP.MARK);
  for (const size of sizes) writeCount(p, size, what);
  out.tuple(sizes.length);
  if (sizes.length > 0) out.put();
}

function writeCount(p: Pickler, value: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 0)
    p.fail(`expected a whole number as tensor ${what}, found ${typeof value === "number" ? value : describe(value)}`);
  p.out.int(value);
}

/** backward_hooks, which torch never saves: a new OrderedDict(). */
function writeHooks(p: Pickler): void {
  p.out.global("collections.OrderedDict");
  p.out.op(OP.EMPTY_TUPLE);
  p.out.op(OP.REDUCE);
  p.out.put();
}

/** A hand-made tensor up to REDUCE. */
function writeDense(p: Pickler, tensor: Tensor): void {
  const { dtype, shape, data } = tensor;
  if (!Object.hasOwn(DTYPE_BYTES, dtype) || !Array.isArray(shape)) p.fail(`a tensor of dtype ${String(dtype)}`);
  for (const size of shape) if (!Number.isSafeInteger(size) || size < 0) p.fail(`a tensor of shape [${shape}]`);
  const expected = storedBytes(dtype, numElements(shape));
  if (data.byteLength !== expected)
    p.fail(`a ${dtype} tensor of shape [${shape}] needs ${expected} bytes, found ${data.byteLength}`);
  const view = TorchTensor.over(p.storages.ofTensor(tensor), {
    dtype,
    shape,
    strides: rowMajorStrides(shape),
    offset: 0,
  });
  p.out.global(`torch._utils.${rebuildFunction(p, view)}`);
  writeArguments(p, view, false);
}

/** A tensor or parameter without attributes, up to REDUCE. */
function writeTensor(p: Pickler, tensor: TorchTensor): void {
  const { out } = p;
  if (!tensor.isParameter) {
    out.global(`torch._utils.${rebuildFunction(p, tensor)}`);
    writeArguments(p, tensor, tensor.requiresGrad);
    return;
  }
  out.global("torch._utils._rebuild_parameter");
  writeParameterData(p, tensor);
  out.tuple(3);
  out.put();
}

/** What _rebuild_parameter takes: the plain tensor, requires_grad, hooks. */
function writeParameterData(p: Pickler, tensor: TorchTensor): void {
  const { out } = p;
  out.global(`torch._utils.${rebuildFunction(p, tensor)}`);
  writeArguments(p, tensor, false);
  out.op(OP.REDUCE);
  out.put();
  out.bool(tensor.requiresGrad);
  writeHooks(p);
}

function rebuildFunction(p: Pickler, { storage, dtype, quantizer }: TorchTensor): string {
  if (!storage) return "_rebuild_meta_tensor_no_storage";
  const reference = referenceDtype(storage, dtype);
  if (reference === null)
    p.fail(`a tensor of dtype ${dtype} looks into a storage of ${storage.dtype}, which torch cannot save`);
  if (dtype[0] === "q" && (!quantizer || !reference))
    p.fail(`a tensor of dtype ${dtype} needs a quantizer and a storage of that dtype`);
  if (quantizer) return "_rebuild_qtensor";
  return reference ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3";
}

/** The arguments of the rebuild function, as a tuple. */
function writeArguments(p: Pickler, tensor: TorchTensor, requiresGrad: boolean): void {
  const { out } = p;
  const { storage, dtype, shape, strides, offset, quantizer } = tensor;
  if (shape.length !== strides.length) p.fail(`a tensor with ${shape.length} sizes and ${strides.length} strides`);
  out.op(OP.MARK);
  if (!storage) {
    out.global(`torch.${TORCH_DTYPES[dtype]}`);
    writeSizes(p, shape, "size");
    writeSizes(p, strides, "stride");
    out.bool(requiresGrad);
  } else {
    const needed = storedBytes(dtype, offset + extent(shape, strides));
    if (!(needed <= storage.byteLength))
      p.fail(
        `a ${dtype} tensor of size [${shape}], strides [${strides}] and offset ${offset} needs ${needed} bytes, its storage has ${storage.byteLength}`,
      );
    const reference = referenceDtype(storage, dtype) ?? undefined;
    writeStorage(p, storage, reference);
    writeCount(p, offset, "offset");
    writeSizes(p, shape, "size");
    writeSizes(p, strides, "stride");
    if (quantizer) writeQuantizer(p, quantizer);
    out.bool(requiresGrad);
    writeHooks(p);
    if (!reference) out.global(`torch.${TORCH_DTYPES[dtype]}`);
    if (tensor.conj || tensor.neg) writeLazyBits(p, tensor);
  }
  out.op(OP.TUPLE);
  out.put();
}

/** torch makes both strings anew for each tensor. */
function writeLazyBits(p: Pickler, { conj, neg }: TorchTensor): void {
  const { out } = p;
  out.op(OP.EMPTY_DICT);
  out.put();
  if (conj && neg) out.op(OP.MARK);
  if (neg) {
    out.newString("neg");
    out.bool(true);
  }
  if (conj) {
    out.newString("conj");
    out.bool(true);
  }
  out.op(conj && neg ? OP.SETITEMS : OP.SETITEM);
}

/** (scheme, scale, zero point) or (scheme, scales, zero points, axis). */
function writeQuantizer(p: Pickler, quantizer: readonly TorchValue[]): void {
  const { out } = p;
  if (quantizer.length > 3) out.op(OP.MARK);
  for (const [i, part] of quantizer.entries()) {
    // A scale is a float whatever its value.
    if (i === 1 && typeof part === "number") out.float(part);
    else if (!p.atom(part, quantizer, QUANTIZER)) p.fail(`a quantizer holds ${describe(part)}`);
  }
  out.tuple(quantizer.length);
  out.put();
}

function* parameterWithState(p: Pickler, tensor: TorchTensor): Steps {
  const { out } = p;
  p.begin(tensor);
  out.global("torch._utils._rebuild_parameter_with_state");
  out.op(OP.MARK);
  writeParameterData(p, tensor);
  yield* state(p, tensor);
}

/** Attributes of a plain tensor: (function, type, arguments, state). */
function* tensorWithState(p: Pickler, tensor: TorchTensor): Steps {
  const { out } = p;
  p.begin(tensor);
  out.global("torch._tensor._rebuild_from_type_v2");
  out.op(OP.MARK);
  out.global(`torch._utils.${rebuildFunction(p, tensor)}`);
  out.global("torch.Tensor");
  writeArguments(p, tensor, tensor.requiresGrad);
  yield* state(p, tensor);
}

/** The last argument of four, and the call. */
function* state(p: Pickler, tensor: TorchTensor): Steps {
  const { out } = p;
  const { attributes } = tensor;
  if (attributes !== undefined && !p.atom(attributes, tensor, ATTRIBUTES)) yield attributes;
  out.op(OP.TUPLE);
  out.put();
  p.reduce(tensor);
}

const COMPRESSED_BY_ROW = ["crow_indices", "col_indices", "values"];
const COMPRESSED_BY_COLUMN = ["ccol_indices", "row_indices", "values"];

/** The tensors of each layout, in the order torch writes them. */
const SPARSE_PARTS: ReadonlyMap<string, readonly string[]> = new Map([
  ["sparse_coo", ["indices", "values"]],
  ["sparse_csr", COMPRESSED_BY_ROW],
  ["sparse_bsr", COMPRESSED_BY_ROW],
  ["sparse_csc", COMPRESSED_BY_COLUMN],
  ["sparse_bsc", COMPRESSED_BY_COLUMN],
]);

/** (layout, (part, ..., size[, is_coalesced])). No call for the compressed layouts is read by both 1.13 and 2.x: this is 2.x's. */
function* sparse(p: Pickler, tensor: SparseTensor): Steps {
  const { out } = p;
  const { layout, parts, shape, isCoalesced } = tensor;
  const names = SPARSE_PARTS.get(layout) ?? p.fail(`a sparse tensor of layout ${JSON.stringify(layout)}`);
  const told = layout === "sparse_coo" && isCoalesced !== undefined;
  const count = names.length + 1 + (told ? 1 : 0);
  out.global("torch._utils._rebuild_sparse_tensor");
  writeLayout(p, layout);
  if (count > 3) out.op(OP.MARK);
  for (const name of names) {
    const part = parts.get(name) ?? p.fail(`a ${layout} tensor without ${name}`);
    if (!p.atom(part, parts, name)) yield part;
  }
  writeSize(p, shape);
  out.op(OP.REDUCE);
  out.put();
  if (told) out.bool(isCoalesced);
  out.tuple(count);
  out.put();
  out.tuple(2);
  out.put();
  p.reduce(tensor);
}

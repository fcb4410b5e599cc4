/** Tensors and storages of an opened file in pieces, so that none need fit in memory. */
import { elementCount, isContiguous, type Storage, storedBytes, TorchTensor } from "../formats/torch-tensors.js";
import { DTYPE_BYTES, type Tensor } from "../tensor.js";
import { StatsAccumulator, type TensorStats } from "../tensor-stats.js";
import type { OpenedFile } from "./open.js";

/** A multiple of every element size. */
export const PIECE_BYTES = 16 * 2 ** 20;

/** The bytes of a storage, in order. */
export async function* storagePieces(file: OpenedFile, storage: Storage): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < storage.byteLength; at += PIECE_BYTES)
    yield await file.readStorage(storage, at, Math.min(at + PIECE_BYTES, storage.byteLength));
}

/**
 * A tensor's dense bytes, whole elements at a time. Pieces of tensors of equal size and element size are equally long.
 * A strided tensor comes in one piece.
 * @throws {UnitcellError} UNSUPPORTED for a tensor on the meta device
 */
export async function* tensorPieces(file: OpenedFile, tensor: Tensor): AsyncGenerator<Uint8Array> {
  const { dtype, shape } = tensor;
  const size = storedBytes(dtype, elementCount(shape));
  if (size <= PIECE_BYTES || !(tensor instanceof TorchTensor && tensor.storage && isPlain(tensor))) {
    const bytes = tensor instanceof TorchTensor && tensor.storage ? await file.read(tensor) : tensor.data;
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
    return;
  }
  const start = tensor.offset * DTYPE_BYTES[dtype];
  for (let at = start; at < start + size; at += PIECE_BYTES)
    yield await file.readStorage(tensor.storage, at, Math.min(at + PIECE_BYTES, start + size));
}

/** True when the storage's bytes, from the offset on, are the tensor's. */
function isPlain(tensor: TorchTensor): boolean {
  const isPacked = storedBytes(tensor.dtype, 4) < 4 * DTYPE_BYTES[tensor.dtype];
  return isContiguous(tensor) && !tensor.conj && !tensor.neg && !isPacked;
}

/** @throws {UnitcellError} UNSUPPORTED for packed dtypes and the meta device */
export async function statsOf(file: OpenedFile, tensor: Tensor): Promise<TensorStats> {
  const stats = new StatsAccumulator(tensor.dtype);
  for await (const piece of tensorPieces(file, tensor)) stats.add(piece);
  return stats.result();
}

/** The storages a pickle refers to, in order of first use: their records, keys and persistent ids. */
import { DTYPE_BYTES, type DType, type Tensor } from "../tensor.js";
import { OP, type PickleWriter } from "./pickle-writer.js";
import { STORAGE_CLASSES } from "./torch-storages.js";
import { Storage } from "./torch-tensors.js";

/** Called with each storage when it is first referred to; may throw. */
export type StorageUse = (storage: Storage, fail: (message: string) => never) => void;

/** The dtype of torch's class for a storage; undefined for one that can only be saved as untyped bytes. */
export function classDtype(storage: Storage): DType | undefined {
  return storage.dtype && STORAGE_CLASSES.has(storage.dtype) ? storage.dtype : undefined;
}

/**
 * As which dtype a tensor refers to its storage, undefined being untyped: dtypes without a storage class look into bytes.
 * @returns null for a tensor that torch cannot save: two typed views of the same memory
 */
export function referenceDtype({ dtype: stored }: Storage, dtype: DType): DType | undefined | null {
  const isBytes = stored === undefined || stored === "u8";
  if (!STORAGE_CLASSES.has(dtype)) return isBytes || stored === dtype ? undefined : null;
  if (stored === dtype || (isBytes && dtype === "u8")) return dtype;
  return stored === undefined ? undefined : null;
}

export class SavedStorages {
  /** In order of first use: storage i is the record data/i. */
  readonly used: Storage[] = [];
  private readonly use: StorageUse;
  private readonly indices = new Map<Storage, number>();
  /** Memo index of each storage's key: torch writes one string object for all references. */
  private readonly keys: number[] = [];
  /** Storages of hand-made tensors, by the memory they look at. */
  private readonly made = new Map<ArrayBufferLike, Map<number, Storage[]>>();

  constructor(use: StorageUse) {
    this.use = use;
  }

  /** The storage of a hand-made tensor, shared by all tensors of its dtype whose data is the same memory. */
  ofTensor({ dtype, data }: Tensor): Storage {
    const storage = new Storage("", dtype, data.byteLength / DTYPE_BYTES[dtype], "cpu", data);
    if (data.byteLength === 0) return storage;
    const buffer = this.made.get(data.buffer) ?? new Map<number, Storage[]>();
    const here = buffer.get(data.byteOffset) ?? [];
    const known = here.find((other) => other.byteLength === data.byteLength && other.dtype === dtype);
    if (known) return known;
    this.made.set(data.buffer, buffer.set(data.byteOffset, here));
    here.push(storage);
    return storage;
  }

  /** Writes ('storage', class, key, 'cpu', size) as a persistent id; `dtype` says which class, undefined the untyped. */
  write(storage: Storage, dtype: DType | undefined, out: PickleWriter, fail: (message: string) => never): void {
    let index = this.indices.get(storage);
    if (index === undefined) {
      this.use(storage, fail);
      index = this.used.push(storage) - 1;
      this.indices.set(storage, index);
    }
    out.op(OP.MARK);
    out.string("storage");
    out.global(dtype ? `torch.${STORAGE_CLASSES.get(dtype)}` : "torch.storage.UntypedStorage");
    const key = this.keys[index];
    if (key === undefined) this.keys[index] = out.newString(String(index));
    else out.get(key);
    out.string("cpu");
    out.int(dtype ? storage.byteLength / DTYPE_BYTES[dtype] : storage.byteLength);
    out.op(OP.TUPLE);
    out.put();
    out.op(OP.BINPERSID);
  }
}

/** The storages a pickle refers to, in order of first use: their records, keys and persistent ids. */
import { DTYPE_BYTES, type Tensor } from "../tensor.js";
import { OP, type PickleWriter } from "./pickle-writer.js";
import { STORAGE_CLASSES } from "./torch-storages.js";
import { Storage } from "./torch-tensors.js";

/** Called with each storage when it is first referred to; may throw. */
export type StorageUse = (storage: Storage, fail: (message: string) => never) => void;

/** False for a storage that is saved as untyped bytes: torch has no class for its dtype, and its tensors say what they are. */
export function hasClass(storage: Storage): boolean {
  return storage.dtype !== undefined && STORAGE_CLASSES.has(storage.dtype);
}

export class SavedStorages {
  /** In order of first use: storage i is the record data/i. */
  readonly used: Storage[] = [];
  private readonly use: StorageUse;
  private readonly indices = new Map<Storage, number>();
  /** Memo index of each storage's key: torch writes one string object for all references. */
  private readonly keys: number[] = [];
  /** Storages of hand-made tensors, by the memory they look at. */
  private readonly made = new WeakMap<ArrayBufferLike, Map<string, Storage>>();

  constructor(use: StorageUse) {
    this.use = use;
  }

  /** The storage of a hand-made tensor, shared by all tensors of its dtype whose data is the same memory. */
  ofTensor({ dtype, data }: Tensor): Storage {
    const storage = new Storage("", dtype, data.byteLength / DTYPE_BYTES[dtype], "cpu", data);
    if (data.byteLength === 0) return storage;
    const shared = this.made.get(data.buffer) ?? new Map<string, Storage>();
    const place = `${data.byteOffset} ${data.byteLength} ${dtype}`;
    const known = shared.get(place);
    if (known) return known;
    this.made.set(data.buffer, shared.set(place, storage));
    return storage;
  }

  /** Writes ('storage', class, key, 'cpu', size) as a persistent id. */
  write(storage: Storage, out: PickleWriter, fail: (message: string) => never): void {
    let index = this.indices.get(storage);
    if (index === undefined) {
      this.use(storage, fail);
      index = this.used.push(storage) - 1;
      this.indices.set(storage, index);
    }
    out.op(OP.MARK);
    out.string("storage");
    const { dtype, byteLength } = storage;
    const type = dtype && STORAGE_CLASSES.get(dtype);
    out.global(type ? `torch.${type}` : "torch.storage.UntypedStorage");
    const key = this.keys[index];
    if (key === undefined) this.keys[index] = out.newString(String(index));
    else out.get(key);
    out.string("cpu");
    out.int(type ? byteLength / DTYPE_BYTES[dtype] : byteLength);
    out.op(OP.TUPLE);
    out.put();
    out.op(OP.BINPERSID);
  }
}

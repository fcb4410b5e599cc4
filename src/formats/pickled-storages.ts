/** The storages a pickle refers to, in order of first use: their records, keys and persistent ids. */
import { DTYPE_BYTES, type DType, type Tensor } from "../tensor.js";
import { OP, type PickleWriter } from "./pickle-writer.js";
import { Storage } from "./torch-tensors.js";

/** Called with each storage when it is first referred to; may throw. */
export type StorageUse = (storage: Storage, fail: (message: string) => never) => void;

/** torch's storage classes. A dtype without one is saved as untyped bytes, and its tensors say what they are. */
const CLASSES: ReadonlyMap<DType | undefined, string> = new Map([
  ["f64", "torch.DoubleStorage"],
  ["f32", "torch.FloatStorage"],
  ["f16", "torch.HalfStorage"],
  ["bf16", "torch.BFloat16Storage"],
  ["i64", "torch.LongStorage"],
  ["i32", "torch.IntStorage"],
  ["i16", "torch.ShortStorage"],
  ["i8", "torch.CharStorage"],
  ["u8", "torch.ByteStorage"],
  ["bool", "torch.BoolStorage"],
  ["c128", "torch.ComplexDoubleStorage"],
  ["c64", "torch.ComplexFloatStorage"],
  ["qi8", "torch.QInt8Storage"],
  ["qi32", "torch.QInt32Storage"],
  ["qu8", "torch.QUInt8Storage"],
  ["qu4x2", "torch.QUInt4x2Storage"],
  ["qu2x4", "torch.QUInt2x4Storage"],
]);

/** False for a storage that is saved as untyped bytes. */
export function hasClass(storage: Storage): boolean {
  return CLASSES.has(storage.dtype);
}

export class StorageTable {
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
    out.global(CLASSES.get(storage.dtype) ?? "torch.storage.UntypedStorage");
    const key = this.keys[index];
    if (key === undefined) this.keys[index] = out.newString(String(index));
    else out.get(key);
    out.string("cpu");
    out.int(hasClass(storage) ? storage.byteLength / DTYPE_BYTES[storage.dtype!] : storage.byteLength);
    out.op(OP.TUPLE);
    out.put();
    out.op(OP.BINPERSID);
  }
}

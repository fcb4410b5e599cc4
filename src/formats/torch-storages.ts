/** Persistent ids: ('storage', class, key, location, numel[, view]), and the storages of one file by key. */
import { UnitcellError } from "../errors.js";
import type { PickleValue } from "./pickle.js";
import { Storage, StorageView, sizeOf } from "./torch-tensors.js";
import { StorageClass } from "./torch-values.js";

/** Zip files write five fields; the legacy stream a sixth, the slice this storage is of another. */
export type IdFields = 5 | 6;

export class StorageTable {
  readonly storages = new Map<string, Storage>();
  private readonly fields: IdFields;

  constructor(fields: IdFields) {
    this.fields = fields;
  }

  /**
   * The storage an id names; the same key is always the same Storage.
   * @throws {UnitcellError} CORRUPT for a malformed id or two ids that disagree, UNSUPPORTED for dtypes no Tensor has
   */
  resolve(id: PickleValue): StorageView {
    if (!Array.isArray(id) || id.length !== this.fields || id[0] !== "storage")
      throw new UnitcellError("CORRUPT", `expected a persistent id ('storage', ...) of ${this.fields} fields`);
    const [, type, keyField, , numelField, view] = id;
    if (!(type instanceof StorageClass)) throw new UnitcellError("CORRUPT", "a persistent id names no storage class");
    if (type.dtype === null)
      throw new UnitcellError("UNSUPPORTED", `the file holds a ${type.name}, which unitcell does not read`);
    if (typeof keyField !== "string" && !Number.isSafeInteger(keyField))
      throw new UnitcellError("CORRUPT", "a storage key is not a string");
    const key = String(keyField);
    const numel = sizeOf(numelField, "storage size");
    const storage = this.storages.get(key) ?? new Storage(key, type.dtype, numel);
    if (storage.dtype !== type.dtype || storage.numel !== numel)
      throw new UnitcellError("CORRUPT", `storage "${key}" is described twice, differently`, { key });
    this.storages.set(key, storage);
    return view === undefined || view === null ? new StorageView(storage, 0, numel) : slice(storage, view);
  }
}

/** (view key, offset, numel), in elements. */
function slice(storage: Storage, view: PickleValue): StorageView {
  if (!Array.isArray(view) || view.length !== 3) throw new UnitcellError("CORRUPT", "a storage view has three fields");
  const [start, numel] = [sizeOf(view[1], "view offset"), sizeOf(view[2], "view size")];
  if (start + numel > storage.numel)
    throw new UnitcellError(
      "CORRUPT",
      `a view of elements ${start} to ${start + numel} leaves storage "${storage.key}" of ${storage.numel}`,
    );
  return new StorageView(storage, start, numel);
}

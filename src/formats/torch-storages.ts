/**
 * Storages and tensors of one file while its pickle is read: persistent ids become Storages, rebuild calls become views
 * of them, each checked to lie inside before anything is allocated.
 */
import type { Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { DTYPE_BYTES, type DType } from "../tensor.js";
import { describe } from "./pickle-machine.js";
import { elementCount, extent, isContiguous, Storage, storedBytes, TorchTensor } from "./torch-tensors.js";
import { isFloatAt, PythonGlobal, type TorchValue } from "./values.js";

/** Storage classes by name, and what they hold. */
const STORAGE_DTYPES: ReadonlyMap<string, DType> = new Map([
  ["Double", "f64"],
  ["Float", "f32"],
  ["Half", "f16"],
  ["BFloat16", "bf16"],
  ["Long", "i64"],
  ["Int", "i32"],
  ["Short", "i16"],
  ["Char", "i8"],
  ["Byte", "u8"],
  ["Bool", "bool"],
  ["ComplexDouble", "c128"],
  ["ComplexFloat", "c64"],
  ["QInt8", "qi8"],
  ["QInt32", "qi32"],
  ["QUInt8", "qu8"],
  ["QUInt4x2", "qu4x2"],
  ["QUInt2x4", "qu2x4"],
]);

/** Both spellings of untyped storages: numel then counts bytes and each tensor names its dtype. */
const UNTYPED = ["torch.storage.UntypedStorage", "torch.UntypedStorage"];

/** Full class names: torch.FloatStorage, torch.cuda.FloatStorage, torch.FloatTensor. */
export function storageClasses(suffix: "Storage" | "Tensor"): [name: string, dtype: DType][] {
  return ["torch", "torch.cuda"].flatMap((module) =>
    [...STORAGE_DTYPES].map(([name, dtype]): [string, DType] => [`${module}.${name}${suffix}`, dtype]),
  );
}

/** undefined: untyped. */
const CLASSES: ReadonlyMap<string, DType | undefined> = new Map([
  ...storageClasses("Storage"),
  ...UNTYPED.map((name): [string, undefined] => [name, undefined]),
]);

/** What a typed storage class holds; undefined for untyped and for other names. */
export function storageDtype(name: string): DType | undefined {
  return CLASSES.get(name);
}

export function isStorageClass(name: string): boolean {
  return CLASSES.has(name);
}

/** torch's class for a typed storage, without the module; the writer's side of CLASSES. */
export const STORAGE_CLASSES: ReadonlyMap<DType, string> = new Map(
  [...STORAGE_DTYPES].map(([name, dtype]) => [dtype, `${name}Storage`]),
);

/** A slice of a storage, which old files name as if it were a storage. */
class StorageSlice {
  readonly storage: Storage;
  readonly key: string;
  /** In elements. */
  readonly start: number;
  readonly numel: number;

  constructor(storage: Storage, key: string, start: number, numel: number) {
    this.storage = storage;
    this.key = key;
    this.start = start;
    this.numel = numel;
  }
}

export class StorageTable {
  readonly storages = new Map<string, Storage>();
  private readonly limits: Limits;
  /** Slices by object identity of what the pickle sees; a slice is given to tensors as a Storage would be. */
  private readonly slices = new Map<TorchValue, StorageSlice>();
  /** Bytes that dense copies of the tensors so far would take. */
  private copied = 0;
  private stored = 0;

  constructor(limits: Limits) {
    this.limits = limits;
  }

  /**
   * The storage that ('storage', class, key, location, numel) names; the same key is always the same Storage.
   * @param fields how many the container writes: the legacy stream has a sixth
   * @throws {UnitcellError} CORRUPT for a malformed id or two ids that disagree, UNSUPPORTED for a class nobody knows
   */
  resolve(id: TorchValue, fields = 5): Storage {
    if (!Array.isArray(id) || id.length !== fields || id[0] !== "storage")
      throw new UnitcellError(
        "CORRUPT",
        `expected a persistent id ('storage', ...) of ${fields} fields, found ${describe(id)}`,
      );
    const [, type, keyField, location] = id as TorchValue[];
    if (!(type instanceof PythonGlobal)) throw new UnitcellError("CORRUPT", "a persistent id names no storage class");
    if (!CLASSES.has(type.name))
      throw new UnitcellError(
        "UNSUPPORTED",
        `the file holds storages of class ${type.name}, which torch does not have`,
      );
    if (typeof keyField !== "string" && (!Number.isSafeInteger(keyField) || isFloatAt(id, 2)))
      throw new UnitcellError("CORRUPT", `a storage key is ${describe(keyField)}, expected a string`);
    if (typeof location !== "string") throw new UnitcellError("CORRUPT", "a storage location is not a string");
    return this.add(String(keyField), CLASSES.get(type.name), sizeAt(id, 4, "storage size"), location);
  }

  /** Notes a storage; a second description of the same key must agree. */
  add(key: string, dtype: DType | undefined, numel: number, location: string): Storage {
    const known = this.storages.get(key);
    if (!known) {
      const storage = new Storage(key, dtype, numel, location);
      this.storages.set(key, storage);
      this.stored += storage.byteLength;
      return storage;
    }
    // torch calls a storage of bytes untyped where a tensor of a newer dtype refers to it, and uint8 elsewhere.
    const areBytes = [known.dtype, dtype].every((type) => type === undefined || type === "u8");
    if ((known.dtype !== dtype && !areBytes) || known.numel !== numel)
      throw new UnitcellError("CORRUPT", `storage "${key}" is described twice, differently`, { key });
    return known;
  }

  /** (view key, offset, numel) of a storage, in elements: what old files write where a storage is a slice of another. */
  slice(storage: Storage, view: TorchValue): Storage {
    if (!Array.isArray(view) || view.length !== 3)
      throw new UnitcellError("CORRUPT", "a storage view has three fields");
    const [start, numel] = [sizeAt(view, 1, "view offset"), sizeAt(view, 2, "view size")];
    const [key] = view as TorchValue[];
    if (typeof key !== "string" && typeof key !== "number" && typeof key !== "bigint")
      throw new UnitcellError("CORRUPT", `the key of a storage view is ${describe(key)}`);
    if (start + numel > storage.numel)
      throw new UnitcellError(
        "CORRUPT",
        `a view of elements ${start} to ${start + numel} leaves storage "${storage.key}" of ${storage.numel}`,
      );
    const stand = new Storage(String(key), storage.dtype, numel, storage.location);
    // Saved as a value of its own it has bytes as soon as the storage that it is a part of.
    const from = stand.dtype ? storedBytes(stand.dtype, start) : start;
    Object.defineProperty(stand, "bytes", {
      enumerable: true,
      get: () => storage.bytes?.subarray(from, from + stand.byteLength),
    });
    this.slices.set(stand, new StorageSlice(storage, stand.key, start, numel));
    return stand;
  }

  /**
   * A tensor over a storage.
   * @param args (..., offset, size, stride, ...) with the offset at index `at`
   * @param dtype for untyped storages
   * @param into an empty tensor that the pickle made earlier
   * @throws {UnitcellError} CORRUPT when it does not fit its storage, LIMIT above tensorRank and when the dense copies of
   *   the file's tensors would exceed the copy limits
   */
  view(
    source: TorchValue | undefined,
    args: readonly TorchValue[],
    at: number,
    dtype?: DType,
    into = new TorchTensor(),
  ): TorchTensor {
    if (!(source instanceof Storage)) throw new UnitcellError("CORRUPT", `a tensor is built over ${describe(source)}`);
    const slice = this.slices.get(source);
    const storage = slice?.storage ?? source;
    // torch reads an untyped storage as one of uint8.
    const type = dtype ?? storage.dtype ?? "u8";
    const offset = sizeAt(args, at, "tensor offset");
    const [shape, strides] = [sizesOf(args[at + 1], "size", this.limits), sizesOf(args[at + 2], "stride", this.limits)];
    if (shape.length !== strides.length)
      throw new UnitcellError("CORRUPT", `a tensor has ${shape.length} sizes and ${strides.length} strides`);
    const needed = storedBytes(type, offset + extent(shape, strides));
    if (needed > source.byteLength)
      throw new UnitcellError(
        "CORRUPT",
        `a ${type} tensor of size [${shape}], strides [${strides}] and offset ${offset} needs ${needed} bytes, storage "${source.key}" has ${source.byteLength}`,
        { shape, strides, offset, key: source.key },
      );
    into.storage = storage;
    into.setView({ dtype: type, shape, strides, offset: offset + (slice?.start ?? 0) });
    if (slice) into.storageView = { key: slice.key, offset: slice.start, numel: slice.numel };
    if (!isContiguous(into)) this.countCopy(into);
    return into;
  }

  /**
   * Counts what a dense copy of the tensor would take: stride 0 can ask for any amount, and any number of tensors for the
   * conjugate of one storage.
   * @throws {UnitcellError} LIMIT when the copies of the file's tensors would exceed the copy limits
   */
  countCopy(tensor: TorchTensor): void {
    this.copied += elementCount(tensor.shape) * DTYPE_BYTES[tensor.dtype];
    const limit = this.limits.copyFloorBytes + this.limits.copyRatio * this.stored;
    if (this.copied > limit)
      throw new UnitcellError(
        "LIMIT",
        `dense copies of the tensors, the last of size [${tensor.shape}], would take ${this.copied} bytes; the limit for ${this.stored} stored bytes is ${limit}`,
        { shape: tensor.shape, copied: this.copied, limit },
      );
  }
}

/** An offset, size, stride or count inside a tuple: an integer, not a float, not negative, exact. */
export function sizeAt(container: readonly TorchValue[], index: number, what: string): number {
  const value = container[index];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !isFloatAt(container, index))
    return value;
  const found =
    typeof value === "bigint" || (typeof value === "number" && !isFloatAt(container, index)) ? value : describe(value);
  throw new UnitcellError("CORRUPT", `expected a non-negative integer as ${what}, found ${found}`);
}

/** A tuple of sizes or strides. */
export function sizesOf(value: TorchValue | undefined, what: string, limits: Limits): number[] {
  if (!Array.isArray(value)) throw new UnitcellError("CORRUPT", `expected a tuple of integers as tensor ${what}`);
  if (value.length > limits.tensorRank)
    throw new UnitcellError("LIMIT", `a tensor has ${value.length} dimensions, the limit is ${limits.tensorRank}`);
  return value.map((_, axis) => sizeAt(value, axis, what));
}

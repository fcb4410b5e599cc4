/** Changes to an opened checkpoint before it is written again. Tensors change by description; their bytes follow later. */
import { findStateDict } from "../checkpoint/layouts.js";
import { UnitcellError } from "../errors.js";
import { castTensor } from "../formats/cast.js";
import { Storage, TorchTensor } from "../formats/torch-tensors.js";
import { Float, isFloatAt, OrderedDict, type TorchValue } from "../formats/values.js";
import { placeName, walkTensors } from "../formats/walk.js";
import { DTYPE_BYTES, type DType, type Tensor } from "../tensor.js";
import type { OpenedFile } from "./open.js";
import { plural, shownName } from "./shown.js";
import { storagePieces } from "./tensor-pieces.js";
import { textOf } from "./tree.js";

export interface Rename {
  readonly from: string;
  readonly to: string;
}

/** What `--strip optimizer` stands for. */
const OPTIMIZER_KEYS = ["optimizer", "optimizer_state_dict", "optimizer_states", "optim"];

/**
 * Takes keys off the top level.
 * @returns the keys that were there
 * @throws {UnitcellError} NOT_FOUND for a key that is not
 */
export function strip(root: TorchValue, keys: readonly string[]): string[] {
  const stripped: string[] = [];
  for (const key of keys) {
    const spellings = key === "optimizer" ? OPTIMIZER_KEYS : [key];
    const found = root instanceof Map ? spellings.filter((spelling) => root.delete(spelling)) : [];
    if (found.length === 0)
      throw new UnitcellError("NOT_FOUND", `nothing to strip: no top-level key ${shownName(key)}; ${keysOf(root)}`, {
        key,
      });
    stripped.push(...found);
  }
  return stripped;
}

function keysOf(root: TorchValue): string {
  if (!(root instanceof Map)) return "the file holds no dict";
  const keys = [...root.keys()].map((key) => (typeof key === "string" ? shownName(key) : String(textOf(key))));
  return `there are ${keys.slice(0, 20).join(", ")}${keys.length > 20 ? ` and ${keys.length - 20} more` : ""}`;
}

/**
 * New names for old ones: each rename in turn replaces a prefix.
 * @throws {UnitcellError} NOT_FOUND for a rename that no name starts with, MISMATCH when two names become one
 */
export function renamed(names: Iterable<string>, renames: readonly Rename[]): Map<string, string> {
  const result = new Map<string, string>();
  for (const name of names) result.set(name, name);
  for (const { from, to } of renames) {
    let count = 0;
    for (const [old, name] of result)
      if (name.startsWith(from)) {
        result.set(old, to + name.slice(from.length));
        count++;
      }
    if (count === 0)
      throw new UnitcellError(
        "NOT_FOUND",
        `no tensor's name starts with ${shownName(from)}: ${[...result.values()].slice(0, 3).map(shownName).join(", ")}, ...`,
        { from, to },
      );
  }
  const taken = new Map<string, string>();
  for (const [old, name] of result) {
    const other = taken.get(name);
    if (other !== undefined)
      throw new UnitcellError(
        "MISMATCH",
        `${shownName(other)} and ${shownName(old)} would both be named ${shownName(name)}`,
        { names: [other, old], name },
      );
    taken.set(name, old);
  }
  return result;
}

/**
 * Renames the keys of a file's state dict, and the module names of its `_metadata`, in their places.
 * @throws {UnitcellError} as renamed; UNSUPPORTED where there is no such dict
 */
export function renameStateDict(root: TorchValue, renames: readonly Rename[]): void {
  const dict = findStateDict(root)?.dict;
  if (!dict) throw new UnitcellError("UNSUPPORTED", "the file holds no state dict whose names could be changed", {});
  const names = renamed(
    [...dict.keys()].filter((key) => typeof key === "string"),
    renames,
  );
  rekey(dict, (key) => names.get(key) ?? key);
  const metadata = dict instanceof OrderedDict ? dict.attributes?.get("_metadata") : undefined;
  if (metadata instanceof Map) rekey(metadata, (module) => renamedModule(module, renames));
}

/** A module's name, as part of its tensors' names: "module" and "module.conv" lose the prefix "module.". */
function renamedModule(name: string, renames: readonly Rename[]): string {
  let path = name === "" ? "" : `${name}.`;
  for (const { from, to } of renames) if (path.startsWith(from)) path = to + path.slice(from.length);
  return path.replace(/\.$/, "");
}

/** Keys changed, order kept; of two that become one the last counts. */
function rekey(dict: Map<TorchValue, TorchValue>, change: (key: string) => string): void {
  const entries = [...dict].map(([key, value]): [TorchValue, TorchValue] => [
    typeof key === "string" ? change(key) : key,
    typeof value === "number" && isFloatAt(dict, key) ? new Float(value) : value,
  ]);
  dict.clear();
  for (const [key, value] of entries) dict.set(key, value);
}

const FLOATS: ReadonlySet<DType> = new Set(["f64", "f32", "f16", "bf16"]);

/** Storages of another dtype in place of those of a file: where their bytes come from. */
export class CastStorages {
  private readonly file: OpenedFile;
  private readonly dtype: DType;
  private readonly origins = new Map<Storage, { readonly storage: Storage; readonly dtype: DType }>();

  constructor(file: OpenedFile, dtype: DType) {
    this.file = file;
    this.dtype = dtype;
  }

  /**
   * Gives the state dict's floating-point tensors (all of the file where there is none) storages of the new dtype.
   * Tensors that share a storage go together.
   * @returns how many tensors changed
   * @throws {UnitcellError} UNSUPPORTED for a storage that is looked at as several dtypes
   */
  cast(root: TorchValue): number {
    const found = findStateDict(root);
    const all = [...walkTensors(root)];
    const wanted = new Set<Storage>();
    for (const tensor of found?.tensors.values() ?? all.map(({ tensor }) => tensor))
      if (FLOATS.has(tensor.dtype) && tensor.dtype !== this.dtype && tensor instanceof TorchTensor && tensor.storage)
        wanted.add(tensor.storage);
    const replaced = new Map<Storage, Storage>();
    let count = 0;
    for (const { tensor, place } of all) {
      const storage = tensor instanceof TorchTensor ? tensor.storage : undefined;
      if (!storage || !wanted.has(storage)) continue;
      this.change(tensor as TorchTensor, storage, replaced, placeName(place));
      count++;
    }
    return count;
  }

  /** The bytes of a storage, new or as in the file. */
  async *pieces(storage: Storage): AsyncGenerator<Uint8Array> {
    const origin = this.origins.get(storage);
    if (!origin) {
      yield* storagePieces(this.file, storage);
      return;
    }
    const { dtype } = origin;
    for await (const piece of storagePieces(this.file, origin.storage)) {
      const length = Math.floor(piece.byteLength / DTYPE_BYTES[dtype]);
      const data = piece.subarray(0, length * DTYPE_BYTES[dtype]);
      yield castTensor({ dtype, shape: [length], data }, this.dtype).data;
    }
  }

  /** The dense bytes of a tensor, new or as in the file. */
  async read(tensor: Tensor): Promise<Uint8Array> {
    const origin = tensor instanceof TorchTensor && tensor.storage && this.origins.get(tensor.storage);
    if (!origin) return this.file.read(tensor);
    const { shape, strides, offset, conj, neg } = tensor as TorchTensor;
    const { storage, dtype } = origin;
    const stored = TorchTensor.over(storage, { dtype, shape, strides, offset });
    Object.assign(stored, { conj, neg });
    return castTensor({ dtype, shape, data: await this.file.read(stored) }, this.dtype).data;
  }

  private change(tensor: TorchTensor, storage: Storage, replaced: Map<Storage, Storage>, name: string): void {
    const { dtype, shape, strides, offset } = tensor;
    let cast = replaced.get(storage);
    if (!cast) {
      const numel = Math.floor(storage.byteLength / DTYPE_BYTES[dtype]);
      cast = new Storage(storage.key, this.dtype, numel, storage.location);
      replaced.set(storage, cast);
      this.origins.set(cast, { storage, dtype });
    }
    const known = this.origins.get(cast)!.dtype;
    if (known !== dtype || !FLOATS.has(dtype))
      throw new UnitcellError(
        "UNSUPPORTED",
        `${shownName(name)} looks at a storage as ${dtype} that others look at as ${known}; it cannot be cast`,
        { name },
      );
    tensor.storage = cast;
    tensor.setView({ dtype: this.dtype, shape, strides, offset });
  }
}

/** For a note: how many tensors, and of what. */
export function castNote(count: number, dtype: DType, root: TorchValue): string {
  const where = findStateDict(root) ? " (the state dict's and what shares memory with them)" : "";
  return `cast ${plural(count, "tensor")} to ${dtype}${where}`;
}

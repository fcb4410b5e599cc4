/** What every container gives: a value, the storages its tensors look into, and a way to their bytes. */
import type { FileBytes, Limits } from "../bytes.js";
import { CUT_SHORT, UnitcellError } from "../errors.js";
import type { NamesFound } from "./pickle.js";
import { componentBytes, reverseItems, type Storage } from "./torch-tensors.js";
import type { TorchValue } from "./values.js";

/** Containers that a checkpoint may come in. */
export type TorchFormat = "torch" | "torchscript" | "torch-legacy" | "torch-tar" | "safetensors" | "pickle";

export interface Container {
  readonly format: TorchFormat;
  readonly root: TorchValue;
  readonly storages: readonly Storage[];
  readonly names: NamesFound;
  readonly loader: StorageLoader;
  /** Facts about the file that are no part of the value: zip records, source texts, safetensors metadata. */
  readonly info: ReadonlyMap<string, TorchValue>;
}

/** Gets bytes of storages as they are stored. */
export interface StorageLoader {
  load(storages: readonly Storage[]): Promise<Uint8Array[]>;
  /** Part of one storage. */
  range(storage: Storage, start: number, end: number): Promise<Uint8Array>;
}

/** How a file is read, with every default filled in. */
export interface ReadSettings {
  readonly limits: Limits;
  readonly checkCrc: boolean;
  /** Names outside the closed list that become inert objects without being refused. */
  readonly inert: ReadonlySet<string>;
}

/** Storages that lie bare in the file, each at a known place. */
export class PlacedStorages implements StorageLoader {
  private readonly file: FileBytes;
  private readonly starts: ReadonlyMap<Storage, number>;
  private readonly lead: Lead | undefined;
  /** Storages read by range whose lead was looked at. */
  private readonly led = new Set<Storage>();

  /** @throws {UnitcellError} CORRUPT when a storage leaves the file */
  constructor(file: FileBytes, starts: ReadonlyMap<Storage, number>, lead?: Lead) {
    for (const [storage, start] of starts)
      if (start + storage.byteLength > file.size) throw cutShort(file.size, storage, starts);
    this.file = file;
    this.starts = starts;
    this.lead = lead;
  }

  async load(storages: readonly Storage[]): Promise<Uint8Array[]> {
    const count = storages.length;
    const starts = storages.map((storage) => this.starts.get(storage)!);
    const ranges = storages.map(({ byteLength }, i) => ({ start: starts[i], end: starts[i] + byteLength }));
    if (this.lead) for (const start of starts) ranges.push({ start: start - this.lead.bytes, end: start });
    const found = new Array<Uint8Array>(count);
    const take = (i: number, bytes: Uint8Array) => {
      if (i >= count) this.lead!.check(bytes, storages[i - count], starts[i - count]);
      else found[i] = this.file.memory ? bytes : aligned(bytes, storages[i]);
    };
    await this.file.readRanges(ranges, take, 1);
    return found;
  }

  async range(storage: Storage, start: number, end: number): Promise<Uint8Array> {
    const base = this.starts.get(storage)!;
    if (this.lead && !this.led.has(storage)) {
      this.lead.check(await this.file.read(base - this.lead.bytes, base), storage, base);
      this.led.add(storage);
    }
    return this.file.read(base + start, base + end);
  }
}

function cutShort(size: number, { key }: Storage, starts: ReadonlyMap<Storage, number>): UnitcellError {
  let expected = 0;
  for (const [storage, start] of starts) expected = Math.max(expected, start + storage.byteLength);
  const message = `expected a file of ${expected} bytes, found ${size}, so that storage "${key}" is not whole; ${CUT_SHORT}`;
  return new UnitcellError("CORRUPT", message, { key, expected, found: size, hint: "truncated" });
}

/** Bytes before each storage that say something of it. */
export interface Lead {
  readonly bytes: number;
  /** @throws {UnitcellError} CORRUPT when they contradict the storage */
  check(lead: Uint8Array, storage: Storage, start: number): void;
}

/** Fetched bytes where typed arrays can look at them; the piece they came in can go. */
function aligned(bytes: Uint8Array, storage: Storage): Uint8Array {
  const size = storage.dtype ? componentBytes(storage.dtype) : 8;
  return bytes.byteOffset % size === 0 ? bytes : bytes.slice();
}

/** Big-endian elements of a storage to little-endian; torch leaves untyped storages as they are. */
export function swapStorage(bytes: Uint8Array, storage: Storage): Uint8Array {
  const size = storage.dtype ? componentBytes(storage.dtype) : 1;
  if (size === 1) return bytes;
  const swapped = bytes.slice();
  reverseItems(swapped, size);
  return swapped;
}

import type { FileBytes } from "../bytes.js";
import { CUT_SHORT, UnitcellError } from "../errors.js";
import type { StorageLoader } from "./container.js";
import { componentBytes, type Storage } from "./torch-tensors.js";

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

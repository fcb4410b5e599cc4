/** What every container gives: a value, the storages its tensors look into, and a way to their bytes. */
import type { Limits } from "../bytes.js";
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

/** Big-endian elements of a storage to little-endian; torch leaves untyped storages as they are. */
export function swapStorage(bytes: Uint8Array, storage: Storage): Uint8Array {
  const size = storage.dtype ? componentBytes(storage.dtype) : 1;
  if (size === 1) return bytes;
  const swapped = bytes.slice();
  reverseItems(swapped, size);
  return swapped;
}

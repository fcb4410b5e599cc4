/** safetensors as a container beside torch's own: a dict of tensors, read by range. */
import type { FileBytes } from "../bytes.js";
import type { Container, ReadSettings } from "./container.js";
import type { NamesFound } from "./pickle.js";
import { PlacedStorages } from "./placed-storages.js";
import { LENGTH_BYTES, readSafetensorsHeader, safetensorsHeaderEnd } from "./safetensors.js";
import type { TorchValue } from "./values.js";

export async function openSafetensors(file: FileBytes, settings: ReadSettings, names: NamesFound): Promise<Container> {
  const first = await file.read(0, Math.min(file.size, LENGTH_BYTES));
  const end = safetensorsHeaderEnd(first, file.size, settings.limits);
  const header = readSafetensorsHeader(await file.read(0, end), file.size, settings.limits);
  const metadata: ReadonlyMap<TorchValue, TorchValue> | null = header.metadata ?? null;
  return {
    format: "safetensors",
    root: header.tensors,
    storages: [...header.starts.keys()],
    names,
    loader: new PlacedStorages(file, header.starts),
    info: new Map([["metadata", metadata as TorchValue]]),
  };
}

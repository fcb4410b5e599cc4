/** Our side of bench/torch_files.py: files loaded and saved as a program would, and a checksum over a value's tensors. */
import { closeSync, openSync, writeSync } from "node:fs";
import { crc32 } from "../src/formats/crc32.js";
import { loadTorch } from "../src/formats/torch.js";
import { writeTorch } from "../src/formats/torch-save.js";
import { TorchTensor } from "../src/formats/torch-tensors.js";
import type { TorchValue } from "../src/formats/values.js";
import { fileSink, fileSource } from "../src/stores/fs.js";

export async function loadFile(path: string): Promise<TorchValue> {
  const source = fileSource(path);
  try {
    return await loadTorch(source);
  } finally {
    source.close();
  }
}

/** Straight into the file, as torch.save does. */
export async function saveFile(value: TorchValue, path: string): Promise<void> {
  const fd = openSync(path, "w");
  try {
    await writeTorch(value, (bytes) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    });
  } finally {
    closeSync(fd);
  }
}

/** So that the name has the former file or the whole new one, on the disk: what a program should do. */
export async function replaceFile(value: TorchValue, path: string): Promise<void> {
  const sink = fileSink(path);
  try {
    await writeTorch(value, sink.write);
    await sink.close();
  } finally {
    sink.abort();
  }
}

/** Every tensor in a value of maps and arrays, depth first. */
export function tensorsOf(value: TorchValue): TorchTensor[] {
  if (value instanceof TorchTensor) return [value];
  if (value instanceof Map) return [...value.values()].flatMap(tensorsOf);
  return Array.isArray(value) ? value.flatMap(tensorsOf) : [];
}

export interface Checksum {
  readonly tensors: number;
  readonly bytes: number;
  /** Sum of the CRC-32s of the tensors, modulo 2^32. */
  readonly crc: number;
}

export function checksum(value: TorchValue): Checksum {
  const every = tensorsOf(value).map(({ data }) => data);
  return {
    tensors: every.length,
    bytes: every.reduce((sum, { byteLength }) => sum + byteLength, 0),
    crc: every.reduce((sum, data) => (sum + crc32(data)) >>> 0, 0),
  };
}

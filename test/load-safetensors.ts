import { DEFAULT_LIMITS, type Limits } from "../src/bytes.js";
import { readSafetensorsHeader, type SafetensorsHeader } from "../src/formats/safetensors.js";

/** A safetensors file read by its header alone, without openTorch around it; the tensors are views of the bytes. */
export function loadSafetensors(
  bytes: Uint8Array,
  limits: Limits = DEFAULT_LIMITS,
): Pick<SafetensorsHeader, "tensors" | "metadata"> {
  const { tensors, metadata, starts } = readSafetensorsHeader(bytes, bytes.byteLength, limits);
  for (const [storage, start] of starts) storage.bytes = bytes.subarray(start, start + storage.byteLength);
  return { tensors, metadata };
}

/**
 * torch.save files as plain values. Two containers are read: the zip of torch 1.6 and later, and the stream before it.
 */
import { type Input, readAll } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import type { Tensor } from "../tensor.js";
import type { PickleValue } from "./pickle.js";
import { notTorch } from "./sniff.js";
import { isTorchLegacy, readTorchLegacy } from "./torch-legacy.js";
import { isTensor } from "./torch-values.js";
import { readTorchZip } from "./torch-zip.js";

/**
 * What a torch file can hold, as JavaScript: dict and Namespace are Map, list and set are arrays, tuple and frozenset are
 * frozen arrays, bytes are Uint8Array, an int beyond 2^53 is a bigint, a dtype or device is its name.
 */
export type TorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Tensor
  | readonly TorchValue[]
  | Map<TorchValue, TorchValue>;

/**
 * Read any file that torch.save wrote. Parameters and numpy arrays are Tensors, numpy scalars are numbers. Tensors may
 * be views of the input's memory, so do not change it afterwards.
 * @throws {UnitcellError} UNSAFE when the file names code (detail.globals lists it; nothing was run), CORRUPT when it is
 *   damaged, UNSUPPORTED for other containers, dtypes and tensor kinds (detail.hint names a container), LIMIT at a cap
 */
export async function loadTorch(input: Input): Promise<TorchValue> {
  const bytes = await readAll(input);
  return checkValue(await readContainer(bytes));
}

async function readContainer(bytes: Uint8Array): Promise<PickleValue> {
  const isZip = bytes[0] === 0x50 && bytes[1] === 0x4b && bytes[2] === 3 && bytes[3] === 4;
  if (isZip) return readTorchZip(bytes);
  if (isTorchLegacy(bytes)) return readTorchLegacy(bytes);
  throw notTorch(bytes);
}

/**
 * Make sure that only TorchValues are left: a class, storage or numpy dtype saved as a value is refused, not leaked.
 * Shared and cyclic values are visited once, and nesting costs no stack.
 */
function checkValue(root: PickleValue): TorchValue {
  const seen = new Set<object>();
  const open: PickleValue[] = [root];
  while (open.length > 0) {
    const value = open.pop()!;
    if (typeof value !== "object" || value === null || value instanceof Uint8Array || seen.has(value)) continue;
    seen.add(value);
    if (Array.isArray(value)) for (const item of value) open.push(item);
    else if (value instanceof Map) for (const [key, item] of value) open.push(key, item);
    else if (!isTensor(value))
      throw new UnitcellError(
        "UNSUPPORTED",
        "the file holds a class, storage or numpy dtype as a value, which unitcell does not read",
      );
  }
  return root as TorchValue;
}

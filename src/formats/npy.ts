/**
 * Arrays as numpy's files: .npy (version 1.0 of numpy.lib.format) and .npz, the zip of them that numpy.savez writes and
 * numpy.load reads. Entries are stored, with their sizes in front of them, since readers in C++ look no further.
 */
import { zipSync } from "fflate/browser";
import { UnitcellError } from "../errors.js";

/** Little-endian, row-major. */
export interface NumpyFileArray {
  readonly dims: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** What numpy.savez dates its entries with; the same arrays are the same bytes. */
const DATE = new Date(1980, 0, 1);
/** numpy maps files into memory, for which the numbers begin at a multiple of this. */
const ALIGNMENT = 64;
/** Sizes and places in a zip are 32-bit numbers; what is left of them is more than names and headers take. */
const MAX_BYTES = 2 ** 32 - 2 ** 20;

export function npyBytes({ dims, data }: NumpyFileArray): Uint8Array {
  const descr = data instanceof Float32Array ? "<f4" : "<i4";
  const shape = dims.length === 1 ? `${dims[0]},` : dims.join(", ");
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`;
  const prefix = 10; // \x93NUMPY, version 1.0, two bytes of length
  const start = Math.ceil((prefix + header.length + 1) / ALIGNMENT) * ALIGNMENT;
  const bytes = new Uint8Array(start + data.byteLength);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, (start - prefix) & 0xff, (start - prefix) >> 8]);
  new TextEncoder().encodeInto(`${header.padEnd(start - prefix - 1)}\n`, bytes.subarray(prefix));
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start);
  return bytes;
}

/** @throws {UnitcellError} LIMIT for arrays of 4 GiB or more together */
export function npzBytes(arrays: ReadonlyMap<string, NumpyFileArray>): Uint8Array {
  let size = 0;
  for (const { data } of arrays.values()) size += data.byteLength;
  if (size > MAX_BYTES)
    throw new UnitcellError("LIMIT", `the arrays take ${size} bytes, an .npz holds less than 4 GiB: make several`, {
      size,
    });
  const entries = Object.fromEntries([...arrays].map(([name, array]) => [`${name}.npy`, npyBytes(array)]));
  return zipSync(entries, { level: 0, mtime: DATE });
}

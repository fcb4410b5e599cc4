import { type DType, elementReader } from "../tensor.js";
import { elementCount } from "./torch-tensors.js";
import { NumpyArray, type NumpyScalar } from "./values.js";

/** The number a scalar, or an array of one element, holds; undefined for more elements and for other kinds. */
export function numpyNumber(value: NumpyScalar | NumpyArray): number | undefined {
  const found = value instanceof NumpyArray ? onlyNumber(value) : value.value;
  return typeof found === "number" || typeof found === "bigint" ? Number(found) : undefined;
}

/** numpy counts bytes where torch's names of element types count bits. */
const CODE = /^(?:f[248]|[iu][1248])$/;

function onlyNumber({ dtype: { code, order }, shape, bytes, items }: NumpyArray): number | undefined {
  if (!CODE.test(code) || items || elementCount(shape) !== 1) return undefined;
  const little = order === ">" ? bytes.slice().reverse() : bytes;
  const read = elementReader((code[0] + 8 * Number(code[1])) as DType);
  return read(new DataView(little.buffer, little.byteOffset, little.byteLength), 0);
}

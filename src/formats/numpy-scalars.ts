/** The numbers and texts in numpy's bytes. */
import { elementReader } from "../tensor.js";
import { narrowInteger } from "./pickle-scalars.js";
import { Complex, type NumpyDtype, type NumpyScalar } from "./values.js";

/** What a scalar of this code reads as, from little-endian bytes. */
const SCALARS: ReadonlyMap<string, (view: DataView) => NumpyScalar["value"]> = new Map([
  ["f8", (v: DataView): NumpyScalar["value"] => v.getFloat64(0, true)],
  ["f4", (v) => v.getFloat32(0, true)],
  ["f2", (v) => elementReader("f16")(v, 0)],
  ["i8", (v) => narrowInteger(v.getBigInt64(0, true))],
  ["i4", (v) => v.getInt32(0, true)],
  ["i2", (v) => v.getInt16(0, true)],
  ["i1", (v) => v.getInt8(0)],
  ["u8", (v) => narrowInteger(v.getBigUint64(0, true))],
  ["u4", (v) => v.getUint32(0, true)],
  ["u2", (v) => v.getUint16(0, true)],
  ["u1", (v) => v.getUint8(0)],
  ["b1", (v) => v.getUint8(0) !== 0],
  ["c16", (v) => new Complex(v.getFloat64(0, true), v.getFloat64(8, true))],
  ["c8", (v) => new Complex(v.getFloat32(0, true), v.getFloat32(4, true))],
]);

/** One element of this type; undefined where JavaScript has nothing for it. */
export function scalarValue(dtype: NumpyDtype, bytes: Uint8Array): NumpyScalar["value"] {
  const kind = dtype.code[0];
  if (kind === "S") return bytes;
  const itemsize = kind === "U" ? 4 : kind === "c" ? bytes.length / 2 : bytes.length;
  const little = bytes.slice();
  if (dtype.order === ">")
    for (let at = 0; at < little.length; at += itemsize) little.subarray(at, at + itemsize).reverse();
  const view = new DataView(little.buffer);
  if (kind === "U") return utf32(view);
  return SCALARS.get(dtype.code)?.(view);
}

/** Fixed-length text: characters of four bytes, padded with zeros. */
function utf32(view: DataView): string | undefined {
  let value = "";
  for (let at = 0; at < view.byteLength; at += 4) {
    const point = view.getUint32(at, true);
    if (point > 0x10ffff) return undefined;
    value += String.fromCodePoint(point);
  }
  return value.replace(/\0+$/, "");
}

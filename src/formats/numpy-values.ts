/**
 * numpy scalars, dtypes and small arrays inside torch files (metrics are often numpy floats). Scalars become numbers,
 * arrays become Tensors. Source: numpy/core/src/multiarray/{scalarapi,methods}.c, `__reduce__` and `__setstate__`.
 */
import { MAX_INTEGER_BYTES } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { DTYPE_BYTES, type DType } from "../tensor.js";
import { PickleClass, type PickleValue } from "./pickle.js";
import { narrowInteger } from "./pickle-scalars.js";
import {
  elementCount,
  emptySlot,
  gather,
  reverseItems,
  rowMajorStrides,
  sizesOf,
  type TensorSlot,
} from "./torch-tensors.js";

/** A numpy dtype: its code without byte order ("f8"), and the order once BUILD has told it. */
class NumpyDtype {
  readonly code: string;
  bigEndian = false;

  constructor(code: string) {
    this.code = code;
  }
}

/** numpy's codes of the dtypes a Tensor can have. */
const TENSOR_DTYPES: ReadonlyMap<string, DType> = new Map([
  ["f8", "f64"],
  ["f4", "f32"],
  ["f2", "f16"],
  ["i8", "i64"],
  ["i4", "i32"],
  ["i2", "i16"],
  ["i1", "i8"],
  ["u1", "u8"],
  ["b1", "bool"],
]);

/** Scalar codes to a reader of little-endian bytes; unsigned ones have no tensor dtype but are exact numbers. */
const SCALARS: ReadonlyMap<string, readonly [bytes: number, read: (view: DataView) => PickleValue]> = new Map([
  ["f8", [8, (v: DataView) => v.getFloat64(0, true)]],
  ["f4", [4, (v: DataView) => v.getFloat32(0, true)]],
  ["i8", [8, (v: DataView) => narrowInteger(v.getBigInt64(0, true))]],
  ["i4", [4, (v: DataView) => v.getInt32(0, true)]],
  ["i2", [2, (v: DataView) => v.getInt16(0, true)]],
  ["i1", [1, (v: DataView) => v.getInt8(0)]],
  ["u8", [8, (v: DataView) => narrowInteger(v.getBigUint64(0, true))]],
  ["u4", [4, (v: DataView) => v.getUint32(0, true)]],
  ["u2", [2, (v: DataView) => v.getUint16(0, true)]],
  ["u1", [1, (v: DataView) => v.getUint8(0)]],
  ["b1", [1, (v: DataView) => v.getUint8(0) !== 0]],
]);

/** numpy.dtype(code, align, copy); a leading byte order is part of some codes. */
function createDtype(args: readonly PickleValue[]): PickleValue {
  const [code] = args;
  if (typeof code !== "string") throw corrupt("numpy.dtype needs a type code");
  const dtype = new NumpyDtype(code.replace(/^[<>|=]/, ""));
  dtype.bigEndian = code.startsWith(">");
  return dtype;
}

/** State: (version, byte order, subdtype, names, fields, itemsize, alignment, flags[, metadata]). */
function buildDtype(target: PickleValue, state: PickleValue): void {
  if (!Array.isArray(state) || typeof state[1] !== "string") throw corrupt("a numpy dtype has a malformed state");
  (target as NumpyDtype).bigEndian = state[1] === ">";
  const structured = state.slice(2, 5).some((part) => part !== null);
  if (structured) throw new UnitcellError("UNSUPPORTED", "a structured numpy dtype");
}

/** multiarray.scalar(dtype, bytes). */
function createScalar(args: readonly PickleValue[]): PickleValue {
  const [dtype, bytes] = args;
  if (!(dtype instanceof NumpyDtype) || !(bytes instanceof Uint8Array))
    throw corrupt("a numpy scalar needs a dtype and bytes");
  const row = SCALARS.get(dtype.code);
  if (!row) throw unsupported(dtype, "scalar");
  if (bytes.length !== row[0])
    throw corrupt(
      `a numpy ${dtype.code} scalar needs ${row[0]} bytes, found ${Math.min(bytes.length, MAX_INTEGER_BYTES)}`,
    );
  const little = bytes.slice();
  if (dtype.bigEndian) little.reverse();
  return row[1](new DataView(little.buffer));
}

/** State: (version, shape, dtype, is_fortran, bytes). */
function buildArray(target: PickleValue, state: PickleValue): void {
  if (!Array.isArray(state) || state.length !== 5) throw corrupt("a numpy array has a malformed state");
  const [, shape, dtype, fortran, bytes] = state;
  fillArray(target as TensorSlot, { shape, dtype, fortran: fortran === true, bytes });
}

/** numeric._frombuffer(buffer, dtype, shape, order): how protocol 5 writes an array. */
function createFromBuffer(args: readonly PickleValue[]): PickleValue {
  const [bytes, dtype, shape, order] = args;
  const slot = emptySlot();
  fillArray(slot, { shape, dtype, fortran: order === "F", bytes });
  return slot;
}

interface ArrayParts {
  shape: PickleValue;
  dtype: PickleValue;
  fortran: boolean;
  bytes: PickleValue;
}

/** Checks sizes against the bytes that are there before anything is allocated. */
function fillArray(slot: TensorSlot, { shape, dtype, fortran, bytes }: ArrayParts): void {
  if (!(dtype instanceof NumpyDtype)) throw corrupt("a numpy array has no dtype");
  const type = TENSOR_DTYPES.get(dtype.code);
  if (!type) throw unsupported(dtype, "array");
  const sizes = sizesOf(shape, "shape");
  if (!(bytes instanceof Uint8Array)) throw corrupt("a numpy array has no bytes");
  const expected = elementCount(sizes) * DTYPE_BYTES[type];
  if (bytes.length !== expected)
    throw corrupt(`a numpy ${dtype.code} array of shape [${sizes}] needs ${expected} bytes, found ${bytes.length}`);
  slot.dtype = type;
  slot.shape = sizes;
  if (fortran) {
    const strides = rowMajorStrides([...sizes].reverse()).reverse();
    slot.data = gather(bytes, { dtype: type, shape: sizes, strides, offset: 0 }, dtype.bigEndian);
    return;
  }
  slot.data = bytes.slice();
  if (dtype.bigEndian) reverseItems(slot.data, DTYPE_BYTES[type]);
}

/** numpy 1 says numpy.core, numpy 2 says numpy._core. */
export function numpyGlobals(): PickleClass[] {
  return [
    new PickleClass("numpy.dtype", createDtype, buildDtype),
    new PickleClass("numpy.ndarray"),
    ...["numpy.core", "numpy._core"].flatMap((core) => [
      new PickleClass(`${core}.multiarray.scalar`, createScalar),
      // The arguments (ndarray, (0,), b"b") only make an empty array; BUILD says what it is.
      new PickleClass(`${core}.multiarray._reconstruct`, emptySlot, buildArray),
      new PickleClass(`${core}.numeric._frombuffer`, createFromBuffer),
    ]),
  ];
}

function corrupt(message: string): UnitcellError {
  return new UnitcellError("CORRUPT", message);
}

function unsupported(dtype: NumpyDtype, what: string): UnitcellError {
  const code = dtype.code.slice(0, 20);
  return new UnitcellError("UNSUPPORTED", `a numpy ${what} of dtype ${JSON.stringify(code)}`, { dtype: code });
}

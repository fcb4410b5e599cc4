/**
 * numpy scalars, dtypes and arrays inside torch files (metrics are often numpy floats, RNG states numpy arrays).
 * Source: numpy/core/src/multiarray/{scalarapi,methods}.c, `__reduce__` and `__setstate__`.
 */
import type { Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { scalarValue } from "./numpy-scalars.js";
import { describe, isTuple, type PickleClass } from "./pickle-machine.js";
import { decodeLatin1 } from "./pickle-scalars.js";
import { sizesOf } from "./torch-storages.js";
import { elementCount } from "./torch-tensors.js";
import { NumpyArray, NumpyDtype, NumpyScalar, PythonGlobal, PythonObject, type TorchValue } from "./values.js";

/** A kind letter and a number: bytes, or characters (4 bytes each) for U. */
const CODE = /^([?a-zA-Z])(\d{0,12})$/;

/** Bytes of one element; undefined for Python objects. */
export function numpyItemBytes(dtype: NumpyDtype): number | undefined {
  const [, kind, digits] = CODE.exec(dtype.code) ?? [];
  if (kind === undefined) throw corrupt(`${JSON.stringify(dtype.code.slice(0, 20))} is no numpy dtype`);
  if (kind === "O") return undefined;
  const size = digits === "" ? 1 : Number(digits);
  return kind === "U" ? 4 * size : size;
}

/** numpy.dtype(code, align, copy); a leading byte order is part of some codes. */
function createDtype(args: readonly TorchValue[]): NumpyDtype {
  const [code] = args;
  if (typeof code !== "string") throw corrupt(`numpy.dtype needs a type code, found ${describe(code)}`);
  const order = /^[<>|=]/.exec(code)?.[0];
  const dtype = new NumpyDtype(code.slice(order?.length ?? 0), order === "=" ? "<" : (order ?? "|"));
  numpyItemBytes(dtype);
  return dtype;
}

/** State: (version, byte order, subdtype, names, fields, itemsize, alignment, flags[, metadata]). */
function buildDtype(target: TorchValue, state: TorchValue): void {
  const order = isTuple(state) ? text(state[1]) : undefined;
  if (!isTuple(state) || !order || !/^[<>|=]$/.test(order)) throw corrupt("a numpy dtype has a malformed state");
  Object.assign(target as NumpyDtype, { order: order === "=" ? "<" : order });
  const plain = state.slice(2, 5).every((part) => part === null) && state.length === 8;
  if (!plain) Object.assign(target as NumpyDtype, { state });
}

/** Python 2 wrote these as byte strings, which read as text. */
function text(value: TorchValue | undefined): string | undefined {
  return value instanceof Uint8Array ? decodeLatin1(value) : typeof value === "string" ? value : undefined;
}

/** multiarray.scalar(dtype, bytes). */
function createScalar(args: readonly TorchValue[]): NumpyScalar {
  const [dtype, raw] = args;
  const bytes = rawBytes(raw);
  if (!(dtype instanceof NumpyDtype) || !bytes)
    throw corrupt(`a numpy scalar needs a dtype and bytes, found ${describe(dtype)} and ${describe(raw)}`);
  const size = numpyItemBytes(dtype);
  if (size === undefined) throw new UnitcellError("UNSUPPORTED", "a numpy scalar that is a Python object");
  if (bytes.length !== size) throw corrupt(`a numpy ${dtype.code} scalar needs ${size} bytes, found ${bytes.length}`);
  return new NumpyScalar(dtype, bytes, scalarValue(dtype, bytes));
}

/** Python 2 pickles hold raw bytes as text. */
function rawBytes(value: TorchValue | undefined): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== "string") return undefined;
  for (let i = 0; i < value.length; i++) if (value.charCodeAt(i) > 255) return undefined;
  return Uint8Array.from(value, (char) => char.charCodeAt(0));
}

/** What a call of numpy's own made that is not on the closed list; the list has no other object of numpy's. */
function isInertDtype(value: TorchValue | undefined): value is PythonObject {
  return value instanceof PythonObject && /^numpy\.(?!ndarray$)/.test(value.type);
}

/** Checks the size against the bytes that are there. */
function fillArray(array: NumpyArray, state: readonly TorchValue[], limits: Limits): void {
  const [shape, type, fortran, content] = state;
  const dtype = isInertDtype(type) ? new NumpyDtype(type.type, "|", undefined, type) : type;
  if (!(dtype instanceof NumpyDtype)) throw corrupt(`a numpy array has ${describe(dtype)} as dtype`);
  const sizes = sizesOf(shape, "shape", limits);
  const count = elementCount(sizes);
  const itemsize = dtype.inert ? undefined : numpyItemBytes(dtype);
  // Structures that hold objects are written as objects too.
  const holdsObjects = itemsize === undefined || dtype.state !== undefined;
  const items = holdsObjects && Array.isArray(content) ? (content as readonly TorchValue[]) : undefined;
  const bytes = items ? new Uint8Array(0) : rawBytes(content);
  if (!bytes) throw corrupt(`a numpy array holds ${describe(content)}, expected bytes`);
  const [found, expected] = items ? [items.length, count] : [bytes.length, count * (itemsize ?? 8)];
  if (found !== expected && (items || !dtype.inert))
    throw corrupt(
      `a numpy ${dtype.code} array of shape [${sizes}] needs ${expected} ${items ? "objects" : "bytes"}, found ${found}`,
    );
  Object.assign(array, { dtype, shape: sizes, fortran: fortran === true, bytes, items });
}

function emptyArray(): NumpyArray {
  return new NumpyArray(new NumpyDtype("f4", "<"), [0], false, new Uint8Array(0));
}

/** numpy 1 says numpy.core, numpy 2 says numpy._core. */
export function numpyClasses(limits: Limits): [name: string, row: PickleClass][] {
  const reconstruct: PickleClass = {
    // The arguments (ndarray, (0,), b"b") only make an empty array; BUILD says what it is.
    create([type]) {
      if (type instanceof PythonGlobal && type.name === "numpy.ndarray") return emptyArray();
      throw new UnitcellError("UNSUPPORTED", `a numpy array of a subclass, ${describe(type)}`);
    },
    build(target, state) {
      // (version, shape, dtype, is_fortran, bytes or list)
      if (!isTuple(state) || state.length !== 5) throw corrupt("a numpy array has a malformed state");
      fillArray(target as NumpyArray, state.slice(1), limits);
    },
  };
  /** numeric._frombuffer(buffer, dtype, shape, order): how protocol 5 writes an array. */
  const fromBuffer: PickleClass = {
    create([bytes, dtype, shape, order]) {
      const array = emptyArray();
      fillArray(array, [shape, dtype, order === "F", bytes], limits);
      return array;
    },
  };
  return [
    ["numpy.dtype", { create: createDtype, build: buildDtype }],
    ...["numpy.core", "numpy._core"].flatMap((core): [string, PickleClass][] => [
      [`${core}.multiarray.scalar`, { create: createScalar }],
      [`${core}.multiarray._reconstruct`, reconstruct],
      [`${core}.numeric._frombuffer`, fromBuffer],
    ]),
  ];
}

function corrupt(message: string): UnitcellError {
  return new UnitcellError("CORRUPT", message);
}

/**
 * numpy values in a pickle, as numpy 1 writes them: numpy 2 still reads its module names, numpy 1 does not read those
 * of numpy 2. Source: numpy/core/src/multiarray/{descriptor,methods,scalartypes}.c, `__reduce__`.
 */
import { Part } from "./pickle-path.js";
import { OP } from "./pickle-writer.js";
import type { Pickler, Steps } from "./pickler.js";
import { writeBytes } from "./python-pickler.js";
import { NumpyArray, NumpyDtype, NumpyScalar, type TorchValue } from "./values.js";

const DTYPE = new Part(".dtype");
const STATE = new Part(".state");
/** Item size and alignment of dtypes whose code already says them. */
const IMPLIED = [-1, -1];
/** NPY_OBJECT_DTYPE_FLAGS: holds references, needs Python. */
const OBJECT_FLAGS = 63;
/** NPY_NEEDS_INIT of text. */
const TEXT_FLAGS = 8;

/** The steps of a numpy value; undefined when it is none. */
export function numpySteps(p: Pickler, value: unknown): Steps | undefined {
  if (value instanceof NumpyDtype) return dtype(p, value);
  if (value instanceof NumpyScalar) return scalar(p, value);
  return value instanceof NumpyArray ? array(p, value) : undefined;
}

/** numpy.dtype(code, False, True), and BUILD with its state. */
function* dtype(p: Pickler, value: NumpyDtype): Steps {
  const { out } = p;
  out.global("numpy.dtype");
  out.string(value.code);
  out.bool(false);
  out.bool(true);
  out.tuple(3);
  out.put();
  p.reduce(value);
  p.at(STATE);
  yield* p.newTuple(value.state ?? plainState(value));
  out.op(OP.BUILD);
}

/** (version, byte order, subdtype, names, fields, item size, alignment, flags). */
function plainState({ code, order }: NumpyDtype): TorchValue[] {
  const kind = code[0];
  const size = Number(code.slice(1));
  const state = (byteOrder: string, layout: readonly number[], flags = 0) => [
    ...[3, byteOrder, null, null, null],
    ...layout,
    flags,
  ];
  if (kind === "S" || kind === "V") return state("|", [size, 1]);
  if (kind === "O") return state("|", IMPLIED, OBJECT_FLAGS);
  const known = order === "|" && size > 1 ? "<" : order;
  return kind === "U" ? state(known, [4 * size, 4], TEXT_FLAGS) : state(known, IMPLIED);
}

/** multiarray.scalar(dtype, bytes). */
function* scalar(p: Pickler, value: NumpyScalar): Steps {
  const { out } = p;
  out.global("numpy.core.multiarray.scalar");
  if (!p.atom(value.dtype, value, DTYPE)) yield value.dtype;
  writeBytes(p, value.bytes);
  out.put();
  out.tuple(2);
  out.put();
  p.reduce(value);
}

/** multiarray._reconstruct(ndarray, (0,), b"b"), and BUILD with (1, shape, dtype, fortran, bytes or list). */
function* array(p: Pickler, value: NumpyArray): Steps {
  const { out } = p;
  out.global("numpy.core.multiarray._reconstruct");
  out.global("numpy.ndarray");
  yield* p.newTuple([0]);
  p.singleton("b'b'", () => writeBytes(p, Uint8Array.of(0x62)));
  out.tuple(3);
  out.put();
  p.reduce(value);
  out.op(OP.MARK);
  out.int(1);
  yield* p.newTuple(value.shape);
  const type = value.dtype.inert ?? value.dtype;
  if (!p.atom(type, value, DTYPE)) yield type;
  out.bool(value.fortran);
  if (value.items) {
    out.op(OP.EMPTY_LIST);
    out.put();
    yield* p.appends(value.items, true);
  } else {
    writeBytes(p, value.bytes);
    out.put();
  }
  out.op(OP.TUPLE);
  out.put();
  out.op(OP.BUILD);
}

/** Python's values that hold no others: bytes, floats by class, complex numbers, names, the empty tuple. */
import { OP } from "./pickle-writer.js";
import type { Pickler } from "./pickler.js";
import { ByteArray, Complex, Float, PythonGlobal, TorchSize } from "./values.js";

/** False when the value is none of these. */
export function writePythonAtom(p: Pickler, value: object): boolean {
  const { out } = p;
  if (value instanceof Float) out.float(value.value);
  else if (value instanceof ByteArray) writeByteArray(p, value);
  else if (value instanceof Uint8Array) {
    writeBytes(p, value);
    p.remember(value);
  } else if (value instanceof Complex) writeComplex(p, value);
  else if (value instanceof PythonGlobal) writeGlobal(p, value);
  else if (isEmptyTuple(value)) out.op(OP.EMPTY_TUPLE);
  else return false;
  return true;
}

function isEmptyTuple(value: object): boolean {
  return Array.isArray(value) && value.length === 0 && Object.isFrozen(value) && !(value instanceof TorchSize);
}

/**
 * Bytes, not yet in the memo. Protocol 2 has none: they are text that is encoded; empty ones too, as `bytes` itself is
 * on no allow-list.
 */
export function writeBytes({ out }: Pickler, value: Uint8Array): void {
  out.global("_codecs.encode");
  out.latin1(value);
  out.string("latin1");
  out.tuple(2);
  out.put();
  out.op(OP.REDUCE);
}

/** bytearray(bytes), or bytearray(). */
function writeByteArray(p: Pickler, value: ByteArray): void {
  const { out } = p;
  out.global("builtins.bytearray");
  if (value.length === 0) out.op(OP.EMPTY_TUPLE);
  else {
    writeBytes(p, value);
    out.put();
    out.tuple(1);
    out.put();
  }
  p.reduce(value);
}

/** Protocol 2 names only what a module holds; from there on it is attributes. */
function writeGlobal(p: Pickler, { name, module }: PythonGlobal): void {
  const { out } = p;
  const [first, ...attributes] = name.slice(module.length + 1).split(".");
  if (attributes.length === 0) {
    out.global(name);
    return;
  }
  p.singleton(`global ${name}`, () => {
    for (const _ of attributes) out.global("builtins.getattr");
    out.global(`${module}.${first}`);
    for (const [i, attribute] of attributes.entries()) {
      out.string(attribute);
      out.tuple(2);
      out.put();
      out.op(OP.REDUCE);
      if (i < attributes.length - 1) out.put();
    }
  });
}

function writeComplex(p: Pickler, value: Complex): void {
  const { out } = p;
  out.global("builtins.complex");
  out.float(value.re);
  out.float(value.im);
  out.tuple(2);
  out.put();
  p.reduce(value);
}

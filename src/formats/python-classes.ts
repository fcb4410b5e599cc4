/** The names of Python's own library on the closed list: sets, bytes, complex numbers. */
import { UnitcellError } from "../errors.js";
import { itemAt, onlyArgument } from "./ordered-dict.js";
import { addTo, describe, type KeyCount, type PickleClass } from "./pickle-machine.js";
import { ByteArray, Complex, type TorchValue } from "./values.js";

export function pythonClasses(keys: KeyCount): [name: string, row: PickleClass][] {
  return [
    ["_codecs.encode", { create: encodeLatin1 }],
    ["builtins.set", { create: (args) => createSet(args, keys) }],
    ["builtins.frozenset", { create: (args) => Object.freeze(createSet(args, keys)) }],
    ["builtins.bytes", { create: createBytes }],
    ["builtins.bytearray", { create: (args) => ByteArray.from(createBytes(args)) }],
    ["builtins.complex", { create: createComplex }],
  ];
}

function createSet(args: readonly TorchValue[], keys: KeyCount): Set<TorchValue> {
  const items = onlyArgument(args);
  const set = new Set<TorchValue>();
  if (items === undefined) return set;
  if (!Array.isArray(items)) throw corrupt(`a set is made from ${describe(items)}`);
  addTo(
    set,
    items.map((_, i) => itemAt(items, i)),
    keys,
  );
  return set;
}

/** bytes(), bytearray(bytes), bytearray(text, "latin-1"). A bare number would ask for that many zeros. */
function createBytes(args: readonly TorchValue[]): Uint8Array {
  const [content] = args;
  if (content === undefined) return new Uint8Array(0);
  if (content instanceof Uint8Array && args.length === 1) return content;
  return encodeLatin1(args);
}

function createComplex(args: readonly TorchValue[]): Complex {
  const [re, im] = args;
  if (args.length !== 2 || typeof re !== "number" || typeof im !== "number")
    throw corrupt(`a complex number is made from ${describe(re)} and ${describe(im)}`);
  return new Complex(re, im);
}

/** _codecs.encode(text, "latin1"): how protocol 2 writes bytes. No other codec is data. */
function encodeLatin1(args: readonly TorchValue[]): Uint8Array {
  const [content, encoding] = args;
  if (typeof content !== "string" || typeof encoding !== "string" || args.length !== 2)
    throw corrupt("bytes are written as text and an encoding");
  if (!/^latin-?1$/.test(encoding))
    throw new UnitcellError("UNSAFE", `_codecs.encode with ${JSON.stringify(encoding)}; only latin1 is data`, {
      globals: ["_codecs.encode"],
    });
  const bytes = new Uint8Array(content.length);
  for (let i = 0; i < content.length; i++) {
    const code = content.charCodeAt(i);
    if (code > 255) throw corrupt(`character ${code} does not fit in a byte`);
    bytes[i] = code;
  }
  return bytes;
}

function corrupt(message: string): UnitcellError {
  return new UnitcellError("CORRUPT", `malformed pickle: ${message}`);
}

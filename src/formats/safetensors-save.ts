/**
 * Writing safetensors. The bytes are those the format's own library writes: tensors by alignment of their dtype, then by
 * name, header padded to 8. (With several metadata keys the library's order is random; here it is the caller's.)
 */
import { DEFAULT_LIMITS } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { DTYPE_BYTES, type DType, type Tensor, TORCH_DTYPES } from "../tensor.js";
import { quoted } from "./json-scanner.js";
import { LENGTH_BYTES, METADATA_KEY, SAFETENSORS_DTYPES } from "./safetensors.js";
import { findShared } from "./shared-memory.js";
import { elementCount, TorchTensor } from "./torch-tensors.js";
import { SparseTensor } from "./values.js";

/**
 * Metadata key under which tensors that shared memory are recorded, as a JSON object {name: the first such name}: the
 * format holds no shared tensors, so each is written in full.
 */
export const SHARED_KEY = "unitcell.shared";

/** Metadata of a file, and where bytes come from that are not in memory. */
export interface SafetensorsOptions {
  /** Text by key, kept in this order. SHARED_KEY is replaced when tensors share memory. */
  readonly metadata?: ReadonlyMap<string, string>;
  /** Dense row-major bytes of a tensor whose storage is not loaded; without it `tensor.data`. */
  readonly readTensor?: (tensor: Tensor, name: string) => Uint8Array | Promise<Uint8Array>;
}

interface Entry {
  readonly name: string;
  readonly tensor: Tensor;
  /** Place of the dtype in the library's order. */
  readonly rank: number;
  readonly tag: string;
  readonly byteLength: number;
}

/**
 * A whole file in memory.
 * @throws {UnitcellError} UNSUPPORTED for what the format lacks (sparse, quantized, meta, complex128, complex32), MISMATCH
 *   when data and shape disagree, ARGUMENT for names it cannot hold, LIMIT for a file too large for memory
 */
export function saveSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata?: ReadonlyMap<string, string>,
): Uint8Array {
  const { head, entries } = plan(tensors, metadata);
  const size = entries.reduce((sum, { byteLength }) => sum + byteLength, head.byteLength);
  if (size > DEFAULT_LIMITS.wholeFileBytes)
    throw new UnitcellError(
      "LIMIT",
      `a safetensors file of ${size} bytes in memory, the limit is ${DEFAULT_LIMITS.wholeFileBytes}`,
      {
        size,
      },
    );
  const file = new Uint8Array(size);
  file.set(head);
  let at = head.byteLength;
  for (const entry of entries) {
    file.set(checked(entry, entry.tensor.data), at);
    at += entry.byteLength;
  }
  return file;
}

/**
 * As saveSafetensors, tensor by tensor: memory for one at a time.
 * @param sink takes the pieces in order; each is awaited before the next tensor is read
 */
export async function writeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  sink: (bytes: Uint8Array) => void | Promise<void>,
  { metadata, readTensor = (tensor) => tensor.data }: SafetensorsOptions = {},
): Promise<void> {
  const { head, entries } = plan(tensors, metadata);
  await sink(head);
  for (const entry of entries) await sink(checked(entry, await readTensor(entry.tensor, entry.name)));
}

/** Everything before the tensors, and the tensors in file order. */
function plan(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: ReadonlyMap<string, string> | undefined,
): { head: Uint8Array; entries: Entry[] } {
  const entries = [...tensors].map(([name, tensor]) => describe(name, tensor));
  entries.sort((a, b) => b.rank - a.rank || compareCodePoints(a.name, b.name));
  const text = withShared(metadata, findShared(tensors));
  const members: [string, string][] = [];
  if (text) members.push([METADATA_KEY, jsonObject(text, (value) => quote(value))]);
  let at = 0;
  for (const { name, tensor, tag, byteLength } of entries) {
    const range = `[${at},${at + byteLength}]`;
    members.push([name, `{"dtype":"${tag}","shape":[${countedShape(tensor)}],"data_offsets":${range}}`]);
    at += byteLength;
  }
  return { head: headBytes(jsonObject(members, (json) => json)), entries };
}

function describe(name: string, tensor: Tensor): Entry {
  if (name === METADATA_KEY) throw new UnitcellError("ARGUMENT", `no safetensors tensor can be named ${METADATA_KEY}`);
  const shown = `tensor ${quoted(name)}`;
  const refuse = (what: string) =>
    new UnitcellError("UNSUPPORTED", `safetensors cannot hold ${shown}: ${what}`, { name });
  if (tensor instanceof SparseTensor) throw refuse(`it is ${tensor.layout}`);
  if (!isTensor(tensor)) throw new UnitcellError("ARGUMENT", `${shown} is no tensor`, { name });
  if (tensor instanceof TorchTensor && !tensor.storage) throw refuse("it is on the meta device, without numbers");
  const rank = TAGS.findIndex(([, dtype]) => dtype === tensor.dtype);
  if (rank < 0) throw refuse(`the format has no ${TORCH_DTYPES[tensor.dtype]}`);
  if (tensor.dtype === "f4_e2m1fn_x2" && tensor.shape.length === 0) throw refuse("a packed scalar");
  const bad = tensor.shape.find((size) => !Number.isSafeInteger(size) || size < 0);
  if (bad !== undefined) throw new UnitcellError("ARGUMENT", `${shown} has a size ${bad}`, { name });
  return { name, tensor, rank, tag: TAGS[rank][0], byteLength: elementCount(tensor.shape) * DTYPE_BYTES[tensor.dtype] };
}

/** TorchTensors count without a look at `data`, which may not be loaded. */
function isTensor(value: Tensor): boolean {
  return (
    value instanceof TorchTensor ||
    (Object.hasOwn(DTYPE_BYTES, value?.dtype) && Array.isArray(value.shape) && ArrayBuffer.isView(value.data))
  );
}

const TAGS: readonly (readonly [string, DType])[] = [...SAFETENSORS_DTYPES];

/** Sizes as the header counts them: F4 by numbers, torch by bytes of two. */
function countedShape({ dtype, shape }: Tensor): readonly number[] {
  return dtype === "f4_e2m1fn_x2" ? [...shape.slice(0, -1), 2 * shape[shape.length - 1]] : shape;
}

function checked({ name, tensor, byteLength }: Entry, data: Uint8Array): Uint8Array {
  if (data.byteLength === byteLength) return data;
  throw new UnitcellError(
    "MISMATCH",
    `tensor ${quoted(name)} of shape [${tensor.shape}] and dtype ${tensor.dtype} needs ${byteLength} bytes, found ${data.byteLength}`,
    { name, expected: byteLength, found: data.byteLength },
  );
}

function withShared(
  metadata: ReadonlyMap<string, string> | undefined,
  shared: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> | undefined {
  return shared.size ? new Map([...(metadata ?? []), [SHARED_KEY, jsonObject(shared, quote)]]) : metadata;
}

/** Length, JSON, and spaces to a multiple of 8, so that every tensor is aligned in the file. */
function headBytes(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.byteLength / 8) * 8;
  if (length > DEFAULT_LIMITS.headerBytes)
    throw new UnitcellError(
      "LIMIT",
      `a safetensors header of ${length} bytes, readers take ${DEFAULT_LIMITS.headerBytes}`,
      {
        length,
      },
    );
  const head = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(text, LENGTH_BYTES);
  return head;
}

/** Members in the order given, which an object literal would not keep for names such as "0". */
function jsonObject(members: Iterable<readonly [string, string]>, toJson: (value: string) => string): string {
  return `{${Array.from(members, ([key, value]) => `${quote(key)}:${toJson(value)}`).join(",")}}`;
}

/** JSON.stringify escapes exactly what the library does; half a surrogate pair has no UTF-8. */
function quote(text: string): string {
  if (/\p{Surrogate}/u.test(text))
    throw new UnitcellError("ARGUMENT", `safetensors text is UTF-8, ${quoted(text)} has a lone surrogate`);
  return JSON.stringify(text);
}

/** The order of UTF-8 bytes, where JavaScript's < compares UTF-16 units: U+FFFF comes before U+10000. */
function compareCodePoints(a: string, b: string): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    // Where units first differ: a surrogate stands for a code point above every other unit.
    if (x !== y) return (isSurrogate(x) ? x + 0x10000 : x) - (isSurrogate(y) ? y + 0x10000 : y);
  }
  return a.length - b.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xe000;
}

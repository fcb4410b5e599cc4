/**
 * The safetensors container: u64 header length, a JSON header (name -> dtype, shape, byte range), then the tensors one
 * after another. Everything the header says is checked before any tensor byte is read.
 * Source: the format section of the safetensors README, and its library where that is silent.
 */
import { ByteReader, DEFAULT_LIMITS, type Limits } from "../bytes.js";
import { CUT_SHORT, UnitcellError } from "../errors.js";
import { DTYPE_BYTES, type DType } from "../tensor.js";
import { JsonScanner, quoted } from "./json-scanner.js";
import { elementCount, rowMajorStrides, Storage, TorchTensor } from "./torch-tensors.js";

/** Bytes before the header: its length. */
export const LENGTH_BYTES = 8;
/** The one key of the header that is no tensor. */
export const METADATA_KEY = "__metadata__";

/** Tags of the format, by alignment as its library orders them: in a file that it writes later ones come first. */
export const SAFETENSORS_DTYPES: ReadonlyMap<string, DType> = new Map([
  ["BOOL", "bool"],
  ["F4", "f4_e2m1fn_x2"],
  ["U8", "u8"],
  ["I8", "i8"],
  ["F8_E5M2", "f8_e5m2"],
  ["F8_E4M3", "f8_e4m3fn"],
  ["F8_E8M0", "f8_e8m0fnu"],
  ["F8_E4M3FNUZ", "f8_e4m3fnuz"],
  ["F8_E5M2FNUZ", "f8_e5m2fnuz"],
  ["I16", "i16"],
  ["U16", "u16"],
  ["F16", "f16"],
  ["BF16", "bf16"],
  ["I32", "i32"],
  ["U32", "u32"],
  ["F32", "f32"],
  ["C64", "c64"],
  ["F64", "f64"],
  ["I64", "i64"],
  ["U64", "u64"],
]);

export interface SafetensorsHeader {
  /** Where the tensors begin in the file. */
  readonly payloadStart: number;
  /** undefined when the file has none. */
  readonly metadata: Map<string, string> | undefined;
  /** In the header's order; each over its own storage, which has no bytes yet. */
  readonly tensors: Map<string, TorchTensor>;
  /** Where the bytes of each storage begin in the file; they end byteLength later. */
  readonly starts: Map<Storage, number>;
}

/** One tensor as the header has it. */
interface Entry {
  readonly name: string;
  readonly tag: string;
  readonly shape: number[];
  /** Bytes of the payload. */
  readonly begin: number;
  readonly end: number;
}

/**
 * Where the header ends, which is where the payload starts.
 * @param head the first bytes of the file, at least LENGTH_BYTES of them unless it is shorter
 * @throws {UnitcellError} CORRUPT when the file ends before, LIMIT above Limits.headerBytes
 */
export function safetensorsHeaderEnd(head: Uint8Array, fileSize: number, limits: Limits = DEFAULT_LIMITS): number {
  const length = new ByteReader(head).u64();
  if (LENGTH_BYTES + length > fileSize)
    throw new UnitcellError(
      "CORRUPT",
      `a safetensors header of ${length} bytes in a file of ${fileSize}; ${CUT_SHORT}`,
      {
        length,
        size: fileSize,
        hint: "truncated",
      },
    );
  if (length > limits.headerBytes)
    throw new UnitcellError("LIMIT", `a safetensors header of ${length} bytes, the limit is ${limits.headerBytes}`, {
      length,
      limit: limits.headerBytes,
    });
  return LENGTH_BYTES + length;
}

/**
 * Reads and checks the header.
 * @param head the first bytes of the file, at least up to safetensorsHeaderEnd
 * @param fileSize of the whole file, bytes
 * @throws {UnitcellError} CORRUPT when the header breaks the format, UNSUPPORTED for a dtype outside it, LIMIT
 */
export function readSafetensorsHeader(
  head: Uint8Array,
  fileSize: number,
  limits: Limits = DEFAULT_LIMITS,
): SafetensorsHeader {
  const payloadStart = safetensorsHeaderEnd(head, fileSize, limits);
  const reader = new ByteReader(head, LENGTH_BYTES);
  const { metadata, entries } = readJson(reader.take(payloadStart - LENGTH_BYTES), limits);
  const tensors = new Map<string, TorchTensor>();
  const starts = new Map<Storage, number>();
  for (const entry of entries) {
    const tensor = makeTensor(entry);
    tensors.set(entry.name, tensor);
    starts.set(tensor.storage!, payloadStart + entry.begin);
  }
  checkCover(entries, fileSize - payloadStart);
  return { payloadStart, metadata, tensors, starts };
}

function readJson(bytes: Uint8Array, limits: Limits): { metadata: Map<string, string> | undefined; entries: Entry[] } {
  const json = new JsonScanner(bytes, "the safetensors header");
  if (bytes[0] !== 0x7b) throw json.error(`byte ${bytes[0] ?? "none"}`, '"{" as its first byte');
  let metadata: Map<string, string> | undefined;
  const entries: Entry[] = [];
  json.object((name) => {
    if (name === METADATA_KEY) metadata = readMetadata(json, limits);
    else entries.push(readEntry(json, name, limits));
    checkCount(entries.length, "tensors", limits);
  });
  json.end();
  return { metadata, entries };
}

function readMetadata(json: JsonScanner, limits: Limits): Map<string, string> {
  const metadata = new Map<string, string>();
  json.object((key) => {
    metadata.set(key, json.string());
    checkCount(metadata.size, "metadata entries", limits);
  });
  return metadata;
}

function checkCount(count: number, what: string, { headerEntries }: Limits): void {
  if (count > headerEntries)
    throw new UnitcellError("LIMIT", `the safetensors header has more than ${headerEntries} ${what}`, {
      limit: headerEntries,
    });
}

/** {"dtype": tag, "shape": [...], "data_offsets": [begin, end]}; other keys are passed over, as the library does. */
function readEntry(json: JsonScanner, name: string, limits: Limits): Entry {
  let tag: string | undefined;
  let shape: number[] | undefined;
  let range: number[] | undefined;
  json.object((key) => {
    if (key === "dtype") tag = json.string();
    else if (key === "shape") shape = readShape(json, name, limits);
    else if (key === "data_offsets") range = readRange(json, name);
    else json.skip();
  });
  if (tag === undefined || !shape || !range)
    throw corrupt(
      name,
      `needs dtype, shape and data_offsets, and lacks ${!tag ? "dtype" : shape ? "data_offsets" : "shape"}`,
    );
  return { name, tag, shape, begin: range[0], end: range[1] };
}

function readShape(json: JsonScanner, name: string, limits: Limits): number[] {
  const shape: number[] = [];
  json.array(() => {
    if (shape.length === limits.tensorRank)
      throw new UnitcellError("LIMIT", `safetensors tensor ${quoted(name)} has over ${limits.tensorRank} dimensions`, {
        name,
        limit: limits.tensorRank,
      });
    shape.push(json.count());
  });
  return shape;
}

function readRange(json: JsonScanner, name: string): number[] {
  const range: number[] = [];
  json.array(() => {
    if (range.length === 2) throw corrupt(name, "has data_offsets of more than two numbers");
    range.push(json.count());
  });
  if (range.length < 2) throw corrupt(name, `has data_offsets of ${range.length} numbers, expected two`);
  return range;
}

function makeTensor({ name, tag, shape: counted, begin, end }: Entry): TorchTensor {
  const dtype = SAFETENSORS_DTYPES.get(tag);
  if (!dtype)
    throw new UnitcellError("UNSUPPORTED", `safetensors tensor ${quoted(name)} has the dtype ${quoted(tag)}`, {
      name,
      tag,
    });
  const shape = dtype === "f4_e2m1fn_x2" ? inPairs(name, counted) : counted;
  const count = elementCount(shape);
  // A product beyond 2^53 is rounded, but never down to a length that a file can have.
  const expected = count * DTYPE_BYTES[dtype];
  if (end - begin !== expected)
    throw corrupt(
      name,
      `of shape [${counted}] and dtype ${tag} takes ${expected} bytes, its range is [${begin}, ${end})`,
    );
  const storage = new Storage(name, dtype, count);
  return TorchTensor.over(storage, { dtype, shape, strides: rowMajorStrides(shape), offset: 0 });
}

/** F4 counts numbers, torch's packed dtype counts bytes of two: its last size is half. */
function inPairs(name: string, shape: readonly number[]): number[] {
  const last = shape.at(-1);
  if (last === undefined || last % 2)
    throw new UnitcellError(
      "UNSUPPORTED",
      `safetensors tensor ${quoted(name)} of F4 has rows of an odd length: [${shape}]`,
      {
        name,
        shape,
      },
    );
  return [...shape.slice(0, -1), last / 2];
}

/** Every byte of the payload belongs to one tensor. */
function checkCover(entries: readonly Entry[], payloadBytes: number): void {
  let at = 0;
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (end > payloadBytes) throw cut(name, end, payloadBytes);
    if (begin !== at)
      throw corrupt(name, `begins at byte ${begin}, ${begin < at ? "inside" : "with a gap after"} what ends at ${at}`);
    at = end;
  }
  if (at !== payloadBytes)
    throw new UnitcellError(
      "CORRUPT",
      `${payloadBytes - at} bytes follow the last safetensors tensor, which ends at byte ${at}`,
      {
        size: payloadBytes,
        end: at,
      },
    );
}

function cut(name: string, expected: number, found: number): UnitcellError {
  const message = `safetensors tensor ${quoted(name)} ends at byte ${expected} of a payload of ${found}; ${CUT_SHORT}`;
  return new UnitcellError("CORRUPT", message, { name, expected, found, hint: "truncated" });
}

function corrupt(name: string, what: string): UnitcellError {
  return new UnitcellError("CORRUPT", `safetensors tensor ${quoted(name)} ${what}`, { name });
}

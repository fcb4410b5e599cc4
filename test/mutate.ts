/**
 * Seeded mutations of good checkpoints. Plain ones change any bytes; those of a zip are mostly caught by a checksum, so
 * "repaired" ones change a record and put the archive right again around it: they reach the pickle machine and storages.
 */
import { deflateSync } from "fflate";
import { DEFAULT_LIMITS, FileBytes } from "../src/bytes.js";
import { crc32 } from "../src/formats/crc32.js";
import { openZip } from "../src/formats/zip.js";
import { seededRandom } from "../src/random.js";
import { call, global, int, ops, str, tuple, u16, u32, u64, utf8, type ZipPart, zip } from "./build-files.js";

export interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Records of a zip; undefined for everything else. */
  readonly records: readonly ZipRecord[] | undefined;
}

interface ZipRecord {
  readonly name: string;
  readonly data: Uint8Array;
  readonly method: 0 | 8;
  /** Where its stored bytes are in the file. */
  readonly start: number;
  /** Where the file states its CRC-32: directory, local header, data descriptor. */
  readonly checksums: readonly number[];
}

export interface Mutation {
  readonly bytes: Uint8Array;
  /** What was done, in words. */
  readonly steps: readonly string[];
  /** Names of the samples it is made of. */
  readonly from: readonly string[];
  /** True when checksums were put right after the change: the value may then be any. */
  readonly repaired: boolean;
}

export type Ints = (below: number) => number;

/** Whole numbers from 0, below a bound, for input `index`; neighbouring inputs are unrelated. */
export function randomInts(index: number): Ints {
  const random = seededRandom(Math.imul(index ^ 0x5bd1e995, 0x9e3779b1));
  random();
  return (below) => Math.floor(random() * below);
}

export async function makeSample(name: string, bytes: Uint8Array): Promise<Sample> {
  const isZip = bytes[0] === 0x50 && bytes[1] === 0x4b;
  return { name, bytes, records: isZip ? await zipRecords(bytes) : undefined };
}

async function zipRecords(bytes: Uint8Array): Promise<ZipRecord[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const archive = await openZip(new FileBytes(bytes), { limits: DEFAULT_LIMITS, checkCrc: true });
  const entries = [...archive.entries.values()];
  const contents = await archive.read(entries);
  let central = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf("PK\x01\x02", "latin1");
  return entries.map(({ name, header, method, compressedSize, crc }, i) => {
    const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    const end = start + compressedSize;
    const descriptor = view.getUint32(end, true) === 0x08074b50 ? end + 4 : undefined;
    const checksums = [central + 16, header + 14, ...(descriptor === undefined ? [] : [descriptor])];
    central += 46 + [28, 30, 32].reduce((sum, at) => sum + view.getUint16(central + at, true), 0);
    return {
      name,
      data: contents[i],
      method,
      start,
      checksums: checksums.filter((at) => view.getUint32(at, true) === crc),
    };
  });
}

const OPCODES = ops(
  ..."NONE POP DUP MARK EMPTY_LIST EMPTY_DICT EMPTY_TUPLE EMPTY_SET MEMOIZE REDUCE NEWOBJ BUILD STOP".split(" "),
);
const MORE = ops(
  ..."TUPLE TUPLE1 TUPLE2 TUPLE3 LIST DICT SETITEM SETITEMS APPEND APPENDS ADDITEMS FROZENSET".split(" "),
);
const EVEN_MORE = ops(..."OBJ NEWOBJ_EX BINPERSID STACK_GLOBAL POP_MARK NEWTRUE NEWFALSE PROTO FRAME EXT1".split(" "));
const BYTES = [...OPCODES, ...MORE, ...EVEN_MORE, 0, 1, 2, 0x7f, 0x80, 0xff];

const NAMES = [
  ["torch._utils", "_rebuild_tensor"],
  ["torch._utils", "_rebuild_tensor_v2"],
  ["torch._utils", "_rebuild_tensor_v3"],
  ["torch._utils", "_rebuild_parameter"],
  ["torch._utils", "_rebuild_parameter_with_state"],
  ["torch._utils", "_rebuild_qtensor"],
  ["torch._utils", "_rebuild_sparse_tensor"],
  ["torch._utils", "_rebuild_meta_tensor_no_storage"],
  ["torch._tensor", "_rebuild_from_type_v2"],
  ["torch.nn.parameter", "Parameter"],
  ["torch", "FloatStorage"],
  ["torch", "ComplexFloatStorage"],
  ["torch", "QUInt4x2Storage"],
  ["torch.storage", "UntypedStorage"],
  ["torch", "FloatTensor"],
  ["torch", "Size"],
  ["torch", "device"],
  ["torch", "float64"],
  ["torch", "sparse_coo"],
  ["torch.serialization", "_get_layout"],
  ["torch.jit._pickle", "build_intlist"],
  ["torch.jit._pickle", "restore_type_tag"],
  ["collections", "OrderedDict"],
  ["collections", "defaultdict"],
  ["_codecs", "encode"],
  ["__builtin__", "set"],
  ["builtins", "frozenset"],
  ["builtins", "bytearray"],
  ["builtins", "complex"],
  ["numpy", "dtype"],
  ["numpy", "ndarray"],
  ["numpy.core.multiarray", "scalar"],
  ["numpy._core.multiarray", "_reconstruct"],
  ["numpy.core.numeric", "_frombuffer"],
  ["os", "system"],
  ["__proto__", "constructor"],
].map(([module, name]) => global(module, name));

const NUMBERS: readonly (readonly number[])[] = [
  ...[0, 1, -1, 2 ** 31 - 1, 65536, 1000].map(int),
  ...[2n ** 31n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 62n, 2n ** 63n].map((value) => ops("LONG1", [9], u64(value), [0])),
];

/** Stretches that mean something to one of the readers. */
const PIECES: readonly (readonly number[])[] = [
  ...NAMES,
  ...NUMBERS,
  ...["0", "storage", "module", "__proto__", "constructor", "cpu", "data.pkl", "../x"].map(str),
  ops("BINFLOAT", [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
  ops("BINFLOAT", [0x7f, 0xf8, 0, 0, 0, 0, 0, 1]),
  tuple(int(2), int(3)),
  tuple(str("conj"), ops("NEWTRUE")),
  ops("EMPTY_DICT", str("conj"), "NEWTRUE", "SETITEM"),
  call(global("numpy", "dtype"), str("f8"), ops("NEWFALSE"), ops("NEWTRUE")),
  ...[0, 1, 2, 5, 9].map((index) => ops("BINGET", [index])),
  ...[0, 1, 2, 5, 9].map((index) => ops("BINPUT", [index])),
  ...[0, 1, 0xffff].map(u16),
  ...[0, 1, 0x7fffffff, 0xffffffff].map(u32),
  ...[0n, 1n, 2n ** 31n, 2n ** 53n, 2n ** 64n - 1n].map(u64),
  ...["PK\x01\x02", "PK\x03\x04", "PK\x05\x06", "PK\x06\x06", "PK\x06\x07", "PK\x07\x08"].map(utf8),
  ...['"F32"', '"shape":[', '"data_offsets":[0,4]', "}", "{", "1e9", "-1", "\\u0000", "__metadata__"].map(utf8),
];

/** A change of some bytes; `other` are those of another file. */
type Edit = (bytes: Uint8Array, random: Ints, other: Uint8Array) => Uint8Array;

function joined(...parts: readonly ArrayLike<number>[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function overwrite(bytes: Uint8Array, random: Ints, piece: ArrayLike<number>): Uint8Array {
  const out = bytes.slice();
  const at = random(Math.max(1, out.length - piece.length + 1));
  for (let i = 0; i < piece.length && at + i < out.length; i++) out[at + i] = piece[i];
  return out;
}

/** Where a byte of this value is, from a random place on. */
function place(bytes: Uint8Array, random: Ints, value: number): number | undefined {
  const from = random(bytes.length || 1);
  const at = bytes.indexOf(value, from);
  const found = at >= 0 ? at : bytes.indexOf(value);
  return found < 0 ? undefined : found;
}

/** A stretch of at most 64 bytes. */
function stretch(bytes: Uint8Array, random: Ints): [start: number, end: number] {
  const start = random(bytes.length + 1);
  return [start, Math.min(bytes.length, start + 1 + random(64))];
}

const EDITS: readonly [name: string, edit: Edit][] = [
  [
    "bit flipped",
    (bytes, random) => {
      const at = random(bytes.length || 1);
      return overwrite(bytes, () => at, [(bytes[at] ?? 0) ^ (1 << random(8))]);
    },
  ],
  ["byte overwritten", (bytes, random) => overwrite(bytes, random, [BYTES[random(BYTES.length)]])],
  ["random byte", (bytes, random) => overwrite(bytes, random, [random(256)])],
  ["piece overwritten", (bytes, random) => overwrite(bytes, random, PIECES[random(PIECES.length)])],
  [
    "piece inserted",
    (bytes, random) => {
      const at = random(bytes.length + 1);
      return joined(bytes.subarray(0, at), PIECES[random(PIECES.length)], bytes.subarray(at));
    },
  ],
  [
    "byte inserted",
    (bytes, random) => {
      const at = random(bytes.length + 1);
      return joined(bytes.subarray(0, at), [BYTES[random(BYTES.length)]], bytes.subarray(at));
    },
  ],
  [
    "deleted",
    (bytes, random) => {
      const [start, end] = stretch(bytes, random);
      return joined(bytes.subarray(0, start), bytes.subarray(end));
    },
  ],
  ["truncated", (bytes, random) => bytes.slice(0, random(bytes.length + 1))],
  [
    "block doubled",
    (bytes, random) => {
      const [start, end] = stretch(bytes, random);
      return joined(bytes.subarray(0, end), bytes.subarray(start));
    },
  ],
  [
    "block copied",
    (bytes, random) => {
      const [start, end] = stretch(bytes, random);
      return overwrite(bytes, random, bytes.slice(start, end));
    },
  ],
  [
    "block of zeros",
    (bytes, random) => {
      const [start, end] = stretch(bytes, random);
      return bytes.slice().fill(0, start, end);
    },
  ],
  [
    "number changed",
    (bytes, random) => {
      // BININT1 of a size, stride, offset or count, mostly: another small number, or a large one in its place.
      const at = place(bytes, random, 0x4b);
      if (at === undefined) return bytes;
      if (random(2)) return joined(bytes.subarray(0, at + 1), [random(16)], bytes.subarray(at + 2));
      return joined(bytes.subarray(0, at), NUMBERS[random(NUMBERS.length)], bytes.subarray(at + 2));
    },
  ],
  [
    "name exchanged",
    (bytes, random) => {
      const at = place(bytes, random, 0x63);
      const end = at === undefined ? -1 : bytes.indexOf(10, bytes.indexOf(10, at) + 1) + 1;
      if (at === undefined || end <= 0 || end - at > 100) return bytes;
      return joined(bytes.subarray(0, at), NAMES[random(NAMES.length)], bytes.subarray(end));
    },
  ],
  [
    "spliced",
    (bytes, random, other) =>
      joined(bytes.subarray(0, random(bytes.length + 1)), other.subarray(random(other.length + 1))),
  ],
];
/** Most mutations are small; splices and cuts leave little to get wrong. */
const WEIGHTED = EDITS.flatMap((row) =>
  new Array<(typeof EDITS)[number]>(/spliced|truncated/.test(row[0]) ? 1 : 3).fill(row),
);

function mutateBytes(bytes: Uint8Array, random: Ints, other: Uint8Array, steps: string[]): Uint8Array {
  let out = bytes;
  for (let edits = 1 + random(3); edits > 0; edits--) {
    const [name, edit] = WEIGHTED[random(WEIGHTED.length)];
    out = edit(out, random, other);
    steps.push(name);
  }
  return out;
}

/** Mutates any byte of a file, or a record of a zip with everything around it put right. */
export function mutate(sample: Sample, other: Sample, random: Ints): Mutation {
  const steps: string[] = [];
  const from = [sample.name, other.name];
  if (!sample.records || random(4) === 0) {
    const bytes = mutateBytes(sample.bytes, random, other.bytes, steps);
    return { bytes, steps, from, repaired: false };
  }
  const bytes = mutateRecord(sample, sample.records, other, random, steps);
  return { bytes, steps, from, repaired: true };
}

function mutateRecord(
  { bytes }: Sample,
  records: readonly ZipRecord[],
  other: Sample,
  random: Ints,
  steps: string[],
): Uint8Array {
  const pickle = records.findIndex(({ name }) => name.endsWith("/data.pkl"));
  const chosen = random(8) < 6 ? pickle : random(records.length);
  const record = records[chosen];
  if (random(40) === 0) {
    steps.push(`${record.name} renamed`);
    const name = new TextDecoder().decode(mutateBytes(new TextEncoder().encode(record.name), random, bytes, steps));
    return rezip(records, chosen, { name, data: record.data }, random);
  }
  steps.push(record.name);
  const donor = other.records?.find(({ name }) => name.endsWith("/data.pkl"))?.data ?? other.bytes;
  const data = mutateBytes(record.data, random, donor, steps);
  if (data.length === record.data.length && record.method === 0) return patched(bytes, record, data);
  return rezip(records, chosen, { name: record.name, data }, random);
}

/** The file with other bytes in one stored record, and its checksums to match. */
function patched(bytes: Uint8Array, { start, checksums }: ZipRecord, data: Uint8Array): Uint8Array {
  const out = bytes.slice();
  out.set(data, start);
  const crc = u32(crc32(data));
  for (const at of checksums) out.set(crc, at);
  return out;
}

/** A new archive of the records, one of them replaced, some deflated. */
function rezip(records: readonly ZipRecord[], replaced: number, part: ZipPart, random: Ints): Uint8Array {
  const deflate = random(8) === 0;
  return zip(
    records.map(({ name, data }, i) => {
      const made = i === replaced ? part : { name, data };
      return deflate ? { ...made, raw: deflateSync(Uint8Array.from(made.data)), method: 8 } : made;
    }),
  );
}

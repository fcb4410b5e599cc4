/**
 * Writes a zip `.pt` as torch.save of torch 2.13 does: the same records in the same order, and the same pickle. Equal
 * values give equal bytes.
 */

import type { Sink } from "../bytes.js";
import { crc32 } from "./crc32.js";
import type { StorageUse } from "./pickled-storages.js";
import { Pickler } from "./pickler.js";
import type { Storage } from "./torch-tensors.js";
import type { TorchValue } from "./values.js";
import { type ZipRecord, zipBytes, zipStream } from "./zip-writer.js";

/** torch's name for the root folder of a file saved to a buffer. */
const ROOT = "archive";
/** Bytes of a storage given to a sink at a time. */
const CHUNK_BYTES = 8 * 2 ** 20;
/** Decimal digits of a 64-bit number. */
const HASH_DIGITS = 20;

/** Where bytes come from that are not in memory. */
export interface WriteOptions {
  /**
   * Streams a storage that is not in memory (its `bytes` are undefined): its `byteLength` little-endian bytes, in
   * chunks of any size. Called once per storage, in file order, when its turn comes.
   */
  readonly readStorage?: (storage: Storage) => AsyncIterable<Uint8Array>;
}

/**
 * A `.pt` file of one value, which torch.load reads (weights_only too, for the kinds it accepts).
 * @throws {UnitcellError} ARGUMENT, with the path, for a value Python has no counterpart of and for storages that are
 *   not loaded; BACKEND when the runtime has no array of the file's size
 */
export function saveTorch(value: TorchValue): Uint8Array {
  const { pickle, storages } = pickled(value, (storage, fail) => {
    if (!storage.bytes) fail(`the bytes of storage "${storage.key}" are not loaded`);
  });
  return zipBytes(recordsOf(pickle, storages, (storage) => [storage.bytes!]));
}

/**
 * As saveTorch, piece by piece: the file is never held in memory, nor need its tensors be (options.readStorage).
 * @param sink called with the bytes of the file in order, and awaited
 * @throws {UnitcellError} as saveTorch, and MISMATCH when a storage's stream is not of its size
 */
export async function writeTorch(value: TorchValue, sink: Sink, options: WriteOptions = {}): Promise<void> {
  const { readStorage } = options;
  const { pickle, storages } = pickled(value, (storage, fail) => {
    if (!storage.bytes && !readStorage)
      fail(`the bytes of storage "${storage.key}" are not loaded, and no readStorage`);
  });
  const pieces = (storage: Storage) => (storage.bytes ? chunks(storage.bytes) : readStorage!(storage));
  await zipStream(recordsOf(pickle, storages, pieces), sink);
}

/** The pickle, and the storages it refers to in the order of their records. */
function pickled(value: TorchValue, isThere: StorageUse): { pickle: Uint8Array; storages: readonly Storage[] } {
  const pickler = new Pickler((storage, fail) => {
    isThere(storage, fail);
    const { bytes, byteLength } = storage;
    if (bytes && bytes.byteLength !== byteLength)
      fail(`storage "${storage.key}" should have ${byteLength} bytes, it has ${bytes.byteLength}`);
  });
  return { pickle: pickler.dump(value), storages: pickler.storages.used };
}

function* chunks(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
}

function recordsOf<Pieces>(
  pickle: Uint8Array,
  storages: readonly Storage[],
  pieces: (storage: Storage) => Pieces,
): ZipRecord<Pieces | Iterable<Uint8Array>>[] {
  const text = (name: string, content: string) => whole(name, new TextEncoder().encode(content));
  const records: ZipRecord<Pieces | Iterable<Uint8Array>>[] = [
    whole("data.pkl", pickle),
    text(".format_version", "1"),
    text(".storage_alignment", "64"),
    text("byteorder", "little"),
    ...storages.map((storage, i) => ({
      name: `${ROOT}/data/${i}`,
      size: storage.byteLength,
      pieces: () => pieces(storage),
    })),
    text("version", "3\n"),
  ];
  const names = records.map(({ name }) => name);
  const id = (crcs: readonly number[]) => [serializationId(names, crcs)];
  records.push({ name: `${ROOT}/.data/serialization_id`, size: 2 * HASH_DIGITS, pieces: id });
  return records;
}

function whole(name: string, bytes: Uint8Array): ZipRecord<Iterable<Uint8Array>> {
  return { name: `${ROOT}/${name}`, size: bytes.byteLength, pieces: () => [bytes] };
}

/**
 * What torch records to recognise a file by: two hashes of 20 digits. The second is torch's own, of the CRCs in file
 * order; the first, of the names, depends in torch on the C++ library's hash order and is only alike.
 */
function serializationId(names: readonly string[], crcs: readonly number[]): Uint8Array {
  const encoder = new TextEncoder();
  const ofNames = combine([crc32(encoder.encode(names.join("\n")))]);
  const ofContents = combine(crcs.filter((crc) => crc !== 0));
  return encoder.encode(ofNames + ofContents);
}

/** c10::hash_combine over 64-bit numbers, in decimal. */
function combine(values: readonly number[]): string {
  let seed = 0n;
  for (const value of values)
    seed ^= BigInt.asUintN(64, BigInt(value) + 0x9e3779b9n + BigInt.asUintN(64, seed << 6n) + (seed >> 2n));
  return seed.toString().padStart(HASH_DIGITS, "0");
}

/**
 * The stream torch wrote before 1.6, and the published CGCNN files: five pickles, then raw storages.
 * Source: torch/serialization.py, `_legacy_save` and `_legacy_load`.
 */
import { ByteReader } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { type PickleContext, type PickleValue, readPickle } from "./pickle.js";
import { StorageTable } from "./torch-storages.js";
import { type Storage, TensorTable } from "./torch-tensors.js";
import { torchGlobals } from "./torch-values.js";

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL_VERSION = 1001;
/** MAGIC as it lies in the file, little-endian. */
const MAGIC_BYTES = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/** Where MAGIC starts: after PROTO, LONG1 and its length (2 bytes each); protocol 4 and later put a 9-byte FRAME between. */
const MAGIC_OFFSET = 2 + 2;
const FRAMED_MAGIC_OFFSET = 2 + 9 + 2;

const NOTHING: PickleContext = { globals: new Map() };

/** True when the bytes start as the legacy stream does, in any pickle protocol from 2. */
export function isTorchLegacy(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x80) return false;
  for (const at of [MAGIC_OFFSET, FRAMED_MAGIC_OFFSET])
    if (MAGIC_BYTES.every((byte, i) => bytes[at + i] === byte)) return true;
  return false;
}

/**
 * Read a legacy stream held in memory. Bytes after the last storage are ignored, as torch does.
 * @throws {UnitcellError} every code of readPickle; CORRUPT for storages that are cut, absent or mis-sized
 */
export function readTorchLegacy(bytes: Uint8Array): PickleValue {
  const reader = new ByteReader(bytes);
  if (readPickle(reader, NOTHING) !== MAGIC) throw new UnitcellError("CORRUPT", "the torch magic number is wrong");
  const protocol = readPickle(reader, NOTHING);
  if (protocol !== PROTOCOL_VERSION)
    throw new UnitcellError("UNSUPPORTED", `legacy torch protocol ${String(protocol)}; ${PROTOCOL_VERSION} is known`);
  // What the writing host was like. The payload is little-endian whatever it says.
  readPickle(reader, NOTHING);
  const tensors = new TensorTable();
  const table = new StorageTable(6);
  const value = readPickle(reader, { globals: torchGlobals(tensors), persistentId: (id) => table.resolve(id) });
  const keys = readPickle(reader, NOTHING);
  if (!Array.isArray(keys)) throw new UnitcellError("CORRUPT", "the list of storage keys is not a list");
  for (const key of keys) readStorage(reader, table.storages.get(String(key)), String(key));
  const missing = [...table.storages.values()].find((storage) => !storage.bytes);
  if (missing) throw new UnitcellError("CORRUPT", `storage "${missing.key}" is not in the file`, { key: missing.key });
  tensors.fill(false);
  return value;
}

/** An int64 element count, which must be the one the pickle described, then the elements. */
function readStorage(reader: ByteReader, storage: Storage | undefined, key: string): void {
  if (!storage) throw new UnitcellError("CORRUPT", `storage "${key}" is in the file but in no tensor`, { key });
  if (storage.bytes) throw new UnitcellError("CORRUPT", `storage "${key}" is listed twice`, { key });
  const at = reader.offset;
  const count = reader.u64();
  if (count !== storage.numel)
    throw new UnitcellError(
      "CORRUPT",
      `storage "${key}" at byte ${at} has ${count} elements, the pickle describes ${storage.numel}`,
      { key, found: count, expected: storage.numel },
    );
  storage.bytes = reader.take(storage.byteLength);
}

/**
 * The stream torch wrote before 1.6, and the published CGCNN files: five pickles, then raw storages.
 * Source: torch/serialization.py, `_legacy_save` and `_legacy_load`.
 */
import { ByteReader, type FileBytes } from "../bytes.js";
import { CUT_SHORT, isUnitcellError, UnitcellError } from "../errors.js";
import type { Container, ReadSettings } from "./container.js";
import { type NamesFound, type PickleContext, readPickle } from "./pickle.js";
import { describe } from "./pickle-machine.js";
import { PlacedStorages } from "./placed-storages.js";
import { RARE } from "./rare-parts.js";
import { torchContext } from "./torch-globals.js";
import { StorageTable } from "./torch-storages.js";
import type { Storage } from "./torch-tensors.js";
import { PythonGlobal, type TorchValue } from "./values.js";

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL_VERSION = 1001;
interface Description {
  readonly root: TorchValue;
  readonly sysInfo: TorchValue;
  readonly sources: TorchValue[];
  readonly table: StorageTable;
  readonly keys: readonly TorchValue[];
  /** Where the storages start. */
  readonly end: number;
}

/**
 * Read the pickles of a legacy stream and find its storages. Bytes after the last one are ignored, as torch does.
 * @throws {UnitcellError} every code of readPickle; CORRUPT for storages that are cut, absent or mis-sized
 */
export async function openTorchLegacy(file: FileBytes, settings: ReadSettings, names: NamesFound): Promise<Container> {
  const { root, sysInfo, sources, table, keys, end } = await readGrowing(file, settings, (bytes) =>
    describeStream(new ByteReader(bytes), settings, names),
  );
  const starts = placeStorages(table, keys, end);
  return {
    format: "torch-legacy",
    root,
    storages: [...starts.keys()],
    names,
    loader: new PlacedStorages(file, starts, { bytes: COUNT_BYTES, check: checkCount }),
    info: new Map<string, TorchValue>([
      ["sys_info", sysInfo],
      ["sources", sources],
    ]),
  };
}

/** Bytes of the file's start to try first, and by how much more when its pickles do not fit. */
const FIRST_BYTES = 256 * 1024;
const GROWTH = 4;

/**
 * Run `parse` on the file's start, on more of it while it runs out of bytes: where pickles end is only known by reading.
 * @throws {UnitcellError} as parse; LIMIT when pickleBytes are not enough
 */
export async function readGrowing<T>(
  file: FileBytes,
  { limits }: ReadSettings,
  parse: (bytes: Uint8Array) => T,
): Promise<T> {
  const most = Math.min(file.size, limits.pickleBytes);
  for (let size = file.memory ? most : FIRST_BYTES; ; size *= GROWTH) {
    const bytes = await file.read(0, Math.min(size, most));
    try {
      return parse(bytes);
    } catch (error) {
      if (!isUnitcellError(error, "CORRUPT")) throw error;
      if (bytes.length === most) throw ranOut(error, bytes) ? notEnough(error, file, most) : error;
    }
  }
}

/** True when more bytes were expected where these end. */
function ranOut({ detail }: UnitcellError, bytes: Uint8Array): boolean {
  return detail.expected !== undefined && detail.size === bytes.length;
}

function notEnough(cause: UnitcellError, file: FileBytes, most: number): UnitcellError {
  if (most === file.size)
    return new UnitcellError(
      "CORRUPT",
      `${cause.message}; ${CUT_SHORT}`,
      { ...cause.detail, hint: "truncated" },
      { cause },
    );
  const message = `the pickles do not end in the first ${most} of ${file.size} bytes, the limit`;
  return new UnitcellError("LIMIT", message, { limit: most, size: file.size }, { cause });
}

function describeStream(reader: ByteReader, settings: ReadSettings, names: NamesFound): Description {
  const table = new StorageTable(settings.limits);
  const sources: TorchValue[] = [];
  const plain: PickleContext = torchContext(table, settings, RARE);
  if (readPickle(reader, plain, names) !== MAGIC) {
    names.refuseUnknown();
    throw new UnitcellError("CORRUPT", "the torch magic number is wrong");
  }
  const protocol = readPickle(reader, plain, names);
  if (protocol !== PROTOCOL_VERSION)
    throw new UnitcellError(
      "UNSUPPORTED",
      `legacy torch protocol ${typeof protocol === "number" ? protocol : describe(protocol)}; ${PROTOCOL_VERSION} is known`,
    );
  // What the writing host was like. The payload is little-endian whatever it says.
  const sysInfo = readPickle(reader, plain, names);
  const persistentId = (id: TorchValue) => resolve(id, table, sources);
  const root = readPickle(reader, torchContext(table, settings, RARE, persistentId), names);
  const keys = readPickle(reader, plain, names);
  if (!Array.isArray(keys)) throw new UnitcellError("CORRUPT", "the list of storage keys is not a list");
  return { root, sysInfo, sources, table, keys, end: reader.offset };
}

/** ('storage', class, key, location, numel, view) or ('module', class, source file, source text): the class as a value. */
function resolve(id: TorchValue, table: StorageTable, sources: TorchValue[]): TorchValue {
  const fields = Array.isArray(id) ? (id as readonly TorchValue[]) : [];
  if (fields[0] === "module" && fields.length === 4 && fields[1] instanceof PythonGlobal) {
    sources.push(Object.freeze(fields.slice(1)));
    return fields[1];
  }
  const storage = table.resolve(id, 6);
  return fields[5] === null ? storage : table.slice(storage, fields[5]);
}

/** Storages follow each other in the order of the keys, each behind its count. */
function placeStorages(table: StorageTable, keys: readonly TorchValue[], end: number): Map<Storage, number> {
  const starts = new Map<Storage, number>();
  let at = end;
  for (const listed of keys) {
    const key = String(typeof listed === "object" ? describe(listed) : listed);
    const storage = table.storages.get(key);
    if (!storage) throw new UnitcellError("CORRUPT", `storage "${key}" is in the file but in no tensor`, { key });
    if (starts.has(storage)) throw new UnitcellError("CORRUPT", `storage "${key}" is listed twice`, { key });
    starts.set(storage, at + COUNT_BYTES);
    at += COUNT_BYTES + storage.byteLength;
  }
  const missing = [...table.storages.values()].find((storage) => !starts.has(storage));
  if (missing) throw new UnitcellError("CORRUPT", `storage "${missing.key}" is not in the file`, { key: missing.key });
  return starts;
}

const COUNT_BYTES = 8;

/** The int64 element count before a storage must be the one the pickle described. */
function checkCount(bytes: Uint8Array, storage: Storage, start: number): void {
  const count = new ByteReader(bytes).u64();
  if (count !== storage.numel)
    throw new UnitcellError(
      "CORRUPT",
      `storage "${storage.key}" at byte ${start} has ${count} elements, the pickle describes ${storage.numel}`,
      { key: storage.key, found: count, expected: storage.numel },
    );
}

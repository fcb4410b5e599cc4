/** The zip container: one root folder with data.pkl, data/<key>, version, byteorder. Source: torch/serialization.py. */
import { ByteReader } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { type PickleValue, readPickle } from "./pickle.js";
import { StorageTable } from "./torch-storages.js";
import { type Storage, TensorTable } from "./torch-tensors.js";
import { torchGlobals } from "./torch-values.js";
import { openZip, type ZipArchive, type ZipEntry } from "./zip.js";

/** torch reads 1 to 10; a higher one may mean anything. */
const MAX_VERSION = 10;

/** Zips that are something else, by an entry that torch.save never writes. */
const OTHER_ZIPS: readonly [entry: RegExp, hint: string, what: string][] = [
  [/(^|\/)constants\.pkl$/, "torchscript", "a TorchScript archive (torch.jit.save); save model.state_dict() instead"],
  [/(^|\/)\.data\/extern_modules$/, "torch.package", "a torch.package archive"],
  [/(^|\/)archive_format$/, "pt2", "a torch.export archive (.pt2)"],
  [/^MAR-INF\//, "mar", "a TorchServe archive (.mar); unpack it and take the .pt inside"],
  [/^[^/]+\.npy$/, "npz", "a numpy .npz file"],
];

/** One torch zip: its records by name inside the root folder. */
class Records {
  private readonly archive: ZipArchive;
  private readonly root: string;

  constructor(archive: ZipArchive) {
    this.archive = archive;
    const names = [...archive.entries.keys()];
    for (const [entry, hint, what] of OTHER_ZIPS)
      if (names.some((name) => entry.test(name))) throw new UnitcellError("UNSUPPORTED", `this is ${what}`, { hint });
    this.root = `${(names[0] ?? "").split("/")[0]}/`;
    if (!archive.entries.has(`${this.root}data.pkl`))
      throw new UnitcellError("UNSUPPORTED", "this zip is not a torch checkpoint: there is no <folder>/data.pkl", {
        hint: "zip",
      });
    const outside = names.find((name) => !name.startsWith(this.root));
    if (outside !== undefined)
      throw new UnitcellError("CORRUPT", `zip entry "${outside}" is outside the root folder "${this.root}"`, {
        name: outside,
      });
  }

  find(name: string): ZipEntry | undefined {
    return this.archive.entries.get(this.root + name);
  }

  read(entry: ZipEntry): Uint8Array {
    return this.archive.read(entry);
  }

  /** A short text record. */
  text(name: string): string | undefined {
    const entry = this.find(name);
    if (!entry) return undefined;
    if (entry.size > 64)
      throw new UnitcellError("CORRUPT", `record "${name}" has ${entry.size} bytes, expected a word`);
    return new TextDecoder().decode(this.read(entry)).trim();
  }
}

/**
 * Read a torch zip held in memory.
 * @throws {UnitcellError} every code of openZip and readPickle; CORRUPT for absent or mis-sized records
 */
export async function readTorchZip(bytes: Uint8Array): Promise<PickleValue> {
  const records = new Records(await openZip(bytes));
  checkVersion(records);
  const bigEndian = isBigEndian(records);
  const tensors = new TensorTable();
  const table = new StorageTable(5);
  const reader = new ByteReader(records.read(records.find("data.pkl")!));
  const value = readPickle(reader, { globals: torchGlobals(tensors), persistentId: (id) => table.resolve(id) });
  if (reader.remaining > 0)
    throw new UnitcellError("CORRUPT", `${reader.remaining} bytes follow the pickle in data.pkl`, {
      offset: reader.offset,
    });
  // Sizes of all before bytes of any: a lie costs no inflating.
  const found = [...table.storages.values()].map((storage) => [storage, storageEntry(records, storage)] as const);
  for (const [storage, entry] of found) storage.bytes = records.read(entry);
  tensors.fill(bigEndian);
  return value;
}

/** torch refuses files without a version; older and renamed ones keep it in .data. */
function checkVersion(records: Records): void {
  const text = records.text("version") ?? records.text(".data/version");
  if (text === undefined) throw new UnitcellError("CORRUPT", 'record "version" is missing');
  const version = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (version < 1 || version > MAX_VERSION)
    throw new UnitcellError("UNSUPPORTED", `torch file version ${JSON.stringify(text)}; 1 to ${MAX_VERSION} are known`);
}

function isBigEndian(records: Records): boolean {
  const order = records.text("byteorder") ?? "little";
  if (order === "little" || order === "big") return order === "big";
  throw new UnitcellError("UNSUPPORTED", `byte order ${JSON.stringify(order)}; expected little or big`);
}

function storageEntry(records: Records, storage: Storage): ZipEntry {
  const name = `data/${storage.key}`;
  const entry = records.find(name);
  if (!entry) throw new UnitcellError("CORRUPT", `record "${name}" is missing`, { name });
  if (entry.size !== storage.byteLength)
    throw new UnitcellError(
      "CORRUPT",
      `record "${name}" has ${entry.size} bytes, the pickle describes ${storage.byteLength}`,
      { name, found: entry.size, expected: storage.byteLength },
    );
  return entry;
}

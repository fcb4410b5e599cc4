/**
 * The zip container: one root folder with data.pkl, data/<key>, version, byteorder. TorchScript archives are the same
 * with constants.pkl and code beside it. Source: torch/serialization.py, caffe2/serialize/inline_container.cc.
 */
import { ByteReader, type FileBytes } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { rare } from "../when-needed.js";
import { type Container, type ReadSettings, type StorageLoader, swapStorage } from "./container.js";
import { type NamesFound, readPickle, scanPickles } from "./pickle.js";
import { RareNeeded } from "./pickle-machine.js";
import { type Rare, torchContext } from "./torch-globals.js";
import { StorageTable } from "./torch-storages.js";
import type { Storage } from "./torch-tensors.js";
import type { TorchValue } from "./values.js";
import { openZip, type ZipArchive, type ZipEntry } from "./zip.js";

/** torch reads 1 to 10; a higher one may mean anything. */
const MAX_VERSION = 10;
/** Records that are a word or a number. */
const MAX_WORD_BYTES = 64;

/** One torch zip that has a data.pkl: its records by name inside the root folder. */
class Records {
  private readonly archive: ZipArchive;
  readonly root: string;
  /** data/<key> by key. */
  readonly storages = new Map<string, ZipEntry>();
  /** Pickles other than data.pkl: nothing here needs them, but they must not carry code either. */
  readonly otherPickles: ZipEntry[] = [];

  constructor(archive: ZipArchive) {
    this.archive = archive;
    this.root = rootOf(archive);
    const data = `${this.root}data/`;
    for (const [name, entry] of archive.entries) {
      if (!name.startsWith(this.root))
        throw new UnitcellError("CORRUPT", `zip entry "${name}" is outside the root folder "${this.root}"`, { name });
      if (name.startsWith(data)) this.storages.set(name.slice(data.length), entry);
      else if (/\.pkl$/i.test(name) && name !== `${this.root}data.pkl`) this.otherPickles.push(entry);
    }
  }

  get(name: string): ZipEntry | undefined {
    return this.archive.entries.get(this.root + name);
  }

  read(entries: readonly ZipEntry[]): Promise<Uint8Array[]> {
    return this.archive.read(entries);
  }

  readRange(entry: ZipEntry, start: number, end: number): Promise<Uint8Array | undefined> {
    return this.archive.readRange(entry, start, end);
  }
}

function rootOf({ entries }: ZipArchive): string {
  const [first = ""] = entries.keys();
  return `${first.split("/")[0]}/`;
}

/** Records that are a word, as texts; absent ones are left out. */
const WORDS = ["version", ".data/version", "byteorder"] as const;

interface SmallRecords {
  readonly words: ReadonlyMap<string, string>;
  readonly pickle: Uint8Array;
  readonly otherPickles: readonly Uint8Array[];
}

/** Everything but the storages, sizes first; one request where the file is far away and they lie together. */
async function readSmallRecords(records: Records, { limits }: ReadSettings): Promise<SmallRecords> {
  const words = WORDS.map((name) => records.get(name)).filter((entry) => entry !== undefined);
  for (const { name, size } of words)
    if (size > MAX_WORD_BYTES)
      throw new UnitcellError("CORRUPT", `record "${name}" has ${size} bytes, expected a word`, { name });
  const pickles = [records.get("data.pkl")!, ...records.otherPickles];
  for (const { name, size } of pickles)
    if (size > limits.pickleBytes)
      throw new UnitcellError("LIMIT", `record "${name}" has ${size} bytes, the limit is ${limits.pickleBytes}`, {
        name,
        size,
      });
  const [pickle, ...rest] = await records.read([...pickles, ...words]);
  const texts = rest.slice(pickles.length - 1).map((bytes) => new TextDecoder().decode(bytes).trim());
  return {
    words: new Map(words.map((entry, i) => [entry.name.slice(records.root.length), texts[i]])),
    pickle,
    otherPickles: rest.slice(0, pickles.length - 1),
  };
}

/**
 * Read directory and pickle of a torch zip.
 * @throws {UnitcellError} every code of openZip and readPickle; CORRUPT for absent or mis-sized records
 */
export async function openTorchZip(file: FileBytes, settings: ReadSettings, names: NamesFound): Promise<Container> {
  const archive = await openZip(file, settings);
  if (!archive.entries.has(`${rootOf(archive)}data.pkl`)) throw (await rare()).notTorchZip([...archive.entries.keys()]);
  const records = new Records(archive);
  const small = await readSmallRecords(records, settings);
  const { words } = small;
  const version = readVersion(words);
  const bigEndian = isBigEndian(words);
  const read = (rare?: Rare) => readPickles(small, records.root, settings, names, rare);
  const { root, table } = await withRare(read);
  const storages = [...table.storages.values()];
  const entries = new Map(storages.map((storage) => [storage, storageEntry(records, storage)]));
  return {
    format: records.get("constants.pkl") ? "torchscript" : "torch",
    root,
    storages,
    names,
    loader: new ZipStorages(records, entries, bigEndian),
    info: new Map<string, TorchValue>([
      ["root", records.root.slice(0, -1)],
      ["version", version],
      ["byteorder", bigEndian ? "big" : "little"],
    ]),
  };
}

/** Reads, and where the pickles ask for it reads again with what few pickles need. */
async function withRare<T>(read: (rare?: Rare) => T): Promise<T> {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RareNeeded)) throw error;
    return read((await rare()).RARE);
  }
}

function readPickles(
  { pickle, otherPickles }: SmallRecords,
  folder: string,
  settings: ReadSettings,
  names: NamesFound,
  rare: Rare | undefined,
): { root: TorchValue; table: StorageTable } {
  const table = new StorageTable(settings.limits);
  const context = torchContext(table, settings, rare, (id) => table.resolve(id));
  names.scanned = 0;
  for (const bytes of otherPickles) scanPickles(bytes, context, names);
  const reader = new ByteReader(pickle);
  const root = readPickle(reader, context, names, `${folder}data.pkl`);
  if (reader.remaining > 0) {
    scanPickles(pickle.subarray(reader.offset), context, names);
    names.refuseUnknown();
    throw new UnitcellError("CORRUPT", `${reader.remaining} bytes follow the pickle in data.pkl`, {
      name: "data.pkl",
      offset: reader.offset,
    });
  }
  return { root, table };
}

class ZipStorages implements StorageLoader {
  private readonly records: Records;
  private readonly entries: ReadonlyMap<Storage, ZipEntry>;
  private readonly bigEndian: boolean;
  /** The last storage that ranges were asked of and that can only be read whole. */
  private whole: { readonly storage: Storage; readonly bytes: Uint8Array } | undefined;

  constructor(records: Records, entries: ReadonlyMap<Storage, ZipEntry>, bigEndian: boolean) {
    this.records = records;
    this.entries = entries;
    this.bigEndian = bigEndian;
  }

  async load(storages: readonly Storage[]): Promise<Uint8Array[]> {
    const found = await this.records.read(storages.map((storage) => this.entries.get(storage)!));
    return this.bigEndian ? found.map((bytes, i) => swapStorage(bytes, storages[i])) : found;
  }

  async range(storage: Storage, start: number, end: number): Promise<Uint8Array> {
    const entry = this.entries.get(storage)!;
    const part = this.bigEndian ? undefined : await this.records.readRange(entry, start, end);
    if (part) return part;
    if (this.whole?.storage !== storage) this.whole = { storage, bytes: (await this.load([storage]))[0] };
    return this.whole.bytes.subarray(start, end);
  }
}

/** torch refuses files without a version; older and renamed ones keep it in .data. */
function readVersion(words: ReadonlyMap<string, string>): number {
  const text = words.get("version") ?? words.get(".data/version");
  if (text === undefined) throw new UnitcellError("CORRUPT", 'record "version" is missing', { name: "version" });
  const version = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (version < 1 || version > MAX_VERSION)
    throw new UnitcellError("UNSUPPORTED", `torch file version ${JSON.stringify(text)}; 1 to ${MAX_VERSION} are known`);
  return version;
}

function isBigEndian(words: ReadonlyMap<string, string>): boolean {
  const order = words.get("byteorder") ?? "little";
  if (order === "little" || order === "big") return order === "big";
  throw new UnitcellError("UNSUPPORTED", `byte order ${JSON.stringify(order)}; expected little or big`);
}

function storageEntry(records: Records, storage: Storage): ZipEntry {
  const entry = records.storages.get(storage.key);
  const name = `data/${storage.key}`;
  if (!entry) throw new UnitcellError("CORRUPT", `record "${name}" is missing`, { name });
  if (entry.size !== storage.byteLength)
    throw new UnitcellError(
      "CORRUPT",
      `record "${name}" has ${entry.size} bytes, the pickle describes ${storage.byteLength}`,
      { name, found: entry.size, expected: storage.byteLength },
    );
  return entry;
}

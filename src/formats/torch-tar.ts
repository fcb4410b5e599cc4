/**
 * The tar that torch wrote before 0.1.10: members sys_info, pickle, tensors, storages. Source: `legacy_load` in
 * torch/serialization.py. Members are found by walking the headers; nothing is ever unpacked.
 */
import { ByteReader, type FileBytes, type Range } from "../bytes.js";
import { CUT_SHORT, UnitcellError } from "../errors.js";
import type { Container, ReadSettings } from "./container.js";
import { TAR_BLOCK as BLOCK, isTar, octal } from "./magic.js";
import { type NamesFound, type PickleContext, readPickle } from "./pickle.js";
import { describe } from "./pickle-machine.js";
import { PlacedStorages } from "./placed-storages.js";
import { RARE } from "./rare-parts.js";
import { torchContext } from "./torch-globals.js";
import { StorageTable, sizeAt, storageDtype } from "./torch-storages.js";
import type { Storage, TorchTensor } from "./torch-tensors.js";
import { PythonGlobal, type TorchValue } from "./values.js";

const MEMBERS: ReadonlySet<string> = new Set(["sys_info", "pickle", "tensors", "storages"]);
/** A tar of torch has four members; others are not read, only walked. */
const MAX_MEMBERS = 64;

/**
 * Read a tar. Its pickles lie between the data, so a file that is not in memory is read whole.
 * @throws {UnitcellError} CORRUPT for members that are absent, cut, or contradict each other; every code of readPickle
 */
export async function openTorchTar(file: FileBytes, settings: ReadSettings, names: NamesFound): Promise<Container> {
  const { wholeFileBytes } = settings.limits;
  if (file.size > wholeFileBytes)
    throw new UnitcellError("LIMIT", `the tar has ${file.size} bytes, the limit is ${wholeFileBytes}`, {
      size: file.size,
    });
  const bytes = await file.read(0, file.size);
  const members = findMembers(bytes);
  const reader = new TarReader(bytes, members, settings, names);
  const starts = reader.readStorages();
  reader.readTensors();
  return {
    format: "torch-tar",
    root: reader.readRoot(),
    storages: [...starts.keys()],
    names,
    loader: new PlacedStorages(file, starts),
    info: new Map([["sources", reader.sources]]),
  };
}

/** Regular files of the archive by plain name; later ones of the same name are a second reading, so refused. */
function findMembers(bytes: Uint8Array): ReadonlyMap<string, Range> {
  const members = new Map<string, Range>();
  for (let at = 0; at + BLOCK <= bytes.length && bytes[at] !== 0; ) {
    const header = bytes.subarray(at, at + BLOCK);
    const size = octal(header.subarray(124, 136));
    if (!isTar(header) || size === undefined) throw corrupt(`no tar header at byte ${at}`, { offset: at });
    const name = new TextDecoder("latin1").decode(header.subarray(0, 100)).replace(/\0.*$/s, "");
    const start = at + BLOCK;
    if (start + size > bytes.length)
      throw corrupt(`tar member "${name}" ends at byte ${start + size}, the file has ${bytes.length}; ${CUT_SHORT}`, {
        name,
        hint: "truncated",
      });
    const plain = name.replace(/^\.\//, "");
    if (members.has(plain)) throw corrupt(`two tar members are named "${plain}"`, { name: plain });
    members.set(plain, { start, end: start + size });
    if (members.size > MAX_MEMBERS)
      throw new UnitcellError("LIMIT", `the tar has more than ${MAX_MEMBERS} members`, { limit: MAX_MEMBERS });
    at = start + Math.ceil(size / BLOCK) * BLOCK;
  }
  return members;
}

class TarReader {
  readonly sources: TorchValue[] = [];
  private readonly bytes: Uint8Array;
  private readonly members: ReadonlyMap<string, Range>;
  private readonly names: NamesFound;
  private readonly table: StorageTable;
  private readonly context: PickleContext;
  /** Storages and tensors by key: the pickle refers to both by number. */
  private readonly objects = new Map<string, Storage | TorchTensor>();

  constructor(bytes: Uint8Array, members: ReadonlyMap<string, Range>, settings: ReadSettings, names: NamesFound) {
    this.bytes = bytes;
    this.members = members;
    this.names = names;
    this.table = new StorageTable(settings.limits);
    this.context = torchContext(this.table, settings, RARE, (id) => this.resolve(id));
  }

  /** A count; per storage its (key, location, class), an int64 element count, the elements; then the list of views. */
  readStorages(): Map<Storage, number> {
    const [reader, base] = this.member("storages");
    const starts = new Map<Storage, number>();
    for (let left = this.count(reader); left > 0; left--) {
      const [key, location, type] = this.tuple(reader, 3, "a storage");
      const dtype = type instanceof PythonGlobal ? storageDtype(type.name) : undefined;
      if (!dtype) throw corrupt(`a storage has ${describe(type)} as class`);
      if (typeof location !== "string") throw corrupt(`a storage's location is ${describe(location)}`);
      const storage = this.table.add(keyOf(key), dtype, reader.u64(), location);
      if (starts.has(storage)) throw corrupt(`storage "${storage.key}" is listed twice`, { key: storage.key });
      starts.set(storage, base + reader.offset);
      reader.take(storage.byteLength);
      this.objects.set(storage.key, storage);
    }
    const views = this.pickle(reader);
    if (!Array.isArray(views)) throw corrupt("the list of storage views is not a list");
    for (const view of views) {
      if (!Array.isArray(view) || view.length !== 4) throw corrupt("a storage view has four fields");
      const root = this.table.storages.get(keyOf(view[1]));
      if (!root) throw corrupt(`a storage view is of "${keyOf(view[1])}", which is not there`);
      this.objects.set(keyOf(view[0]), this.table.slice(root, [view[0], view[2], view[3]]));
    }
    return starts;
  }

  /** A count; per tensor its (key, storage key, class), int32 dimensions, 4 ignored bytes, int64 sizes, strides, offset. */
  readTensors(): void {
    const [reader] = this.member("tensors");
    for (let left = this.count(reader); left > 0; left--) {
      const [key, storageKey] = this.tuple(reader, 3, "a tensor");
      const rank = reader.u32();
      reader.take(4);
      if (16 * rank > reader.remaining) throw corrupt(`tensor "${keyOf(key)}" has ${rank} dimensions`);
      const sizes = Array.from({ length: rank }, () => reader.u64());
      const strides = Array.from({ length: rank }, () => reader.u64());
      const storage = this.objects.get(keyOf(storageKey));
      this.objects.set(keyOf(key), this.table.view(storage, [reader.u64(), sizes, strides], 0));
    }
  }

  readRoot(): TorchValue {
    return this.pickle(this.member("pickle")[0]);
  }

  /** Decimal text: a tensor or storage; (class, source file, source text): the class as a value. */
  private resolve(id: TorchValue): TorchValue {
    if (Array.isArray(id) && id.length === 3 && id[0] instanceof PythonGlobal) {
      this.sources.push(id as readonly TorchValue[]);
      return id[0];
    }
    const object = this.objects.get(keyOf(id as TorchValue));
    if (!object) throw corrupt(`the pickle refers to ${describe(id)}, which is no tensor of the file`);
    return object;
  }

  private member(name: string): [reader: ByteReader, start: number] {
    const range = this.members.get(name);
    const known = [...this.members.keys()];
    if (!range && !known.some((member) => MEMBERS.has(member)))
      throw new UnitcellError(
        "UNSUPPORTED",
        `a tar archive, and not one that torch wrote; it holds ${known.slice(0, 5).join(", ")}: unpack it first`,
        { hint: "tar", members: known },
      );
    if (!range)
      throw new UnitcellError("CORRUPT", `the tar has no member "${name}"`, {
        name,
        members: known,
      });
    return [new ByteReader(this.bytes.subarray(range.start, range.end)), range.start];
  }

  private pickle(reader: ByteReader): TorchValue {
    return readPickle(reader, this.context, this.names);
  }

  private count(reader: ByteReader): number {
    return sizeAt([this.pickle(reader)], 0, "count");
  }

  private tuple(reader: ByteReader, length: number, what: string): readonly TorchValue[] {
    const value = this.pickle(reader);
    if (Array.isArray(value) && value.length === length) return value;
    throw corrupt(`${what} is described by ${describe(value)}, expected a tuple of ${length}`);
  }
}

function keyOf(value: TorchValue | undefined): string {
  if (typeof value === "string" || Number.isSafeInteger(value) || typeof value === "bigint") return String(value);
  throw corrupt(`a key is ${describe(value)}`);
}

function corrupt(message: string, detail: Record<string, unknown> = {}): UnitcellError {
  return new UnitcellError("CORRUPT", message, detail);
}

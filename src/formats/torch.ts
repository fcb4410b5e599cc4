/** torch.save files, and their relatives, as plain values: opened lazily, or loaded whole. */
import { FileBytes, type Input, type Limits, limitsOf } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import type { Tensor } from "../tensor.js";
import { rare } from "../when-needed.js";
import type { Container, ReadSettings, StorageLoader, TorchFormat } from "./container.js";
import { isSafetensors, isTar, isTorchLegacy, isZip } from "./magic.js";
import { NamesFound } from "./pickle.js";
import { extent, Storage, storedBytes, TorchTensor } from "./torch-tensors.js";
import { openTorchZip } from "./torch-zip.js";
import type { TorchValue } from "./values.js";
import { endsAsZip } from "./zip.js";

export type { TorchFormat } from "./container.js";

/** How a checkpoint is read: names outside the closed list, checksums, caps. */
export interface ReadOptions {
  /**
   * Names outside the closed list: "refuse" them (UNSAFE), or make "inert" PythonObjects of them, which do nothing. A list
   * names those that become inert; the others are refused. "my.Net" is a class, "my.Net.make" what getattr takes from
   * it: where the list has builtins.getattr, each attribute needs a name of its own.
   */
  readonly unknownClasses?: "refuse" | "inert" | readonly string[];
  /** false: CRC-32 values are not compared (torch itself never does). */
  readonly checkCrc?: boolean;
  readonly limits?: Partial<Limits>;
}

/** An opened file: everything but the bytes of its tensors, which are fetched when asked for. */
export class TorchFile {
  readonly format: TorchFormat;
  readonly size: number;
  /** What was saved. Its TorchTensors have no data before `load`. */
  readonly root: TorchValue;
  /** In order of first use. */
  readonly storages: readonly Storage[];
  /** Every class and function the file's pickles name, as written. */
  readonly globals: readonly string[];
  /** Those outside the closed list: what a Python program would import and run. */
  readonly unknownGlobals: readonly string[];
  /** Facts about the file that are no part of the value: version, byte order, metadata, source texts. */
  readonly info: ReadonlyMap<string, TorchValue>;
  private readonly file: FileBytes;
  private readonly loader: StorageLoader;
  private own: Set<Storage> | undefined;

  constructor(file: FileBytes, container: Container) {
    this.file = file;
    this.size = file.size;
    this.format = container.format;
    this.root = container.root;
    this.storages = container.storages;
    this.globals = [...container.names.globals];
    this.unknownGlobals = [...container.names.unknown];
    this.info = container.info;
    this.loader = container.loader;
  }

  /** Bytes fetched so far from an input that is not in memory. */
  get bytesRead(): number {
    return this.file.bytesRead;
  }

  /**
   * Load storages, checksums included: all of them, or those of the tensors given. What is loaded stays so.
   * @throws {UnitcellError} CORRUPT, LIMIT, MISMATCH as the container says
   */
  async load(tensors?: Iterable<Tensor>): Promise<void> {
    const wanted = new Set<Storage>();
    if (tensors) for (const tensor of tensors) wanted.add(this.storageOf(tensor));
    const missing = (tensors ? [...wanted] : this.storages).filter((storage) => !storage.bytes);
    const found = await this.loader.load(missing);
    // Where two loads ran at once the first bytes stay: tensors may look at them by now.
    for (const [i, storage] of missing.entries()) storage.bytes ??= found[i];
  }

  /**
   * A tensor's own bytes, row-major and little-endian, fetching no more of its storage than it covers; nothing is kept.
   * A part of a storage has no checksum to compare; `load` does compare.
   */
  async read(tensor: Tensor): Promise<Uint8Array> {
    const storage = this.storageOf(tensor);
    if (storage.bytes) return tensor.data;
    const { dtype, shape, strides, offset, conj, neg } = tensor as TorchTensor;
    const start = storedBytes(dtype, offset);
    const bytes = await this.readStorage(storage, start, start + storedBytes(dtype, extent(shape, strides)));
    const part = TorchTensor.over(new Storage(storage.key, undefined, bytes.length, storage.location, bytes), {
      dtype,
      shape,
      strides,
      offset: 0,
    });
    Object.assign(part, { conj, neg });
    return part.data;
  }

  /**
   * Bytes `start` to `end` of a storage, for tensors larger than memory.
   * @throws {UnitcellError} ARGUMENT outside the storage or for one of another file
   */
  async readStorage(storage: Storage, start: number, end: number): Promise<Uint8Array> {
    this.checkOwn(storage);
    if (!(start >= 0 && start <= end && end <= storage.byteLength))
      throw new UnitcellError(
        "ARGUMENT",
        `expected a part of the ${storage.byteLength} bytes of storage "${storage.key}", found ${start} to ${end}`,
        { key: storage.key, size: storage.byteLength, start, end },
      );
    return storage.bytes ? storage.bytes.subarray(start, end) : this.loader.range(storage, start, end);
  }

  private storageOf(tensor: Tensor): Storage {
    if (!(tensor instanceof TorchTensor && tensor.storage))
      throw new UnitcellError("ARGUMENT", "expected a tensor of this file that has data");
    this.checkOwn(tensor.storage);
    return tensor.storage;
  }

  private checkOwn(storage: Storage): void {
    this.own ??= new Set(this.storages);
    if (!this.own.has(storage)) throw new UnitcellError("ARGUMENT", `storage "${storage.key}" is of another file`);
  }
}

/**
 * Open a file without reading tensor data: a zip's directory and pickle, a legacy stream's pickles, a safetensors header.
 * Parts of an input that is not in memory are fetched by range, so that a file of gigabytes takes some hundred kB.
 * @throws {UnitcellError} UNSAFE when the file names code (detail.globals lists it; nothing was run), CORRUPT when it is
 *   damaged, UNSUPPORTED for other containers (detail.hint names them), LIMIT at a cap, ARGUMENT for an input or limit
 *   that is none
 */
export async function openTorch(input: Input, options: ReadOptions = {}): Promise<TorchFile> {
  const file = new FileBytes(input);
  await file.fetchSmall();
  const settings: ReadSettings = {
    limits: limitsOf(options.limits),
    checkCrc: options.checkCrc ?? true,
    inert: new Set(typeof options.unknownClasses === "object" ? options.unknownClasses : []),
  };
  const names = new NamesFound();
  const inert = options.unknownClasses === "inert";
  try {
    const container = await openContainer(file, settings, names);
    if (!inert) names.refuseUnknown();
    return new TorchFile(file, container);
  } catch (error) {
    // A file that breaks after naming code is an attack that would have run in Python by then: report the names.
    if (error instanceof UnitcellError && error.code !== "UNSAFE") names.refuseUnknown(error);
    throw error;
  }
}

/**
 * Read any file that torch.save wrote, whole. Tensors may be views of the input's memory, so do not change it afterwards.
 * @throws {UnitcellError} as openTorch, and CORRUPT for a wrong CRC-32
 */
export async function loadTorch(input: Input, options: ReadOptions = {}): Promise<TorchValue> {
  const file = await openTorch(input, options);
  await file.load();
  return file.root;
}

/** Enough of the start to tell every container. */
const HEAD_BYTES = 512;

/** What torch.save writes today is read at once; other containers bring code of their own, fetched when one is met. */
async function openContainer(file: FileBytes, settings: ReadSettings, names: NamesFound): Promise<Container> {
  const head = await file.read(0, Math.min(file.size, HEAD_BYTES));
  if (isZip(head)) return openTorchZip(file, settings, names);
  if (isTorchLegacy(head)) return (await rare()).openTorchLegacy(file, settings, names);
  if (isSafetensors(head)) return (await rare()).openSafetensors(file, settings, names);
  if (isTar(head)) return (await rare()).openTorchTar(file, settings, names);
  const bare = await (await rare()).openBarePickle(file, head, settings, names);
  if (bare) return bare;
  // A program or text may stand before an archive; torch refuses that, unpackers do not.
  if (await endsAsZip(file)) return openTorchZip(file, settings, names);
  throw (await rare()).notTorch(head, file.size);
}

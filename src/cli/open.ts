/** Checkpoints as the command line names them: files, addresses, folders and indices of several files, each as one. */
import { readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type ByteSource, DEFAULT_LIMITS, type Input } from "../bytes.js";
import { type Bundle, openBundle } from "../checkpoint/bundle.js";
import { isWeights } from "../checkpoint/file-names.js";
import { reworded, UnitcellError } from "../errors.js";
import { loadShards, parseShardIndex } from "../formats/shards.js";
import { openTorch, type ReadOptions, type TorchFile } from "../formats/torch.js";
import type { Storage } from "../formats/torch-tensors.js";
import { TorchTensor } from "../formats/torch-tensors.js";
import type { TorchValue } from "../formats/values.js";
import { fileSource } from "../stores/fs.js";
import { httpSource } from "../stores/http.js";
import type { Tensor } from "../tensor.js";
import { findCheckpointFiles } from "./checkpoint-files.js";

/** What the commands need of an opened file; several shards give it together. */
export type OpenedFile = Pick<
  TorchFile,
  "format" | "size" | "root" | "storages" | "globals" | "unknownGlobals" | "info" | "bytesRead" | "read" | "readStorage"
>;

/** One file on disk or on a server. */
export interface FilePart {
  readonly name: string;
  readonly source: Input;
  readonly file: TorchFile;
}

export interface OpenedCheckpoint {
  /** As the user named it. */
  readonly name: string;
  readonly file: OpenedFile;
  /** The files it lies in, in order, with their names for messages. */
  readonly parts: readonly FilePart[];
  /** What belongs to it beside it; undefined for shards. */
  readonly bundle: Bundle | undefined;
  /** The zip of other files that it lies in. */
  readonly zip: Input | undefined;
  close(): void;
}

/** What a folder is looked through for first, in this order; then for the files of one checkpoint. */
const IN_FOLDERS = [
  "model.safetensors.index.json",
  "pytorch_model.bin.index.json",
  "model.safetensors",
  "pytorch_model.bin",
];

/**
 * Open a checkpoint without reading its tensors.
 * @param name a file, a plain zip with one in it, an http(s) address, an index of shards (ending in .json), a folder with
 *   one of these
 * @param options.beside of a file, also take the settings that lie beside it, as predict does
 * @throws {UnitcellError} as openTorch, with the name in front of the message
 */
export async function openCheckpoint(
  name: string,
  { beside = false, ...options }: ReadOptions & { beside?: boolean },
): Promise<OpenedCheckpoint> {
  const opener = new Opener(options);
  try {
    const places = isAddress(name) ? [name] : placesOf(name, beside);
    const isShards = places[0].endsWith(".index.json");
    const bundle = isShards ? undefined : await opener.bundle(places);
    const file = bundle ? bundle.torch : await opener.shards(places[0]);
    const { parts, zip } = opener;
    return { name, file, parts, bundle, zip, close: () => opener.close() };
  } catch (error) {
    opener.close();
    throw named(name, error);
  }
}

/** Puts the file's name before an error's message. */
export function named(name: string, error: unknown): unknown {
  if (!(error instanceof UnitcellError) || error.message.includes(name)) return error;
  return reworded(error, `${name}: ${error.message}`);
}

function isAddress(name: string): boolean {
  return /^https?:\/\//i.test(name);
}

/** The files to open: the path itself, with what belongs to it `beside` it or without, or what a folder holds. */
function placesOf(path: string, beside: boolean): string[] {
  if (!statOf(path)?.isDirectory())
    return beside && !path.endsWith(".index.json") ? [...findCheckpointFiles(path).values()] : [path];
  const found = IN_FOLDERS.map((name) => join(path, name)).find(statOf);
  if (found) return [found];
  if (readdirSync(path).some(isWeights)) return [...findCheckpointFiles(path).values()];
  throw new UnitcellError(
    "NOT_FOUND",
    `the folder ${path} holds none of ${IN_FOLDERS.join(", ")} and no .pt, .pth, .ckpt or .safetensors; name the file`,
  );
}

/** Whether a path is a folder that is not one checkpoint, nor the files of one: each in it is then a checkpoint of its own. */
export function holdsSeveral(path: string): boolean {
  if (isAddress(path)) return false;
  try {
    if (!statOf(path)?.isDirectory()) return false;
    placesOf(path, false);
    return false;
  } catch (error) {
    if (!(error instanceof UnitcellError)) throw error;
    return error.code !== "BACKEND";
  }
}

/** undefined for what is not there. @throws {UnitcellError} BACKEND for what cannot be looked at */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw new UnitcellError("BACKEND", `cannot read ${path}: ${(error as Error).message}`, { path }, { cause: error });
  }
}

/** Opens files and remembers them, to close them. */
class Opener {
  readonly parts: FilePart[] = [];
  /** What the bundle was opened from, where that is a zip. */
  zip: Input | undefined;
  private readonly options: ReadOptions;
  private readonly closing: (() => void)[] = [];

  constructor(options: ReadOptions) {
    this.options = options;
  }

  /** @param places the state dict's file, and what belongs to it */
  async bundle(places: readonly string[]): Promise<Bundle> {
    const files = new Map<string, Input>();
    for (const place of places) files.set(basename(place), await this.source(place));
    const [first] = files.values();
    const bundle = await openBundle(places.length > 1 ? files : first, this.options);
    if (bundle.input !== first) this.zip = first;
    this.parts.push({ name: bundle.name ?? basename(places[0]), source: bundle.input, file: bundle.torch });
    return bundle;
  }

  async shards(place: string): Promise<ShardedFile> {
    const index = parseShardIndex(await readIndex(place));
    const tensors = await loadShards(
      index,
      (shard) => this.source(beside(place, shard)),
      async (input, shard) => {
        const source = input as ByteSource;
        const file = await openTorch(source, this.options).catch((error) => {
          throw named(shard, error);
        });
        this.parts.push({ name: shard, source, file });
        return shardTensors(file, shard);
      },
    );
    return new ShardedFile(
      this.parts.map(({ file }) => file),
      tensors,
    );
  }

  close(): void {
    for (const close of this.closing) close();
  }

  private async source(place: string): Promise<ByteSource> {
    if (isAddress(place)) return httpSource(place);
    const source = fileSource(place);
    this.closing.push(() => source.close());
    return source;
  }
}

/** An index is small, and read whole. */
async function readIndex(place: string): Promise<Uint8Array> {
  if (isAddress(place)) {
    const source = await httpSource(place, { wholeFileBytes: DEFAULT_LIMITS.headerBytes });
    if (source.size > DEFAULT_LIMITS.headerBytes) throw new UnitcellError("LIMIT", `an index of ${source.size} bytes`);
    return source.read(0, source.size);
  }
  const size = statSync(place, { throwIfNoEntry: false })?.size;
  if (size === undefined) throw new UnitcellError("NOT_FOUND", `no file ${place}`);
  if (size > DEFAULT_LIMITS.headerBytes) throw new UnitcellError("LIMIT", `an index of ${size} bytes`);
  return readFileSync(place);
}

function beside(place: string, shard: string): string {
  return isAddress(place) ? new URL(encodeURIComponent(shard), place).href : join(dirname(place), shard);
}

function shardTensors(file: TorchFile, shard: string): ReadonlyMap<string, Tensor> {
  const { root } = file;
  const isTensors =
    root instanceof Map && [...root].every(([name, value]) => typeof name === "string" && value instanceof TorchTensor);
  if (isTensors) return root as unknown as Map<string, Tensor>;
  throw new UnitcellError("MISMATCH", `shard ${shard} is no dict of named tensors`, { shard });
}

/** Several files as one state dict. */
class ShardedFile implements OpenedFile {
  readonly root: TorchValue;
  readonly storages: readonly Storage[];
  readonly globals: readonly string[];
  readonly unknownGlobals: readonly string[];
  readonly info: ReadonlyMap<string, TorchValue>;
  private readonly files: readonly TorchFile[];
  private readonly owners = new Map<Storage, TorchFile>();

  constructor(files: readonly TorchFile[], tensors: ReadonlyMap<string, Tensor>) {
    this.files = files;
    this.root = tensors as unknown as TorchValue;
    for (const file of files) for (const storage of file.storages) this.owners.set(storage, file);
    this.storages = [...this.owners.keys()];
    this.globals = [...new Set(files.flatMap((file) => file.globals))];
    this.unknownGlobals = [...new Set(files.flatMap((file) => file.unknownGlobals))];
    this.info = new Map<string, TorchValue>([["shards", files.length], ...(files[0]?.info ?? [])]);
  }

  get format(): TorchFile["format"] {
    return this.files[0]?.format ?? "torch";
  }

  get size(): number {
    return this.files.reduce((sum, { size }) => sum + size, 0);
  }

  get bytesRead(): number {
    return this.files.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  }

  read(tensor: Tensor): Promise<Uint8Array> {
    return this.owner((tensor as TorchTensor).storage).read(tensor);
  }

  readStorage(storage: Storage, start: number, end: number): Promise<Uint8Array> {
    return this.owner(storage).readStorage(storage, start, end);
  }

  private owner(storage: Storage | undefined): TorchFile {
    const file = storage && this.owners.get(storage);
    if (!file) throw new UnitcellError("ARGUMENT", "expected a tensor of one of the shards that has data");
    return file;
  }
}

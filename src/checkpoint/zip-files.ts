/** A plain zip, such as a downloaded model, as the files in it: read where they lie, or inflated when they are needed. */
import { type ByteSource, FileBytes, type Input, type Limits, limitsOf } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { quoted } from "../formats/json-scanner.js";
import type { ReadOptions } from "../formats/torch.js";
import { endsAsZip, openZip, type ZipArchive, type ZipEntry } from "../formats/zip.js";
import { isBundleFile, isWeights } from "./file-names.js";

/** What makes a zip a container of its own: torch's (also one that was unpacked and packed again), TorchServe's. */
const CONTAINER = /(^|\/)(data\.pkl$|MAR-INF\/)/;

/** The files of a zip by their names without folders, those that belong to no checkpoint left out. */
export class ZipFiles extends Map<string, Input> {
  /** For what is inside: inflating it again is held to the size of the outer file, not of the inflated one. */
  readonly limits: Partial<Limits>;

  constructor(entries: Iterable<[string, ZippedFile]>, limits: Partial<Limits>) {
    super(entries);
    this.limits = limits;
  }
}

/**
 * The files of a zip that is no container itself; undefined for anything else, and for a zip without a checkpoint.
 * @throws {UnitcellError} as openZip (bombs, names that leave the folder); UNSUPPORTED for two files of one name
 */
export async function openZipFiles(input: Input, options: ReadOptions): Promise<ZipFiles | undefined> {
  const file = new FileBytes(input);
  if (!(await endsAsZip(file))) return undefined;
  const limits = limitsOf(options.limits);
  const archive = await openZip(file, { limits, checkCrc: options.checkCrc ?? true });
  const paths = [...archive.entries.keys()];
  if (paths.some((path) => CONTAINER.test(path))) return undefined;
  const found = new Map<string, ZippedFile>();
  for (const [path, entry] of archive.entries) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    // macOS packs a shadow of every file beside it.
    if (!isBundleFile(name) || name.startsWith("._") || path.startsWith("__MACOSX/")) continue;
    const other = found.get(name);
    if (other)
      throw new UnitcellError(
        "UNSUPPORTED",
        `the zip has two files ${quoted(name)}: ${quoted(other.path)} and ${quoted(path)}; unpack it and open the one you need`,
        { name, paths: [other.path, path] },
      );
    found.set(name, new ZippedFile(file, archive, entry));
  }
  if (![...found.keys()].some(isWeights)) return undefined;
  const inflateFloorBytes = Math.max(limits.inflateFloorBytes, limits.inflateRatio * file.size);
  return new ZipFiles(found, { ...options.limits, inflateFloorBytes, inflateRatio: 0 });
}

/** One file of a zip. */
export class ZippedFile implements ByteSource {
  readonly path: string;
  readonly size: number;
  private readonly file: FileBytes;
  private readonly archive: ZipArchive;
  private readonly entry: ZipEntry;
  private inflated: Promise<Uint8Array[]> | undefined;

  constructor(file: FileBytes, archive: ZipArchive, entry: ZipEntry) {
    this.path = entry.name;
    this.size = entry.size;
    this.file = file;
    this.archive = archive;
    this.entry = entry;
  }

  /** The whole file, its CRC-32 compared, where that costs no fetching of parts that may not be needed; else itself. */
  async settle(): Promise<Input> {
    return this.entry.method === 8 || this.file.memory ? this.whole() : this;
  }

  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> } {
    return { arrayBuffer: async () => (await this.read(start, end)).slice().buffer as ArrayBuffer };
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    const part = await this.archive.readRange(this.entry, start, end);
    return part ?? (await this.whole()).subarray(start, end);
  }

  private async whole(): Promise<Uint8Array> {
    this.inflated ??= this.archive.read([this.entry]);
    return (await this.inflated)[0];
  }
}

/** A checkpoint and the files that belong to it, opened without reading tensors: one file, a set of files, or a plain zip. */
import type { Input } from "../bytes.js";
import { isUnitcellError, reworded } from "../errors.js";
import { openTorch, type ReadOptions, type TorchFile } from "../formats/torch.js";
import { CONFIG, companionsOf, stateDictFile } from "./file-names.js";
import { readSettings, type Settings } from "./settings.js";
import { openZipFiles, ZipFiles, ZippedFile } from "./zip-files.js";

/** Files that belong together, by name without folders: a folder's, or those inside a plain zip. */
export type CheckpointFiles = ReadonlyMap<string, Input>;

/** A file beside a state dict that says more about it. */
export interface Companion {
  readonly name: string;
  readonly bytes: number;
}

export interface Bundle {
  /** The state dict's file. */
  readonly torch: TorchFile;
  readonly input: Input;
  /** Its name; undefined for a single file, which came without. */
  readonly name: string | undefined;
  readonly companions: readonly Companion[];
  /**
   * What these say, beyond the state dict's file: nothing where that has args of its own and only a config.json is beside
   * it. They are not read before.
   * @throws {UnitcellError} as readSettings
   */
  settings(own: Settings["args"], unknownClasses?: ReadOptions["unknownClasses"]): Promise<Settings>;
}

/**
 * Open a checkpoint.
 * @throws {UnitcellError} as openTorch, stateDictFile and openZipFiles; errors of a file in a bundle begin with its name
 */
export async function openBundle(input: Input | CheckpointFiles, options: ReadOptions): Promise<Bundle> {
  if (isFiles(input)) return openFiles(input, options);
  let zipped: unknown;
  try {
    return alone(await openTorch(input, options), input);
  } catch (error) {
    if (!isOtherZip(error)) throw error;
    zipped = error;
  }
  const files = await openZipFiles(input, options);
  // What openTorch says of a zip without a checkpoint names what it is.
  if (!files) throw zipped;
  return openFiles(files, options);
}

/** By tag and not instanceof, as inputs are. */
function isFiles(input: Input | CheckpointFiles): input is CheckpointFiles {
  return Object.prototype.toString.call(input) === "[object Map]";
}

function isOtherZip(error: unknown): boolean {
  return isUnitcellError(error, "UNSUPPORTED") && error.detail.hint === "zip";
}

function alone(torch: TorchFile, input: Input): Bundle {
  return { torch, input, name: undefined, companions: [], settings: async () => ({}) };
}

async function openFiles(files: CheckpointFiles, options: ReadOptions): Promise<Bundle> {
  const name = stateDictFile([...files.keys()]);
  const isZip = files instanceof ZipFiles;
  const inside = isZip ? { ...options, limits: files.limits } : options;
  const settle = async (file: string) => {
    const input = files.get(file)!;
    return input instanceof ZippedFile ? input.settle() : input;
  };
  const beside = companionsOf(name).filter((companion) => files.has(companion));
  try {
    const input = await settle(name);
    return {
      torch: await openTorch(input, inside),
      input,
      name,
      companions: beside.map((companion) => ({ name: companion, bytes: sizeOf(files.get(companion)!) })),
      settings: async (own, unknownClasses = options.unknownClasses) => {
        if (own && beside.every((companion) => companion === CONFIG)) return {};
        const inputs = new Map<string, Input>();
        for (const companion of beside) inputs.set(companion, await settle(companion));
        return readSettings(inputs, { ...inside, ...(unknownClasses && { unknownClasses }) });
      },
    };
  } catch (error) {
    // A zip has its own settings in it, and there are no further zips in one.
    if (isOtherZip(error) && !isZip) {
      const zipped = await openBundle(files.get(name)!, options);
      return { ...zipped, name: zipped.name ?? name };
    }
    const isAlone = files.size === 1 && !isZip;
    if (!isUnitcellError(error) || isAlone || error.message.includes(name)) throw error;
    throw reworded(error, `${name}: ${error.message}`);
  }
}

function sizeOf(input: Input): number {
  return "size" in input ? input.size : input.byteLength;
}

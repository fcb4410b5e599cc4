/** A checkpoint of several files: a folder's, or those in a plain zip. */
import type { Input } from "../bytes.js";
import { isUnitcellError, reworded } from "../errors.js";
import { openTorch, type ReadOptions } from "../formats/torch.js";
import { type Bundle, type CheckpointFiles, isOtherZip, openBundle } from "./bundle.js";
import { CONFIG, companionsOf, stateDictFile } from "./file-names.js";
import { readSettings } from "./settings.js";
import { ZipFiles, ZippedFile } from "./zip-files.js";

/** @throws {UnitcellError} as openBundle */
export async function openFiles(files: CheckpointFiles, options: ReadOptions): Promise<Bundle> {
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

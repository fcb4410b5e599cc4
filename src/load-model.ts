/** From a checkpoint's file to a model that knows which file it is from. */
import { FileBytes, type Input, limitsOf } from "./bytes.js";
import { type CheckpointFiles, openTrained, readCheckpoint } from "./checkpoint.js";
import { UnitcellError } from "./errors.js";
import type { ReadOptions } from "./formats/torch.js";
import { withoutWrapperPrefixes } from "./load-report.js";
import { buildModel } from "./models/build-model.js";
import type { Model, ModelOptions } from "./models/model.js";
import { recognize } from "./models/recognize.js";
import { sha256 } from "./sha256.js";

/**
 * The model that a checkpoint holds, with the SHA-256 of the state dict's file and a name: options.name, or that of a
 * File, of an open file of unitcell/fs, or of the state dict's file among several.
 * @param input as for loadCheckpoint
 * @throws {UnitcellError} as loadCheckpoint and modelFromCheckpoint; LIMIT for a file beyond limits.wholeFileBytes, which
 *   could not be hashed
 */
export async function loadModel(
  input: Input | CheckpointFiles,
  options: ModelOptions & ReadOptions = {},
): Promise<Model> {
  const bundle = await openTrained(input, options);
  const checkpoint = await readCheckpoint(bundle);
  const stateDict = withoutWrapperPrefixes(checkpoint.stateDict);
  const architecture = await recognize(stateDict, [...checkpoint.stateDict.keys()]).load();
  const recognized = architecture.readConfig(stateDict, checkpoint, options.graph ?? {});
  const name = options.name ?? nameOf(input) ?? bundle.name;
  return buildModel(architecture, checkpoint, recognized, {
    ...options,
    sha256: options.sha256 ?? (await hashOf(bundle.input, limitsOf(options.limits).wholeFileBytes)),
    ...(name !== undefined && { name }),
  });
}

async function hashOf(input: Input, limit: number): Promise<string> {
  const bytes = new FileBytes(input);
  const { size } = bytes;
  if (size > limit)
    throw new UnitcellError("LIMIT", `the checkpoint has ${size} bytes, the limit is ${limit}`, { size, limit });
  return sha256(await bytes.read(0, size));
}

/** The last part of a File's name or an open file's path. */
function nameOf(input: Input | CheckpointFiles): string | undefined {
  const { name, path } = input as { name?: unknown; path?: unknown };
  const known = [name, path].find((one) => typeof one === "string" && one !== "") as string | undefined;
  return known?.split(/[\\/]/).at(-1);
}

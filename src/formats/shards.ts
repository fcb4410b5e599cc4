/**
 * Checkpoints in several files with an index beside them, as Hugging Face tools write them: `model.safetensors.index.json`
 * or `pytorch_model.bin.index.json`, {"metadata": {"total_size": bytes}, "weight_map": {tensor name: file name}}.
 */
import { DEFAULT_LIMITS, type Input, type Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { JsonScanner, quoted } from "./json-scanner.js";

/** Which file of a checkpoint in several has which tensor, as model.safetensors.index.json says. */
export interface ShardIndex {
  /** Which file each tensor is in, in the index's order. File names are plain names: no folder, no "..". */
  readonly weightMap: ReadonlyMap<string, string>;
  /** What the writer counted, bytes; nothing relies on it. */
  readonly totalSize: number | undefined;
}

/**
 * Reads an index.
 * @param bytes the whole JSON file
 * @throws {UnitcellError} CORRUPT when it is no such index or a file name could leave its folder, LIMIT above
 *   Limits.headerBytes
 */
export function parseShardIndex(bytes: Uint8Array, limits: Limits = DEFAULT_LIMITS): ShardIndex {
  if (bytes.byteLength > limits.headerBytes)
    throw new UnitcellError("LIMIT", `a shard index of ${bytes.byteLength} bytes, the limit is ${limits.headerBytes}`, {
      size: bytes.byteLength,
      limit: limits.headerBytes,
    });
  const json = new JsonScanner(bytes, "the shard index");
  let weightMap: Map<string, string> | undefined;
  let totalSize: number | undefined;
  json.object((key) => {
    if (key === "weight_map") weightMap = readWeightMap(json);
    else if (key === "metadata" && json.peek() === "{")
      json.object((name) => {
        // Some tools write it as 1.5e9, some as text.
        if (name === "total_size" && json.peek() !== '"') totalSize = json.number();
        else json.skip();
      });
    else json.skip();
  });
  json.end();
  if (!weightMap) throw new UnitcellError("CORRUPT", 'the shard index has no "weight_map"');
  return { weightMap, totalSize };
}

function readWeightMap(json: JsonScanner): Map<string, string> {
  const weightMap = new Map<string, string>();
  json.object((name) => {
    const file = json.string();
    if (!isPlainName(file))
      throw new UnitcellError(
        "CORRUPT",
        `the shard index puts tensor ${quoted(name)} in ${quoted(file)}, which is no plain file name`,
        {
          name,
          file,
        },
      );
    weightMap.set(name, file);
  });
  return weightMap;
}

/** True for a name that stays in its folder on every system: no separator, drive, NUL, or name of dots (and spaces, which Windows drops). */
function isPlainName(file: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  return !/[/\\:\u0000-\u001f]/.test(file) && !/^[. ]*$/.test(file);
}

/**
 * Brings the shards of an index together: one tensor per name of the index, in its order. Shards are opened one after
 * another; whether `load` reads whole files or only headers is its own affair.
 * @param open the shard of this name; a failure to open becomes NOT_FOUND
 * @param load the tensors of a shard, by name: all of them and nothing else
 * @throws {UnitcellError} NOT_FOUND for a missing shard, MISMATCH when a shard and the index list different tensors
 */
export async function loadShards<T>(
  index: ShardIndex,
  open: (file: string) => Promise<Input>,
  load: (input: Input, file: string) => Promise<ReadonlyMap<string, T>>,
): Promise<Map<string, T>> {
  const { weightMap } = index;
  const shards = new Map<string, ReadonlyMap<string, T>>();
  for (const file of new Set(weightMap.values())) {
    const tensors = await load(await openShard(open, file), file);
    for (const name of tensors.keys()) {
      const listed = weightMap.get(name);
      if (listed !== file)
        throw new UnitcellError(
          "MISMATCH",
          `shard ${quoted(file)} holds tensor ${quoted(name)}, which the index ${listed ? `puts in ${quoted(listed)}` : "does not list"}`,
          { name, file, listed },
        );
    }
    shards.set(file, tensors);
  }
  const all = new Map<string, T>();
  for (const [name, file] of weightMap) {
    const shard = shards.get(file)!;
    if (!shard.has(name))
      throw new UnitcellError(
        "MISMATCH",
        `the index puts tensor ${quoted(name)} in shard ${quoted(file)}, which lacks it`,
        {
          name,
          file,
        },
      );
    all.set(name, shard.get(name)!);
  }
  return all;
}

async function openShard(open: (file: string) => Promise<Input>, file: string): Promise<Input> {
  try {
    return await open(file);
  } catch (cause) {
    if (cause instanceof UnitcellError) throw cause;
    throw new UnitcellError("NOT_FOUND", `shard ${quoted(file)} of the index could not be opened`, { file }, { cause });
  }
}

/** The file of cached predictions. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { reworded, UnitcellError } from "../errors.js";
import { PredictionCache } from "../prediction-cache.js";
import { fileSink } from "../stores/fs.js";

/**
 * What the file holds; empty where there is none yet.
 * @throws {UnitcellError} as PredictionCache.load, with the path; NOT_FOUND where the file could not be made, so that this
 *   is known before the work and not after it
 */
export async function openCache(path: string): Promise<PredictionCache> {
  if (!existsSync(path)) {
    if (!statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory())
      throw new UnitcellError("NOT_FOUND", `no folder ${dirname(path)} for the cache`);
    return PredictionCache.load();
  }
  try {
    return await PredictionCache.load(readFileSync(path));
  } catch (error) {
    if (error instanceof UnitcellError) throw reworded(error, `${path}: ${error.message}; it is left as it is`);
    throw new UnitcellError("CORRUPT", `cannot read ${path}: ${(error as Error).message}`, {}, { cause: error });
  }
}

/** Writes the file anew when something was added. @throws {UnitcellError} as fileSink; the former file is kept then */
export async function saveCache(cache: PredictionCache, path: string): Promise<void> {
  if (cache.added === 0) return;
  const sink = fileSink(path);
  try {
    sink.write(cache.save());
    await sink.close();
  } catch (error) {
    sink.abort();
    throw error;
  }
}

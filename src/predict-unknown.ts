import { isUnitcellError } from "./errors.js";
import type { FailedPrediction, Prediction } from "./prediction.js";
import type { PredictionCache } from "./prediction-cache.js";
import { predictionKey } from "./prediction-key.js";
import { checkStructure, type Structure, type UnreadStructure } from "./structures/structure.js";

/** Structures that run together. */
export type Chunk = readonly (Structure | UnreadStructure)[];

/** As `run`, for what the cache does not have. Failures are not stored, nor what ran elsewhere than it was to. */
export async function predictUnknown(
  cache: PredictionCache,
  recipe: string,
  chunk: Chunk,
  run: (chunk: Chunk) => Promise<(Prediction | FailedPrediction)[]>,
): Promise<(Prediction | FailedPrediction)[]> {
  const keys = await Promise.all(chunk.map((structure) => keyOf(recipe, structure)));
  const known = keys.map((key) => (key === undefined ? undefined : cache.get(key)));
  const unknown = chunk.filter((_, i) => !known[i]);
  const records = unknown.length ? await run(unknown) : [];
  let next = 0;
  return chunk.map(({ id }, i) => {
    const hit = known[i];
    if (hit) {
      const { schema, id: _, ...rest } = hit;
      return { schema, ...(id !== undefined && { id }), ...rest, cached: true };
    }
    const key = keys[i];
    const record = records[next++];
    if (key !== undefined && isLasting(record)) cache.set(key, record);
    return record;
  });
}

/** Whether it would be the same again. */
function isLasting(record: Prediction | FailedPrediction): record is Prediction {
  return !("error" in record) && record.warnings.every(({ code }) => code !== "backend-failed");
}

/** None for what can give no prediction. */
async function keyOf(recipe: string, structure: Structure | UnreadStructure): Promise<string | undefined> {
  if ("error" in structure) return undefined;
  try {
    checkStructure(structure);
  } catch (error) {
    if (isUnitcellError(error)) return undefined;
    throw error;
  }
  return predictionKey(recipe, structure);
}

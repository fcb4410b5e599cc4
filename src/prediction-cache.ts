import type { Input } from "./bytes.js";
import { UnitcellError } from "./errors.js";
import { loadTorch } from "./formats/torch.js";
import { saveTorch } from "./formats/torch-save.js";
import { Float, type TorchValue } from "./formats/values.js";
import type { Prediction } from "./prediction.js";
import { predictionFromValue, predictionToValue } from "./record-values.js";
import { VERSION } from "./version.js";

/** What the file calls itself. */
const FORMAT = "unitcell.predictions";
/** Changes when a reader of the former could not read the new. */
const FORMAT_VERSION = 1;

/**
 * Dicts, lists, their keys and items in all records together: 12,000 records of three models, 25,000 of one. The file
 * then stays within the limits of what loadTorch reads (4 opcodes for each of these), and loads in a few seconds.
 */
const MAX_VALUES = 1_000_000;

/** Bounds of a cache's file as it is read. */
export interface CacheOptions {
  /** Dicts, lists, keys and items that all records together may have; by default a million. */
  maxValues?: number;
}

/**
 * Predictions already made, for the `cache` of predict and predictStream. A key stands for all that a record depends on,
 * so entries are never out of date. When it is full, records that were neither asked for nor added since it was loaded
 * make room, the longest unused first; where all were, new ones are not stored, so that the next run finds the others.
 *
 * Its file is one that PyTorch reads, `torch.load("ensemble_predictions.pt", weights_only=True)`:
 *   {"format": "unitcell.predictions", "version": 1, "unitcell": the version that wrote it,
 *    "records": {key: record as a dict}, "table": {"id": [...], "formula": [...], "value": [...], "std": [...], "unit": [...]}}
 * The table says again what the records say, for a look at them with pandas; it is not read back.
 */
export class PredictionCache {
  /** Longest unused first. */
  readonly #records = new Map<string, Prediction>();
  readonly #used = new Set<string>();
  readonly #maxValues: number;
  #values = 0;
  #added = 0;
  #refused = 0;

  private constructor({ maxValues = MAX_VALUES }: CacheOptions) {
    this.#maxValues = maxValues;
  }

  /**
   * @param input a file that `save` gave; without it the cache is empty
   * @throws {UnitcellError} as loadTorch; UNSUPPORTED for a file of something else or of another version; CORRUPT for
   *   records that are none
   */
  static async load(input?: Input, options: CacheOptions = {}): Promise<PredictionCache> {
    const cache = new PredictionCache(options);
    if (!input) return cache;
    for (const [key, value] of recordsOf(await loadTorch(input))) {
      if (typeof key !== "string" || !/^[0-9a-f]{64}$/.test(key))
        throw new UnitcellError("CORRUPT", `cached predictions: key ${JSON.stringify(String(key))} is no SHA-256`);
      cache.#put(key, predictionFromValue(value, `record ${key.slice(0, 8)}`));
    }
    return cache;
  }

  /** Records in it. */
  get size(): number {
    return this.#records.size;
  }

  /** Records stored since it was loaded, those stored again not counted. */
  get added(): number {
    return this.#added;
  }

  /** Records for which there was no room. */
  get refused(): number {
    return this.#refused;
  }

  get(key: string): Prediction | undefined {
    const record = this.#records.get(key);
    if (!record) return undefined;
    this.#used.add(key);
    this.#records.delete(key);
    this.#records.set(key, record);
    return record;
  }

  set(key: string, record: Prediction): void {
    const isNew = !this.#records.has(key);
    this.#drop(key);
    const needed = countValues(record);
    for (const oldest of this.#records.keys()) {
      if (this.#values + needed <= this.#maxValues || this.#used.has(oldest)) break;
      this.#drop(oldest);
    }
    if (this.#values + needed > this.#maxValues) {
      this.#refused++;
      return;
    }
    this.#put(key, record);
    this.#used.add(key);
    if (isNew) this.#added++;
  }

  /** The file's bytes. */
  save(): Uint8Array {
    const records = [...this.#records.values()];
    const column = (cell: (record: Prediction) => TorchValue) => records.map(cell);
    const table = new Map<TorchValue, TorchValue>([
      ["id", column(({ id }) => id ?? null)],
      ["formula", column(({ formula }) => formula)],
      ["value", column(({ value }) => new Float(value))],
      ["std", column(({ std }) => (std === undefined ? null : new Float(std)))],
      ["unit", column(({ unit }) => unit ?? null)],
    ]);
    return saveTorch(
      new Map<TorchValue, TorchValue>([
        ["format", FORMAT],
        ["version", FORMAT_VERSION],
        ["unitcell", VERSION],
        ["records", new Map(Array.from(this.#records, ([key, record]) => [key, predictionToValue(record)]))],
        ["table", table],
      ]),
    );
  }

  #put(key: string, record: Prediction): void {
    this.#records.set(key, record);
    this.#values += countValues(record);
  }

  #drop(key: string): void {
    const record = this.#records.get(key);
    if (!record) return;
    this.#records.delete(key);
    this.#values -= countValues(record);
  }
}

/** The records of a file, still unchecked. */
function recordsOf(root: TorchValue): Map<TorchValue, TorchValue> {
  const format = root instanceof Map ? root.get("format") : undefined;
  if (!(root instanceof Map) || format !== FORMAT)
    throw new UnitcellError(
      "UNSUPPORTED",
      `expected a file of cached predictions ("format": "${FORMAT}"), found ${shown(format)}`,
    );
  const version = root.get("version");
  if (version !== FORMAT_VERSION)
    throw new UnitcellError(
      "UNSUPPORTED",
      `expected cached predictions of version ${FORMAT_VERSION}, found ${shown(version)}`,
    );
  const records = root.get("records");
  if (!(records instanceof Map)) throw new UnitcellError("CORRUPT", "cached predictions: records is no dict");
  return records;
}

function shown(value: TorchValue | undefined): string {
  if (value === undefined) return "none";
  return typeof value === "string" || typeof value === "number" ? JSON.stringify(value) : `a ${typeof value}`;
}

function countValues(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  const items = Object.values(value);
  const keys = Array.isArray(value) ? 0 : items.length;
  return items.reduce((sum: number, item) => sum + countValues(item), 1 + keys);
}

/** What a folder of checkpoints takes: by run and tag, by epoch, twice, and what a policy would free of it. */

import { sha256 } from "../sha256.js";
import type { ReadStore, StoreEntry, StoreSource } from "../stores/store.js";
import type { CheckpointInfo, Tag } from "./checkpoint-info.js";
import { listCheckpoints } from "./listing.js";
import { NOTES_FOLDER } from "./notes.js";
import { planStorePrune } from "./prune.js";
import type { PrunePlan } from "./prune-plan.js";
import { checkCheckpoint } from "./restore.js";
import { byRun, type RetentionPolicy } from "./retention.js";

/** Files and the bytes that they take. */
export interface Amount {
  readonly files: number;
  readonly bytes: number;
}

/** How a run's folder grows while it trains, from the files of its epochs. */
export interface Growth {
  /** The median size of an epoch's file: what each one saved adds. */
  readonly bytesPerFile: number;
  /** The median step from one saved epoch to the next; undefined where fewer than two were saved. */
  readonly epochsPerFile?: number;
  /** The former by the latter. */
  readonly bytesPerEpoch?: number;
}

/** What the checkpoints of one run take. */
export interface RunReport extends Amount {
  readonly run: string;
  readonly byTag: Readonly<Partial<Record<Tag, Amount>>>;
  /** Undefined for a run without files of epochs. */
  readonly growth?: Growth;
}

/** Files with the same contents. */
export interface Duplicates {
  /** In hex. */
  readonly sha256: string;
  /** Of each. */
  readonly size: number;
  readonly keys: readonly string[];
  /** All but one of them. */
  readonly wastedBytes: number;
}

/** What a store of checkpoints takes, by run and kind of file. */
export interface StorageReport {
  /** Checkpoints alone. */
  readonly checkpoints: Amount;
  readonly byRun: readonly RunReport[];
  readonly byTag: Readonly<Partial<Record<Tag, Amount>>>;
  /** What lies beside them: histories, metadata, settings, a README. */
  readonly others: Amount;
  /** Removed files that `undo` can bring back. */
  readonly trash: Amount;
  /** unitcell's pins and locks. */
  readonly notes: Amount;
  /** Checkpoints with the same contents, what wastes most first; undefined where it was not asked for. */
  readonly duplicates?: readonly Duplicates[];
  /** Checkpoints that do not load, each with its `problem`; undefined where it was not asked for. */
  readonly broken?: readonly CheckpointInfo[];
  /** What the policy would do; undefined where none was given. */
  readonly plan?: PrunePlan;
}

/** What a report of a store looks for. */
export interface ReportOptions {
  /** Only this run's checkpoints; what lies beside them is still that of the whole store. */
  readonly run?: string;
  /** Look for equal contents. Files of equal size whose first and last 64 KiB are equal are read whole. */
  readonly duplicates?: boolean;
  /** Read every checkpoint to its end. */
  readonly broken?: boolean;
  /** Tell what it would free. */
  readonly policy?: RetentionPolicy;
  /** SHA-256 in hex of a file; the default holds it in memory whole. */
  readonly hash?: (source: StoreSource) => Promise<string>;
}

/** Files that differ differ here already: a torch file ends with the checksums of its records. */
const SAMPLE_BYTES = 65536;

/**
 * Report what a store holds; nothing is changed, and only what the options ask for is read.
 * @throws {UnitcellError} as listCheckpoints, ReadStore.get and planStorePrune
 */
export async function storageReport(store: ReadStore, options: ReportOptions = {}): Promise<StorageReport> {
  const all = await listCheckpoints(store);
  const infos = all.filter(({ run }) => options.run === undefined || run === options.run);
  const keys = new Set(all.map(({ key }) => key));
  const others: StoreEntry[] = [];
  for await (const entry of store.list()) if (!keys.has(entry.key)) others.push(entry);
  const notes: StoreEntry[] = [];
  for await (const entry of store.list(NOTES_FOLDER)) notes.push(entry);
  const isTrash = ({ key }: StoreEntry) => /\/trash\/[^/]+\/files\//.test(key);
  return {
    checkpoints: amountOf(infos),
    byRun: [...byRun(infos)].map(([run, ofRun]) => reportRun(run, ofRun)),
    byTag: amountsByTag(infos),
    others: amountOf(others),
    trash: amountOf(notes.filter(isTrash)),
    notes: amountOf(notes.filter((entry) => !isTrash(entry))),
    ...(options.duplicates && { duplicates: await findDuplicates(store, infos, options.hash) }),
    ...(options.broken && { broken: await findBroken(store, infos) }),
    ...(options.policy && {
      plan: await planStorePrune(store, options.policy, options.run === undefined ? {} : { run: options.run }),
    }),
  };
}

function reportRun(run: string, infos: readonly CheckpointInfo[]): RunReport {
  const growth = growthOf(infos);
  return { run, ...amountOf(infos), byTag: amountsByTag(infos), ...(growth && { growth }) };
}

function growthOf(infos: readonly CheckpointInfo[]): Growth | undefined {
  const files = infos.filter(({ tag }) => tag === "epoch");
  if (files.length === 0) return undefined;
  const bytesPerFile = median(files.map(({ size }) => size));
  const epochs = [...new Set(files.flatMap(({ epoch }) => epoch ?? []))].sort((a, b) => a - b);
  if (epochs.length < 2) return { bytesPerFile };
  const epochsPerFile = median(epochs.slice(1).map((epoch, i) => epoch - epochs[i]));
  return { bytesPerFile, epochsPerFile, bytesPerEpoch: bytesPerFile / epochsPerFile };
}

/** Of an even number the lower of the two in the middle, so that it is one that occurs. */
function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[(values.length - 1) >> 1];
}

async function findDuplicates(
  store: ReadStore,
  infos: readonly StoreEntry[],
  hash: ReportOptions["hash"] = hashWhole,
): Promise<Duplicates[]> {
  const found: Duplicates[] = [];
  const read = <T>(key: string, use: (source: StoreSource) => Promise<T>) => withFile(store, key, use);
  for (const [size, sameSize] of group(infos, ({ size }) => size)) {
    if (sameSize.length < 2 || size === 0) continue;
    const samples = await groupBy(sameSize, ({ key }) => read(key, sampleOf));
    for (const alike of samples.values()) {
      if (alike.length < 2) continue;
      for (const [sha256, same] of await groupBy(alike, ({ key }) => read(key, hash)))
        if (same.length > 1)
          found.push({ sha256, size, keys: same.map(({ key }) => key), wastedBytes: size * (same.length - 1) });
    }
  }
  return found.sort((a, b) => b.wastedBytes - a.wastedBytes);
}

/** A hash of a file's two ends. */
async function sampleOf(source: StoreSource): Promise<string> {
  const ends = [source.slice(0, Math.min(SAMPLE_BYTES, source.size))];
  if (source.size > SAMPLE_BYTES) ends.push(source.slice(source.size - SAMPLE_BYTES, source.size));
  const pieces = await Promise.all(ends.map(async (end) => sha256(new Uint8Array(await end.arrayBuffer()))));
  return pieces.join();
}

async function hashWhole(source: StoreSource): Promise<string> {
  return sha256(new Uint8Array(await source.slice(0, source.size).arrayBuffer()));
}

async function withFile<T>(
  store: ReadStore,
  key: string,
  use: (source: StoreSource) => Promise<T>,
): Promise<T | undefined> {
  const source = await store.get(key);
  try {
    return source && (await use(source));
  } finally {
    source?.close?.();
  }
}

function group<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const there = groups.get(key);
    if (there) there.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

/** One after another: files are large. What has no key is left out. */
async function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => Promise<K | undefined>): Promise<Map<K, T[]>> {
  const keyed: { item: T; key: K }[] = [];
  for (const item of items) {
    const key = await keyOf(item);
    if (key !== undefined) keyed.push({ item, key });
  }
  const groups = group(keyed, ({ key }) => key);
  return new Map([...groups].map(([key, members]) => [key, members.map(({ item }) => item)]));
}

async function findBroken(store: ReadStore, infos: readonly CheckpointInfo[]): Promise<CheckpointInfo[]> {
  const broken: CheckpointInfo[] = [];
  for (const info of infos) {
    const problem = await checkCheckpoint(store, info);
    if (problem !== undefined) broken.push({ ...info, problem });
  }
  return broken;
}

function amountsByTag(infos: readonly CheckpointInfo[]): Partial<Record<Tag, Amount>> {
  return Object.fromEntries([...group(infos, ({ tag }) => tag)].map(([tag, ofTag]) => [tag, amountOf(ofTag)]));
}

function amountOf(entries: readonly StoreEntry[]): Amount {
  return { files: entries.length, bytes: entries.reduce((sum, { size }) => sum + size, 0) };
}

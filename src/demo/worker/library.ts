/** Checkpoints kept in the browser: a store in its private file system, with the commands of the command line. */
import type { Sink } from "../../bytes.js";
import { MATGL_ARGS, MATGL_STATE, MATGL_TEXT } from "../../checkpoint/file-names.js";
import { listDescribed } from "../../cli/described.js";
import { metadataName } from "../../cli/run-metadata.js";
import { isUnitcellError, UnitcellError } from "../../errors.js";
import { isUnreadable, readHistory } from "../../runs/history.js";
import { pinCheckpoint, unpinCheckpoint } from "../../runs/pins.js";
import { planStorePrune, pruneStore } from "../../runs/prune.js";
import type { PrunePlan } from "../../runs/prune-plan.js";
import { storageReport } from "../../runs/report.js";
import { anyOf, keepBest, keepEvery, keepLatest, type RetentionPolicy } from "../../runs/retention.js";
import { emptyTrash, listTrash, undoRemoval } from "../../runs/trash.js";
import { sha256 } from "../../sha256.js";
import { opfsStore } from "../../stores/opfs.js";
import { readFile, type Store, type StoreSource } from "../../stores/store.js";
import type { GivenFile, Library, PlanView, Policy, RunCurves } from "../messages.js";

/** The folder of the store; a page of the same site that opens it sees the same files. */
const FOLDER = "saved_models";

/** Bytes of a file that are copied at a time. */
const PIECE = 2 ** 22;

export class KeptCheckpoints {
  private opened: Promise<Store> | undefined;
  private shown: PrunePlan | undefined;

  private store(): Promise<Store> {
    this.opened ??= openStore().catch((error) => {
      // What failed once may do later.
      this.opened = undefined;
      throw error;
    });
    return this.opened;
  }

  async view(): Promise<Library> {
    const store = await this.store();
    const checkpoints = await listDescribed(store);
    const runs = [...new Set(checkpoints.map(({ run }) => run))];
    const histories: RunCurves[] = [];
    const unread: string[] = [];
    for (const run of runs)
      try {
        histories.push(...(await curvesOf(store, run)));
      } catch (error) {
        // It only describes: the checkpoints beside it are as they were.
        if (!isUnreadable(error)) throw error;
        unread.push(`no history of ${run}: ${(error as Error).message}`);
      }
    return {
      checkpoints,
      report: await storageReport(store, { duplicates: true }),
      trash: (await listTrash(store)).filter(({ files }) => files.length > 0),
      histories,
      unread,
      persisted: await navigator.storage.persisted(),
    };
  }

  /**
   * Copies files of one folder into the store under their own paths; where another file has one of these, all of them into
   * a folder named by their contents, since they belong together.
   * @returns their keys
   */
  async keep(files: readonly GivenFile[]): Promise<string[]> {
    const store = await this.store();
    const named = files.map(({ path, file }) => ({ key: keyOf(path), file }));
    const states = await Promise.all(named.map(({ key, file }) => stateOf(store, key, file)));
    const folder = states.includes("other") ? await contentName(files) : "";
    const keys: string[] = [];
    for (const { key: plain, file } of named) {
      const key = folder ? plain.replace(/[^/]*$/, (name) => `${folder}/${name}`) : plain;
      const write = async (sink: Sink) => {
        for (let at = 0; at < file.size; at += PIECE) await sink(await pieceOf(file, at));
      };
      await store.put(key, write, { ifAbsent: true });
      keys.push(key);
    }
    return keys;
  }

  /** A kept checkpoint with what lies beside it, as files. @throws {UnitcellError} NOT_FOUND */
  async read(key: string): Promise<GivenFile[]> {
    const store = await this.store();
    const folder = key.slice(0, key.lastIndexOf("/") + 1);
    const name = key.slice(folder.length);
    const beside = ["config.json", ...(name === MATGL_STATE ? [MATGL_ARGS, MATGL_TEXT] : []), metadataName(name)].map(
      (other) => folder + other,
    );
    const files: GivenFile[] = [];
    for (const path of [key, ...beside]) {
      const bytes = await readFile(store, path);
      if (bytes) files.push({ path, file: new File([bytes as Uint8Array<ArrayBuffer>], path.slice(folder.length)) });
      else if (path === key) throw new UnitcellError("NOT_FOUND", `there is no file ${key}`, { key });
    }
    return files;
  }

  async pin(key: string, pinned: boolean): Promise<void> {
    const store = await this.store();
    await (pinned ? pinCheckpoint(store, key) : unpinCheckpoint(store, key));
  }

  /** Nothing is removed by it; `prune` then does exactly what was shown. */
  async plan(policy: Policy): Promise<PlanView> {
    this.shown = await planStorePrune(await this.store(), policyOf(policy));
    return this.shown;
  }

  /** @throws {UnitcellError} MISMATCH when the files are no longer those of the plan */
  async prune(): Promise<number> {
    if (!this.shown) throw new UnitcellError("ARGUMENT", "no plan was shown");
    const plan = this.shown;
    this.shown = undefined;
    return (await pruneStore(await this.store(), plan, { trash: true })).removed.length;
  }

  async undo(): Promise<number> {
    return (await undoRemoval(await this.store())).files.length;
  }

  async emptyTrash(): Promise<number> {
    const batches = await emptyTrash(await this.store());
    return batches.reduce((sum, { files }) => sum + files.length, 0);
  }
}

/** @throws {UnitcellError} UNSUPPORTED, in words for people, where the browser has no private file system */
async function openStore(): Promise<Store> {
  try {
    return await opfsStore(FOLDER);
  } catch (cause) {
    if (!isUnitcellError(cause) || cause.code !== "UNSUPPORTED") throw cause;
    const message =
      "this browser has no private storage for the files of a page, so nothing can be kept in it (newer browsers have one, over https and outside private windows); all else works";
    throw new UnitcellError("UNSUPPORTED", message, {}, { cause });
  }
}

async function pieceOf(file: Pick<Blob, "slice"> | StoreSource, at: number): Promise<Uint8Array> {
  return new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer());
}

/** What the store has under a key: nothing, the same bytes, or others. */
async function stateOf(store: Store, key: string, file: File): Promise<"none" | "same" | "other"> {
  const found = await store.get(key);
  if (!found) return "none";
  if (found.size !== file.size) return "other";
  for (let at = 0; at < file.size; at += PIECE) {
    const [a, b] = await Promise.all([pieceOf(file, at), pieceOf(found, at)]);
    if (a.some((byte, i) => byte !== b[i])) return "other";
  }
  return "same";
}

/** The first digits of a file's SHA-256; of several, of the list of theirs. */
async function contentName(files: readonly GivenFile[]): Promise<string> {
  const hashes: string[] = [];
  for (const { file } of files) hashes.push(await sha256(new Uint8Array(await file.arrayBuffer())));
  const all = hashes.length === 1 ? hashes[0] : await sha256(new TextEncoder().encode(hashes.join("\n")));
  return all.slice(0, 8);
}

/** @throws {UnitcellError} ARGUMENT where no rule is given: that would keep nothing */
function policyOf({ latest, every, best }: Policy): RetentionPolicy {
  const rules: RetentionPolicy[] = [];
  if (latest !== undefined) rules.push(keepLatest(latest));
  if (every !== undefined) rules.push(keepEvery(every));
  if (best !== undefined) rules.push(keepBest(best.count, best));
  return anyOf(...rules);
}

/** Paths of a drop may have what no key can: empty parts and control characters. */
function keyOf(path: string): string {
  return path
    .replace(/[\\\p{Cc}\p{Cs}]/gu, "_")
    .split("/")
    .filter((part) => part !== "" && part !== "." && part !== "..")
    .join("/");
}

async function curvesOf(store: Store, run: string): Promise<RunCurves[]> {
  const history = await readHistory(store, run);
  const rows = history?.history ?? [];
  if (rows.length === 0) return [];
  const names = new Set(rows.flatMap((row) => Object.keys(row)));
  names.delete("epoch");
  return [
    {
      run,
      epochs: rows.map(({ epoch }) => epoch),
      metrics: [...names].map((name) => [name, rows.map((row) => (Number.isFinite(row[name]) ? row[name] : null))]),
    },
  ];
}

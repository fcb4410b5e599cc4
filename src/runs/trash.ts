/**
 * Removed files that can be brought back: `.unitcell/trash/<batch>/` holds a manifest and the files under their own names.
 * The manifest is written first, so that a crash in the middle leaves every file in one of the two places.
 */
import { isUnitcellError, UnitcellError } from "../errors.js";
import { changeMany, isThere, type ReadStore, readFile, type Store } from "../stores/store.js";
import { changing, NOTES_FOLDER } from "./notes.js";

const FOLDER = `${NOTES_FOLDER}/trash`;
const BATCH_DIGITS = 6;
/** Batches that we number; a folder of another name is still a batch to `undo`. */
const NUMBERED = /^\d{6,15}$/;

/** Files that were removed together. */
export interface TrashBatch {
  /** "000003": a higher number is a later removal. */
  readonly id: string;
  /** Why: "prune", "epochs after the one resumed". */
  readonly why: string;
  readonly date: string;
  /** Those still in the trash, by the names they had. */
  readonly files: readonly { readonly key: string; readonly size: number }[];
}

/** What is in the trash, the oldest first. */
export async function listTrash(store: ReadStore): Promise<TrashBatch[]> {
  const batches = new Map<string, { files: { key: string; size: number }[]; manifest: boolean }>();
  for await (const { key, size } of store.list(FOLDER)) {
    const [id, place, ...name] = key.slice(FOLDER.length + 1).split("/");
    const batch = batches.get(id) ?? { files: [], manifest: false };
    batches.set(id, batch);
    if (place === "files") batch.files.push({ key: name.join("/"), size });
    else if (place === "manifest.json") batch.manifest = true;
  }
  const found: TrashBatch[] = [];
  for (const [id, { files, manifest }] of [...batches].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const { why, date } = manifest ? await readManifest(store, id) : { why: "", date: "" };
    found.push({ id, why, date, files: files.sort((a, b) => (a.key < b.key ? -1 : 1)) });
  }
  return found;
}

/**
 * Move files to the trash, as one batch; the caller holds the folder's lock. Those that are gone are passed over.
 * @returns the batch's id
 */
export async function moveToTrash(store: Store, keys: readonly string[], why: string): Promise<string> {
  let highest = 0;
  for await (const { key } of store.list(FOLDER)) {
    const [id] = key.slice(FOLDER.length + 1).split("/");
    if (NUMBERED.test(id)) highest = Math.max(highest, Number(id));
  }
  const id = String(highest + 1).padStart(BATCH_DIGITS, "0");
  const manifest = `${JSON.stringify({ why, date: new Date().toISOString(), files: keys }, null, 2)}\n`;
  await store.put(manifestKey(id), new TextEncoder().encode(manifest));
  await changeMany(keys, (key, how) =>
    store.move(key, fileKey(id, key), how).catch((error) => {
      if (!isUnitcellError(error, "NOT_FOUND")) throw error;
    }),
  );
  return id;
}

/**
 * Bring a batch back, the last one where none is named.
 * @returns the batch as it was in the trash
 * @throws {UnitcellError} NOT_FOUND when the trash is empty or has no such batch, MISMATCH when a file of one of the names
 *   is there again (nothing is moved then)
 */
export function undoRemoval(store: Store, id?: string): Promise<TrashBatch> {
  return changing(store, async () => {
    const batches = (await listTrash(store)).filter(({ files }) => files.length > 0);
    const batch = id === undefined ? batches.at(-1) : batches.find((one) => one.id === id);
    if (!batch)
      throw new UnitcellError(
        "NOT_FOUND",
        id === undefined ? "the trash is empty" : `there is no batch ${id} in the trash`,
      );
    const there: string[] = [];
    for (const { key } of batch.files) if (await isThere(store, key)) there.push(key);
    if (there.length > 0)
      throw new UnitcellError("MISMATCH", `cannot bring back what is there again: ${there.slice(0, 20).join(", ")}`, {
        keys: there,
      });
    await changeMany(
      batch.files.map(({ key }) => key),
      (key, how) => store.move(fileKey(batch.id, key), key, how),
    );
    await store.delete(manifestKey(batch.id));
    return batch;
  });
}

/** Delete what is in the trash for good. @returns what was in it */
export function emptyTrash(store: Store): Promise<TrashBatch[]> {
  return changing(store, async () => {
    const batches = await listTrash(store);
    for (const { id, files } of batches) {
      await changeMany(
        files.map(({ key }) => fileKey(id, key)),
        (key, how) => store.delete(key, how),
      );
      await store.delete(manifestKey(id));
    }
    return batches;
  });
}

async function readManifest(store: ReadStore, id: string): Promise<Pick<TrashBatch, "why" | "date">> {
  try {
    const { why, date } = JSON.parse(new TextDecoder().decode(await readFile(store, manifestKey(id))));
    return { why: String(why), date: String(date) };
  } catch (error) {
    if (isUnitcellError(error, "BACKEND")) throw error;
    // It only explains: the files are in the trash under their own names.
    return { why: "unknown", date: "unknown" };
  }
}

function manifestKey(id: string): string {
  return `${FOLDER}/${id}/manifest.json`;
}

function fileKey(id: string, key: string): string {
  return `${FOLDER}/${id}/files/${key}`;
}

/** Which checkpoints are pinned: no policy removes them. Kept in the store, by key. */
import { UnitcellError } from "../errors.js";
import { isThere, type ReadStore, readFile, type Store } from "../stores/store.js";
import { changing, NOTES_FOLDER } from "./notes.js";

const KEY = `${NOTES_FOLDER}/pins.json`;

/**
 * The pinned keys.
 * @throws {UnitcellError} CORRUPT when the list cannot be read: what is pinned is then not known, and nothing may be removed
 */
export async function readPins(store: ReadStore): Promise<ReadonlySet<string>> {
  const bytes = await readFile(store, KEY);
  if (!bytes) return new Set();
  try {
    const pins = JSON.parse(new TextDecoder().decode(bytes))?.pins;
    if (Array.isArray(pins) && pins.every((key) => typeof key === "string")) return new Set(pins);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new UnitcellError("CORRUPT", `${KEY} is no list of pinned files; put it right or delete it`, { key: KEY });
}

/** Pin a checkpoint, so that no policy removes it. @throws {UnitcellError} NOT_FOUND when there is no such file */
export async function pinCheckpoint(store: Store, key: string): Promise<void> {
  if (!(await isThere(store, key))) throw new UnitcellError("NOT_FOUND", `there is no file ${key} to pin`, { key });
  await change(store, (pins) => pins.add(key));
}

/** Undo `pin`. @throws {UnitcellError} NOT_FOUND when it is not pinned */
export async function unpinCheckpoint(store: Store, key: string): Promise<void> {
  await change(store, (pins) => {
    if (!pins.delete(key)) throw new UnitcellError("NOT_FOUND", `${key} is not pinned`, { key });
  });
}

function change(store: Store, edit: (pins: Set<string>) => void): Promise<void> {
  return changing(store, async () => {
    const pins = new Set(await readPins(store));
    edit(pins);
    const text = `${JSON.stringify({ pins: [...pins].sort() }, null, 2)}\n`;
    await store.put(KEY, new TextEncoder().encode(text));
  });
}

/** unitcell's own notes in a store, beside the checkpoints but out of sight: locks, pins, the trash. */
import { acquireLock, type Lock } from "../stores/lock.js";
import type { Store } from "../stores/store.js";

/** Listed only where it is named, as everything in folders with a dot. */
export const NOTES_FOLDER = ".unitcell";

/** Saving a large checkpoint to a slow disk may take this long, and the next writer waits. */
const WAIT_MS = 120_000;

/** Do something that changes the folder, while nobody else does. */
export async function changing<T>(store: Store, change: () => Promise<T>): Promise<T> {
  const lock = await acquireLock(store, "folder", { waitMs: WAIT_MS, what: "the folder" });
  try {
    return await change();
  } finally {
    // What is done is done, and what failed says so itself. This writer can take the lock again all the same, and others
    // can when it ends.
    await lock.release().catch(() => {});
  }
}

/** The lock of a run: one trains, all others look on. */
export function lockRun(store: Store, run: string): Promise<Lock> {
  // One folder, of a name not longer than it must be: file systems stop at 255 bytes.
  const name = run.replaceAll("%", "%25").replaceAll("/", "%2F");
  return acquireLock(store, `run-${name}`, { what: `run "${run}"` });
}

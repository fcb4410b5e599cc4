/** What the stores of browsers share: locks, who lives, and what their failures mean. */
import { UnitcellError } from "../errors.js";
import type { Liveness } from "./store.js";

const PREFIX = "unitcell writer ";
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** @throws {UnitcellError} UNSUPPORTED where there are none: outside browsers, and in pages that came without https */
export function webLocks(): LockManager {
  const locks = globalThis.navigator?.locks;
  if (!locks)
    throw new UnitcellError("UNSUPPORTED", "this runtime has no Web Locks; browsers have them over https only");
  return locks;
}

let living: Promise<Liveness> | undefined;

/**
 * This window or worker as a writer. It holds a lock for as long as it lives, and browsers take back the locks of what has
 * been closed, has crashed or was terminated.
 * @throws {UnitcellError} as `webLocks` does
 */
export function webLiveness(): Promise<Liveness> {
  const locks = webLocks();
  living ??= (async () => {
    const id = crypto.randomUUID();
    await new Promise<void>((held, failed) => {
      const forLife = () => {
        held();
        return new Promise<never>(() => {});
      };
      locks.request(PREFIX + id, forLife).catch(failed);
    });
    return {
      self: id,
      async isAlive(writer: string) {
        if (!UUID.test(writer)) return undefined;
        const { held = [] } = await locks.query();
        return held.some(({ name }) => name === PREFIX + writer);
      },
    };
  })();
  return living;
}

/** A failure of the browser's storage as a UnitcellError. @param what as "cannot write best.pt" */
export function webFailure(cause: unknown, what: string): UnitcellError {
  if (cause instanceof UnitcellError) return cause;
  const { name, message } = cause as DOMException;
  const reason = name === "QuotaExceededError" ? "no space left" : name;
  // Chromium's IndexedDB has no message for a full disk.
  const text = [what, reason, message].filter((part) => part !== "").join(": ");
  return new UnitcellError("BACKEND", text, { cause: name }, { cause });
}

/** Whether a promise of the browser was rejected for that reason. */
export function isDomError(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof DOMException && names.includes(error.name);
}

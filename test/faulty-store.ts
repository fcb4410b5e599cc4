/** A store as one process sees it: its calls can fail, and it can die in the middle. */
import { UnitcellError } from "../src/errors.js";
import type { Content, PutOptions, Store } from "../src/stores/store.js";

/** No error of the store: what a dead process does not see any more. */
export class Crash extends Error {}

export class Faults {
  /** Share of the calls that fail. */
  failing = 0;
  /** Calls until the process dies; Infinity: it lives. */
  callsLeft = Number.POSITIVE_INFINITY;
  isDead = false;
  private readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
  }

  /** @throws BACKEND, having done nothing; Crash, before or after it was done, and from then on always */
  async during<T>(call: () => Promise<T>, canFail = true): Promise<T> {
    if (this.isDead) throw new Crash();
    if (--this.callsLeft <= 0) {
      this.isDead = true;
      if (this.random() < 0.5) await call();
      throw new Crash();
    }
    if (canFail && this.random() < this.failing) throw new UnitcellError("BACKEND", "input/output error");
    return call();
  }
}

/** @param name of the process; `processes` says which of them live */
export function faultyStore(inner: Store, name: string, processes: ReadonlyMap<string, Faults>): Store {
  const faults = processes.get(name)!;
  return {
    liveness: { self: name, isAlive: async (other) => processes.get(other)?.isDead === false },
    get: (key) => faults.during(() => inner.get(key)),
    async *list(folder?: string) {
      await faults.during(async () => {});
      yield* inner.list(folder);
    },
    put(key: string, content: Content, options?: PutOptions) {
      // Where a ticket with a name cannot be written a lock takes one without, and is waited for a minute when its holder dies.
      const canFail = !key.startsWith(".unitcell/locks/");
      return faults.during(() => inner.put(key, content, options), canFail);
    },
    move: (from, to) => faults.during(() => inner.move(from, to)),
    delete: (key) => faults.during(() => inner.delete(key)),
  };
}

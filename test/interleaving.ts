/**
 * A world in which several writers share a store and a schedule decides, call by call, who goes on: every operation of the
 * store, every pause and every sign of life waits until it is chosen. Time stands still but for the schedule.
 */
import type { Content, PutOptions, Store, StoreEntry } from "../src/stores/store.js";

/** Numbers that are the same for the same seed (mulberry32), from 0 to 1. */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Waiting {
  readonly actor: number;
  resume(): void;
}

export interface WorldOptions {
  readonly seed: number;
  /** The store knows who lives. */
  readonly liveness?: boolean;
}

export class World {
  readonly dead = new Set<number>();
  readonly random: () => number;
  private readonly options: WorldOptions;
  private readonly priorities = new Map<number, number>();
  private readonly waiting: Waiting[] = [];
  private readonly timers = new Map<number, { actor: number; beat: () => void }>();
  /** Whose code runs now. */
  private current = 0;
  private now = 0;
  private timerCount = 0;
  /** Uniform choices find many short races, priorities the long ones: one that sleeps while others do a lot. */
  private readonly byPriority: boolean;

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = randomNumbers(options.seed);
    this.byPriority = options.seed % 2 === 0;
  }

  /** The store as one actor sees it. */
  view(inner: Store, actor: number): Store {
    const turn = () => this.turn(actor);
    const { liveness } = this.options;
    const isThere = async (key: string) => (await inner.get(key)) !== undefined;
    return {
      ...(liveness && {
        liveness: { self: `actor ${actor}`, isAlive: async (name) => !this.dead.has(Number(name.slice(6))) },
      }),
      async get(key) {
        await turn();
        return inner.get(key);
      },
      // As a disk lists: first the names, then each file's size, if it is still there.
      async *list(folder?: string) {
        await turn();
        const entries: StoreEntry[] = [];
        for await (const entry of inner.list(folder)) entries.push(entry);
        for (const entry of entries) {
          await turn();
          if (await isThere(entry.key)) yield entry;
        }
      },
      async put(key: string, content: Content, options?: PutOptions) {
        await turn();
        return inner.put(key, content, options);
      },
      async move(from: string, to: string) {
        await turn();
        return inner.move(from, to);
      },
      async delete(key) {
        await turn();
        return inner.delete(key);
      },
    };
  }

  /** Waits until it is this actor's turn; for ever once it is dead. */
  turn(actor: number): Promise<void> {
    return new Promise((resume) => this.waiting.push({ actor, resume }));
  }

  /** The actors, one step at a time, until all are through or dead. @throws what an actor throws */
  async run(actors: readonly ((actor: number) => Promise<void>)[], mostSteps = 20_000): Promise<void> {
    let left = actors.length;
    let failure: { error: unknown } | undefined;
    const restore = this.replaceClock();
    try {
      for (const [actor, act] of actors.entries()) {
        this.priorities.set(actor, this.random());
        this.current = actor;
        act(actor).then(
          () => left--,
          (error) => {
            failure = { error };
          },
        );
      }
      for (let step = 0; ; step++) {
        await settled();
        if (failure) throw failure.error;
        if (left - this.dead.size <= 0 && left <= this.dead.size) return;
        const next = this.choose();
        if (!next) throw new Error("nobody can go on");
        if (step > mostSteps) throw new Error(`not through after ${mostSteps} steps`);
        this.now++;
        this.current = next.actor;
        next.resume();
        if (this.random() < 0.02) this.beat();
      }
    } finally {
      restore();
    }
  }

  private choose(): Waiting | undefined {
    const able = this.waiting.filter(({ actor }) => !this.dead.has(actor));
    if (able.length === 0) return undefined;
    let chosen = able[Math.floor(this.random() * able.length)];
    if (this.byPriority) {
      const priority = ({ actor }: Waiting) => this.priorities.get(actor)!;
      for (const one of able) if (priority(one) > priority(chosen)) chosen = one;
      if (this.random() < 0.1) this.priorities.set(chosen.actor, this.random());
    }
    this.waiting.splice(this.waiting.indexOf(chosen), 1);
    return chosen;
  }

  private beat(): void {
    const all = [...this.timers.values()].filter(({ actor }) => !this.dead.has(actor));
    if (all.length > 0) all[Math.floor(this.random() * all.length)].beat();
  }

  private replaceClock(): () => void {
    const { setTimeout, setInterval, clearInterval } = globalThis;
    const { now } = performance;
    const fakes = {
      setTimeout: (then: () => void, ms = 0) => {
        const actor = this.current;
        // One that pauses lets all others go first.
        this.priorities.set(actor, Math.min(...this.priorities.values()) - 1);
        void this.turn(actor).then(() => {
          this.now += ms;
          then();
        });
      },
      setInterval: (beat: () => void) => {
        this.timers.set(++this.timerCount, { actor: this.current, beat });
        return this.timerCount;
      },
      clearInterval: (timer: number) => this.timers.delete(timer),
    };
    Object.assign(globalThis, fakes);
    performance.now = () => this.now;
    return () => {
      Object.assign(globalThis, { setTimeout, setInterval, clearInterval });
      performance.now = now;
    };
  }
}

/** All that can run without another turn has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

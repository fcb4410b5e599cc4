/**
 * Locks in a store, out of nothing but its `put(..., { ifAbsent: true })`, `move`, `list` and `delete`, so that they work on
 * disks, in browsers and in object storage alike.
 *
 * A lock is a folder of numbered tickets, and belongs to the writer of the highest one. To give it back is to rename the
 * ticket N to N.free, which needs no space on a full disk. Whoever finds the highest ticket given back or its writer
 * dead tries to create the next number, which only one can; the highest ticket is never deleted, so numbers only grow and a
 * slow reader cannot take an old one for new: after creating a ticket it looks whether a higher one is there. A writer is
 * dead when the store knows it (a process of this machine, a tab of this browser), or when its ticket, which it writes anew
 * every few seconds, has not changed for `STALE_MS` by the observer's own clock: clocks are never compared. A ticket of this
 * very writer that it does not hold is a dead one's too: the disk failed when it was to be given back.
 */
import { isUnitcellError, UnitcellError } from "../errors.js";
import { readFile, type Store } from "./store.js";

const FOLDER = ".unitcell/locks";
/** A writer that the store cannot ask about is dead after so long without a sign. */
const STALE_MS = 60_000;
const BEAT_MS = 10_000;
const FIRST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 250;
const TICKET_DIGITS = 12;
const FREE = ".free";
const UNKNOWN = "unknown";
/** A power failure ends all writers, and what it leaves of their tickets is theirs or nobody's. */
const FAST = { durable: false } as const;

interface Ticket {
  /** Liveness.self of the one who holds it, or a random name. */
  readonly writer: string;
  /** Of this ticket alone. */
  readonly id: string;
  /** When it was taken, for messages. */
  readonly since: string;
  readonly beat: number;
}

/** Ids of the tickets that are being made or held here. */
const held = new Set<string>();

/** The highest ticket of a lock; number 0 where there is none yet. */
interface Highest {
  readonly number: number;
  readonly free: boolean;
}

export interface LockOptions {
  /** How long to wait for another to give it back. Default: 0, it is free or an error. */
  readonly waitMs?: number;
  /** What is locked, for messages: 'run "cgcnn_mp"'. */
  readonly what: string;
}

/**
 * Take a lock. Whether a writer of another machine lives is seen by waiting for its sign, up to `STALE_MS` whatever `waitMs` is.
 * @param name of letters, digits and "%._-"
 * @throws {UnitcellError} BACKEND when another writer holds it for longer than `waitMs`; the message says who and since when
 */
export async function acquireLock(store: Store, name: string, options: LockOptions): Promise<Lock> {
  const folder = `${FOLDER}/${name}`;
  const writer = store.liveness?.self ?? crypto.randomUUID();
  const watch = new Watch(store);
  const start = performance.now();
  for (let pause = FIRST_PAUSE_MS; ; ) {
    const highest = await highestTicket(store, folder);
    const holder = highest.free ? undefined : await readTicket(store, folder, highest.number);
    // Renamed or deleted since it was listed.
    if (!highest.free && holder === undefined) continue;
    const sign = holder ? await watch.look(highest.number, holder) : "dead";
    if (sign === "dead") {
      const lock = await take(store, folder, highest.number + 1, writer, options.what);
      if (lock) return lock;
      continue;
    }
    if (sign === "alive" && performance.now() - start >= (options.waitMs ?? 0)) throw taken(options.what, holder!);
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
}

/** The lock with a ticket of this number; undefined when another was faster. */
async function take(
  store: Store,
  folder: string,
  number: number,
  writer: string,
  what: string,
): Promise<Lock | undefined> {
  const ticket: Ticket = { writer, id: crypto.randomUUID(), since: new Date().toISOString(), beat: 0 };
  const lock = new Lock(store, folder, number, ticket, what);
  // Before it can be seen: others here must not take it for that of a dead one.
  held.add(ticket.id);
  let isMine = false;
  try {
    if (!(await create(store, keyOf(folder, number), ticket))) return undefined;
    if ((await highestTicket(store, folder)).number > number) {
      await store.delete(keyOf(folder, number), FAST);
      return undefined;
    }
    await deleteBelow(store, folder, number);
    isMine = true;
  } finally {
    if (!isMine) held.delete(ticket.id);
  }
  lock.keep();
  return lock;
}

/** On a full disk an empty ticket can still be made; whose it is then only shows by its silence. */
async function create(store: Store, key: string, ticket: Ticket): Promise<boolean> {
  try {
    return await store.put(key, encode(ticket), { ifAbsent: true, ...FAST });
  } catch (error) {
    if (!isUnitcellError(error, "BACKEND")) throw error;
    return store.put(key, new Uint8Array(0), { ifAbsent: true, ...FAST });
  }
}

/** A lock that is held, until `release`. */
export class Lock {
  private readonly store: Store;
  private readonly folder: string;
  private readonly number: number;
  private readonly what: string;
  private ticket: Ticket;
  private timer: ReturnType<typeof setInterval> | undefined;
  /** The sign of life that is being written: one at a time, and none after `release`. */
  private beating: Promise<unknown> = Promise.resolve();

  constructor(store: Store, folder: string, number: number, ticket: Ticket, what: string) {
    this.store = store;
    this.folder = folder;
    this.number = number;
    this.ticket = ticket;
    this.what = what;
  }

  /** Begin to give signs of life. */
  keep(): void {
    this.timer = setInterval(() => {
      this.ticket = { ...this.ticket, beat: this.ticket.beat + 1 };
      // A sign that could not be given is no failure: the next may be, and `check` tells if it was too late.
      this.beating = this.store.put(this.key, encode(this.ticket), FAST).catch(() => {});
    }, BEAT_MS);
    // Where a timer keeps the process alive, a forgotten lock must not.
    (this.timer as { unref?: () => void }).unref?.();
  }

  /** @throws {UnitcellError} BACKEND when another writer has taken it, having seen no sign of life for too long */
  async check(): Promise<void> {
    if ((await highestTicket(this.store, this.folder)).number <= this.number) return;
    throw new UnitcellError("BACKEND", `${this.what} was taken over by another writer, which saw no sign of this one`);
  }

  /** Give it back; a second time does nothing. */
  async release(): Promise<void> {
    if (this.timer === undefined) return;
    clearInterval(this.timer);
    this.timer = undefined;
    await this.beating;
    try {
      await this.store.move(this.key, `${this.key}${FREE}`, FAST);
    } catch (error) {
      // Another took it over, and has cleared it away.
      if (!isUnitcellError(error, "NOT_FOUND")) throw error;
    } finally {
      held.delete(this.ticket.id);
    }
  }

  private get key(): string {
    return keyOf(this.folder, this.number);
  }
}

/** What an observer knows of the ticket it waits for. */
class Watch {
  private readonly store: Store;
  private seen: string | undefined;
  private since = 0;

  constructor(store: Store) {
    this.store = store;
  }

  async look(number: number, { writer, id, beat }: Ticket): Promise<"alive" | "dead" | "unknown"> {
    const alive = await this.isAlive(writer, id);
    if (alive !== undefined) return alive ? "alive" : "dead";
    const state = `${number} ${id} ${beat}`;
    const former = this.seen;
    if (state !== former) {
      this.seen = state;
      this.since = performance.now();
      return former === undefined ? "unknown" : "alive";
    }
    return performance.now() - this.since > STALE_MS ? "dead" : "unknown";
  }

  private async isAlive(writer: string, id: string): Promise<boolean | undefined> {
    if (held.has(id)) return true;
    if (writer === this.store.liveness?.self) return false;
    return writer === UNKNOWN ? undefined : this.store.liveness?.isAlive(writer);
  }
}

function taken(what: string, { writer, since }: Ticket): UnitcellError {
  return new UnitcellError("BACKEND", `${what} is being written by another writer (${writer}, since ${since})`, {
    writer,
    since,
  });
}

async function highestTicket(store: Store, folder: string): Promise<Highest> {
  let highest: Highest = { number: 0, free: true };
  for await (const { key } of store.list(folder)) {
    const number = numberOf(key);
    const free = key.endsWith(FREE);
    if (number > highest.number) highest = { number, free };
    // Where renaming is copying and deleting, both names are there for a moment.
    else if (number === highest.number && free) highest = { number, free };
  }
  return highest;
}

async function deleteBelow(store: Store, folder: string, number: number): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) if (numberOf(key) < number) keys.push(key);
  for (const key of keys) await store.delete(key, FAST);
}

/** undefined where it is gone. An empty one (a full disk, a power failure) is that of an unknown writer. */
async function readTicket(store: Store, folder: string, number: number): Promise<Ticket | undefined> {
  const bytes = await readFile(store, keyOf(folder, number));
  if (!bytes) return undefined;
  try {
    const { writer, id, since, beat } = JSON.parse(new TextDecoder().decode(bytes));
    return { writer: String(writer), id: String(id), since: String(since), beat: Number(beat) };
  } catch {
    return { writer: UNKNOWN, id: UNKNOWN, since: UNKNOWN, beat: 0 };
  }
}

function encode(ticket: Ticket): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(ticket)}\n`);
}

function keyOf(folder: string, number: number): string {
  return `${folder}/${String(number).padStart(TICKET_DIGITS, "0")}`;
}

function numberOf(key: string): number {
  return Number.parseInt(key.slice(key.lastIndexOf("/") + 1), 10) || 0;
}

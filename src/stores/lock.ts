/**
 * Locks in a store, out of nothing but its `put(..., { ifAbsent: true })`, `move`, `list` and `delete`, so that they work on
 * disks, in browsers and in object storage alike.
 *
 * A lock is a folder of numbered tickets, and belongs to the writer of the highest one. To give it back is to lay an empty
 * file "N.free" beside the ticket "N", or to rename it where a full disk takes no file more. Whoever finds the highest ticket
 * given back or its writer dead tries to create the next number, which only one can.
 *
 * Numbers only grow: the highest ticket is never deleted, and some below it stay too. So one that was slow finds the number
 * taken that it wants to create; if even that has been cleared away meanwhile, it sees a higher one afterwards. And a listing,
 * which may miss files that come and go while it is under way, cannot miss that a lock has changed hands.
 *
 * A writer is dead when the store knows it (a process of this machine, a tab of this browser), or when its ticket, which it
 * writes anew every few seconds, has not changed for `staleMs` by the observer's own clock: clocks are never compared. A ticket of
 * this very writer that it does not hold is a dead one's too: the disk failed when it was to be given back.
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
/** Other names are no tickets: beyond 2^53 there would be no next number, and everyone would wait for it. */
const TICKET = /^\d{12}(\.free)?$/;
/** Tickets below the highest that stay. */
const KEPT = 4;
const FREE = ".free";
const UNKNOWN = "unknown";
const EMPTY = new Uint8Array(0);
/** A power failure ends all writers, and what it leaves of their tickets is theirs or nobody's. */
const FAST = { durable: false } as const;

interface Ticket {
  /** Liveness.self of the one who holds it, or a random name. */
  readonly writer: string;
  /** Another one for each try to take a lock. */
  readonly id: string;
  /** When it was taken, for messages. */
  readonly since: string;
  readonly beat: number;
}

/** Of a full disk, a power failure, or renamed a moment ago. */
const UNREADABLE: Ticket = { writer: UNKNOWN, id: UNKNOWN, since: UNKNOWN, beat: 0 };

/** The highest ticket of a lock; number 0 where there is none yet. */
interface Highest {
  readonly number: number;
  readonly free: boolean;
}

export interface LockOptions {
  /** How long to wait for another, known to live, to give it back. Default: 0, it is free or an error. */
  readonly waitMs?: number;
  /** How long a writer that cannot be asked is waited for. Default: a minute, six signs of life. */
  readonly staleMs?: number;
  /** What is locked, for messages: 'run "cgcnn_mp"'. */
  readonly what: string;
}

/** Ids of the tickets that are being made or held here. */
const held = new Set<string>();

/**
 * Take a lock. Where the store cannot tell whether its holder lives, that takes until a sign of life is seen or missed.
 * @param name part of a key, without "/"
 * @throws {UnitcellError} BACKEND when another writer holds it for longer than `waitMs`; the message says who and since when
 */
export async function acquireLock(store: Store, name: string, options: LockOptions): Promise<Lock> {
  const { waitMs = 0, staleMs = STALE_MS, what } = options;
  const folder = `${FOLDER}/${name}`;
  const watch = new Watch(store, staleMs);
  const start = performance.now();
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    const { number, free } = await highestTicket(store, folder);
    const holder = free ? undefined : ((await readTicket(store, folder, number)) ?? UNREADABLE);
    const isAlive = holder ? await watch.isAlive(number, holder) : false;
    if (isAlive === false) {
      const lock = await take(store, folder, number + 1, what);
      if (lock) return lock;
    }
    if (holder && isAlive && performance.now() - start >= waitMs) throw taken(what, holder);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** undefined where another was faster. */
async function take(store: Store, folder: string, number: number, what: string): Promise<Lock | undefined> {
  if (numberOf(keyOf(folder, number)) !== number)
    throw new UnitcellError("BACKEND", `${what} cannot be locked: ${folder} has no number left; delete that folder`);
  const writer = store.liveness?.self ?? randomName();
  const ticket: Ticket = { writer, id: randomName(), since: new Date().toISOString(), beat: 0 };
  const key = keyOf(folder, number);
  const lock = new Lock(store, folder, number, ticket, what);
  // Before it can be seen: others here must not take it for that of a dead one.
  held.add(ticket.id);
  let isMine = false;
  try {
    // A store behind a network can have done what it reports as failed, or as found when asked again.
    if (!(await create(store, key, ticket)) && (await readTicket(store, folder, number))?.id !== ticket.id)
      return undefined;
    const highest = await highestTicket(store, folder);
    if (highest.number !== number || highest.free) {
      await store.delete(key, FAST);
      return undefined;
    }
    await deleteBelow(store, folder, number - KEPT);
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
    return store.put(key, EMPTY, { ifAbsent: true, ...FAST });
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
  private released = false;
  /** The signs of life that are being written: one at a time, and none after `release`. */
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
      const bytes = encode(this.ticket);
      // A sign that could not be given is no failure: the next may be, and `check` tells if it was too late.
      this.beating = this.beating.then(() => this.store.put(this.key, bytes, FAST)).catch(() => {});
    }, BEAT_MS);
    // Where a timer keeps the process alive, a forgotten lock must not.
    (this.timer as { unref?: () => void }).unref?.();
  }

  /** @throws {UnitcellError} BACKEND when another writer has taken it, having seen no sign of life for too long */
  async check(): Promise<void> {
    const look = () => highestTicket(this.store, this.folder);
    let highest = await look();
    // Somebody has deleted the notes; if nobody has taken the lock since, it is still this one's.
    if (highest.number === 0 && (await create(this.store, this.key, this.ticket))) highest = await look();
    if (highest.number === this.number && !highest.free) return;
    throw new UnitcellError("BACKEND", `${this.what} was taken over by another writer, which saw no sign of this one`);
  }

  /**
   * Give it back; a second time does nothing.
   * @throws {UnitcellError} BACKEND when the store fails; this writer can take it again all the same, others wait for its end
   */
  async release(): Promise<void> {
    if (this.released) return;
    clearInterval(this.timer);
    await this.beating;
    const free = `${this.key}${FREE}`;
    try {
      await this.store.put(free, EMPTY, { ifAbsent: true, ...FAST });
    } catch (error) {
      if (!isUnitcellError(error, "BACKEND")) throw error;
      await this.store.move(this.key, free, FAST);
    } finally {
      this.released = true;
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
  private readonly staleMs: number;
  private seen: string | undefined;
  private since = 0;
  private hasChanged = false;

  constructor(store: Store, staleMs: number) {
    this.store = store;
    this.staleMs = staleMs;
  }

  /** undefined: there was no sign of life yet, and it is too soon to miss one. */
  async isAlive(number: number, { writer, id, beat }: Ticket): Promise<boolean | undefined> {
    if (writer === this.store.liveness?.self) return held.has(id);
    const known = writer === UNKNOWN ? undefined : await this.store.liveness?.isAlive(writer);
    if (known !== undefined) return known;
    const state = `${number} ${id} ${beat}`;
    if (state !== this.seen) {
      this.hasChanged = this.seen !== undefined;
      this.seen = state;
      this.since = performance.now();
    }
    if (performance.now() - this.since > this.staleMs) return false;
    return this.hasChanged ? true : undefined;
  }
}

/** Browsers have crypto.randomUUID over https only. */
function randomName(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
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
    else if (number === highest.number && free) highest = { number, free };
  }
  return highest;
}

async function deleteBelow(store: Store, folder: string, number: number): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) if (numberOf(key) < number) keys.push(key);
  for (const key of keys) await store.delete(key, FAST);
}

/** Readings of a ticket that its holder renews meanwhile; it does so once in seconds. */
const MOST_READINGS = 5;

/** undefined where it is gone. @throws {UnitcellError} MISMATCH where it changes again and again while it is read */
async function readTicket(store: Store, folder: string, number: number, reading = 1): Promise<Ticket | undefined> {
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readFile(store, keyOf(folder, number));
  } catch (error) {
    if (!isUnitcellError(error, "MISMATCH") || reading === MOST_READINGS) throw error;
    return readTicket(store, folder, number, reading + 1);
  }
  if (!bytes) return undefined;
  try {
    const { writer, id, since, beat } = JSON.parse(new TextDecoder().decode(bytes));
    return { writer: String(writer), id: String(id), since: String(since), beat: Number(beat) };
  } catch {
    return UNREADABLE;
  }
}

function encode(ticket: Ticket): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(ticket)}\n`);
}

function keyOf(folder: string, number: number): string {
  return `${folder}/${String(number).padStart(TICKET_DIGITS, "0")}`;
}

function numberOf(key: string): number {
  const name = key.slice(key.lastIndexOf("/") + 1);
  return TICKET.test(name) ? Number.parseInt(name, 10) : 0;
}

/** One writer at a time, whatever happens to the others. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { UnitcellError } from "../src/errors.js";
import { acquireLock } from "../src/stores/lock.js";
import { memoryStore } from "../src/stores/memory.js";
import { readFile, type Store } from "../src/stores/store.js";
import { randomNumbers, World } from "./interleaving.js";
import { throwsCode } from "./throws.js";

const SCHEDULES = 1500;
const WHAT = 'run "cgcnn_mp"';
const FOLDER = ".unitcell/locks/name";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function keysOf(store: Store): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(FOLDER)) keys.push(key.slice(FOLDER.length + 1));
  return keys.sort();
}

/** Without liveness: as object storage, and disks that several machines share. */
function anonymous(store: Store): Store {
  const { liveness, ...rest } = store;
  return rest;
}

/** As a process that may die. */
function asWriter(store: Store, self: string, dead: ReadonlySet<string>): Store {
  return { ...store, liveness: { self, isAlive: async (writer) => !dead.has(writer) } };
}

function fullDisk(store: Store): Store {
  return {
    ...store,
    async put(key, content, options) {
      const isEmpty = typeof content !== "function" && content.length === 0;
      if (!isEmpty) throw new UnitcellError("BACKEND", "no space left on device");
      return store.put(key, content, options);
    },
  };
}

test("one holder among forty that try at once", async () => {
  const store = memoryStore();
  const random = randomNumbers(1);
  let holders = 0;
  let turns = 0;
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      await pause(random() * 10);
      const lock = await acquireLock(store, "name", { waitMs: 60_000, what: WHAT });
      assert.is(++holders, 1);
      await pause(random() * 3);
      assert.is(holders--, 1);
      turns++;
      await lock.release();
    }),
  );
  assert.is(turns, 40);
  assert.ok((await keysOf(store)).length <= 10, "old tickets are cleared away");
});

test("a second writer is refused, and told who has it and since when", async () => {
  const store = memoryStore();
  const lock = await acquireLock(store, "name", { what: WHAT });
  await throwsCode(() => acquireLock(store, "name", { what: WHAT }), "BACKEND", {
    message: /^run "cgcnn_mp" is being written by another writer \(.+, since 20\d\d-.+Z\)$/,
    check: ({ detail }) => assert.is(detail.writer, store.liveness!.self),
  });
  await acquireLock(store, "other", { what: "another lock" }).then((other) => other.release());
  await lock.release();
  await lock.release();
  assert.equal(await keysOf(store), ["000000000001", "000000000001.free"]);
  const next = await acquireLock(store, "name", { what: WHAT });
  assert.equal(await keysOf(store), ["000000000001", "000000000001.free", "000000000002"], "numbers only grow");
  await next.release();
});

test("a ticket that is renewed while it is read is read again", async () => {
  const store = memoryStore();
  let renewals = 0;
  const renewed: Store = {
    ...store,
    get: async (key) => {
      if (renewals++ < 3) throw new UnitcellError("MISMATCH", `${key} has changed while it was read`);
      return store.get(key);
    },
  };
  const holder = await acquireLock(store, "name", { what: WHAT });
  await throwsCode(() => acquireLock(renewed, "name", { what: WHAT }), "BACKEND", /another writer/);
  assert.ok(renewals > 3);
  await holder.release();
});

test("one that waits gets it when it is given back", async () => {
  const store = memoryStore();
  const lock = await acquireLock(store, "name", { what: WHAT });
  setTimeout(() => lock.release(), 30);
  const start = performance.now();
  const next = await acquireLock(store, "name", { waitMs: 10_000, what: WHAT });
  assert.ok(performance.now() - start < 1000);
  await next.release();
});

test("a dead writer's lock is taken over at once, a living one's is not", async () => {
  const store = memoryStore();
  const dead = new Set<string>();
  const first = await acquireLock(asWriter(store, "first", dead), "name", { what: WHAT });
  const second = asWriter(store, "second", dead);
  await throwsCode(() => acquireLock(second, "name", { what: WHAT }), "BACKEND", /first/);
  dead.add("first");
  const lock = await acquireLock(second, "name", { what: WHAT });
  await lock.check();
  await throwsCode(() => first.check(), "BACKEND", /taken over/);
  // Not dead after all: giving back what it has not got changes nothing.
  await first.release();
  await lock.check();
  await lock.release();
});

test("a silent writer of which nobody knows is taken over, also by one that does not wait for the living", async () => {
  const store = anonymous(memoryStore());
  const first = await acquireLock(store, "name", { what: WHAT });
  const start = performance.now();
  const lock = await acquireLock(store, "name", { staleMs: 100, what: WHAT });
  assert.ok(performance.now() - start >= 100);
  await throwsCode(() => first.check(), "BACKEND", /taken over/);
  await first.release();
  await lock.check();
  await lock.release();
});

test("one that gives signs of life is not taken over", async () => {
  const store = anonymous(memoryStore());
  const lock = await acquireLock(store, "name", { what: WHAT });
  const [key] = await keysOf(store);
  const ticket = JSON.parse(new TextDecoder().decode(await readFile(store, `${FOLDER}/${key}`)));
  // What it writes every ten seconds.
  const beats = setInterval(() => {
    ticket.beat++;
    void store.put(`${FOLDER}/${key}`, new TextEncoder().encode(JSON.stringify(ticket)));
  }, 20);
  try {
    await throwsCode(() => acquireLock(store, "name", { staleMs: 200, waitMs: 600, what: WHAT }), "BACKEND");
    await lock.check();
  } finally {
    clearInterval(beats);
  }
  await lock.release();
});

test("on a full disk a lock can be taken and given back", async () => {
  const store = memoryStore();
  const full = fullDisk(store);
  const lock = await acquireLock(full, "name", { what: WHAT });
  await lock.check();
  assert.equal(await keysOf(store), ["000000000001"]);
  // Whose it is cannot be told; it is waited for as for any that cannot be asked.
  const second = acquireLock(full, "name", { waitMs: 10_000, what: WHAT });
  await pause(20);
  await lock.release();
  await (await second).release();
  assert.equal((await keysOf(store)).join(" "), "000000000001 000000000001.free 000000000002 000000000002.free");
});

test("where not even an empty file can be made any more, the ticket is renamed", async () => {
  const store = memoryStore();
  let isFull = false;
  const full: Store = {
    ...store,
    async put(key, content, options) {
      if (isFull) throw new UnitcellError("BACKEND", "no space left on device");
      return store.put(key, content, options);
    },
  };
  const lock = await acquireLock(full, "name", { what: WHAT });
  isFull = true;
  await lock.release();
  assert.equal(await keysOf(store), ["000000000001.free"]);
  await (await acquireLock(store, "name", { what: WHAT })).release();
});

test("an answer that was lost on the way does not lock its own writer out", async () => {
  const store = memoryStore();
  let lost = 0;
  const network: Store = {
    ...store,
    async put(key, content, options) {
      const done = await store.put(key, content, options);
      if (lost++ > 0) return done;
      throw new UnitcellError("BACKEND", "connection reset");
    },
  };
  const lock = await acquireLock(network, "name", { what: WHAT });
  await lock.check();
  await lock.release();
});

for (const broken of ["list", "delete"] as const)
  test(`a store that fails to ${broken} while a lock is taken leaves it free`, async () => {
    const store = memoryStore();
    for (let i = 0; i < 5; i++) await (await acquireLock(store, "name", { what: WHAT })).release();
    let calls = 0;
    const fail = () => {
      // The first listing finds the lock free, the second is the look whether it was won.
      if (++calls === (broken === "list" ? 2 : 1)) throw new UnitcellError("BACKEND", "input/output error");
    };
    const failing: Store = {
      ...store,
      async *list(folder) {
        if (broken === "list") fail();
        yield* store.list(folder);
      },
      async delete(key) {
        if (broken === "delete") fail();
        await store.delete(key);
      },
    };
    await throwsCode(() => acquireLock(failing, "name", { what: WHAT }), "BACKEND", /input\/output/);
    await (await acquireLock(store, "name", { what: WHAT })).release();
  });

test("a lock that could not be given back is free to the one who held it", async () => {
  const store = memoryStore();
  let fails = false;
  const fail = () => {
    if (fails) throw new UnitcellError("BACKEND", "input/output error");
  };
  const failing: Store = {
    ...store,
    async put(key, content, options) {
      fail();
      return store.put(key, content, options);
    },
    async move(from, to) {
      fail();
      await store.move(from, to);
    },
  };
  const lock = await acquireLock(failing, "name", { what: WHAT });
  fails = true;
  await throwsCode(() => lock.release(), "BACKEND");
  await throwsCode(() => acquireLock(failing, "name", { what: WHAT }), "BACKEND", /input\/output/);
  fails = false;
  await (await acquireLock(failing, "name", { what: WHAT })).release();
  await lock.release();
  assert.equal((await keysOf(store)).join(" "), "000000000001 000000000002 000000000002.free");
});

test("notes that someone has deleted: the holder keeps the lock, unless another was faster", async () => {
  const store = memoryStore();
  for (let i = 0; i < 3; i++) await (await acquireLock(store, "name", { what: WHAT })).release();
  const lock = await acquireLock(store, "name", { what: WHAT });
  const clear = async () => {
    for (const key of await keysOf(store)) await store.delete(`${FOLDER}/${key}`);
  };
  await clear();
  await lock.check();
  await throwsCode(() => acquireLock(store, "name", { what: WHAT }), "BACKEND");
  await clear();
  const other = await acquireLock(store, "name", { what: WHAT });
  await throwsCode(() => lock.check(), "BACKEND", /taken over/);
  await other.release();
});

/** Each takes the lock twice, and may die at any step; nobody ever holds it beside a living one. */
async function exclude(seed: number): Promise<number> {
  const world = new World({ seed, liveness: true });
  const store = memoryStore();
  let holder: number | undefined;
  let turns = 0;
  const act = async (actor: number) => {
    const view = world.view(store, actor);
    for (let i = 0; i < 2; i++) {
      const lock = await acquireLock(view, "name", { waitMs: Number.POSITIVE_INFINITY, what: WHAT });
      assert.ok(holder === undefined || world.dead.has(holder), `seed ${seed}: ${actor} beside ${holder}`);
      holder = actor;
      turns++;
      await lock.check();
      await world.turn(actor);
      assert.is(holder, actor, `seed ${seed}`);
      holder = undefined;
      await lock.release();
    }
  };
  const dies = async (actor: number) => {
    void act(actor);
    for (let i = Math.floor(world.random() * 40); i > 0; i--) await world.turn(actor);
    world.dead.add(actor);
    await new Promise(() => {});
  };
  await world.run(seed % 3 === 0 ? [act, dies, act, act] : [act, act, act]);
  return turns;
}

test(`${SCHEDULES} schedules of three or four writers, some of which die`, async () => {
  let turns = 0;
  for (let seed = 0; seed < SCHEDULES; seed++) turns += await exclude(seed);
  assert.ok(turns >= 6 * SCHEDULES);
});

test("writers that cannot be asked: whoever was taken for dead finds out with its next check", async () => {
  for (let seed = 0; seed < SCHEDULES / 3; seed++) {
    const world = new World({ seed });
    const store = memoryStore();
    // By number: one that was taken for dead while it took the lock can be the later to have it.
    let highest = 0;
    const act = async (actor: number) => {
      const view = world.view(store, actor);
      for (let i = 0; i < 2; i++) {
        // A patience of some steps: many are taken for dead that live.
        const lock = await acquireLock(view, "name", { waitMs: Number.POSITIVE_INFINITY, staleMs: 30, what: WHAT });
        const number = Reflect.get(lock, "number") as number;
        highest = Math.max(highest, number);
        for (let checks = 0; checks < 3; checks++) {
          const wasHighest = highest === number;
          const holds = await lock.check().then(
            () => true,
            () => false,
          );
          assert.ok(wasHighest || !holds, `seed ${seed}: ${actor} does not see that it was taken over`);
        }
        await lock.release();
      }
    };
    await world.run([act, act, act]);
  }
});

test.run();

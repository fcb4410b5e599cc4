/** What is opened when it is needed and closed when nobody uses it: every order of uses and closes. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { OnDemand } from "../src/backends/on-demand.js";
import { randomNumbers } from "./interleaving.js";

const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/** Numbered things, and how many use each now. */
class Shop {
  readonly users = new Map<number, number>();
  readonly open = new Set<number>();
  opened = 0;
  failing = 0;

  readonly item = new OnDemand(
    async () => {
      await tick();
      if (this.failing-- > 0) throw new Error("closed today");
      const id = ++this.opened;
      this.open.add(id);
      return id;
    },
    async (id) => {
      assert.is(this.users.get(id) ?? 0, 0, `${id} is closed while it is used`);
      await tick();
      assert.ok(this.open.delete(id), `${id} is closed once`);
    },
  );

  use(ticks: number): Promise<number> {
    return this.item.use(async (id) => {
      this.users.set(id, (this.users.get(id) ?? 0) + 1);
      for (let i = 0; i < ticks; i++) await tick();
      assert.ok(this.open.has(id), `${id} is used while it is closed`);
      this.users.set(id, this.users.get(id)! - 1);
      return id;
    });
  }
}

test("nothing is opened before it is used, then one for all, and another after it is closed", async () => {
  const shop = new Shop();
  await shop.item.close();
  assert.equal([shop.opened, shop.item.value], [0, undefined]);
  assert.equal(await Promise.all([shop.use(1), shop.use(2), shop.use(0)]), [1, 1, 1]);
  assert.is(shop.item.value, 1);
  await shop.item.close();
  assert.equal([shop.open.size, shop.item.value], [0, undefined]);
  assert.is(await shop.use(0), 2);
});

test("what cannot be opened fails for those who wait for it, and is tried again", async () => {
  const shop = new Shop();
  shop.failing = 1;
  const results = await Promise.allSettled([shop.use(0), shop.use(0)]);
  assert.equal(
    results.map(({ status }) => status),
    ["rejected", "rejected"],
  );
  assert.is(await shop.use(0), 1);
  shop.failing = 1;
  await shop.item.close();
  const opening = shop.use(0);
  await Promise.all([shop.item.close(), opening.catch(() => {})]);
  assert.is(await shop.use(0), 2);
});

test("close(one) leaves another alone", async () => {
  const shop = new Shop();
  const first = await shop.use(0);
  await shop.item.close();
  const second = await shop.use(0);
  await shop.item.close(first);
  assert.is(shop.item.value, second);
  await shop.item.close(second);
  assert.is(shop.open.size, 0);
});

test("uses and closes in random order: none of what is closed is used, all is closed in the end", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomNumbers(seed);
    const shop = new Shop();
    const all: Promise<unknown>[] = [];
    for (let step = 0; step < 30; step++) {
      const choice = random();
      if (choice < 0.5) all.push(shop.use(Math.floor(4 * random())));
      else if (choice < 0.6) all.push(shop.item.close(shop.item.value));
      else if (choice < 0.8) all.push(shop.item.close());
      else if (choice < 0.9) await tick();
      else for (let i = 0; i < 5 * random(); i++) await Promise.resolve();
    }
    await Promise.all(all);
    await shop.item.close();
    assert.is(shop.open.size, 0, `seed ${seed}`);
  }
});

test.run();

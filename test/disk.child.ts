/**
 * disk.child.js MODE FOLDER: mounts a disk of 1 MiB where only this process sees it, and fills it or makes it read-only. Run by
 * `unshare -Urm`. Prints a line for each thing that holds, and ends with 1 at the first that does not.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { isUnitcellError, UnitcellError } from "../src/errors.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { pinCheckpoint } from "../src/runs/pins.js";
import { pruneStore } from "../src/runs/prune.js";
import { keepLatest } from "../src/runs/retention.js";
import { undoRemoval } from "../src/runs/trash.js";
import { fsStore } from "../src/stores/fs.js";
import { BY, findBroken, partsIn, stateAfter } from "./training.js";

/** f32 in each of two tensors: 33 kB a file. */
const NUMBERS = 4000;

const [, , mode, disk] = process.argv;
const folder = join(disk, "saved_models");
const store = fsStore(folder);
const options = { run: "disk", ...BY };

const mount = (...args: string[]) => execFileSync("mount", [...args, disk], { stdio: "inherit" });

/** The error of something that must fail at once, by its code and the system's reason. */
async function fails(act: () => Promise<unknown>, reason: string): Promise<void> {
  const start = performance.now();
  const error: UnitcellError = await act().then(
    () => assert.unreachable(`expected ${reason}`),
    (thrown) => thrown,
  );
  assert.ok(isUnitcellError(error, "BACKEND"), String(error.stack));
  assert.match(error.message, reason);
  assert.ok(performance.now() - start < 5000, `it took ${performance.now() - start} ms`);
}

/** As `fails`, but it may also be done. */
async function mayFail(act: () => Promise<unknown>, reason: string): Promise<boolean> {
  let isDone = false;
  const acting = act().then(() => {
    isDone = true;
  });
  await fails(async () => {
    await acting;
    throw new UnitcellError("BACKEND", reason);
  }, reason);
  return isDone;
}

const say = (what: string) => console.log(`  ${what}`);
const keysOf = async () => (await listCheckpoints(store)).map(({ key }) => key);

/** Do something on a disk that is full to the last byte, so that not even a lock's ticket has room. */
function fill<T>(act: () => Promise<T>): Promise<T> {
  execFileSync("sh", ["-c", `cat /dev/zero >> ${join(disk, "filler")} 2> /dev/null || true`]);
  return act();
}

async function fullDisk(): Promise<void> {
  const manager = new CheckpointManager(store, options);
  await manager.begin();
  let epoch = 0;
  let error: unknown;
  while (error === undefined) await manager.save(stateAfter(++epoch, NUMBERS)).catch((thrown) => (error = thrown));
  assert.ok(isUnitcellError(error, "BACKEND") && /ENOSPC|no space/i.test(error.message), String(error));
  const saved = (await keysOf()).filter((key) => key.includes("epoch"));
  assert.ok(epoch > 10 && saved.length >= epoch - 1, `${saved.length} files of ${epoch} epochs`);
  assert.equal(await findBroken(store), []);
  assert.equal(partsIn(folder), []);
  say(`ENOSPC at epoch ${epoch}; the ${saved.length} former ones load`);

  await fails(() => fill(() => manager.save(stateAfter(epoch, NUMBERS))), "ENOSPC");
  // What is small may find room where old tickets of locks were.
  await mayFail(() => fill(() => manager.setMetadata({ model_type: "cgcnn" })), "ENOSPC");
  await mayFail(() => fill(() => pinCheckpoint(store, "disk_best.pt")), "ENOSPC");
  const plan = await manager.planPrune(keepLatest(3));
  const isInTrash = await mayFail(() => fill(() => manager.prune(plan, { trash: true })), "ENOSPC");
  assert.equal(await findBroken(store), []);
  if (isInTrash) await undoRemoval(store);
  const { removed } = await fill(async () => manager.prune(await manager.planPrune(keepLatest(3))));
  assert.ok(removed.length >= epoch - 5, `${removed.length} removed`);
  say(`pruned on the full disk: ${removed.length} files`);

  for (let more = 0; more < 5; more++) await manager.save(stateAfter(epoch++, NUMBERS));
  await fill(() => manager.close());
  const resumed = await new CheckpointManager(store, options).resume();
  assert.is(resumed.state.epoch, epoch - 1);
  assert.equal(await findBroken(store), []);
  say("saving works again, and the run goes on");
}

async function readOnly(): Promise<void> {
  const former = new CheckpointManager(store, options);
  await former.begin();
  for (let epoch = 1; epoch <= 3; epoch++) await former.save(stateAfter(epoch));
  const keys = await keysOf();
  const plan = await former.planPrune(keepLatest(1));
  mount("-o", "remount,ro");
  assert.equal(await keysOf(), keys);
  assert.equal(await findBroken(store), []);
  const manager = new CheckpointManager(store, options);
  assert.is((await manager.restore("latest")).checkpoint.epoch, 3);
  assert.is((await manager.history())?.epochs, 3);
  assert.is((await manager.planPrune(keepLatest(1))).remove.length, 2);
  say("listing, loading and planning need no writing");
  for (const act of [
    () => former.save(stateAfter(4)),
    () => former.saveFinal(stateAfter(4)),
    () => pruneStore(store, plan),
    () => pruneStore(store, plan, { trash: true }),
    () => pinCheckpoint(store, keys[0]),
    () => former.close(),
  ])
    await fails(act, "EROFS");
  say("save, prune and pin say why they cannot");
  mount("-o", "remount,rw");
  // The lock could not be given back; nobody holds it all the same.
  assert.is((await manager.resume()).state.epoch, 3);
  await manager.save(stateAfter(4));
  await manager.close();
  assert.equal(await findBroken(store), []);
  say("written again as soon as it may be");
}

mount("-t", "tmpfs", "-o", "size=1m", "tmpfs");
await (mode === "full" ? fullDisk() : readOnly());

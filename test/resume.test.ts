/**
 * Training in real PyTorch, its checkpoints in the hands of unitcell: resumed from what is left after pruning, from files
 * that unitcell wrote, and by way of both, the loss curve has the bits of an uninterrupted run.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { pinCheckpoint } from "../src/runs/pins.js";
import { planStorePrune, pruneStore } from "../src/runs/prune.js";
import { anyOf, keepBest, keepEvery, keepLatest, keepTagged } from "../src/runs/retention.js";
import { decodeState, type TrainingState } from "../src/runs/training-state.js";
import { undoRemoval } from "../src/runs/trash.js";
import { fileSource, fsStore } from "../src/stores/fs.js";
import { PYTHON_2 } from "./interop.js";
import { inFull } from "./scope.js";

/** Epoch, training loss and validation error, the floats in hexadecimal. */
type Point = [epoch: number, loss: string, valMae: string];

const SCRIPT = "test/resume_training.py";
const RUN = "mlp_toy";

/** The Pythons that can train, with what differs between them to a user. */
const SYSTEM_PYTHON = process.env.UNITCELL_PYTHON ?? "/usr/bin/python3";
const PYTHONS = inFull("PyTorch 1.13's training beside PyTorch 2's") ? [PYTHON_2, SYSTEM_PYTHON] : [PYTHON_2];

for (const python of PYTHONS) {
  const versions = versionsOf(python);
  if (!versions) continue;
  const torch = `torch ${versions.torch}`;
  const run = <T>(...args: string[]): T =>
    JSON.parse(execFileSync(python, [SCRIPT, ...args], { encoding: "utf8" })) as T;
  const train = (folder: string, last: number) => run<Point[]>("train", folder, String(last));
  /** The curves from these files on. */
  const finish = (folder: string, names: readonly string[]) =>
    run<Point[][]>("finish", ...names.map((name) => join(folder, name)));
  const uninterrupted = run<Point[]>("finish");
  const after = (epoch: number) => uninterrupted.slice(epoch);
  const bestOf = (points: readonly Point[]) => points.reduce((a, b) => (real(b[2]) < real(a[2]) ? b : a));

  test(`${torch} saves epochs 1 to 50, unitcell prunes, pins and reports, ${torch} goes on from what is left`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-resume-"));
    try {
      assert.equal(train(folder, 50), uninterrupted.slice(0, 50));
      const store = fsStore(folder);
      const manager = new CheckpointManager(store, { run: RUN });
      const infos = await manager.list();
      assert.is(infos.length, 51);
      const at12 = infos.find(({ tag, epoch }) => tag === "epoch" && epoch === 12);
      assert.is(at12?.metrics?.val_mae, real(uninterrupted[11][2]), "the history of the script is read");
      await pinCheckpoint(store, `${RUN}_epoch7.pt`);
      const by = { metric: "val_mae", mode: "min" } as const;
      const policy = anyOf(keepTagged("best"), keepLatest(2), keepEvery(20), keepBest(1, by));
      const plan = await manager.planPrune(policy);
      const best = bestOf(uninterrupted.slice(0, 50))[0];
      const left = [...new Set([7, 20, 40, 49, 50, best])].sort((a, b) => a - b);
      const keys = [`${RUN}_best.pt`, ...left.map((epoch) => `${RUN}_epoch${epoch}.pt`)].sort();
      assert.equal(plan.keep.map(({ key }) => key).sort(), keys);
      const { removed } = await manager.prune(plan, { trash: true });
      assert.is(removed.length, 51 - keys.length);
      assert.equal(checkpoints(folder), keys);
      const names = [...left.map((epoch) => `${RUN}_epoch${epoch}.pt`), `${RUN}_best.pt`];
      assert.equal(finish(folder, names), [...left, best].map(after));
      await undoRemoval(store);
      assert.is(checkpoints(folder).length, 51);
      assert.equal(finish(folder, [`${RUN}_epoch33.pt`]), [after(33)], "what came back from the trash");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test(`unitcell saves every epoch that ${torch} trains, both are killed twice, the curve stays the same`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-resume-"));
    try {
      const by = { metric: "val_mae", mode: "min" } as const;
      const options = { run: RUN, retention: anyOf(keepLatest(2), keepBest(2, by)) };
      let trainer = startTrainer(python);
      const curve: Point[] = [];
      let manager = new CheckpointManager(fsStore(folder), options);
      const epochs = async (last: number) => {
        while (curve.length < last) {
          const { point, state } = await trainer.step(join(folder, "handed-over.tmp"));
          await manager.save(state);
          curve.push(point);
        }
      };
      await epochs(20);
      trainer.kill();
      await manager.close();
      for (const stop of [37, 50]) {
        manager = new CheckpointManager(fsStore(folder), options);
        const { state, info, history, top } = await manager.resume();
        assert.is(state.epoch, curve.length);
        assert.is(info.key, `${RUN}_epoch${curve.length}.pt`);
        assert.equal(
          history.map(({ epoch, val_mae }) => [epoch, val_mae]),
          curve.map(([epoch, , value]) => [epoch, real(value)]),
        );
        assert.is(top[0].epoch, bestOf(curve)[0]);
        trainer = startTrainer(python, join(folder, info.key));
        await epochs(stop);
        trainer.kill();
        await manager.close();
      }
      assert.equal(curve, uninterrupted.slice(0, 50));
      // And the other way round: PyTorch alone goes on from each file that unitcell has left.
      rmSync(join(folder, "handed-over.tmp"));
      const best = bestOf(curve)[0];
      assert.equal(finish(folder, [`${RUN}_epoch50.pt`, `${RUN}_best.pt`]), [after(50), after(best)]);
      const found = run<Record<string, unknown>>("load", join(folder, `${RUN}_best.pt`));
      assert.equal(found.metrics, {
        val_mae: ["float", real(curve[best - 1][2])],
        loss: ["float", real(curve[best - 1][1])],
      });
      assert.is(found.epoch, "int");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test(`${torch}'s run becomes unitcell's: resumed from it, saved again, gone on with`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-resume-"));
    try {
      train(folder, 30);
      const store = fsStore(folder);
      const manager = new CheckpointManager(store, { run: RUN });
      const { state, history, best } = await manager.resume({ epoch: 25 });
      assert.is(history.length, 25);
      assert.is(best?.value, real(bestOf(uninterrupted.slice(0, 30))[2]));
      // The state of an epoch that was done before, saved as the next one would be: the files are then unitcell's own.
      await manager.save({ ...state, metrics: { val_mae: real(uninterrupted[24][2]) } });
      await manager.close();
      assert.equal(finish(folder, [`${RUN}_epoch25.pt`]), [after(25)]);
      // What was saved after epoch 25 is of a branch given up.
      assert.not.ok(checkpoints(folder).includes(`${RUN}_epoch30.pt`));
      const plan = await planStorePrune(store, keepLatest(1));
      await pruneStore(store, plan);
      assert.equal(checkpoints(folder), [`${RUN}_best.pt`, `${RUN}_epoch25.pt`]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();

function versionsOf(python: string): { torch: string } | undefined {
  if (!existsSync(python)) {
    console.log(`skipped: no training with ${python}, it is absent`);
    return undefined;
  }
  try {
    return JSON.parse(execFileSync(python, [SCRIPT, "versions"], { encoding: "utf8", stdio: "pipe" }));
  } catch (error) {
    console.log(`skipped: no training with ${python} (${(error as Error).message.split("\n")[0]})`);
    return undefined;
  }
}

function real(hex: string): number {
  const [, sign, whole, digits, exponent] = /^(-?)0x([01])\.([0-9a-f]+)p([+-]\d+)$/.exec(hex) ?? [];
  if (digits === undefined) throw new Error(`no hexadecimal float: ${hex}`);
  const mantissa = Number.parseInt(whole + digits, 16) / 2 ** (4 * digits.length);
  return (sign ? -1 : 1) * mantissa * 2 ** Number(exponent);
}

function checkpoints(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".pt"))
    .sort();
}

/** PyTorch in a process of its own, which trains an epoch when asked and hands its state over in a file. */
function startTrainer(python: string, from?: string) {
  const child: ChildProcessWithoutNullStreams = spawn(python, [SCRIPT, "serve", ...(from ? [from] : [])]);
  let complaint = "";
  child.stderr.on("data", (text) => {
    complaint += text;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async step(to: string): Promise<{ point: Point; state: TrainingState }> {
      child.stdin.write(`${JSON.stringify({ to })}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the trainer has ended: ${complaint}`);
      const point = JSON.parse(value) as Point;
      const source = fileSource(to);
      const state = decodeState(await loadCheckpoint(source), { key: to });
      source.close();
      return {
        point,
        state: { ...state, metrics: { val_mae: real(point[2]), loss: real(point[1]) }, extra: new Map() },
      };
    },
    kill: () => child.kill("SIGKILL"),
  };
}

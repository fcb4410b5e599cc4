/** What the names of files say, for the programs that write them. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type CheckpointName, checkpointKey, checkRunName, parseCheckpointName } from "../src/runs/checkpoint-names.js";
import { throwsCode } from "./throws.js";

const best = (run: string): CheckpointName => ({ run, tag: "best" });
const final = (run: string): CheckpointName => ({ run, tag: "final" });
const last = (run: string): CheckpointName => ({ run, tag: "last" });
const other = (run: string): CheckpointName => ({ run, tag: "other" });
const epoch = (run: string, number: number, metrics?: Record<string, number>): CheckpointName => ({
  run,
  tag: "epoch",
  epoch: number,
  ...(metrics && { metrics }),
});

const ROWS: [key: string, expected: CheckpointName | undefined][] = [
  // The seed document's.
  ["cgcnn_mp_best.pt", best("cgcnn_mp")],
  ["cgcnn_mp_epoch50.pt", epoch("cgcnn_mp", 50)],
  ["cgcnn_mp_final.pt", final("cgcnn_mp")],
  ["model_epoch7.pt", epoch("model", 7)],
  ["model_best.pt", best("model")],
  ["ensemble_predictions.pt", other(".")],
  ["ensemble_predictions_old.pt", other(".")],
  ["training_history.json", undefined],
  ["cgcnn_mp_metadata.json", undefined],
  ["README.md", undefined],
  // In folders.
  ["runs/a/cgcnn_mp_best.pt", best("runs/a/cgcnn_mp")],
  ["runs/a/best.pt", best("runs/a")],
  ["runs/ensemble_predictions.pt", other("runs")],
  // CGCNN's main.py; model_best of another ending is a run called "model".
  ["checkpoint.pth.tar", last(".")],
  ["model_best.pth.tar", best(".")],
  ["cgcnn/model_best.pth.tar", best("cgcnn")],
  ["model_best.pth", best("model")],
  // ALIGNN's train.py, before 2024 with ignite.
  ["best_model.pt", best(".")],
  ["out/current_model.pt", last("out")],
  ["out/last_model.pt", final("out")],
  ["out/checkpoint_300.pt", epoch("out", 300)],
  // matgl
  ["megnet/state.pt", final("megnet")],
  ["megnet/model.pt", other("megnet")],
  // Hugging Face's trainer
  ["checkpoint-500/pytorch_model.bin", other("checkpoint-500")],
  ["pytorch_model-00001-of-00002.bin", other(".")],
  ["checkpoint-500/training_args.bin", undefined],
  ["my_pytorch_model.bin", undefined],
  // Lightning
  ["epoch=3-step=400.ckpt", epoch(".", 3)],
  ["epoch=03-step=400-v1.ckpt", epoch(".", 3)],
  ["cgcnn-epoch=03-val_mae=0.041.ckpt", epoch("cgcnn", 3, { val_mae: 0.041 })],
  ["cgcnn-epoch=03-val_mae=0.041-v2.ckpt", epoch("cgcnn", 3, { val_mae: 0.041 })],
  ["lightning_logs/version_0/checkpoints/epoch=0-step=10.ckpt", epoch("lightning_logs/version_0/checkpoints", 0)],
  ["epoch=12-val_loss=-1.5e-05-val_r2=1.ckpt", epoch(".", 12, { val_loss: -1.5e-5, val_r2: 1 })],
  ["best-epoch=5-val_mae=0.2.ckpt", { run: ".", tag: "best", epoch: 5, metrics: { val_mae: 0.2 } }],
  ["last.ckpt", last(".")],
  ["last-v1.ckpt", last(".")],
  // A metric that was NaN when its file was named has no number there.
  ["epoch=4-val_mae=nan.ckpt", epoch(".", 4)],
  // Numbers that no epoch has: Infinity would be the latest for ever.
  ["cgcnn-epoch=1e999.ckpt", { run: "cgcnn", tag: "epoch" }],
  ["cgcnn-epoch=2.5.ckpt", { run: "cgcnn", tag: "epoch" }],
  ["cgcnn-epoch=-4.ckpt", { run: "cgcnn", tag: "epoch" }],
  // Spellings
  ["cgcnn_mp_Best.PT", best("cgcnn_mp")],
  ["cgcnn-mp-epoch-050.pth", epoch("cgcnn-mp", 50)],
  ["cgcnn.epoch.2.safetensors", epoch("cgcnn", 2)],
  ["epoch_9.pt", epoch(".", 9)],
  ["epoch0.pt", epoch(".", 0)],
  ["cgcnn_epoch123456789012.pt", epoch("cgcnn", 123456789012)],
  ["cgcnn_latest.pt", last("cgcnn")],
  // Words that only look like it: no policy touches these.
  ["almost.pt", other(".")],
  ["bestiary.pt", other(".")],
  ["finalists.pt", other(".")],
  ["epochs.pt", other(".")],
  ["cgcnn_epoch.pt", other(".")],
  ["cgcnn_epoch-.pt", other(".")],
  ["cgcnn_epoch5_backup.pt", other(".")],
  ["checkpoint-500/model.safetensors", other("checkpoint-500")],
  ["best_model_8_val_mae=0.1.pt", other(".")],
  ["best", undefined],
  ["cgcnn_best.pt.tmp", undefined],
];

for (const [key, expected] of ROWS)
  test(`${key}: ${expected ? `${expected.tag} of ${expected.run}` : "no checkpoint"}`, () =>
    assert.equal(parseCheckpointName(key), expected));

test("the names a run's files get are found again as that run's", () => {
  for (const run of [
    "cgcnn_mp",
    "a/b/cgcnn",
    "model",
    "best",
    "checkpoint",
    "epoch",
    "my run",
    "a_epoch3",
    "x-",
    "v1.2",
  ]) {
    assert.is(checkRunName(run), run);
    assert.equal(parseCheckpointName(checkpointKey(run, "best")), best(run));
    assert.equal(parseCheckpointName(checkpointKey(run, "final")), final(run));
    for (const n of [0, 1, 50, 1e12])
      assert.equal(parseCheckpointName(checkpointKey(run, { epoch: n })), epoch(run, n));
  }
});

for (const run of ["", ".", "..", "a//b", "/a", "a/", "epoch=1", ".hidden", "a/.b/c", "back\\slash", "line\nbreak"])
  test(`no run can be called ${JSON.stringify(run)}`, () => throwsCode(() => checkRunName(run), "ARGUMENT"));

test.run();

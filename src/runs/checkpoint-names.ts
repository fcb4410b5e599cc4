/** What file names say of checkpoints: ours, and those that CGCNN, ALIGNN, matgl and Lightning give. */
import { isWeights, withoutWeightsEnding } from "../checkpoint/file-names.js";
import { UnitcellError } from "../errors.js";
import { checkKey } from "../stores/store.js";
import type { CheckpointInfo, Tag } from "./checkpoint-info.js";

export type CheckpointName = Pick<CheckpointInfo, "run" | "tag" | "epoch" | "metrics">;

/** Run of the files at the top of a store that their program, and not a person, has named. */
export const UNNAMED_RUN = ".";

/** Names that programs always use; the run is then their folder. */
const PROGRAMS: Readonly<Record<string, Tag>> = {
  // CGCNN's main.py
  "model_best.pth.tar": "best",
  "checkpoint.pth.tar": "last",
  // ALIGNN's train.py
  "best_model.pt": "best",
  "current_model.pt": "last",
  "last_model.pt": "final",
  // matgl's save: the state dict of model.pt and model.json
  "state.pt": "final",
};

/** Words for a tag at the end of a name, or alone. */
const WORDS: Readonly<Record<string, Tag>> = { best: "best", final: "final", last: "last", latest: "last" };
const WORD = /^(?:(.*?)[_.-])?(best|final|last|latest)(?:-v\d+)?$/i;
/** "cgcnn_mp_epoch50", "epoch_50", "ALIGNN's checkpoint_50" and ignite's. */
const EPOCH = /^(.*?)[_.-]?epoch[_.-]?(\d{1,15})$/i;
const NUMBERED = /^checkpoint_(\d{1,15})$/;
/** Lightning: "epoch=3-step=400", "cgcnn-epoch=03-val_mae=0.041-v1". */
const PAIR = /(?:^|[-_])([A-Za-z][\w./]*?)=(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/gi;

/** The name of a checkpoint file; undefined for what is no checkpoint by its ending. */
export function parseCheckpointName(key: string): CheckpointName | undefined {
  const slash = key.lastIndexOf("/");
  const name = key.slice(slash + 1);
  if (!isWeights(name)) return undefined;
  const folder = slash < 0 ? "" : key.slice(0, slash);
  const run = (prefix: string | undefined) => [folder, prefix].filter(Boolean).join("/") || UNNAMED_RUN;
  if (Object.hasOwn(PROGRAMS, name)) return { run: run(undefined), tag: PROGRAMS[name] };
  const stem = withoutWeightsEnding(name);
  if (stem.includes("epoch=")) return parsePairs(stem, run);
  const word = WORD.exec(stem);
  if (word) return { run: run(word[1]), tag: WORDS[word[2].toLowerCase()] };
  const numbered = NUMBERED.exec(stem);
  if (numbered) return { run: run(undefined), tag: "epoch", epoch: Number(numbered[1]) };
  const epoch = EPOCH.exec(stem);
  if (epoch) return { run: run(epoch[1]), tag: "epoch", epoch: Number(epoch[2]) };
  return { run: run(undefined), tag: "other" };
}

function parsePairs(stem: string, run: (prefix: string | undefined) => string): CheckpointName {
  const prefix = stem.slice(0, stem.indexOf("epoch=")).replace(/[-_.]$/, "");
  const values = new Map([...stem.matchAll(PAIR)].map(([, name, value]) => [name, Number(value)]));
  const found = values.get("epoch") ?? Number.NaN;
  const epoch = Number.isSafeInteger(found) && found >= 0 ? found : undefined;
  const metrics = Object.fromEntries([...values].filter(([name]) => name !== "epoch" && name !== "step"));
  const isBest = prefix.toLowerCase() === "best";
  return {
    run: run(isBest ? undefined : prefix),
    tag: isBest ? "best" : "epoch",
    ...(epoch !== undefined && { epoch }),
    ...(Object.keys(metrics).length > 0 && { metrics }),
  };
}

/** The name a run's file is given: "<run>_best.pt", "<run>_final.pt", "<run>_epoch<N>.pt". */
export function checkpointKey(run: string, tag: "best" | "final" | { readonly epoch: number }): string {
  return `${run}_${typeof tag === "string" ? tag : `epoch${tag.epoch}`}.pt`;
}

/** File systems take 255 bytes for a name; what is added to a run has up to 30. */
const MOST_NAME_BYTES = 200;

/**
 * The name itself, if files can be named after it and found again.
 * @throws {UnitcellError} ARGUMENT otherwise
 */
export function checkRunName(run: string): string {
  const isFound = run !== UNNAMED_RUN && parseCheckpointName(checkpointKey(checkKey(run), "best"))?.run === run;
  const isFit = (part: string) => !part.startsWith(".") && new TextEncoder().encode(part).length <= MOST_NAME_BYTES;
  if (isFound && run.split("/").every(isFit)) return run;
  throw new UnitcellError(
    "ARGUMENT",
    `expected the name of a run, as "cgcnn_mp", at most ${MOST_NAME_BYTES} bytes long, found ${JSON.stringify(run)}`,
    {
      run,
    },
  );
}

/**
 * What a training needs to go on, and how it stands in a checkpoint file: a dict of plain types that
 * torch.load(weights_only=True) takes, with CGCNN's key names where it has them (`python: checkpoint["state_dict"]`).
 *
 *   epoch, state_dict, optimizer, scheduler, rng_state, normalizer {mean, std}, args, metrics {name: float},
 *   whatever else was given, and `unitcell`: {format, run, metric, mode, seconds, best, history {column: list}}
 */
import type { Checkpoint } from "../checkpoint.js";
import { UnitcellError } from "../errors.js";
import { Float, OrderedDict, type TorchValue } from "../formats/values.js";
import type { StateDict } from "../tensor.js";
import { type HistoryRow, rowOf } from "./history.js";
import type { Ranking } from "./retention.js";
import { WeightsOnly } from "./weights-only.js";

/** A model in training after an epoch. `null` says that there is none; a part that is left out is an error, now and not on resuming. */
export interface TrainingState {
  readonly stateDict: StateDict;
  /** Counted from 1: the number of epochs done. */
  readonly epoch: number;
  /** What was measured in this epoch, e.g. { train_loss, val_mae }. */
  readonly metrics: Readonly<Record<string, number>>;
  /** `optimizer.state_dict()` of torch, or whatever the training needs in its place. */
  readonly optimizer: TorchValue;
  /** `scheduler.state_dict()`. */
  readonly scheduler: TorchValue;
  /** States of random number generators: `torch.get_rng_state()`, or a dict of several. */
  readonly rng: TorchValue;
  /** prediction = output * std + mean, in the units of the target. */
  readonly normalizer?: { readonly mean: number; readonly std: number } | undefined;
  /** Settings of the architecture and the training. */
  readonly args?: ReadonlyMap<string, TorchValue> | undefined;
  /** Further keys of the file; none of those above (`state_dict`, `rng_state`, ...). */
  readonly extra?: ReadonlyMap<string, TorchValue> | undefined;
}

/** What the manager itself remembers, in every file, so that any one of them is enough to go on. */
export interface RunRecord extends Ranking {
  readonly run: string;
  /** s of training over all sessions. */
  readonly seconds: number;
  /** The best epoch that was saved as such. */
  readonly best: { readonly epoch: number; readonly value: number } | undefined;
  /** Every epoch up to this one. */
  readonly history: readonly HistoryRow[];
}

/** The parts that are there or not; `null` in the file: the training has none. */
export type Part = "optimizer" | "scheduler" | "rng" | "epoch";

/** Keys under which training programs keep each part. The first is ours. */
const KEYS: Readonly<Record<Exclude<Part, "epoch">, readonly string[]>> = {
  optimizer: [
    "optimizer",
    "optimizer_state_dict",
    "optimizer_state",
    "optimizer_states",
    "optim",
    "optim_state_dict",
    "opt",
  ],
  scheduler: [
    "scheduler",
    "scheduler_state_dict",
    "scheduler_state",
    "lr_scheduler",
    "lr_scheduler_state_dict",
    "lr_schedulers",
    "sched",
  ],
  rng: ["rng_state", "rng", "rng_states", "rng_state_dict", "random_state", "torch_rng_state"],
};
const RECORD = "unitcell";
const FORMAT = 1;
/** Of a history: 40,000 epochs with 100 metrics. In a file one column may be a hundred thousand at no cost. */
const MOST_CELLS = 2 ** 22;
/** CGCNN's main.py reads this at the top. */
const TOP_METRICS = ["best_mae_error"];
const OWN_KEYS = new Set(["epoch", "state_dict", "normalizer", "args", "metrics", RECORD, ...TOP_METRICS]);

/**
 * The value to save.
 * @returns it, and the places of what torch.load refuses unless told weights_only=False
 * @throws {UnitcellError} ARGUMENT for a part that is left out, a metric that is no number, an epoch that is none, a key of `extra`
 *   that another part has; LIMIT for a history of more than four million numbers
 */
export function encodeState(state: TrainingState, record: RunRecord): { value: TorchValue; refused: string[] } {
  checkState(state);
  const weightsOnly = new WeightsOnly();
  const plain = (value: TorchValue, place: string) => weightsOnly.convert(value, place);
  const value = new Map<TorchValue, TorchValue>([
    ["epoch", state.epoch],
    ["state_dict", orderedDict(state.stateDict)],
    ["optimizer", plain(state.optimizer, "optimizer")],
    ["scheduler", plain(state.scheduler, "scheduler")],
    ["rng_state", plain(state.rng, "rng_state")],
  ]);
  const { normalizer, args } = state;
  if (normalizer)
    value.set(
      "normalizer",
      new Map([
        ["mean", new Float(normalizer.mean)],
        ["std", new Float(normalizer.std)],
      ]),
    );
  if (args) value.set("args", plain(args as ReadonlyMap<TorchValue, TorchValue>, "args"));
  const metrics = Object.entries(state.metrics);
  value.set("metrics", new Map(metrics.map(([name, number]) => [name, new Float(number)])));
  for (const [name, number] of metrics) if (TOP_METRICS.includes(name)) value.set(name, new Float(number));
  for (const [key, item] of state.extra ?? []) {
    if (value.has(key) || key === RECORD)
      throw new UnitcellError("ARGUMENT", `extra: the file's key ${JSON.stringify(key)} is taken by another part`, {
        key,
      });
    value.set(key, plain(item, key));
  }
  value.set(RECORD, encodeRecord(record));
  return { value, refused: weightsOnly.refused };
}

function checkState(state: TrainingState): void {
  const missing = (["stateDict", "epoch", "metrics", "optimizer", "scheduler", "rng"] as const).filter(
    (part) => state[part] === undefined,
  );
  if (missing.length > 0)
    throw new UnitcellError(
      "ARGUMENT",
      `expected a complete training state, found none of ${missing.join(", ")}; null says that the training has none`,
      { missing },
    );
  if (!(Number.isSafeInteger(state.epoch) && state.epoch >= 0))
    throw new UnitcellError("ARGUMENT", `expected the number of an epoch, found ${state.epoch}`);
  for (const [name, value] of Object.entries(state.metrics))
    if (typeof value !== "number")
      throw new UnitcellError("ARGUMENT", `expected a number as metric ${name}, found ${typeof value}`, { name });
}

/** As nn.Module.state_dict() gives it; that of a file keeps its _metadata. */
function orderedDict(stateDict: StateDict): OrderedDict {
  if (stateDict instanceof OrderedDict) return stateDict;
  const dict = new OrderedDict();
  for (const [name, tensor] of stateDict) dict.set(name, tensor);
  return dict;
}

function encodeRecord({ run, metric, mode, seconds, best, history }: RunRecord): TorchValue {
  const names = new Set(history.flatMap((row) => Object.keys(row)));
  checkCells(history.length, names.size);
  // Columns, so that a thousand epochs cost each file some kilobytes.
  const columns = [...names].map((name) => {
    const isEpoch = name === "epoch";
    const column = history.map((row) =>
      !Object.hasOwn(row, name) ? null : isEpoch ? row.epoch : new Float(row[name]),
    );
    return [name, column as TorchValue] as const;
  });
  return new Map<TorchValue, TorchValue>([
    ["format", FORMAT],
    ["run", run],
    ["metric", metric],
    ["mode", mode],
    ["seconds", new Float(seconds)],
    [
      "best",
      best
        ? new Map<TorchValue, TorchValue>([
            ["epoch", best.epoch],
            ["value", new Float(best.value)],
          ])
        : null,
    ],
    ["history", new Map<TorchValue, TorchValue>(columns)],
  ]);
}

/** The manager's notes in a checkpoint; undefined where another program wrote it. @throws {UnitcellError} MISMATCH, LIMIT */
export function decodeRecord({ extra }: Pick<Checkpoint, "extra">): RunRecord | undefined {
  const dict = extra.get(RECORD);
  if (!(dict instanceof Map)) return undefined;
  const [run, metric, mode, seconds] = ["run", "metric", "mode", "seconds"].map((key) => dict.get(key));
  const best = dict.get("best") ?? null;
  const history = dict.get("history");
  const isRead =
    dict.get("format") === FORMAT &&
    typeof run === "string" &&
    typeof metric === "string" &&
    (mode === "min" || mode === "max") &&
    typeof seconds === "number" &&
    history instanceof Map;
  if (!isRead) throw new UnitcellError("MISMATCH", `the checkpoint's "${RECORD}" is not of format ${FORMAT}`);
  return { run, metric, mode, seconds, best: decodeBest(best), history: decodeRows(history) };
}

/** By what the run's best was chosen when a checkpoint was written; undefined where it does not tell. */
export function rankingOf({ extra }: Pick<Checkpoint, "extra">): Ranking | undefined {
  const dict = extra.get(RECORD);
  const [metric, mode] = dict instanceof Map ? [dict.get("metric"), dict.get("mode")] : [];
  return typeof metric === "string" && (mode === "min" || mode === "max") ? { metric, mode } : undefined;
}

function decodeBest(best: TorchValue): RunRecord["best"] {
  if (!(best instanceof Map)) return undefined;
  const [epoch, value] = [best.get("epoch"), best.get("value")];
  return typeof epoch === "number" && typeof value === "number" ? { epoch, value } : undefined;
}

function decodeRows(columns: ReadonlyMap<TorchValue, TorchValue>): HistoryRow[] {
  const epochs = columns.get("epoch");
  if (!Array.isArray(epochs)) return [];
  const named = [...columns].filter((entry): entry is [string, TorchValue[]] => {
    const [name, column] = entry;
    return typeof name === "string" && Array.isArray(column);
  });
  checkCells(epochs.length, named.length);
  return epochs.map((epoch, i) => {
    const cells = named.map(([name, column]) => [name, column[i]] as const);
    // Names are the file's: "__proto__" is one.
    const numbers = Object.fromEntries(cells.filter(([, value]) => typeof value === "number")) as Record<
      string,
      number
    >;
    return rowOf(Number(epoch), numbers);
  });
}

function checkCells(epochs: number, columns: number): void {
  if (epochs * columns > MOST_CELLS)
    throw new UnitcellError(
      "LIMIT",
      `a history of ${epochs} epochs in ${columns} columns has more numbers than ${MOST_CELLS}`,
      { epochs, columns, limit: MOST_CELLS },
    );
}

/** A part as the file has it; undefined where it is not there, null where it says that there is none. */
export function findPart(
  top: ReadonlyMap<TorchValue, TorchValue>,
  part: Exclude<Part, "epoch">,
): TorchValue | undefined {
  const key = keyOf(top, part);
  return key === undefined ? undefined : top.get(key);
}

function keyOf(top: ReadonlyMap<TorchValue, TorchValue>, part: Exclude<Part, "epoch">): string | undefined {
  return KEYS[part].find((key) => top.has(key));
}

/**
 * A checkpoint as the state to go on from.
 * @param epoch by the file's name, where the file itself does not say
 * @param without parts that may be missing; they are null then
 * @throws {UnitcellError} MISMATCH, naming the parts that are missing
 */
export function decodeState(
  checkpoint: Checkpoint,
  {
    key,
    epoch = checkpoint.epoch,
    without = [],
  }: { key: string; epoch?: number | undefined; without?: readonly Part[] },
): TrainingState {
  const { extra, stateDict, normalizer, args } = checkpoint;
  const optimizer = findPart(extra, "optimizer");
  const scheduler = findPart(extra, "scheduler");
  const rng = findPart(extra, "rng");
  const parts: Readonly<Record<Part, unknown>> = { optimizer, scheduler, rng, epoch };
  const missing = (Object.keys(parts) as Part[]).filter((part) => parts[part] === undefined && !without.includes(part));
  if (missing.length > 0)
    throw new UnitcellError(
      "MISMATCH",
      `${key} is not enough to resume from: it has no ${missing.join(", no ")}; to go on all the same, name them in without`,
      { key, missing },
    );
  const used = new Set(usedKeys(extra));
  const rest = [...extra].filter(([name]) => typeof name === "string" && !used.has(name) && !OWN_KEYS.has(name));
  return {
    stateDict,
    epoch: epoch ?? 0,
    metrics: checkpoint.metrics ?? {},
    optimizer: optimizer ?? null,
    scheduler: scheduler ?? null,
    rng: rng ?? null,
    ...(normalizer && { normalizer }),
    ...(args && { args }),
    extra: new Map(rest as [string, TorchValue][]),
  };
}

function usedKeys(extra: ReadonlyMap<TorchValue, TorchValue>): string[] {
  return (Object.keys(KEYS) as (keyof typeof KEYS)[]).flatMap((part) => keyOf(extra, part) ?? []);
}

/** Predictions of all open structures by the models in use, and one structure's split among its atoms. */
import { recordWriter } from "../../cli/records.js";
import { embed } from "../../embed.js";
import { type Ensemble, ensemble } from "../../ensemble.js";
import { UnitcellError } from "../../errors.js";
import type { Model } from "../../models/model.js";
import { predictStream } from "../../predict.js";
import type { FailedPrediction, Prediction } from "../../prediction.js";
import type { Structure, UnreadStructure } from "../../structures/structure.js";
import type { PredictRequest, PredictSummary, ResultRow, Shares, Told } from "../messages.js";
import type { OpenCheckpoint } from "./checkpoints.js";
import { pause } from "./pause.js";
import { withoutFormulas } from "./spreadsheet.js";
import type { OpenStructure } from "./structures.js";

type PredictionRecord = Prediction | FailedPrediction;

/** ms between messages to the page, and of work between looks at messages from it. */
const TELL_EVERY = 250;
const PAUSE_EVERY = 30;

/** Atoms computed together: fewer than the library's own, so that a cancellation is heard soon. */
const MAX_ATOMS = 256;

interface Inputs {
  readonly models: readonly Model[];
  readonly structures: readonly OpenStructure[];
}

export class Predictions {
  /** By structure; holes are not predicted yet. */
  private records: (PredictionRecord | undefined)[] = [];
  private model: Model | Ensemble | undefined;
  /** Of the last run that was asked for. */
  private abort: AbortController | undefined;
  /** The end of all that was asked for so far, however it ended. */
  private last: Promise<unknown> = Promise.resolve();
  private readonly tell: (told: Told) => void;

  constructor(tell: (told: Told) => void) {
    this.tell = tell;
  }

  record(index: number): PredictionRecord | undefined {
    return this.records[index];
  }

  /**
   * Forgets what was predicted, since models or structures are others now.
   * @param change what makes them others: no prediction runs meanwhile
   */
  reset(change: () => void = () => {}): Promise<void> {
    return this.next(undefined, () => {
      this.records = [];
      this.model = undefined;
      change();
    });
  }

  cancel(): Promise<void> {
    return this.next(undefined, () => {});
  }

  /**
   * Predicts what has no record yet. Records are told in batches.
   * @param inputs asked once its turn has come: what was open before may not be any more
   * @throws {UnitcellError} as ensemble and predictStream
   */
  run(inputs: () => Inputs, request: PredictRequest): Promise<PredictSummary> {
    const abort = new AbortController();
    return this.next(abort, () => {
      const { models, structures } = inputs();
      if (models.length === 0) throw new UnitcellError("ARGUMENT", "no checkpoint is chosen to predict with");
      const named = models.map((model) => withNames(model, request));
      this.model = named.length === 1 ? named[0] : ensemble(named);
      return this.predict(this.model, structures, request, abort.signal);
    });
  }

  /** One after the other, and whatever comes ends the run before it: two of them would write the same records. */
  private next<T>(abort: AbortController | undefined, work: () => T | Promise<T>): Promise<T> {
    this.abort?.abort();
    this.abort = abort;
    const done = this.last.then(work);
    this.last = done.catch(() => undefined);
    return done;
  }

  private async predict(
    model: Model | Ensemble,
    structures: readonly OpenStructure[],
    { state }: PredictRequest,
    signal: AbortSignal,
  ): Promise<PredictSummary> {
    const began = performance.now();
    const { records } = this;
    const missing = structures.filter(({ row }) => records[row.index] === undefined);
    const total = structures.length;
    let done = total - missing.length;
    const before = done;
    let failed = 0;
    const backends = new Set<string>();
    let fresh: ResultRow[] = [];
    let told = performance.now();
    const tell = () => {
      this.tell({ kind: "results", rows: fresh, done, total });
      fresh = [];
      told = performance.now();
    };
    const options = { maxAtoms: MAX_ATOMS, signal, ...(state !== undefined && { state }) };
    tell();
    try {
      let at = 0;
      for await (const record of predictStream(model, withPauses(missing), options)) {
        const { index } = missing[at++].row;
        records[index] = record;
        fresh.push(resultRow(index, record));
        done++;
        if ("error" in record) failed++;
        else backends.add(record.backend);
        if (performance.now() - told > TELL_EVERY) tell();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      tell();
    }
    return {
      computed: done - before,
      failed,
      done,
      total,
      cancelled: signal.aborted,
      elapsedMs: performance.now() - began,
      backend: backends.size > 0 ? [...backends].join(", ") : undefined,
    };
  }

  /** @throws {UnitcellError} UNSUPPORTED where the network has no split */
  async shares(checkpoint: OpenCheckpoint, structure: Structure, request: PredictRequest): Promise<Shares> {
    const { name } = checkpoint;
    if (!checkpoint.model) throw new UnitcellError("ARGUMENT", `${name} has no model`);
    const model = withNames(checkpoint.model, request);
    const hasStates = model.config.type === "megnet" && model.config.stateTypes > 0;
    const options = { shares: true, ...(hasStates && request.state !== undefined && { state: request.state }) };
    const [{ shares, unit, sites, warnings }] = await embed(model, [structure], options);
    if (!shares) throw new UnitcellError("UNSUPPORTED", `${name} has no split of its prediction among atoms`);
    const outputs = shares.length / sites;
    return { model: name, unit, values: Array.from({ length: sites }, (_, i) => shares[i * outputs]), warnings };
  }

  /** All records as the command line writes them, but that a CSV goes to a spreadsheet more often than to a program. */
  download(format: "csv" | "json"): Blob {
    if (!this.model) throw new UnitcellError("ARGUMENT", "nothing was predicted yet");
    const writer = recordWriter(format, this.model);
    const parts = [writer.begin()];
    for (const record of this.records)
      if (record) parts.push(writer.record(format === "csv" ? withoutFormulas(record) : record));
    parts.push(writer.end());
    return new Blob(parts, { type: format === "csv" ? "text/csv" : "application/json" });
  }
}

/** What the checkpoint says goes before what the user does. */
function withNames(model: Model, { property, unit }: PredictRequest): Model {
  return { ...(property && { property }), ...(unit && { unit }), ...model };
}

async function* withPauses(structures: readonly OpenStructure[]): AsyncGenerator<Structure | UnreadStructure> {
  let paused = 0;
  for (const { structure } of structures) {
    if (performance.now() - paused > PAUSE_EVERY) {
      await pause();
      paused = performance.now();
    }
    yield structure;
  }
}

function resultRow(index: number, record: PredictionRecord): ResultRow {
  if ("error" in record) return { index, value: undefined, std: undefined, warnings: 0, problem: record.error };
  const { value, std, warnings } = record;
  return { index, value, std, warnings: warnings.length, problem: undefined };
}

import type { Batch } from "../graphs/batch.js";
import type { Program } from "../ops/program.js";

/** How a batch was run, where that is not to be told from the backend's name. */
export interface RunNote {
  /** Name of the backend that gave the numbers. */
  readonly backend: string;
  /** What went wrong on the way. */
  readonly warning?: { readonly code: "backend-failed"; readonly message: string };
}

/** A program loaded on a device, weights included. Runs one batch at a time. */
export interface Session {
  /** Batches of about so many bytes run best; one crystal may take more. */
  readonly goodBytes: number;
  /**
   * The program's output, (B, columns) row-major.
   * @param note called before the result is there, if there is something to note
   * @throws {UnitcellError} LIMIT, with the figure and before memory is taken, where the batch needs more than there can be
   */
  run(batch: Batch, note?: (note: RunNote) => void): Promise<Float32Array>;
  /** Labelled values on the way, each (rows, columns) row-major. A pass may have rewritten a label away: NOT_FOUND. */
  values(batch: Batch, labels: readonly string[], note?: (note: RunNote) => void): Promise<Map<string, Float32Array>>;
  /**
   * Bytes that a run of a batch of these sizes takes at most beside the weights, known before there is a batch; up to
   * padding the sum of its crystals'. It takes less where lengths or angles repeat.
   */
  bytes(sizes: Batch["sizes"]): number;
  /** Give the memory back; the session cannot be used after it. */
  dispose(): void | Promise<void>;
}

/** Where programs run. A backend knows operations, never models. */
export interface Backend {
  readonly name: string;
  createSession(program: Program): Promise<Session>;
}

import type { Batch } from "../graphs/batch.js";
import type { Program } from "../ops/program.js";

/**
 * A batch of about so many bytes is fast enough: from 2 to 64 MiB CGCNN's and MEGNet's time for an atom is the same
 * within 3 %, ALIGNN's at any size (bench). One crystal may take more.
 */
export const BATCH_BYTES = 16 * 2 ** 20;

/** A program loaded on a device, weights included. Runs one batch at a time. */
export interface Session {
  /**
   * The program's output, (B, columns) row-major.
   * @throws {UnitcellError} LIMIT, with the figure and before memory is taken, where the batch needs more than there can be
   */
  run(batch: Batch): Promise<Float32Array>;
  /** Labelled values on the way, each (rows, columns) row-major. A pass may have rewritten a label away: NOT_FOUND. */
  values(batch: Batch, labels: readonly string[]): Promise<Map<string, Float32Array>>;
  /**
   * Bytes that a run of a batch of these sizes takes at most beside the weights, known before there is a batch; up to
   * padding the sum of its crystals'. It takes less where lengths or angles repeat.
   */
  bytes(sizes: Batch["sizes"]): number;
  /** Give the memory back; the session cannot be used after it. */
  dispose(): void;
}

/** Where programs run. A backend knows operations, never models. */
export interface Backend {
  readonly name: string;
  createSession(program: Program): Promise<Session>;
}

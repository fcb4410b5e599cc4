/** What is known of a checkpoint in a folder without opening it. */
import type { StoreEntry } from "../stores/store.js";

/**
 * What a file is to its run: the best by the metric; the last of a finished training; one epoch's; the one that a program
 * writes anew after every epoch (CGCNN's checkpoint.pth.tar, ALIGNN's current_model.pt, Lightning's last.ckpt); anything
 * else, such as ensemble_predictions.pt.
 */
export type Tag = "best" | "final" | "epoch" | "last" | "other";

/** A checkpoint in a store, as far as its name, its folder's histories and pins tell without opening it. */
export interface CheckpointInfo extends StoreEntry {
  /** "cgcnn_mp" of cgcnn_mp_best.pt; of files that a program names itself, their folder ("." is the store's own). */
  readonly run: string;
  readonly tag: Tag;
  /** By the file's name, else from the file itself where it has been opened; Lightning and CGCNN count from 0, others from 1. */
  readonly epoch?: number;
  /** From the file's name (Lightning), the run's history, or the file itself where it has been opened. */
  readonly metrics?: Readonly<Record<string, number>>;
  readonly pinned: boolean;
  /** Why it does not load, where someone has tried: the code and message of the error. */
  readonly problem?: string;
}

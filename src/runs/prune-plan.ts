/** What a retention policy would do to a folder; nothing is deleted by making one. */
import type { CheckpointInfo } from "./checkpoint-info.js";

/** What a policy keeps of a folder and what it would remove. Nothing is removed until the plan is carried out. */
export interface PrunePlan {
  readonly keep: readonly KeptCheckpoint[];
  readonly remove: readonly CheckpointInfo[];
  readonly bytesFreed: number;
}

/** A checkpoint that a plan keeps, and why. */
export interface KeptCheckpoint extends CheckpointInfo {
  /** "policy", or the rule that overrules it: "best", "final", "last", "pinned", "other" (no policy touches it), "last valid". */
  readonly because: string;
}

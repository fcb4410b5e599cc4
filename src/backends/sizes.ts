import type { Batch } from "../graphs/batch.js";
import type { Axis } from "../ops/program.js";

/** Rows of every axis. */
export type Sizes = Readonly<Record<Axis, number>>;

/** What a batch's sizes allow at most: as many distinct lengths as bonds, as many cosines as pairs. */
export function largestSizes(sizes: Batch["sizes"]): Sizes {
  return { ...sizes, L: sizes.E, C: sizes.T };
}

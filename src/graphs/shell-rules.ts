import type { NeighborPolicy } from "../config.js";

/** Neighbours up to so much (Å) beyond the last place are of the same shell: crystallographic data have 4 decimals. */
export const SHELL_TOLERANCE = 1e-4;

/** Where the two policies differ. */
export interface ShellRule {
  /** Å beyond the last place that are kept. */
  readonly tolerance: number;
  /**
   * Coordinates and bonds from the lattice rounded to 5 decimals but images from the lattice as given, images and
   * cutoffs from upstream's ranges: whatever depends on how the crystal is written down.
   */
  readonly asWritten: boolean;
  /** A bond of an atom to its own image is found from both its ends and not recognised as one: twice in each direction. */
  readonly twiceToImages: boolean;
}

export const SHELL_RULES: Readonly<Record<NeighborPolicy, ShellRule>> = {
  upstream: { tolerance: 0, asWritten: true, twiceToImages: true },
  symmetric: { tolerance: SHELL_TOLERANCE, asWritten: false, twiceToImages: false },
};

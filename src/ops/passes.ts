import { bandLinear } from "./banded.js";
import { moveToDistinct } from "./distinct.js";
import { fuseEpilogue } from "./epilogue.js";
import { foldAffine, lowerBatchNorm } from "./fold-norms.js";
import { fuseGate, fuseGatedMean, fuseGatedMeanSum, fuseGatedSum } from "./gates.js";
import { fuseLstm } from "./lstm.js";
import type { Pass } from "./rewrite.js";
import { splitLinear } from "./split-linear.js";
import { fuseGatherSum } from "./sums.js";

/** What the Wasm kernels cannot do without. */
export const REQUIRED_PASSES: readonly Pass[] = [lowerBatchNorm];

/** Less arithmetic: the same values up to rounding from fewer multiplications. */
export const ALGEBRA_PASSES: readonly Pass[] = [foldAffine, splitLinear, moveToDistinct, bandLinear];

/** Less memory traffic: operations that follow each other are one. */
export const FUSION_PASSES: readonly Pass[] = [
  fuseGate,
  fuseGatedMean,
  fuseLstm,
  fuseGatherSum,
  fuseGatedSum,
  fuseEpilogue,
  fuseGatedMeanSum,
];

/** What a backend runs unless told otherwise, in this order. */
export const DEFAULT_PASSES: readonly Pass[] = [...REQUIRED_PASSES, ...ALGEBRA_PASSES, ...FUSION_PASSES];

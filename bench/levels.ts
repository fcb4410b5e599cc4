/** The three levels of unitcell's speed, each of which can be left out: lifted graphs, rewritten programs, wider kernels. */

import { type Backend, wasmBackend } from "../src/index.js";
import { FUSION_PASSES, REQUIRED_PASSES } from "../src/ops/passes.js";

export interface Level {
  /** Its column's name. */
  readonly name: string;
  readonly backend: Backend;
  /** Whether graphs are lifted, and equal ones computed once. */
  readonly lifts: boolean;
}

/** The module without relaxed SIMD, which is what a runtime that lacks it gets: Node 20 without a flag, Safari. */
const BASELINE: object = { relaxed: false };
const REQUIRED = { passes: REQUIRED_PASSES };
const FUSED = { passes: [...REQUIRED_PASSES, ...FUSION_PASSES] };

/** As users have it where the runtime knows relaxed SIMD. */
export const FULL: Level = { name: "unitcell", backend: wasmBackend(), lifts: true };

/** All levels but the kernels of relaxed SIMD; undefined where this runtime has none anyway. */
export const BASELINE_MODULE: Level | undefined =
  wasmBackend(BASELINE).name === FULL.backend.name
    ? undefined
    : { name: "baseline module", backend: wasmBackend(BASELINE), lifts: true };

/** What is left when one of them is taken away, or all. Of passes, those that save arithmetic, or fusions too. */
export const LESS: readonly Level[] = [
  ...(BASELINE_MODULE ? [BASELINE_MODULE] : []),
  { name: "without algebra", backend: wasmBackend(FUSED), lifts: true },
  { name: "without passes", backend: wasmBackend(REQUIRED), lifts: true },
  { name: "without lifting", backend: wasmBackend(), lifts: false },
  { name: "none of these", backend: wasmBackend({ ...BASELINE, ...REQUIRED }), lifts: false },
];

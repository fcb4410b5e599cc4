/** The three levels of unitcell's speed, each of which can be left out: lifted graphs, rewritten programs, wider kernels. */
import { type Backend, wasmBackend } from "../src/index.js";
import { FUSION_PASSES, REQUIRED_PASSES } from "../src/ops/passes.js";
import { showRelaxed } from "./relaxed.js";

showRelaxed();

export interface Level {
  /** Its column's name. */
  readonly name: string;
  readonly backend: Backend;
  /** Whether graphs are lifted, and equal ones computed once. */
  readonly lifts: boolean;
}

export interface Levels {
  /** As users have it where the runtime knows relaxed SIMD. */
  readonly full: Level;
  /** The module without relaxed SIMD, which is what a runtime that lacks it gets; undefined where this one lacks it. */
  readonly baseline: Level | undefined;
  /** What is left when one of them is taken away, or all. Of passes, those that save arithmetic, or fusions too. */
  readonly less: readonly Level[];
}

const BASELINE = { relaxed: false };
const REQUIRED = { passes: REQUIRED_PASSES };
const FUSED = { passes: [...REQUIRED_PASSES, ...FUSION_PASSES] };

let made: Levels | undefined;

/** Made when first asked for: the bench sets an engine's flag before any Wasm is compiled. */
export function levels(): Levels {
  made ??= makeLevels();
  return made;
}

function makeLevels(): Levels {
  const full = { name: "unitcell", backend: wasmBackend(), lifts: true };
  const plain = { name: "baseline module", backend: wasmBackend(BASELINE), lifts: true };
  const baseline = plain.backend.name === full.backend.name ? undefined : plain;
  const less = [
    ...(baseline ? [baseline] : []),
    { name: "without algebra", backend: wasmBackend(FUSED), lifts: true },
    { name: "without passes", backend: wasmBackend(REQUIRED), lifts: true },
    { name: "without lifting", backend: wasmBackend(), lifts: false },
    { name: "none of these", backend: wasmBackend({ ...BASELINE, ...REQUIRED }), lifts: false },
  ];
  return { full, baseline, less };
}

import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import { KernelMemory, type KernelVariant, kernelVariant, MAX_MEMORY_BYTES } from "../kernels.js";
import { bindDistinct, type DistinctSources, distinctSources } from "../ops/distinct.js";
import { DEFAULT_PASSES } from "../ops/passes.js";
import type { Program, Value } from "../ops/program.js";
import type { Pass } from "../ops/rewrite.js";
import { type ArenaPlan, planArena, runBytes } from "./arena.js";
import type { Backend, Session } from "./backend.js";
import { checkInputs, checksOf, type Reading, readingsOf } from "./check-inputs.js";
import { fusesMultiplyAdd } from "./multiply-add.js";
import { Placement, type Weights } from "./placement.js";
import { largestSizes } from "./sizes.js";
import { prepare, rowOf } from "./wasm-rows.js";

export interface WasmOptions {
  /** Rewritings applied to a program first, by default all there are; `lowerBatchNorm`, which the kernels need, is the least. */
  passes?: readonly Pass[];
  /**
   * Relaxed SIMD, whose fused multiply-adds are faster and give other last bits: by default where the engine has it. false
   * gives the same bits everywhere.
   */
  relaxed?: boolean;
}

/**
 * Programs on the embedded Wasm SIMD kernels, in this thread, without any dependency. Its name tells what
 * bits it gives: "wasm-relaxed" where multiply-adds are rounded once, which takes the relaxed build and an engine that does so;
 * else "wasm".
 * @throws {UnitcellError} BACKEND when relaxed SIMD is asked for and the engine lacks it
 */
export function wasmBackend({ passes = DEFAULT_PASSES, relaxed }: WasmOptions = {}): Backend {
  const variant = kernelVariant(relaxed);
  return {
    name: variant === "relaxed" && fusesMultiplyAdd() ? "wasm-relaxed" : "wasm",
    createSession: async (program) =>
      new WasmSession(
        passes.reduce((p, pass) => pass(p), program),
        variant,
      ),
  };
}

/**
 * From 2 to 64 MiB CGCNN's and MEGNet's time for an atom is the same within 3 %, ALIGNN's at any size (bench).
 */
const GOOD_BYTES = 16 * 2 ** 20;

/** A run that took more gives it back, and weights are loaded anew: Wasm memory never shrinks, and sessions live long. */
const KEEP_BYTES = 512 * 2 ** 20;

/** Values that a run is to give, and where all others lie meanwhile. */
interface Target {
  readonly wanted: readonly Value[];
  readonly plan: ArenaPlan;
}

/**
 * Memory is [tables | weights | batch inputs | values]; weights are copied in once, the rest is laid anew each run. All
 * that depends on the program alone is worked out beforehand: a small crystal's run takes no longer than its kernels.
 */
class WasmSession implements Session {
  readonly goodBytes = GOOD_BYTES;
  readonly #program: Program;
  readonly #variant: KernelVariant;
  readonly #checks: readonly Reading[];
  readonly #distinct: DistinctSources;
  readonly #calls: readonly ((run: Placement) => void)[];
  readonly #output: Target;
  /** What `values` was last asked for. */
  #asked: Target;
  #weights: Weights | undefined;

  constructor(program: Program, variant: KernelVariant) {
    this.#program = program;
    this.#variant = variant;
    this.#checks = checksOf(readingsOf(program));
    this.#distinct = distinctSources(program);
    this.#calls = program.nodes.map((node) => {
      const row = rowOf(node);
      return (run) => row(run, node);
    });
    this.#output = this.#target([program.output]);
    this.#asked = this.#output;
    this.#weights = loadWeights(program, variant);
  }

  #target(wanted: readonly Value[]): Target {
    return { wanted, plan: planArena(this.#program, wanted) };
  }

  async run(batch: Batch): Promise<Float32Array> {
    return this.#compute(batch, this.#output)[0];
  }

  async values(batch: Batch, labels: readonly string[]): Promise<Map<string, Float32Array>> {
    const wanted = labels.map((label) => this.#labelled(label));
    const same = wanted.length === this.#asked.wanted.length && wanted.every((x, i) => x === this.#asked.wanted[i]);
    if (!same) this.#asked = this.#target(wanted);
    const results = this.#compute(batch, this.#asked);
    return new Map(labels.map((label, i) => [label, results[i]]));
  }

  #labelled(label: string): Value {
    const { labels } = this.#program;
    const value = labels.get(label);
    if (!value) throw new UnitcellError("NOT_FOUND", `no value "${label}"; there are ${[...labels.keys()].join(", ")}`);
    return value;
  }

  bytes(sizes: Batch["sizes"]): number {
    return this.#bytes(this.#output, sizes, this.#open());
  }

  dispose(): void {
    this.#weights = undefined;
  }

  #open(): Weights {
    if (!this.#weights) throw new UnitcellError("ARGUMENT", "session was disposed");
    return this.#weights;
  }

  /** @throws {UnitcellError} LIMIT */
  #bytes({ plan }: Target, sizes: Batch["sizes"], { memory }: Weights): number {
    const bytes = runBytes(plan, largestSizes(sizes));
    const all = memory.mark() + bytes;
    if (all > MAX_MEMORY_BYTES) throw tooLarge(sizes, all);
    return bytes;
  }

  #compute(batch: Batch, target: Target): Float32Array[] {
    const weights = this.#open();
    const { memory } = weights;
    const bytes = this.#bytes(target, batch.sizes, weights);
    checkInputs(this.#checks, batch);
    const { sizes, inputs } = bindDistinct(this.#distinct, batch);
    const mark = memory.mark();
    try {
      const run = new Placement(weights, target.plan, sizes, memory.allocate(bytes));
      run.copyInputs(inputs);
      for (const call of this.#calls) call(run);
      return target.wanted.map((value) => memory.f32(run.address(value), run.count(value)).slice());
    } finally {
      memory.release(mark);
      if (memory.bytes - mark > KEEP_BYTES) this.#weights = loadWeights(this.#program, this.#variant);
    }
  }
}

/** A memory with the program's weights. */
function loadWeights(program: Program, variant: KernelVariant): Weights {
  const memory = new KernelMemory(variant);
  const params = new Map<string, number>();
  const prepared = program.nodes.map((node) => {
    const at = prepare(memory, program, node);
    if (at === undefined)
      for (const name of node.params)
        if (!params.has(name)) params.set(name, memory.put(program.params.get(name)!.data));
    return at;
  });
  return { memory, params, prepared };
}

function tooLarge({ N, E, T }: Batch["sizes"], bytes: number): UnitcellError {
  const pairs = T > 0 ? `, ${T} pairs of bonds` : "";
  return new UnitcellError(
    "LIMIT",
    `a run of ${N} atoms, ${E} bonds${pairs} needs ${(bytes / 2 ** 30).toFixed(1)} GiB, ` +
      `Wasm memory holds ${Math.ceil(MAX_MEMORY_BYTES / 2 ** 30)} GiB`,
    { needed: bytes, limit: MAX_MEMORY_BYTES },
  );
}

import type { Batch } from "../graphs/batch.js";
import type { KernelMemory, Kernels } from "../kernels.js";
import type { Node, Value } from "../ops/program.js";
import { type ArenaPlan, blockBytes } from "./arena.js";
import type { Sizes } from "./sizes.js";
import type { Run } from "./wasm-rows.js";

/** A program's constants in memory. */
export interface Weights {
  readonly memory: KernelMemory;
  /** Addresses of parameters, by name. */
  readonly params: ReadonlyMap<string, number>;
  /** What `prepare` made of a node's parameters, by the id of its output. */
  readonly prepared: readonly (number | undefined)[];
}

/** An arena's blocks laid out for a run, at `start` in memory. */
export class Placement implements Run {
  readonly kernels: Kernels;
  readonly words: Int32Array;
  readonly #weights: Weights;
  readonly #plan: ArenaPlan;
  readonly #sizes: Sizes;
  /** Addresses of the blocks; 0 for batch inputs that are not there. */
  readonly #at: number[] = [];

  constructor(weights: Weights, plan: ArenaPlan, sizes: Sizes, start: number) {
    this.kernels = weights.memory.kernels;
    this.words = weights.memory.i32(0, weights.memory.bytes / 4);
    this.#weights = weights;
    this.#plan = plan;
    this.#sizes = sizes;
    let at = start;
    for (const block of plan.blocks) {
      this.#at.push(at);
      at += blockBytes(block, sizes);
    }
  }

  /** Those of a checked batch that the program reads. */
  copyInputs(inputs: Batch["inputs"]): void {
    for (const [name, block] of this.#plan.ofInput) {
      const data = inputs.get(name);
      if (data) this.#weights.memory.copy(this.#at[block], data);
      else this.#at[block] = 0;
    }
  }

  address({ id }: Value): number {
    const { block, first } = this.#plan.places[id];
    return this.#at[block] + 4 * first * this.#sizes[this.#plan.blocks[block].rows];
  }

  input(name: string | undefined): number {
    const block = name === undefined ? undefined : this.#plan.ofInput.get(name);
    return block === undefined ? 0 : this.#at[block];
  }

  param(name: string): number {
    return this.#weights.params.get(name)!;
  }

  prepared({ output }: Node): number {
    return this.#weights.prepared[output.id]!;
  }

  rows({ rows }: Value): number {
    return this.#sizes[rows];
  }

  count({ rows, columns }: Value): number {
    return this.#sizes[rows] * columns;
  }
}

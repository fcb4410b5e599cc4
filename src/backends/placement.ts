import type { Batch } from "../graphs/batch.js";
import type { KernelMemory, Kernels } from "../kernels.js";
import type { Node, Value } from "../ops/program.js";
import { type ArenaPlan, blockBytes } from "./arena.js";
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
  readonly #weights: Weights;
  readonly #plan: ArenaPlan;
  readonly #batch: Batch;
  /** Addresses of the blocks. */
  readonly #at: number[] = [];

  constructor(weights: Weights, plan: ArenaPlan, batch: Batch, start: number) {
    this.kernels = weights.memory.kernels;
    this.#weights = weights;
    this.#plan = plan;
    this.#batch = batch;
    let at = start;
    for (const block of plan.blocks) {
      this.#at.push(at);
      at += blockBytes(block, batch.sizes);
    }
  }

  /** Those of the program that the batch has; checked beforehand. */
  copyInputs(): void {
    const { memory } = this.#weights;
    for (const [name, block] of this.#plan.ofInput) {
      const data = this.#batch.inputs.get(name);
      if (data) memory.copy(this.#at[block], data);
    }
  }

  address({ id }: Value): number {
    return this.#at[this.#plan.ofValue[id]];
  }

  /** Of a batch input. */
  input(name: string): number {
    return this.#at[this.#plan.ofInput.get(name)!];
  }

  param(name: string): number {
    return this.#weights.params.get(name)!;
  }

  prepared({ output }: Node): number {
    return this.#weights.prepared[output.id]!;
  }

  index({ index }: Node): number {
    return this.input(index!);
  }

  starts({ starts }: Node): number {
    return this.input(starts!);
  }

  weights({ weights }: Node): number {
    return weights !== undefined && this.#batch.inputs.has(weights) ? this.input(weights) : 0;
  }

  rows({ rows }: Value): number {
    return this.#batch.sizes[rows];
  }

  count({ rows, columns }: Value): number {
    return this.#batch.sizes[rows] * columns;
  }
}

import { KernelMemory } from "../kernels.js";

/** A search that took more memory gives it back: Wasm memory never shrinks. */
const KEEP_BYTES = 64 * 2 ** 20;

let kept: KernelMemory | undefined;

/** Run a neighbour search on Wasm memory of its own, kept for the next one; what it allocates is free again afterwards. */
export function withSearchMemory<T>(run: (memory: KernelMemory) => T): T {
  kept ??= new KernelMemory();
  const memory = kept;
  const mark = memory.mark();
  try {
    return run(memory);
  } finally {
    memory.release(mark);
    if (memory.bytes > KEEP_BYTES) kept = undefined;
  }
}

import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import { KernelMemory } from "../kernels.js";
import { DEFAULT_PASSES, type Pass } from "../ops/passes.js";
import type { Node, Program, Value } from "../ops/program.js";
import { planArena } from "./arena.js";
import type { Backend, Session } from "./backend.js";
import { checkInputs } from "./check-inputs.js";
import { prepare, type Run, rowOf } from "./wasm-rows.js";

/**
 * Programs on the embedded Wasm SIMD kernels, in this thread, without any dependency.
 * @param options.passes rewritings applied to a program first, by default all there are; `lowerBatchNorm`, which the
 *   kernels need, is the least
 */
export function wasmBackend(options: { passes?: readonly Pass[] } = {}): Backend {
  const passes = options.passes ?? DEFAULT_PASSES;
  return {
    name: "wasm",
    createSession: async (program) => new WasmSession(passes.reduce((p, pass) => pass(p), program)),
  };
}

/** A run that took more gives it back, and weights are loaded anew: Wasm memory never shrinks, and sessions live long. */
const KEEP_BYTES = 512 * 2 ** 20;

/** Memory is [tables | weights | batch inputs | arena]; weights are copied in once, the rest is laid anew each run. */
class WasmSession implements Session {
  readonly #program: Program;
  #params = new Map<string, number>();
  #prepared = new Map<Node, number>();
  /** Batch inputs that the program reads. */
  readonly #inputs: ReadonlySet<string>;
  #memory: KernelMemory | undefined;

  constructor(program: Program) {
    this.#program = program;
    this.#inputs = new Set(
      program.nodes.flatMap(({ index, indices = [], starts, weights }) =>
        [index, ...indices, starts, weights].filter((name) => name !== undefined),
      ),
    );
    this.#load();
  }

  /** A memory with the program's weights. */
  #load(): void {
    const program = this.#program;
    const memory = new KernelMemory();
    this.#memory = memory;
    this.#params = new Map();
    this.#prepared = new Map();
    for (const node of program.nodes) {
      const prepared = prepare(memory, program, node);
      if (prepared !== undefined) this.#prepared.set(node, prepared);
      else
        for (const name of node.params)
          if (!this.#params.has(name)) this.#params.set(name, memory.put(program.params.get(name)!.data));
    }
  }

  async run(batch: Batch): Promise<Float32Array> {
    return this.#compute(batch, [this.#program.output])[0];
  }

  async values(batch: Batch, labels: readonly string[]): Promise<Map<string, Float32Array>> {
    const wanted = labels.map((label) => {
      const value = this.#program.labels.get(label);
      if (!value)
        throw new UnitcellError(
          "NOT_FOUND",
          `no value "${label}"; there are ${[...this.#program.labels.keys()].join(", ")}`,
        );
      return value;
    });
    const results = this.#compute(batch, wanted);
    return new Map(labels.map((label, i) => [label, results[i]]));
  }

  dispose(): void {
    this.#memory = undefined;
  }

  #open(): KernelMemory {
    if (!this.#memory) throw new UnitcellError("ARGUMENT", "session was disposed");
    return this.#memory;
  }

  #compute(batch: Batch, wanted: readonly Value[]): Float32Array[] {
    const memory = this.#open();
    const program = this.#program;
    const mark = memory.mark();
    try {
      checkInputs(program, batch);
      const sizes = { ...batch.sizes, L: 0, C: 0 };
      const plan = planArena(program, sizes, new Set(wanted.map((value) => value.id)));
      const inputs = new Map<string, number>();
      for (const name of this.#inputs) {
        const data = batch.inputs.get(name);
        if (data) inputs.set(name, memory.put(data)); // weights may be missing, checkInputs saw to the rest
      }
      const arena = memory.allocate(plan.bytes);
      const read = ({ id }: Value) => program.nodes[id].op === "input" && inputs.get(program.nodes[id].index!);
      const run: Run = {
        kernels: memory.kernels,
        address: (value) => read(value) || arena + plan.offsets[value.id],
        param: (name) => this.#params.get(name)!,
        prepared: (node) => this.#prepared.get(node)!,
        input: (name) => inputs.get(name!) ?? 0,
        rows: (value) => sizes[value.rows],
        count: (value) => sizes[value.rows] * value.columns,
      };
      for (const node of program.nodes) rowOf(node)(run, node);
      return wanted.map((value) => memory.f32(run.address(value), run.count(value)).slice());
    } finally {
      memory.release(mark);
      if (memory.bytes - mark > KEEP_BYTES) this.#load();
    }
  }
}

/** A stand-in for onnxruntime: it computes nothing, gives each row its number, and fails or waits where a test says so. */
import type { OrtInferenceSession, OrtModule, OrtTensor } from "../src/backends/ort-module.js";
import { type ReadOnnx, readOnnx } from "./onnx-reader.js";

export interface FakeTensor extends OrtTensor {
  readonly type: string;
  readonly data: Float32Array | Int32Array;
  readonly dims: readonly number[];
  disposed: boolean;
}

export type FakeFeeds = Readonly<Record<string, FakeTensor>>;

/** What a test decides; each is called at its call's turn, and may throw or wait. */
export interface FakeBehavior {
  create?(count: number, options: Record<string, unknown>): void | Promise<void>;
  run?(count: number, feeds: FakeFeeds): void | Promise<void>;
  release?(): void;
  /** Of each entry of an output. */
  value?(count: number): number;
}

export class FakeOrt implements OrtModule {
  /** "create", "run", "release", with the number of the session, in order of their ends. */
  readonly calls: string[] = [];
  readonly options: Record<string, unknown>[] = [];
  readonly feeds: FakeFeeds[] = [];
  readonly results: FakeTensor[] = [];
  /** Sessions that are not released. */
  readonly open = new Set<number>();
  creates = 0;
  runs = 0;
  /** Most calls at a time. */
  mostAtOnce = 0;
  #now = 0;
  readonly #behavior: FakeBehavior;

  constructor(behavior: FakeBehavior = {}) {
    this.#behavior = behavior;
  }

  readonly InferenceSession = {
    create: (bytes: Uint8Array, options: Record<string, unknown> = {}): Promise<OrtInferenceSession> =>
      this.#call(async () => {
        const id = ++this.creates;
        this.options.push(options);
        await this.#behavior.create?.(id, options);
        this.open.add(id);
        this.calls.push(`create ${id}`);
        return this.#session(id, readOnnx(bytes));
      }),
  };

  readonly Tensor = class implements FakeTensor {
    disposed = false;

    constructor(
      readonly type: "float32" | "int32",
      readonly data: Float32Array | Int32Array,
      readonly dims: readonly number[],
    ) {}

    dispose(): void {
      this.disposed = true;
    }
  };

  #session(id: number, { inputs, outputs }: ReadOnnx): OrtInferenceSession {
    return {
      run: (given) =>
        this.#call(async () => {
          const feeds = given as FakeFeeds;
          const count = ++this.runs;
          this.feeds.push(feeds);
          if (!this.open.has(id)) throw new Error(`cannot run inference. invalid session id: ${id}`);
          await this.#behavior.run?.(count, feeds);
          this.calls.push(`run ${id}`);
          const sizes = new Map<string | number, number>();
          for (const { name, shape } of inputs) sizes.set(shape[0], feeds[name].dims[0]);
          const results = outputs.map(({ name, shape: [rows, columns] }) => {
            const dims = [sizes.get(rows)!, columns as number];
            const data = new Float32Array(dims[0] * dims[1]);
            for (let r = 0; r < dims[0]; r++)
              data.fill(this.#behavior.value?.(count) ?? r + 1, r * dims[1], (r + 1) * dims[1]);
            return [name, new this.Tensor("float32", data, dims)] as const;
          });
          this.results.push(...results.map(([, tensor]) => tensor));
          return Object.fromEntries(results);
        }),
      release: () =>
        this.#call(async () => {
          if (!this.open.delete(id)) throw new Error(`cannot release session. invalid session id: ${id}`);
          this.#behavior.release?.();
          this.calls.push(`release ${id}`);
        }),
    };
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    this.#now++;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#now);
    try {
      await new Promise((resolve) => setTimeout(resolve, 0));
      return await work();
    } finally {
      this.#now--;
    }
  }
}

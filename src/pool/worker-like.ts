// biome-ignore lint/suspicious/noExplicitAny: each event has its own, and only the worker's type knows which
type Listener = (event: any) => void;

/** A Web Worker, or a Worker of node:worker_threads. */
export type WorkerLike = {
  postMessage(message: unknown): void;
  terminate(): unknown;
  /** Whether it keeps the process alive, where that can be told. */
  ref?(): void;
  unref?(): void;
} & ({ on(event: string, listener: Listener): unknown } | { addEventListener(type: string, listener: Listener): void });

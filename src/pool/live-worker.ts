import type { FromWorker, ToWorker } from "./messages.js";
import type { WorkerLike } from "./worker-like.js";

/** What is not the end of it. */
export type Said = Exclude<FromWorker, { type: "failed" }>;

/** A worker as its pool sees it: what it says, and how it ended, whichever way that shows. */
export class LiveWorker {
  readonly #worker: WorkerLike;
  readonly #hear: (message: Said) => void;
  readonly #end: (reason: string) => void;
  readonly #stopped = new AbortController();

  /**
   * @param hear what it says
   * @param end once, when it has ended by itself or by another's hand; `reason` is for people
   */
  constructor(worker: WorkerLike, hear: (message: Said) => void, end: (reason: string) => void) {
    this.#worker = worker;
    this.#hear = hear;
    this.#end = end;
    const failed = "its message could not be read";
    if ("on" in worker) {
      worker.on("message", (message: FromWorker) => this.#message(message));
      worker.on("messageerror", () => this.#ended(failed));
      worker.on("error", (error: unknown) => this.#ended(error instanceof Error ? error.message : String(error)));
      worker.on("exit", (code: number) => this.#ended(`it ended with exit code ${code}`));
    } else {
      worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => this.#message(data));
      worker.addEventListener("messageerror", () => this.#ended(failed));
      worker.addEventListener("error", (event: ErrorEvent) => {
        event.preventDefault();
        this.#ended(event.message || "its script could not be loaded");
      });
      worker.addEventListener("close", () => this.#ended("it was stopped")); // Bun's
    }
  }

  /** @throws what cannot be cloned */
  post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  /** An idle worker does not keep a process from ending that forgot to close its pool. */
  keepAlive(busy: boolean): void {
    if (busy) this.#worker.ref?.();
    else this.#worker.unref?.();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#worker.terminate();
  }

  #message(message: FromWorker): void {
    if (this.#stopped.signal.aborted) return;
    if (message.type === "ready" && message.lock !== undefined) this.#watch(message.lock);
    if (message.type === "failed") this.#ended(message.message);
    else this.#hear(message);
  }

  /** The lock is free when the worker is gone. */
  #watch(lock: string): void {
    const { signal } = this.#stopped;
    navigator.locks.request(lock, { signal }, () => this.#ended("it was stopped")).catch(() => {});
  }

  #ended(reason: string): void {
    if (this.#stopped.signal.aborted) return;
    void this.stop();
    this.#end(reason);
  }
}

import { UnderWay } from "./under-way.js";

interface Opened<T> {
  readonly opening: Promise<T>;
  readonly users: UnderWay;
  /** Once it is there. */
  value?: T;
}

/** Something that many use at a time: opened when it is first used, closed when those who use it are done. */
export class OnDemand<T> {
  readonly #open: () => Promise<T>;
  readonly #close: (value: T) => void | Promise<void>;
  #current: Opened<T> | undefined;
  #closing: Promise<unknown> = Promise.resolve();

  /** @param close never rejects */
  constructor(open: () => Promise<T>, close: (value: T) => void | Promise<void>) {
    this.#open = open;
    this.#close = close;
  }

  /** What there is, if it is open. */
  get value(): T | undefined {
    return this.#current?.value;
  }

  /** @throws what opening fails with, after which a later use tries again; what `work` throws */
  async use<Result>(work: (value: T) => Promise<Result>): Promise<Result> {
    for (;;) {
      this.#current ??= { opening: this.#open(), users: new UnderWay() };
      const current = this.#current;
      try {
        current.value = await current.opening;
      } catch (error) {
        if (this.#current === current) this.#current = undefined;
        throw error;
      }
      // Nothing happens between this look and the work's beginning.
      if (this.#current === current) return current.users.add(work(current.value));
    }
  }

  /**
   * Later uses have it opened anew; this one is closed when its users are done.
   * @param only this one, where it is another by now nothing is done
   */
  async close(only?: T): Promise<void> {
    const current = this.#current;
    if (current && (only === undefined || current.value === only)) {
      this.#current = undefined;
      const closed = current.opening.then(
        async (value) => {
          await current.users.ended();
          await this.#close(value);
        },
        () => {}, // told to those who wanted to use it
      );
      this.#closing = Promise.all([this.#closing, closed]);
    }
    await this.#closing;
  }
}

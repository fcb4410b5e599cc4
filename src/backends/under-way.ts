/** Work that has begun and is to end before what it works with is given back. */
export class UnderWay {
  readonly #all = new Set<Promise<unknown>>();

  add<T>(work: Promise<T>): Promise<T> {
    const end: Promise<void> = work
      .then(
        () => {},
        () => {},
      )
      .then(() => {
        this.#all.delete(end);
      });
    this.#all.add(end);
    return work;
  }

  /** Resolves when all that is under way now has ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#all);
  }
}

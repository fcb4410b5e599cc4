export interface InOrderOptions {
  /** Items in work, or done and not yet asked for, at most; so many are read ahead. */
  readonly atOnce: number;
  readonly signal: AbortSignal | undefined;
  /** No more results are wanted: what is in work should reject. */
  readonly abandon: (reason: unknown) => void;
}

/**
 * The results of work on many items at once, in their order. Reading goes on beside the caller as far as `atOnce` allows.
 * @throws the first error in order, of the items' source or of the work; the signal's reason once it is aborted
 */
export async function* inOrder<Item, Result>(
  items: AsyncGenerator<Item>,
  work: (item: Item) => Promise<Result>,
  { atOnce, signal, abandon }: InOrderOptions,
): AsyncGenerator<Result> {
  const results: Promise<Result>[] = [];
  const news = new Bell();
  let [reading, waiting, ended] = [true, false, false];
  const end = () => {
    ended = true;
    abandon(signal?.reason ?? new DOMException("no more results are wanted", "AbortError"));
    news.ring();
  };
  const push = (result: Promise<Result>) => {
    result.catch(() => {}); // it is told when its turn comes
    results.push(result);
    news.ring();
  };
  const read = async () => {
    while (!ended) {
      if (results.length >= atOnce) {
        await news.rings();
        continue;
      }
      waiting = true;
      const { done, value } = await items.next();
      waiting = false;
      if (done || ended) break;
      push(work(value));
    }
  };
  const readToEnd = read()
    .catch((error) => push(Promise.reject(error)))
    .finally(() => {
      reading = waiting = false;
      news.ring();
    });
  if (signal?.aborted) end();
  signal?.addEventListener("abort", end);
  try {
    for (;;) {
      while (results.length === 0 && reading && !ended) await news.rings();
      signal?.throwIfAborted();
      if (results.length === 0) return;
      const result = await results[0];
      results.shift();
      news.ring();
      yield result;
    }
  } finally {
    signal?.removeEventListener("abort", end);
    end();
    // A source that is being waited for may never answer.
    if (!waiting) await readToEnd;
    const returned = items.return(undefined);
    if (waiting) returned.catch(() => {});
    else await returned;
  }
}

/** Lets parts of the work wait for news from each other. */
class Bell {
  #waiting: (() => void)[] = [];

  rings(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  ring(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

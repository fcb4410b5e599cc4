/** A bar on a terminal's stderr for work that takes longer than a moment; nothing anywhere else. */
export class Progress {
  readonly #total: number;
  readonly #stream: NodeJS.WriteStream | undefined;
  readonly #started = performance.now();
  #drawn = 0;

  constructor(total: number, stream: NodeJS.WriteStream) {
    this.#total = total;
    this.#stream = stream.isTTY ? stream : undefined;
  }

  /** `done` of the total; drawn at most ten times a second, and not in the first half second. */
  update(done: number): void {
    const now = performance.now();
    if (!this.#stream || now - this.#started < 500 || now - this.#drawn < 100) return;
    this.#drawn = now;
    const width = 24;
    const filled = Math.floor((width * done) / this.#total);
    const bar = "#".repeat(filled) + "-".repeat(width - filled);
    this.#stream.write(`\r[${bar}] ${done} of ${this.#total} files`);
  }

  /** Wipe the bar, so that what follows starts on a clean line. */
  clear(): void {
    if (this.#drawn) this.#stream?.write("\r\x1b[K");
    this.#drawn = 0;
  }
}

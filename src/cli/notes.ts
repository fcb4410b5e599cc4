import { oneLine } from "./shown.js";

/** What went wrong and what to beware of, collected while records are written and told on stderr afterwards. */
export class Notes {
  readonly #lines: string[] = [];
  #dropped = 0;

  /** Kept up to this many; the others are counted. */
  static readonly MOST = 50;

  add(line: string): void {
    if (this.#lines.length < Notes.MOST) this.#lines.push(oneLine(line));
    else this.#dropped++;
  }

  tell(): void {
    if (this.#lines.length) process.stderr.write(`\n${this.#lines.join("\n")}\n`);
    if (this.#dropped) process.stderr.write(`and ${this.#dropped} more\n`);
  }
}

import { oneLine } from "./shown.js";

/** What went wrong and what to beware of, collected while records are written and told on stderr afterwards. */
export class Notes {
  readonly #most: number;
  readonly #lines: string[] = [];
  #dropped = 0;

  /** @param most lines are kept; the others are counted */
  constructor(most = 50) {
    this.#most = most;
  }

  add(line: string): void {
    if (this.#lines.length < this.#most) this.#lines.push(oneLine(line));
    else this.#dropped++;
  }

  tell(): void {
    if (this.#lines.length) process.stderr.write(`\n${this.#lines.join("\n")}\n`);
    if (this.#dropped) process.stderr.write(`and ${this.#dropped} more\n`);
  }
}

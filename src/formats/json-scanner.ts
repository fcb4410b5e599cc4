/**
 * JSON read in the shape the caller expects, one token at a time: nothing is built that nobody asked for, so a hostile
 * header costs no more than its text. JSON.parse would keep the last of two equal keys in silence, move names such as "0"
 * to the front and take 1.0 for a count.
 */
import { JSON_DEPTH } from "../bytes.js";
import { UnitcellError } from "../errors.js";

const QUOTE = 34;
const BACKSLASH = 92;
const WORDS = ["true", "false", "null"] as const;

export class JsonScanner {
  private readonly text: string;
  private readonly what: string;
  private at = 0;
  private depth = 0;

  /**
   * @param bytes UTF-8 without a byte order mark
   * @param what what the text is, for messages: "the safetensors header"
   * @throws {UnitcellError} CORRUPT when the bytes are not UTF-8; every method: CORRUPT when the text is not what it reads
   */
  constructor(bytes: Uint8Array, what: string) {
    this.what = what;
    try {
      this.text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch (cause) {
      throw new UnitcellError("CORRUPT", `${what} is not UTF-8`, {}, { cause });
    }
  }

  /** Calls `member` with each key, in order; it must read the value. Two equal keys are CORRUPT. */
  object(member: (key: string) => void): void {
    const seen = new Set<string>();
    this.items("{", "}", () => {
      const key = this.string();
      if (seen.has(key)) throw this.error(`the key ${quoted(key)} twice`, "each key once");
      seen.add(key);
      this.punctuation(":");
      member(key);
    });
  }

  /** Calls `item` before each item; it must read it. */
  array(item: () => void): void {
    this.items("[", "]", item);
  }

  string(): string {
    this.punctuation('"');
    const start = this.at;
    let escaped = false;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (!(code >= 32)) throw this.error("a control character or the end", "the rest of a string");
      if (code === QUOTE) break;
      if (code === BACKSLASH) escaped = true;
      this.at += code === BACKSLASH ? 2 : 1;
    }
    const raw = this.text.slice(start, this.at++);
    if (!escaped) return raw;
    const text = this.parsed(`"${raw}"`) as string;
    // Only an escape can write half of a surrogate pair, which is no character.
    if (/\p{Surrogate}/u.test(text)) throw this.error("a lone surrogate", "a string of characters");
    return text;
  }

  number(): number {
    const token = this.numberToken();
    const value = this.parsed(token);
    if (typeof value !== "number") throw this.error(quoted(token), "a number");
    return value;
  }

  /** An integer from 0 to 2^53 - 1, written in digits only. */
  count(): number {
    const token = this.numberToken();
    const value = Number(token);
    if (!/^(0|[1-9]\d{0,15})$/.test(token) || !Number.isSafeInteger(value))
      throw this.error(token ? quoted(token) : `"${this.peek()}"`, "an integer from 0 to 2^53 - 1");
    return value;
  }

  /** Passes over a value of any kind. */
  skip(): void {
    const next = this.peek();
    if (next === "{") this.object(() => this.skip());
    else if (next === "[") this.array(() => this.skip());
    else if (next === '"') this.string();
    else if (this.word(WORDS) === undefined) this.number();
  }

  /** One of these words if it comes next, else undefined and nothing is consumed. */
  word<Word extends string>(words: readonly Word[]): Word | undefined {
    this.peek();
    const word = words.find((known) => this.text.startsWith(known, this.at));
    if (word) this.at += word.length;
    return word;
  }

  /** The next character that is not white space, "" at the end. */
  peek(): string {
    for (;;) {
      const next = this.text.charAt(this.at);
      if (next === "" || !" \t\n\r".includes(next)) return next;
      this.at++;
    }
  }

  /** Checks that only white space is left. */
  end(): void {
    if (this.peek() !== "") throw this.error(`"${this.peek()}"`, "nothing more");
  }

  /** CORRUPT, with the place. */
  error(found: string, expected: string): UnitcellError {
    return new UnitcellError("CORRUPT", `${this.what}: expected ${expected}, found ${found} at character ${this.at}`, {
      offset: this.at,
    });
  }

  private items(open: string, close: string, item: () => void): void {
    this.punctuation(open);
    if (++this.depth > JSON_DEPTH)
      throw new UnitcellError("LIMIT", `${this.what} nests deeper than ${JSON_DEPTH} levels`, { limit: JSON_DEPTH });
    if (this.peek() !== close)
      for (;;) {
        item();
        if (this.peek() !== ",") break;
        this.at++;
      }
    this.punctuation(close);
    this.depth--;
  }

  private punctuation(expected: string): void {
    const found = this.peek();
    if (found !== expected) throw this.error(found ? `"${found}"` : "the end", `"${expected}"`);
    this.at++;
  }

  /** The characters of a number, which may still be in an order that is none. */
  private numberToken(): string {
    this.peek();
    const start = this.at;
    while (this.at < this.text.length && "+-.0123456789Ee".includes(this.text[this.at])) this.at++;
    return this.text.slice(start, this.at);
  }

  private parsed(token: string): unknown {
    try {
      return JSON.parse(token);
    } catch {
      throw this.error(quoted(token), "a JSON string or number");
    }
  }
}

/** A name from a file as a message can show it: short, on one line. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}...` : name);
}

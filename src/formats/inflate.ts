import { Inflate } from "fflate/browser";
import { INFLATE_STEP_BYTES } from "../bytes.js";
import { UnitcellError } from "../errors.js";

/**
 * Inflates one raw deflate stream in small steps into an array of the declared size, so that a stream which holds more
 * stops soon after it instead of filling memory.
 */
export class Inflater {
  private readonly out: Uint8Array;
  private readonly name: string;
  private readonly stream: Inflate;
  private filled = 0;

  /**
   * @param size bytes expected; the caller has checked it against a cap
   * @param name the zip entry, for messages
   */
  constructor(size: number, name: string) {
    this.out = new Uint8Array(size);
    this.name = name;
    this.stream = new Inflate((chunk) => this.take(chunk));
  }

  /**
   * The next part of the stream.
   * @throws {UnitcellError} CORRUPT when it is malformed or holds more than was declared
   */
  push(raw: Uint8Array, isLast: boolean): void {
    try {
      for (let at = 0; at === 0 || at < raw.length; at += INFLATE_STEP_BYTES)
        this.stream.push(raw.subarray(at, at + INFLATE_STEP_BYTES), isLast && at + INFLATE_STEP_BYTES >= raw.length);
    } catch (cause) {
      if (cause instanceof UnitcellError) throw cause;
      const message = `zip entry "${this.name}" is not a valid deflate stream`;
      throw new UnitcellError("CORRUPT", message, { name: this.name }, { cause });
    }
  }

  /** The inflated bytes, after the last part. @throws {UnitcellError} CORRUPT when they are fewer than declared */
  finish(): Uint8Array {
    const { filled, out, name } = this;
    if (filled === out.length) return out;
    throw new UnitcellError("CORRUPT", `zip entry "${name}" inflates to ${filled} bytes, expected ${out.length}`, {
      name,
      found: filled,
      expected: out.length,
    });
  }

  private take(chunk: Uint8Array): void {
    const { out, name } = this;
    if (this.filled + chunk.length > out.length)
      throw new UnitcellError("CORRUPT", `zip entry "${name}" inflates beyond its ${out.length} bytes`, { name });
    out.set(chunk, this.filled);
    this.filled += chunk.length;
  }
}

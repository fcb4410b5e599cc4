import { Inflate } from "fflate";
import { INFLATE_STEP_BYTES } from "../bytes.js";
import { UnitcellError } from "../errors.js";

/**
 * Inflate a raw deflate stream in small steps into an array of the declared size, so that a stream which holds more
 * stops soon after it instead of filling memory.
 * @param size bytes expected; the caller has checked it against a cap
 * @param name the zip entry, for messages
 * @throws {UnitcellError} CORRUPT when the stream is malformed, cut short, or of another size
 */
export function inflate(raw: Uint8Array, size: number, name: string): Uint8Array {
  const out = new Uint8Array(size);
  let filled = 0;
  const stream = new Inflate((chunk) => {
    if (filled + chunk.length > out.length)
      throw new UnitcellError("CORRUPT", `zip entry "${name}" inflates beyond its ${size} bytes`, { name });
    out.set(chunk, filled);
    filled += chunk.length;
  });
  try {
    for (let at = 0; at === 0 || at < raw.length; at += INFLATE_STEP_BYTES)
      stream.push(raw.subarray(at, at + INFLATE_STEP_BYTES), at + INFLATE_STEP_BYTES >= raw.length);
  } catch (cause) {
    if (cause instanceof UnitcellError) throw cause;
    throw new UnitcellError("CORRUPT", `zip entry "${name}" is not a valid deflate stream`, { name }, { cause });
  }
  if (filled !== out.length)
    throw new UnitcellError("CORRUPT", `zip entry "${name}" inflates to ${filled} bytes, expected ${size}`, {
      name,
      found: filled,
      expected: size,
    });
  return out;
}

/** The hash that names a file, by the runtime's own code: browsers, Node, Deno and Bun all have it. */
import { UnitcellError } from "./errors.js";

/**
 * SHA-256 of bytes in hex, as `sha256sum` prints it.
 * @throws {UnitcellError} BACKEND in a page that was not loaded over https: browsers have no `crypto.subtle` there
 */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle)
    throw new UnitcellError("BACKEND", "this runtime has no crypto.subtle; browsers have it over https only");
  const digest = await subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

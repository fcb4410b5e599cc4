/** A request's body as text, read no further than a limit. */
import { UnitcellError } from "../errors.js";

/**
 * @param limit bytes
 * @throws {UnitcellError} LIMIT for a longer body, by what the request says or by what comes; CORRUPT where it is not UTF-8
 */
export async function readText(request: Request, limit: number): Promise<string> {
  const stated = Number(request.headers.get("content-length") ?? 0);
  if (stated > limit) throw tooLong(stated, limit);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const part of partsOf(request)) {
    bytes += part.byteLength;
    if (bytes > limit) throw tooLong(bytes, limit);
    parts.push(part);
  }
  const whole = await new Blob(parts).arrayBuffer();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(whole);
  } catch (cause) {
    throw new UnitcellError("CORRUPT", "the body is not text in UTF-8", { bytes }, { cause });
  }
}

function tooLong(found: number, limit: number): UnitcellError {
  return new UnitcellError("LIMIT", `the body has ${found} bytes or more, the limit is ${limit}`, { found, limit });
}

/** Not every host's stream can be iterated, and Firefox's requests have none to read: undefined. Leaving early cancels it. */
async function* partsOf(request: Request): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const body = request.body as Request["body"] | undefined;
  if (body === undefined) yield new Uint8Array(await request.arrayBuffer());
  if (!body) return;
  const reader = body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    // Not waited for: a host may never be done with it.
    reader.cancel().catch(() => {});
  }
}

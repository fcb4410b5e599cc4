import { once } from "node:events";

/** To stdout; waits for a slow reader, so that output does not pile up in memory. */
export async function writeOut(text: string | Uint8Array): Promise<void> {
  if (text.length > 0 && !process.stdout.write(text)) await once(process.stdout, "drain");
}

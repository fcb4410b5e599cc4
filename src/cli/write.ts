import { once } from "node:events";

/** To stdout; waits for a slow reader, so that output does not pile up in memory. */
export async function writeOut(text: string): Promise<void> {
  if (text && !process.stdout.write(text)) await once(process.stdout, "drain");
}

/** The Chromium that tests of browsers drive. */
import { execFileSync } from "node:child_process";
import { type Browser, chromium } from "playwright-core";

export const CHROMIUM_FLAGS =
  "--no-sandbox --disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic".split(
    " ",
  );

/** Its path; undefined, and said, where there is none. */
export function findChromium(): string | undefined {
  try {
    return execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  } catch {
    console.log("skipped: no Chromium (.ci/run installs it)");
    return undefined;
  }
}

/** @param flags of the command line, more than all tests need */
export function launchChromium(executablePath: string, flags: readonly string[] = []): Promise<Browser> {
  return chromium.launch({ executablePath, headless: true, args: [...CHROMIUM_FLAGS, ...flags] });
}

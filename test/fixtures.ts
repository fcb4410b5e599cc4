/**
 * The shared fixtures: real published checkpoints and structures, kept outside the repository.
 * Tests run from the repository root; UNITCELL_FIXTURES names another place.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const fixturesRoot = process.env.UNITCELL_FIXTURES ?? "../shared/fixtures";

/** False, with the reason printed once per test file, where the folder is absent. */
export function haveFixtures(folder: string): boolean {
  const found = existsSync(join(fixturesRoot, folder));
  if (!found) console.log(`skipped: no fixtures (${join(fixturesRoot, folder)} is absent; set UNITCELL_FIXTURES)`);
  return found;
}

export function fixtureBytes(path: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(join(fixturesRoot, path)));
}

export function fixtureText(path: string): string {
  return readFileSync(join(fixturesRoot, path), "utf8");
}

export function fixtureJson<T>(path: string): T {
  return JSON.parse(fixtureText(path)) as T;
}

/** File names in a fixtures folder, sorted. */
export function fixtureNames(folder: string): string[] {
  return readdirSync(join(fixturesRoot, folder)).sort();
}

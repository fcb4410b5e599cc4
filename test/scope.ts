/** npm test runs a part of what takes many minutes, npm run test:full all of it. */
export const isFull = process.env.UNITCELL_TESTS === "full";

/** Whether all is to be run; else what is left out is said. */
export function inFull(what: string): boolean {
  if (!isFull) console.log(`skipped: ${what} (npm run test:full)`);
  return isFull;
}

/** How many of something random, or again and again the same: a fifth of them in npm test. */
export function inPart(count: number): number {
  return isFull ? count : Math.ceil(count / 5);
}

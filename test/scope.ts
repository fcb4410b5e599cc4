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

/**
 * The structures with most pairs of bonds, two thirds of all pairs, and so of the time: an ALIGNN of default size, which
 * would take half an hour in Chromium, predicts them on Mesa's faster adapter (ort-deno.test.ts).
 */
export const HEAVY = [
  "cod-1000000.cif",
  "jvasp-97677.vasp",
  "proto-al2o3.cif",
  "proto-mgal2o4-spinel.cif",
  "super-si-216.vasp",
  "super-srtio3-200.cif",
  "tricky-triclinic-p-1.cif",
];

/** Tests of exported networks and of onnxruntime take many minutes: npm test runs a part of them, npm run test:ort all. */
export const isAll = process.env.UNITCELL_ORT === "all";

/** Whether all is to be run; else what is left out is said. */
export function inFull(what: string): boolean {
  if (!isAll) console.log(`skipped: ${what} (npm run test:ort)`);
  return isAll;
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

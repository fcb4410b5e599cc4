/** Tests of exported networks and of onnxruntime take many minutes: npm test runs a part of them, npm run test:ort all. */
export const isAll = process.env.UNITCELL_ORT === "all";

/** Whether all is to be run; else what is left out is said. */
export function inFull(what: string): boolean {
  if (!isAll) console.log(`skipped: ${what} (npm run test:ort)`);
  return isAll;
}

import { loaded } from "./errors.js";

/**
 * What few files need, loaded where one is met. All of it is one piece: with each further one bundlers cut what the pieces
 * share into more files, and three small ones compress to 2 kB more than one.
 * @throws {UnitcellError} BACKEND where it cannot be fetched
 */
export function rare() {
  return loaded(import("./rare.js"));
}

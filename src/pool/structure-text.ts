import type { ParseOptions } from "../structures/parse.js";

/** The text of a structure file; one of `filename` and `format` must be given, as for parseEach. */
export interface StructureText extends Readonly<ParseOptions> {
  readonly text: string;
}

import type { UnitcellError } from "../src/errors.js";
import { type ParseOptions, parseEach } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";

/** Every result of a text, errors as themselves. */
export function parseAll(text: string, options: ParseOptions): (Structure | UnitcellError)[] {
  return Array.from(parseEach(text, options), (result) => ("error" in result ? result.error : result));
}

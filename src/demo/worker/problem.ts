import { isUnitcellError } from "../../errors.js";
import type { Problem } from "../messages.js";

/** An error as the page shows it. What is none of ours is told, and not taken for a fault of the file. */
export function problemOf(error: unknown): Problem {
  if (isUnitcellError(error)) return { code: error.code, message: error.message };
  return { code: "UNEXPECTED", message: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
}

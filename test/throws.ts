import * as assert from "uvu/assert";
import { type ErrorCode, UnitcellError } from "../src/errors.js";

/** Asserts that `run` throws a UnitcellError with this code, and a message that matches when given. */
export async function throwsCode(run: () => unknown, code: ErrorCode, message?: RegExp): Promise<UnitcellError> {
  let thrown: unknown;
  try {
    await run();
  } catch (error) {
    thrown = error;
  }
  assert.instance(
    thrown,
    UnitcellError,
    `expected ${code}, found ${thrown === undefined ? "no error" : String(thrown)}`,
  );
  const error = thrown as UnitcellError;
  assert.is(error.code, code, error.message);
  if (message) assert.match(error.message, message);
  return error;
}

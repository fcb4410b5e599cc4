import * as assert from "uvu/assert";
import { type ErrorCode, UnitcellError } from "../src/errors.js";

interface Expected {
  message?: RegExp;
  /** Further assertions on the error. */
  check?: (error: UnitcellError) => void;
}

/** Asserts that `run` throws a UnitcellError with this code, and a message that matches when given. */
export async function throwsCode(run: () => unknown, code: ErrorCode, expected: RegExp | Expected = {}): Promise<void> {
  const { message, check } = expected instanceof RegExp ? { message: expected, check: undefined } : expected;
  let thrown: unknown;
  try {
    await run();
  } catch (error) {
    thrown = error;
  }
  const found = thrown === undefined ? "no error" : String(thrown);
  assert.instance(thrown, UnitcellError, `expected ${code}, found ${found}`);
  const error = thrown as UnitcellError;
  assert.is(error.code, code, error.message);
  if (message) assert.match(error.message, message);
  check?.(error);
}

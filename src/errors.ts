/** The eight kinds of deliberate failure; a program branches on the code, a person reads the message. */
export type ErrorCode =
  /** The bytes or text break their own format (truncated, wrong checksum, not a number where one must stand). */
  | "CORRUPT"
  /** Well-formed, but a feature unitcell does not handle (disorder, an element outside the table). */
  | "UNSUPPORTED"
  /** A file names code to import or run; nothing was run. */
  | "UNSAFE"
  /** A named size cap was hit before memory was allocated. */
  | "LIMIT"
  /** Two things that must agree do not (tensor shapes and config, counts, checksums of parts). */
  | "MISMATCH"
  /** A named file, key or entry is not there. */
  | "NOT_FOUND"
  /** The caller passed a value that no input could make right. */
  | "ARGUMENT"
  /** The runtime cannot do the work (no Wasm SIMD, out of memory). */
  | "BACKEND";

/** What a file that ends early most likely is, in messages. */
export const CUT_SHORT = "the file is cut short, perhaps a download that stopped";

/** Longest message; names in files can be of any length. */
const MESSAGE_CHARS = 4000;

/** Words of a file in a message must not act on the terminal that shows it: controls and changes of text direction. */
function printable(message: string): string {
  const short = message.length > MESSAGE_CHARS ? `${message.slice(0, MESSAGE_CHARS)}…` : message;
  const unsafe = /(?![\t\n])[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
  return short.replace(unsafe, (c) => `\\u{${c.charCodeAt(0).toString(16)}}`);
}

/**
 * Every error unitcell throws on purpose. The message says what was expected, what was found and where; `detail` holds
 * the same numbers for programs.
 */
export class UnitcellError extends Error {
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, detail: Record<string, unknown> = {}, options?: { cause?: unknown }) {
    super(printable(message), options);
    this.name = "UnitcellError";
    this.code = code;
    this.detail = detail;
  }
}

/** An error in other words: with the place before it, or what helps behind it. */
export function reworded(error: UnitcellError, message: string): UnitcellError {
  return new UnitcellError(error.code, message, error.detail, { cause: error });
}

/** True for errors unitcell threw on purpose, narrowed to one code when given. */
export function isUnitcellError(error: unknown, code?: ErrorCode): error is UnitcellError {
  return error instanceof UnitcellError && (code === undefined || error.code === code);
}

/**
 * What a dynamic import gives. A part that is gone (a page of yesterday after a new deployment, no network) is an error of
 * ours, so that what was found until then is told with it.
 * @throws {UnitcellError} BACKEND
 */
export async function loaded<T>(part: Promise<T>): Promise<T> {
  try {
    return await part;
  } catch (cause) {
    throw new UnitcellError(
      "BACKEND",
      `a part of unitcell could not be loaded: ${cause}; load the page or program anew`,
      {},
      { cause },
    );
  }
}

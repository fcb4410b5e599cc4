/** Files that commands make: whole under their names or not there at all, also after Ctrl-C or on a full disk. */
import { lstatSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { UnitcellError } from "../errors.js";
import { fileSink } from "../stores/fs.js";

/** Writes the next bytes. */
export type NextBytes = (bytes: Uint8Array) => void;

/** Bytes between two looks whether there was a Ctrl-C. */
const PIECE_BYTES = 4 * 2 ** 20;

/** @throws {UnitcellError} ARGUMENT where the file exists and is not to be replaced */
export function checkFree(out: string, force: boolean): void {
  const found = force ? undefined : lstatSync(out, { throwIfNoEntry: false });
  if (!found) return; // what else is in the way is told when it is written
  const what = found.isDirectory() ? "is a folder" : "exists; --force replaces it";
  throw new UnitcellError("ARGUMENT", `${out} ${what}`, { path: out });
}

class Interrupted extends Error {}

/**
 * Writes a file piece by piece; a former one of its name stays until it is complete, and also then unless `force`.
 * @param write ends with an error where there was a Ctrl-C since the last piece: what it is in the middle of is given up
 * @returns its bytes; undefined where it was given up, which was told on stderr
 * @throws {UnitcellError} as fileSink and checkFree, and what `write` throws
 */
export async function writeNewFile(
  path: string,
  force: boolean,
  write: (next: NextBytes) => void | Promise<void>,
): Promise<number | undefined> {
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
  };
  process.once("SIGINT", interrupt); // a second Ctrl-C ends the process as usual
  const out = fileSink(path);
  let size = 0;
  try {
    await write((bytes) => {
      if (interrupted) throw new Interrupted();
      size += bytes.byteLength;
      out.write(bytes);
    });
    checkFree(path, force); // it may have come while this one was made
    await out.close();
    return size;
  } catch (error) {
    out.abort();
    if (!(error instanceof Interrupted)) throw error;
    process.stderr.write(`\nunitcell: stopped; ${path} is as it was\n`);
    return undefined;
  } finally {
    process.off("SIGINT", interrupt);
  }
}

/** Writes bytes that are all there, with turns of the event loop between, in which Ctrl-C is heard. */
export async function writePieces(next: NextBytes, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    await setImmediate();
    next(bytes.subarray(at, at + PIECE_BYTES));
  }
}

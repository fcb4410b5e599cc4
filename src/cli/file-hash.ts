import { createHash } from "node:crypto";
import { FileBytes, type Input } from "../bytes.js";
import { PIECE_BYTES } from "./tensor-pieces.js";

/** SHA-256 of a file in hex, read in pieces. */
export async function fileHash(source: Input): Promise<string> {
  const file = new FileBytes(source);
  const digest = createHash("sha256");
  for (let at = 0; at < file.size; at += PIECE_BYTES)
    digest.update(await file.read(at, Math.min(at + PIECE_BYTES, file.size)));
  return digest.digest("hex");
}

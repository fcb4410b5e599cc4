/** What the first bytes of a file tell of its container; its reader is loaded only where it is needed. */
import { ByteReader } from "../bytes.js";

/** PK\x03\x04: a local header, as every zip begins that has no program in front. */
export function isZip(head: Uint8Array): boolean {
  return head[0] === 0x50 && head[1] === 0x4b && head[2] === 3 && head[3] === 4;
}

/** The legacy stream's 0x1950a86a20f9469cfc6c as it lies in the file, little-endian. */
const MAGIC_BYTES = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/** Where MAGIC starts: after PROTO, LONG1 and its length (2 bytes each); protocol 4 and later put a 9-byte FRAME between. */
const MAGIC_OFFSET = 2 + 2;
const FRAMED_MAGIC_OFFSET = 2 + 9 + 2;

/** True when the bytes start as the legacy stream does, in any pickle protocol from 2. */
export function isTorchLegacy(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x80) return false;
  for (const at of [MAGIC_OFFSET, FRAMED_MAGIC_OFFSET])
    if (MAGIC_BYTES.every((byte, i) => bytes[at + i] === byte)) return true;
  return false;
}

/** Bytes of a safetensors file before its header: their number. */
const LENGTH_BYTES = 8;

/** True for a plausible header length followed by a JSON object; what is wrong with it is said when it is read. */
export function isSafetensors(head: Uint8Array): boolean {
  // A length below 2^40 tells a header from a text file that has a brace there.
  return head.length > LENGTH_BYTES && head[LENGTH_BYTES] === 0x7b && new ByteReader(head, 5).u16() + head[7] === 0;
}

/** A tar is made of blocks of this size. */
export const TAR_BLOCK = 512;

/** True for a tar header block: the octal checksum at 148 is the sum of its bytes with the checksum blanked. */
export function isTar(bytes: Uint8Array): boolean {
  if (bytes.length < TAR_BLOCK) return false;
  const stated = octal(bytes.subarray(148, 156));
  let sum = 8 * 32;
  for (let i = 0; i < TAR_BLOCK; i++) if (i < 148 || i >= 156) sum += bytes[i];
  return stated === sum;
}

/** A number in a header field: octal digits between spaces or zeros. */
export function octal(field: Uint8Array): number | undefined {
  const digits = /^[ ]*([0-7]+)[ \0]*$/.exec(String.fromCharCode(...field))?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 8);
}

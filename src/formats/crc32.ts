/**
 * CRC-32 as zip uses it (reflected polynomial 0xEDB88320). Eight table rows take eight bytes per step: a byte-wise loop
 * would be the slowest part of opening a checkpoint.
 */
const POLYNOMIAL = 0xedb88320;
const ROWS = 8;

/** Row k holds the CRC of a byte followed by k zero bytes. */
let tables: Int32Array[] | undefined;

function makeTables(): Int32Array[] {
  const rows = Array.from({ length: ROWS }, () => new Int32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    rows[0][byte] = crc;
  }
  for (let k = 1; k < ROWS; k++)
    for (let byte = 0; byte < 256; byte++) {
      const before = rows[k - 1][byte];
      rows[k][byte] = (before >>> 8) ^ rows[0][before & 255];
    }
  return rows;
}

/** CRC-32 of the bytes, as an unsigned 32-bit number; 0 for none. `previous` is the CRC of the bytes before them. */
export function crc32(bytes: Uint8Array, previous = 0): number {
  tables ??= makeTables();
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.byteLength - 7;
  let crc = ~previous;
  let i = 0;
  for (; i < end; i += 8) {
    const a = crc ^ view.getInt32(i, true);
    const b = view.getInt32(i + 4, true);
    crc =
      t7[a & 255] ^
      t6[(a >>> 8) & 255] ^
      t5[(a >>> 16) & 255] ^
      t4[a >>> 24] ^
      t3[b & 255] ^
      t2[(b >>> 8) & 255] ^
      t1[(b >>> 16) & 255] ^
      t0[b >>> 24];
  }
  for (; i < bytes.byteLength; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]) & 255];
  return ~crc >>> 0;
}

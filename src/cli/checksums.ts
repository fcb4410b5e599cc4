/** Records of zip files against their CRC-32, in bounded memory. */
import { DEFAULT_LIMITS, FileBytes, type Input } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import { crc32 } from "../formats/crc32.js";
import { openZip, type ZipArchive, type ZipEntry } from "../formats/zip.js";
import type { FilePart } from "./open.js";
import { PIECE_BYTES } from "./tensor-pieces.js";

/**
 * Compares every record of zips, and of the zip they lie in, with its checksum, those that no tensor needs included; `absent` counts records without.
 * What is read by range later was compared here.
 * @throws {UnitcellError} CORRUPT for one that differs
 */
export async function verifyRecords(
  parts: readonly FilePart[],
  zip: Input | undefined,
): Promise<{ checked: number; absent: number }> {
  let checked = 0;
  let absent = 0;
  const sources = parts.filter(({ file: { format } }) => format === "torch" || format === "torchscript");
  for (const source of [...(zip ? [zip] : []), ...sources.map((part) => part.source)]) {
    const archive = await openZip(new FileBytes(source), { limits: DEFAULT_LIMITS, checkCrc: true });
    for (const entry of archive.entries.values()) {
      await verifyRecord(archive, entry);
      // torch can be told to leave CRCs out.
      if (entry.crc === 0 && entry.size > 0) absent++;
      else checked++;
    }
  }
  return { checked, absent };
}

async function verifyRecord(archive: ZipArchive, entry: ZipEntry): Promise<void> {
  if (entry.method === 8 || entry.size <= PIECE_BYTES) {
    await archive.read([entry]);
    return;
  }
  let crc = 0;
  for (let at = 0; at < entry.size; at += PIECE_BYTES)
    crc = crc32((await archive.readRange(entry, at, Math.min(at + PIECE_BYTES, entry.size)))!, crc);
  if (entry.crc !== 0 && crc !== entry.crc)
    throw new UnitcellError(
      "CORRUPT",
      `zip entry "${entry.name}" has CRC-32 ${hex(crc)}, the directory says ${hex(entry.crc)}`,
      {
        name: entry.name,
      },
    );
}

const hex = (value: number) => value.toString(16).padStart(8, "0");

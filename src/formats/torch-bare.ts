/** A pickle without torch's container: what pickle.dump writes, and old tools. */
import { ByteReader, type FileBytes } from "../bytes.js";
import { isUnitcellError, UnitcellError } from "../errors.js";
import type { Container, ReadSettings } from "./container.js";
import { type NamesFound, readPickle } from "./pickle.js";
import { PlacedStorages } from "./placed-storages.js";
import { RARE } from "./rare-parts.js";
import { torchContext } from "./torch-globals.js";
import { readGrowing } from "./torch-legacy.js";
import { StorageTable } from "./torch-storages.js";
import { PythonObject } from "./values.js";

/** Protocols 2 to 5 begin with PROTO; the older ones with any opcode, and no file of another kind ends where they do. */
const PROTO = 0x80;
const MAX_PROTOCOL = 5;

/**
 * Read a bare pickle.
 * @returns undefined when the bytes are no pickle
 * @throws {UnitcellError} when they are one by their first bytes and break later
 */
export async function openBarePickle(
  file: FileBytes,
  head: Uint8Array,
  settings: ReadSettings,
  names: NamesFound,
): Promise<Container | undefined> {
  const marked = head[0] === PROTO && head[1] <= MAX_PROTOCOL;
  if (file.size === 0 || (!marked && file.size > settings.limits.pickleBytes)) return undefined;
  const table = new StorageTable(settings.limits);
  const context = torchContext(table, settings, RARE, (id) => new PythonObject("persistent", "persid", [id]));
  try {
    const root = await readGrowing(file, settings, (bytes) => {
      const reader = new ByteReader(bytes);
      const value = readPickle(reader, context, names);
      if (reader.offset !== file.size)
        throw new UnitcellError("CORRUPT", `a pickle ends at byte ${reader.offset}, the file has ${file.size}`, {
          offset: reader.offset,
        });
      return value;
    });
    return {
      format: "pickle",
      root,
      storages: [],
      names,
      loader: new PlacedStorages(file, new Map()),
      info: new Map(),
    };
  } catch (error) {
    if (marked || names.unknown.size > 0 || !isUnitcellError(error)) throw error;
    return undefined;
  }
}

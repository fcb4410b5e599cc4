/** Known values by structure, as CGCNN's id_prop.csv has them: a line for each, id,value. */
import { UnitcellError } from "../errors.js";

/**
 * @returns value by id; ids with the ending of a structure's file also count without it
 * @throws {UnitcellError} CORRUPT with the line that is none
 */
export function parseReferences(text: string): [id: string, value: number][] {
  const values: [string, number][] = [];
  const seen = new Set<string>();
  for (const [i, line] of text.split(/\r\n|\r|\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [id = "", number = ""] = line.split(",").map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
    const value = number === "" ? Number.NaN : Number(number);
    // The first line may say what the columns are.
    if (i === 0 && id !== "" && !Number.isFinite(value)) continue;
    if (id === "" || !Number.isFinite(value))
      throw new UnitcellError(
        "CORRUPT",
        `line ${i + 1}: expected id,value with a number, found ${JSON.stringify(line.slice(0, 80))}`,
      );
    const bare = id.replace(/\.(cif|vasp|poscar|xyz|extxyz|json)$/i, "");
    if (seen.has(bare)) throw new UnitcellError("CORRUPT", `line ${i + 1}: a second value for ${JSON.stringify(bare)}`);
    seen.add(bare);
    values.push([bare, value]);
  }
  if (values.length === 0) throw new UnitcellError("CORRUPT", "expected lines of id,value, found none");
  return values;
}

/** Any supported structure file: choice of the format, one result per structure, ids from the file name. */
import { UnitcellError } from "../errors.js";
import { readCif } from "./cif-structure.js";
import { readJson } from "./json-structures.js";
import { located, normalizeText, quote } from "./lines.js";
import { readPoscar } from "./poscar.js";
import type { Structure, UnreadStructure } from "./structure.js";
import { readXyz } from "./xyz.js";

/** `json` is any of the four kinds of JSON after it, recognised by its keys. */
export type StructureFormat = "cif" | "poscar" | "xyz" | "json" | "pymatgen" | "optimade" | "jarvis" | "ase";

/** At least one of both. `format` decides when given; the ids come from `filename`. */
export interface ParseOptions {
  format?: StructureFormat;
  filename?: string;
}

/** One result per structure; an error that knows its structure's id comes as an UnreadStructure. */
type Reader = (text: string) => Iterable<Structure | UnreadStructure | UnitcellError>;

const READERS: Readonly<Record<StructureFormat, Reader>> = {
  cif: readCif,
  poscar: (text) => [structureOrError(() => located("POSCAR", () => readPoscar(text)))],
  xyz: readXyz,
  json: (text) => readJson(text),
  pymatgen: (text) => readJson(text, "pymatgen"),
  optimade: (text) => readJson(text, "optimade"),
  jarvis: (text) => readJson(text, "jarvis"),
  ase: (text) => readJson(text, "ase"),
};

const EXTENSIONS: Readonly<Record<string, StructureFormat>> = {
  cif: "cif",
  mcif: "cif",
  vasp: "poscar",
  poscar: "poscar",
  xyz: "xyz",
  extxyz: "xyz",
  json: "json",
  jsonl: "json",
};

const SUPPORTED =
  "CIF (.cif, .mcif), POSCAR (.vasp, .poscar, POSCAR*, CONTCAR*), extended XYZ (.xyz, .extxyz), " +
  "JSON of pymatgen, OPTIMADE, JARVIS and ASE (.json, .jsonl)";

function structureOrError(run: () => Structure): Structure | UnitcellError {
  try {
    return run();
  } catch (error) {
    if (error instanceof UnitcellError) return error;
    throw error;
  }
}

function baseName(filename: string): string {
  return filename.slice(Math.max(filename.lastIndexOf("/"), filename.lastIndexOf("\\")) + 1);
}

/** The file name without folder and extension; `.cif` alone keeps its name. */
export function idFromFilename(filename: string): string {
  const base = baseName(filename);
  const dot = base.lastIndexOf(".");
  return dot > 0 ? base.slice(0, dot) : base;
}

function formatFromFilename(filename: string): StructureFormat | undefined {
  const base = baseName(filename).toLowerCase();
  const extension = base.slice(base.lastIndexOf(".") + 1);
  const format = Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined;
  return format ?? (/^(?:poscar|contcar)/.test(base) ? "poscar" : undefined);
}

/** From the content, for names that say nothing. */
function sniffFormat(text: string): StructureFormat | undefined {
  if (/^\s*[{[]/.test(text)) return "json";
  const [first = "", second = ""] = text.split("\n", 2);
  if (/^\s*\d+\s*$/.test(first) && /\blattice\s*=/i.test(second)) return "xyz";
  if (/^[ \t]*(?:data_|loop_)/im.test(text)) return "cif";
  return /^\s*[+-]?(?:\d|\.\d)/.test(second) ? "poscar" : undefined;
}

function chooseFormat(text: string, { format, filename }: ParseOptions): StructureFormat | UnitcellError {
  if (format !== undefined) {
    if (Object.hasOwn(READERS, format)) return format;
    throw new UnitcellError(
      "ARGUMENT",
      `unknown structure format ${quote(String(format))}, expected ${Object.keys(READERS).join(", ")}`,
    );
  }
  if (filename === undefined) throw new UnitcellError("ARGUMENT", "parsing a structure needs a format or a filename");
  const chosen = formatFromFilename(filename) ?? sniffFormat(text);
  return (
    chosen ??
    new UnitcellError(
      "UNSUPPORTED",
      `${quote(baseName(filename))} is in no supported format; supported are ${SUPPORTED}`,
      {
        filename,
      },
    )
  );
}

/**
 * Every data block or frame of a text, one result each: a Structure, or the error that block or frame gave, ready for
 * predictStream. The content never makes it throw; when nothing at all is found, that is one error.
 * A structure that names itself (JSON of databases) has that id. Else, with a filename, ids are its base name without
 * extension; the second result on has `#2`, `#3` appended.
 * @throws {UnitcellError} ARGUMENT when neither format nor filename is given, or the format is unknown
 */
export function* parseEach(text: string, options: ParseOptions = {}): Generator<Structure | UnreadStructure> {
  const base = options.filename === undefined ? undefined : idFromFilename(options.filename);
  let index = 0;
  for (const result of readAll(normalizeText(text), options)) {
    index++;
    const id = base === undefined ? {} : { id: index === 1 ? base : `${base}#${index}` };
    yield result instanceof UnitcellError ? { ...id, error: result } : { ...id, ...result };
  }
}

function* readAll(body: string, options: ParseOptions): Generator<Structure | UnreadStructure | UnitcellError> {
  const format = chooseFormat(body, options);
  if (format instanceof UnitcellError) return yield format;
  if (body.trim() === "")
    return yield new UnitcellError("CORRUPT", `expected a structure (${format}), found an empty text`);
  let found = false;
  for (const result of READERS[format](body)) {
    found = true;
    yield result;
  }
  if (!found) yield new UnitcellError("CORRUPT", `expected a structure (${format}), found none`);
}

/**
 * All structures of a text.
 * @throws {UnitcellError} the first error parseEach gives
 */
export function parseStructures(text: string, options: ParseOptions = {}): Structure[] {
  return Array.from(parseEach(text, options), (result) => {
    if ("error" in result) throw result.error;
    return result;
  });
}

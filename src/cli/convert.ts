import { existsSync } from "node:fs";
import { CHECKPOINT_KEY, metadataKeys } from "../checkpoint/metadata.js";
import { isUnitcellError, reworded, UnitcellError } from "../errors.js";
import { SHARED_KEY, writeSafetensors } from "../formats/safetensors-save.js";
import { writeTorch } from "../formats/torch-save.js";
import { fileSink } from "../stores/fs.js";
import type { DType } from "../tensor.js";
import { verifyRecords } from "./checksums.js";
import { CastStorages, castNote, type Rename, renamed, renameStateDict, strip } from "./edits.js";
import { named, type OpenedCheckpoint, openCheckpoint } from "./open.js";
import { readScalars, retie, safetensorsParts } from "./safetensors-parts.js";
import { escaped, plural, shownName } from "./shown.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const CONVERT_HELP = `Usage: unitcell convert [options] IN OUT

Writes a checkpoint again. The ending of OUT says how: .pt, .pth, .ckpt, .bin or .pth.tar as PyTorch writes today, with
everything that IN holds; .safetensors with the tensors of the state dict (all tensors, by dotted names, where none is
recognised), plain values beside them as JSON in its metadata, where predict reads them. What has no place there is
listed. IN may be a file, an http(s) address, an index of several files or the folder with one. Tied weights stay tied.
Tensors are streamed, so files larger than memory do; OUT appears when it is complete.

Options:
      --dtype DTYPE           f32, f16, bf16 or f64: casts floating-point tensors of the state dict (of the file, where
                              there is none), rounding as PyTorch does. An optimizer's state and all else stay
      --strip KEY             leaves out a top-level key; optimizer stands for its usual spellings. May be repeated
      --rename 'FROM=>TO'     replaces the start of names in the state dict: 'module.=>' removes it. May be repeated
      --metadata KEY=VALUE    adds text to a .safetensors. May be repeated
      --keep-unknown-classes  writes names of code outside the closed list to a .pt again. Without it IN is refused if it
                              has any: loading OUT with weights_only=False would import them. A .safetensors has none
      --force                 replaces OUT if it exists; OUT may be IN
  -h, --help                  this text
`;

const DTYPES: readonly DType[] = ["f32", "f16", "bf16", "f64"];
const TORCH_ENDING = /\.(pt|pth|ckpt|bin|pth\.tar)$/i;
const SAFETENSORS_ENDING = /\.safetensors$/i;

interface Settings {
  readonly dtype: DType | undefined;
  readonly strip: readonly string[];
  readonly renames: readonly Rename[];
  readonly metadata: ReadonlyMap<string, string>;
}

export async function convertCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      dtype: { type: "string" },
      strip: { type: "string", multiple: true },
      rename: { type: "string", multiple: true },
      metadata: { type: "string", multiple: true },
      "keep-unknown-classes": { type: "boolean" },
      force: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(CONVERT_HELP);
    return 0;
  }
  if (positionals.length !== 2)
    throw new UsageError(`convert takes IN and OUT, found ${positionals.length} names; see unitcell convert --help`);
  const [from, to] = positionals;
  const isSafetensors = formatOf(to) === "safetensors";
  if (values.metadata && !isSafetensors)
    throw new UsageError("--metadata is for .safetensors; a .pt has no place for it");
  const settings: Settings = {
    dtype: parseDType(values.dtype),
    strip: values.strip ?? [],
    renames: (values.rename ?? []).map(parseRename),
    metadata: new Map((values.metadata ?? []).map(parseMetadata)),
  };
  checkFree(to, values.force ?? false);
  const inert = isSafetensors || (values["keep-unknown-classes"] ?? false);
  const opened = await openCheckpoint(from, { unknownClasses: inert ? "inert" : "refuse" }).catch((error) => {
    throw isUnitcellError(error, "UNSAFE") ? withHint(error) : error;
  });
  try {
    return await convert(opened, to, settings, isSafetensors ? writeAsSafetensors : writeAsTorch);
  } finally {
    opened.close();
  }
}

/** How a file is written, by its ending. */
export function formatOf(out: string): "torch" | "safetensors" {
  if (SAFETENSORS_ENDING.test(out)) return "safetensors";
  if (TORCH_ENDING.test(out)) return "torch";
  throw new UsageError(`OUT ends in .pt, .pth, .ckpt, .bin, .pth.tar or .safetensors, found "${out}"`);
}

/** @throws {UnitcellError} ARGUMENT where OUT exists and is not to be replaced */
export function checkFree(out: string, force: boolean): void {
  if (existsSync(out) && !force)
    throw new UnitcellError("ARGUMENT", `${out} exists; --force replaces it`, { path: out });
}

function parseDType(text: string | undefined): DType | undefined {
  const dtype = DTYPES.find((known) => known === text);
  if (text !== undefined && !dtype) throw new UsageError(`--dtype is one of ${DTYPES.join(", ")}, found "${text}"`);
  return dtype;
}

function parseRename(text: string): Rename {
  const at = text.indexOf("=>");
  if (at < 0) throw new UsageError(`--rename takes 'FROM=>TO', found "${text}"`);
  return { from: text.slice(0, at), to: text.slice(at + 2) };
}

function parseMetadata(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new UsageError(`--metadata takes KEY=VALUE, found "${text}"`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function withHint(error: UnitcellError): UnitcellError {
  const hint = "--keep-unknown-classes would write these names again, a .safetensors has none";
  return reworded(error, `${error.message}; ${hint}`);
}

type Sink = (bytes: Uint8Array) => void;
/** Writes the file, and tells what to say of it. */
type Writer = (opened: OpenedCheckpoint, cast: CastStorages, settings: Settings, sink: Sink) => Promise<string[]>;

async function convert(opened: OpenedCheckpoint, to: string, settings: Settings, write: Writer): Promise<number> {
  const { file, name } = opened;
  // Streams are read by range, which compares no checksums: damage must not become a sound file.
  await verifyRecords(opened.parts, opened.zip).catch((error) => {
    throw named(name, error);
  });
  const notes: string[] = [];
  const tied = await retie(file);
  if (tied > 0) notes.push(`tied ${plural(tied, "tensor")} again that were written apart`);
  if (settings.strip.length > 0) notes.push(`stripped ${strip(file.root, settings.strip).map(shownName).join(", ")}`);
  const cast = new CastStorages(file, settings.dtype ?? "f32");
  if (settings.dtype) notes.push(castNote(cast.cast(file.root), settings.dtype, file.root));
  let interrupted = false;
  process.once("SIGINT", () => {
    interrupted = true;
  });
  const out = fileSink(to);
  let size = 0;
  try {
    const said = await write(opened, cast, settings, (bytes) => {
      if (interrupted) throw new Interrupted();
      size += bytes.byteLength;
      out.write(bytes);
    });
    // Where IN is OUT, it must not be open when it is replaced: some systems refuse that.
    opened.close();
    await out.close();
    notes.push(...said);
  } catch (error) {
    out.abort();
    if (!(error instanceof Interrupted)) throw error;
    process.stderr.write(`\nunitcell: stopped; ${to} is as it was\n`);
    return 130;
  }
  for (const note of notes) process.stderr.write(`note: ${note}\n`);
  await writeOut(`${name} -> ${to}: ${plural(size, "byte")}\n`);
  return 0;
}

class Interrupted extends Error {}

const writeAsTorch: Writer = async ({ file }, cast, { renames }, sink) => {
  if (file.format === "torchscript")
    throw new UnitcellError(
      "UNSUPPORTED",
      "a TorchScript archive is a program; only its tensors can be converted, to .safetensors",
    );
  if (renames.length > 0) renameStateDict(file.root, renames);
  await writeTorch(file.root, sink, { readStorage: (storage) => cast.pieces(storage) });
  const metadata = file.info.get("metadata");
  const lost = metadata instanceof Map ? [...metadata.keys()].filter((key) => key !== SHARED_KEY) : [];
  return lost.length > 0
    ? [`left out, metadata of the .safetensors: ${lost.map((key) => shownName(String(key))).join(", ")}`]
    : [];
};

const writeAsSafetensors: Writer = async ({ file }, cast, settings, sink) => {
  await readScalars(file);
  const parts = safetensorsParts(file.root);
  const names = renamed(parts.tensors.keys(), settings.renames);
  const tensors = new Map([...parts.tensors].map(([name, tensor]) => [names.get(name)!, tensor]));
  const former = file.info.get("metadata");
  // What the user gives is text, whatever stood there before.
  const values = [...parts.metadata.keys()].filter((key) => !settings.metadata.has(key));
  const metadata = new Map([
    ...(former instanceof Map ? (former as Map<string, string>) : []),
    ...(values.length > 0 ? [[CHECKPOINT_KEY, metadataKeys(values)] as const] : []),
    ...parts.metadata,
    ...settings.metadata,
  ]);
  // The writer records anew what shares memory.
  metadata.delete(SHARED_KEY);
  await writeSafetensors(tensors, sink, {
    ...(metadata.size > 0 && { metadata }),
    readTensor: (tensor) => cast.read(tensor),
  });
  const notes: string[] = [];
  if (parts.metadata.size > 0) notes.push(`in the metadata: ${[...parts.metadata.keys()].map(shownName).join(", ")}`);
  if (parts.leftOut.length > 0) notes.push(`left out: ${parts.leftOut.map((what) => escaped(what)).join(", ")}`);
  const { unknownGlobals } = file;
  if (unknownGlobals.length > 0)
    notes.push(
      `left out, names of code: ${unknownGlobals
        .map((global) => escaped(global))
        .slice(0, 20)
        .join(", ")}`,
    );
  return notes;
};

import { CHECKPOINT_KEY, metadataKeys } from "../checkpoint/metadata.js";
import { isUnitcellError, reworded, UnitcellError } from "../errors.js";
import { SHARED_KEY, writeSafetensors } from "../formats/safetensors-save.js";
import { writeTorch } from "../formats/torch-save.js";
import type { DType } from "../tensor.js";
import { verifyRecords } from "./checksums.js";
import { convertToOnnx, ONNX_ENDING } from "./convert-onnx.js";
import { CastStorages, castNote, type Rename, renamed, renameStateDict, strip } from "./edits.js";
import { checkFree, type NextBytes, writeNewFile } from "./new-file.js";
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

      --dtype DTYPE           f32, f16, bf16 or f64: casts floating-point tensors of the state dict (of the file, where
                              there is none), rounding as PyTorch does. An optimizer's state and all else stay
      --strip KEY             leaves out a top-level key; optimizer stands for its usual spellings. May be repeated
      --rename 'FROM=>TO'     replaces the start of names in the state dict: 'module.=>' removes it. May be repeated
      --metadata KEY=VALUE    adds text to a .safetensors. May be repeated
      --keep-unknown-classes  writes names of code outside the closed list to a .pt again. Without it IN is refused if it
                              has any: loading OUT with weights_only=False would import them. A .safetensors has none

.onnx: the network of a CGCNN, ALIGNN or MEGNet, for any ONNX runtime (opset 17). IN is what predict --model takes: a
file, or a folder or zip as ALIGNN and matgl write it. The graph settings, normalizer, property, unit, elements and the
SHA-256 of IN, or of the file of weights in there, are in the file's metadata; unitcell graph makes its inputs.

      --dtype DTYPE           f32, or f16: weights and arithmetic of the linear layers in half precision, which changes
                              predictions
      --atom-init FILE, --normalizer=MEAN,STD, --property NAME, --unit UNIT, --neighbor-policy P
                              what IN lacks or says otherwise, as for predict

      --force                 replaces OUT if it exists; OUT may be IN
  -h, --help                  this text
`;

/** Options that only a checkpoint has a use for, and those that only a network has. */
const OF_CHECKPOINTS = ["strip", "rename", "metadata", "keep-unknown-classes"];
const OF_NETWORKS = ["atom-init", "normalizer", "property", "unit", "neighbor-policy"];

const DTYPES: readonly DType[] = ["f32", "f16", "bf16", "f64"];
const TORCH_ENDING = /\.(pt|pth|ckpt|bin|pth\.tar)$/i;
const SAFETENSORS_ENDING = /\.safetensors$/i;

interface Settings {
  readonly dtype: DType | undefined;
  readonly strip: readonly string[];
  readonly renames: readonly Rename[];
  readonly metadata: ReadonlyMap<string, string>;
  readonly force: boolean;
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
      "atom-init": { type: "string" },
      normalizer: { type: "string" },
      property: { type: "string" },
      unit: { type: "string" },
      "neighbor-policy": { type: "string" },
      force: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(CONVERT_HELP);
    return 0;
  }
  if (positionals.length !== 2) {
    const each = positionals.length > 2 && isOnnx(positionals.at(-1)!) ? "; of an ensemble convert each member" : "";
    throw new UsageError(
      `convert takes IN and OUT, found ${positionals.length} names${each}; see unitcell convert --help`,
    );
  }
  const [from, to] = positionals;
  checkOptions(values, isOnnx(to));
  if (isOnnx(to)) return convertToOnnx(from, to, values);
  const isSafetensors = formatOf(to, ", .onnx") === "safetensors";
  if (values.metadata && !isSafetensors)
    throw new UsageError("--metadata is for .safetensors; a .pt has no place for it");
  const settings: Settings = {
    dtype: parseDType(values.dtype),
    strip: values.strip ?? [],
    renames: (values.rename ?? []).map(parseRename),
    metadata: new Map((values.metadata ?? []).map(parseMetadata)),
    force: values.force ?? false,
  };
  checkFree(to, settings.force);
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

const isOnnx = (out: string) => ONNX_ENDING.test(out);

/** @throws {UsageError} for options of a checkpoint with an .onnx, and the other way round */
function checkOptions(values: Readonly<Record<string, unknown>>, onnx: boolean): void {
  const other = (onnx ? OF_CHECKPOINTS : OF_NETWORKS).find((name) => values[name] !== undefined);
  if (other === undefined) return;
  throw new UsageError(
    onnx
      ? `--${other} is for checkpoints: an .onnx holds what the network computes and what unitcell knows of it, no more`
      : `--${other} is for .onnx: a checkpoint is written as it is, and predict takes --${other}`,
  );
}

/** How a checkpoint is written, by its ending. @param others endings that the command knows beside these, ", .onnx" */
export function formatOf(out: string, others = ""): "torch" | "safetensors" {
  if (SAFETENSORS_ENDING.test(out)) return "safetensors";
  if (TORCH_ENDING.test(out)) return "torch";
  throw new UsageError(`OUT ends in .pt, .pth, .ckpt, .bin, .pth.tar${others} or .safetensors, found "${out}"`);
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

/** Writes the file, and tells what to say of it. */
type Writer = (opened: OpenedCheckpoint, cast: CastStorages, settings: Settings, sink: NextBytes) => Promise<string[]>;

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
  const size = await writeNewFile(to, settings.force, async (next) => {
    notes.push(...(await write(opened, cast, settings, next)));
    // Where IN is OUT, it must not be open when it is replaced: some systems refuse that.
    opened.close();
  });
  if (size === undefined) return 130;
  for (const note of notes) process.stderr.write(`note: ${note}\n`);
  await writeOut(`${name} -> ${to}: ${plural(size, "byte")}\n`);
  return 0;
}

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

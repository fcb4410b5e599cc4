import { existsSync, realpathSync, statSync } from "node:fs";
import { basename } from "node:path";
import { deflateRawSync } from "node:zlib";
import { type Checkpoint, loadCheckpoint, saveCheckpoint } from "../checkpoint.js";
import { UnitcellError } from "../errors.js";
import { modelFromCheckpoint } from "../models/from-checkpoint.js";
import { type ChangeReport, comparePredictions } from "../prediction-change.js";
import { type SlimOptions, slimCheckpoint } from "../slim.js";
import type { StructureFormat } from "../structures/parse.js";
import { findCheckpointFiles, readCheckpointFiles } from "./checkpoint-files.js";
import { formatOf } from "./convert.js";
import { parseTolerance } from "./diff.js";
import { listInputs, readInputs } from "./inputs.js";
import { metadataOptions, metadataPath, parseModelOptions, readMetadata, withPath } from "./models.js";
import { checkFree, writeNewFile, writePieces } from "./new-file.js";
import { FORMATS, parseState } from "./predict.js";
import { brief, toJson } from "./shown.js";
import { describeSlim, type SlimDocument } from "./slim-report.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const SLIM_HELP = `Usage: unitcell slim [options] IN -o OUT
       unitcell slim [options] IN -o OUT --check STRUCTURES...

Writes what a network predicts with and no more: weights, normalizer, settings, epoch and metrics, in one file also
where IN is several (ALIGNN's config.json, matgl's model.pt); the optimizer and all else stay behind. Without options
the weights are the same to the bit. OUT ends as for convert; PyTorch 2 loads a .pt with weights_only=True. IN is never
replaced.

--f16, --bf16 and --sparsity change predictions, so structures to measure that on are asked for: both models predict
them, the second from the bytes that are then written.

Options:
  -o, --output OUT         where to
      --f16, --bf16        rounds weight matrices to half precision; biases, norms and statistics stay, so do tensors
                           with numbers too large for float16
      --sparsity SHARE     makes this share of the weights zero, from 0 to 1, those with the smallest magnitudes. Zeros
                           are stored as numbers: the file is smaller only when it is compressed
      --scope SCOPE        global (default): the share of all weights together; tensor: of each matrix
      --check PATH         a structure file or folder, as for predict; may be repeated, and names after IN are more
      --tolerance X        the most by which a prediction may change, in its unit. Above it nothing is written
      --unchecked          does without --check
  -f, --format FORMAT, --state N, --atom-init FILE
                           as for predict, for --check
      --force              replaces OUT if it exists
      --json               one JSON document
  -h, --help               this text

Exit codes: 0 written, 1 a failure, a change above the tolerance, a structure that cannot be compared: then nothing is
written; 2 wrong usage
`;

export async function slimCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      output: { type: "string", short: "o" },
      f16: { type: "boolean" },
      bf16: { type: "boolean" },
      sparsity: { type: "string" },
      scope: { type: "string" },
      check: { type: "string", multiple: true },
      tolerance: { type: "string" },
      unchecked: { type: "boolean" },
      format: { type: "string", short: "f" },
      state: { type: "string" },
      "atom-init": { type: "string" },
      force: { type: "boolean" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(SLIM_HELP);
    return 0;
  }
  const [from, ...others] = positionals;
  const { output: to, check, unchecked = false } = values;
  if (from === undefined || (others.length > 0 && !check))
    throw new UsageError(`slim takes one IN, found ${positionals.length} names; see unitcell slim --help`);
  if (to === undefined) throw new UsageError("slim needs -o OUT; see unitcell slim --help");
  const options = parseSlim(values);
  const format = formatOf(to);
  checkUsage(values, options, unchecked);
  const tolerance = values.tolerance === undefined ? undefined : parseTolerance(values.tolerance);
  const sources = [...findCheckpointFiles(from).values()];
  const isReplaced = (source: string) => existsSync(source) && realpathSync(source) === realpathSync(to);
  if (existsSync(to) && sources.some(isReplaced))
    throw new UnitcellError("ARGUMENT", `${to} is IN, or a part of it: slim does not replace what it was made from`);
  checkFree(to, values.force ?? false);

  const { files } = await readCheckpointFiles(from);
  const original = await withPath(from, () => loadCheckpoint(files, { unknownClasses: "inert" }));
  const { checkpoint, report } = withPath(from, () => slimCheckpoint(original, options));
  const bytes = withPath(from, () => saveCheckpoint(checkpoint, format));
  const change = check && (await measure(from, original, bytes, [...check, ...others], { ...values, tolerance }));
  const refusal = change && refusalOf(change);
  const document: SlimDocument = {
    input: from,
    output: to,
    written: refusal === undefined,
    bytes: {
      before: sources.reduce((sum, source) => sum + statSync(source).size, 0),
      after: bytes.byteLength,
      afterDeflated: deflateRawSync(bytes).byteLength,
    },
    ...report,
    ...(change && { change }),
  };
  if (
    refusal === undefined &&
    (await writeNewFile(to, values.force ?? false, (next) => writePieces(next, bytes))) === undefined
  )
    return 130;
  await writeOut(values.json ? toJson(document) : `${describeSlim(document).join("\n")}\n`);
  if (refusal !== undefined) throw new UnitcellError("MISMATCH", `${refusal}; ${to} is not written`);
  const beside = metadataPath(from);
  if (existsSync(beside))
    process.stderr.write(
      `note: ${basename(beside)} is no part of OUT; predict looks for ${basename(metadataPath(to))} beside it\n`,
    );
  return 0;
}

/** What is asked for without structures to measure it on, or about structures that are not there. */
function checkUsage(
  values: { readonly check?: string[] | undefined; readonly format?: string | undefined },
  { dtype, sparsity = 0 }: SlimOptions,
  unchecked: boolean,
): void {
  const isLossy = dtype !== undefined || sparsity > 0;
  if (values.check && unchecked) throw new UsageError("--check and --unchecked exclude each other");
  if (isLossy && !values.check && !unchecked)
    throw new UsageError(
      "--f16, --bf16 and --sparsity change predictions: --check STRUCTURES measures by how much, --unchecked does without",
    );
  for (const name of ["tolerance", "format", "state", "atom-init"])
    if (name in values && !values.check) throw new UsageError(`--${name} is about the structures of --check`);
  if (values.format !== undefined && !FORMATS.includes(values.format))
    throw new UsageError(`--format is one of ${FORMATS.join(", ")}, found "${values.format}"`);
}

function parseSlim(values: {
  f16?: boolean | undefined;
  bf16?: boolean | undefined;
  sparsity?: string | undefined;
  scope?: string | undefined;
}): SlimOptions {
  const { f16, bf16, sparsity: text, scope } = values;
  if (f16 && bf16) throw new UsageError("--f16 and --bf16 exclude each other");
  const sparsity = text === undefined ? undefined : text.trim() === "" ? Number.NaN : Number(text);
  if (sparsity !== undefined && !(sparsity >= 0 && sparsity <= 1))
    throw new UsageError(`--sparsity takes a share from 0 to 1, found "${text}"`);
  if (scope !== undefined && scope !== "global" && scope !== "tensor")
    throw new UsageError(`--scope is global or tensor, found "${scope}"`);
  if (scope !== undefined && sparsity === undefined) throw new UsageError("--scope is about --sparsity");
  return {
    ...(f16 && { dtype: "f16" }),
    ...(bf16 && { dtype: "bf16" }),
    ...(sparsity !== undefined && { sparsity }),
    ...(scope && { scope }),
  };
}

interface MeasureOptions {
  readonly tolerance: number | undefined;
  readonly format?: string | undefined;
  readonly state?: string | undefined;
  readonly "atom-init"?: string | undefined;
}

/** The original and what the new file holds, as models on the structures of files and folders. */
async function measure(
  from: string,
  original: Checkpoint,
  bytes: Uint8Array,
  paths: readonly string[],
  { tolerance, format, state: stateText, "atom-init": table }: MeasureOptions,
): Promise<ChangeReport> {
  const options = { ...metadataOptions(readMetadata(from)), ...parseModelOptions({ "atom-init": table }) };
  const read = await loadCheckpoint(bytes);
  const [before, after] = [original, read].map((one) => withPath(from, () => modelFromCheckpoint(one, options)));
  const state = parseState(before, stateText);
  const structures = readInputs(
    await listInputs(paths),
    format as StructureFormat | undefined,
    () => {},
    new AbortController().signal,
  );
  return comparePredictions(before, after, structures, {
    ...(tolerance !== undefined && { tolerance }),
    ...(state !== undefined && { state }),
  });
}

/** Why the slim file is not to be had, in words; undefined where it is. */
function refusalOf({ structures, compared, failed, largest, tolerance, unit }: ChangeReport): string | undefined {
  const of = unit === undefined ? "" : ` ${unit}`;
  const broken = structures.find((row) => "error" in row);
  if (broken && "error" in broken)
    return `${failed} of ${structures.length} structures cannot be compared (${broken.id}: ${broken.error.message})`;
  if (compared === 0) return "no structure to compare";
  if (tolerance !== undefined && largest > tolerance)
    return `predictions change by up to ${brief(largest)}${of}, ${brief(largest - tolerance)} above the tolerance of ${tolerance}`;
  return undefined;
}

import { createHash } from "node:crypto";
import { FileBytes } from "../bytes.js";
import { isUnitcellError } from "../errors.js";
import { TorchTensor } from "../formats/torch-tensors.js";
import { nameTensors } from "../summary.js";
import type { Tensor } from "../tensor.js";
import { StatsAccumulator } from "../tensor-stats.js";
import { verifyRecords } from "./checksums.js";
import { ContentHash } from "./content-hash.js";
import { type FilePart, named, type OpenedCheckpoint, openCheckpoint } from "./open.js";
import { counted, escaped, labelled, oneLine, plural, shownName } from "./shown.js";
import { PIECE_BYTES, tensorPieces } from "./tensor-pieces.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const VERIFY_HELP = `Usage: unitcell verify [options] FILE|URL|FOLDER...

Reads checkpoints from end to end: every record against its CRC-32, every tensor within its storage. Lists the tensors
that hold NaN or infinities, and names of code (which unitcell never runs). Memory is bounded by one chunk, or one
strided tensor.

Options:
      --finite      NaN and infinities are a failure too
      --hash        also the SHA-256 of the file, and one of its weights: equal for the same names, dtypes, shapes and
                    numbers, whether in a new or old .pt or a .safetensors. It covers the state dict (all tensors where
                    there is none): the SHA-256 of one line for each tensor, by name:
                    "<SHA-256 of its dense bytes> <dtype> [<shape>] <name as JSON>"
  -h, --help        this text

Exit code 1 when a file is damaged or cannot be read; the others are still looked at.
`;

/** Tensors with NaN or infinities that are listed. */
const MOST_TENSORS = 50;
/** Names of code. */
const MOST_NAMES = 12;

export async function verifyCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      finite: { type: "boolean" },
      hash: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(VERIFY_HELP);
    return 0;
  }
  if (positionals.length === 0) throw new UsageError("verify needs files; see unitcell verify --help");
  let failed = false;
  for (const name of positionals)
    try {
      const { lines, finite } = await verify(name, values.hash ?? false);
      await writeOut(`${lines.join("\n")}\n`);
      if (!finite && values.finite) failed = true;
    } catch (error) {
      if (!isUnitcellError(error)) throw error;
      failed = true;
      await writeOut(`${name}: FAILED\n`);
      process.stderr.write(`unitcell: ${error.code}: ${oneLine(error.message)}\n`);
    }
  return failed ? 1 : 0;
}

async function verify(name: string, hash: boolean): Promise<{ lines: string[]; finite: boolean }> {
  const opened = await openCheckpoint(name, { unknownClasses: "inert" });
  try {
    const { file, parts, zip } = opened;
    const { checked, absent } = await verifyRecords(parts, zip);
    const checksums = checksumText(checked, absent);
    const { lines: odd, content, count } = await verifyTensors(opened, hash);
    const lines = [`${name}: ok, ${file.format}, ${plural(count, "tensor")}, ${checksums}`];
    const { unknownGlobals } = file;
    const names = unknownGlobals.slice(0, MOST_NAMES).map((global) => escaped(global));
    if (names.length > 0) lines.push(...labelled("  names code", names.join(", ")));
    lines.push(...odd.slice(0, MOST_TENSORS));
    if (odd.length > MOST_TENSORS) lines.push(`  ... and ${plural(odd.length - MOST_TENSORS, "tensor")} more`);
    if (content !== undefined) {
      for (const part of parts) lines.push(`  sha256 ${await fileHash(part)}  ${shownName(part.name)}`);
      lines.push(`  weights ${content}`);
    }
    return { lines, finite: odd.length === 0 };
  } catch (error) {
    throw named(name, error);
  } finally {
    opened.close();
  }
}

function checksumText(checked: number, absent: number): string {
  if (checked + absent === 0) return "the format has no checksums";
  return `${plural(checked, "record")} checked${absent ? `, ${counted(absent)} without CRC-32` : ""}`;
}

/** All tensors read once; a line for each that has numbers which are not finite. */
async function verifyTensors(
  { file }: OpenedCheckpoint,
  hash: boolean,
): Promise<{ lines: string[]; content: string | undefined; count: number }> {
  const all = nameTensors(file.root);
  const hasStateDict = all.some(({ key }) => key !== undefined);
  const content = new ContentHash();
  const lines: string[] = [];
  for (const { name, key, tensor } of all) {
    const inHash = hash && (key !== undefined || !hasStateDict);
    const { sha256, odd } = await verifyTensor(file, tensor, inHash);
    if (inHash) content.add(key ?? name, tensor, sha256);
    if (odd) lines.push(`  ${odd} in ${shownName(name)}`);
  }
  return { lines, content: hash ? content.digest() : undefined, count: all.length };
}

async function verifyTensor(
  file: OpenedCheckpoint["file"],
  tensor: Tensor,
  hash: boolean,
): Promise<{ sha256: string; odd: string | undefined }> {
  if (tensor instanceof TorchTensor && !tensor.storage) return { sha256: "-", odd: undefined };
  const stats = canCount(tensor) ? new StatsAccumulator(tensor.dtype) : undefined;
  const digest = createHash("sha256");
  for await (const piece of tensorPieces(file, tensor)) {
    stats?.add(piece);
    if (hash) digest.update(piece);
  }
  const { nan = 0, positiveInfinity = 0, negativeInfinity = 0 } = stats?.result() ?? {};
  const infinite = positiveInfinity + negativeInfinity;
  const found = [...(nan ? [`${counted(nan)} NaN`] : []), ...(infinite ? [`${counted(infinite)} infinite`] : [])];
  return { sha256: digest.digest("hex"), odd: found.length > 0 ? found.join(", ") : undefined };
}

/** Integers are always finite, and packed numbers cannot be looked at one by one. */
function canCount({ dtype }: Tensor): boolean {
  return /^(f64|f32|f16|bf16|c|f8)/.test(dtype);
}

async function fileHash({ source }: FilePart): Promise<string> {
  const file = new FileBytes(source);
  const digest = createHash("sha256");
  for (let at = 0; at < file.size; at += PIECE_BYTES)
    digest.update(await file.read(at, Math.min(at + PIECE_BYTES, file.size)));
  return digest.digest("hex");
}

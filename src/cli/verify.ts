import { createHash } from "node:crypto";
import { join } from "node:path";
import { isUnitcellError } from "../errors.js";
import { TorchTensor } from "../formats/torch-tensors.js";
import { listCheckpoints } from "../runs/listing.js";
import { nameTensors } from "../summary.js";
import type { Tensor } from "../tensor.js";
import { StatsAccumulator } from "../tensor-stats.js";
import { verifyRecords } from "./checksums.js";
import { ContentHash } from "./content-hash.js";
import { fileHash } from "./file-hash.js";
import { openFolder } from "./folder.js";
import { holdsSeveral, named, type OpenedCheckpoint, openCheckpoint } from "./open.js";
import { counted, escaped, labelled, oneLine, plural, shownName } from "./shown.js";
import { tensorPieces } from "./tensor-pieces.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const VERIFY_HELP = `Usage: unitcell verify [options] FILE|URL|FOLDER...

Reads checkpoints from end to end: every record against its CRC-32, every tensor within its storage. Lists the tensors
that hold NaN or infinities, and names of code (which unitcell never runs). Memory is bounded by one chunk, or one
strided tensor.

A FOLDER that is one checkpoint (shards with their index, ALIGNN's, matgl's) is read as that one. Of any other every
checkpoint is, in the folders below it too, and the last line counts them.

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
  const options = { hash: values.hash ?? false, finite: values.finite ?? false };
  for (const name of positionals) {
    const inside = holdsSeveral(name) ? await checkpointsIn(name) : undefined;
    const good = inside ? await verifyAll(name, inside, options) : await verifyOne(name, options);
    if (!good) failed = true;
  }
  return failed ? 1 : 0;
}

interface VerifyOptions {
  readonly hash: boolean;
  readonly finite: boolean;
}

/** Paths of the checkpoints in a folder and those below; undefined for none, which is an error of its own. */
async function checkpointsIn(folder: string): Promise<string[] | undefined> {
  const infos = await listCheckpoints(openFolder(folder).store);
  return infos.length === 0 ? undefined : infos.map(({ key }) => join(folder, key));
}

async function verifyAll(folder: string, paths: readonly string[], options: VerifyOptions): Promise<boolean> {
  let bad = 0;
  for (const path of paths) if (!(await verifyOne(path, options))) bad++;
  const result = bad === 0 ? "all ok" : `${counted(bad)} FAILED, ${counted(paths.length - bad)} ok`;
  await writeOut(`${oneLine(folder)}: ${plural(paths.length, "checkpoint")}, ${result}\n`);
  return bad === 0;
}

/** @returns whether it is undamaged and, where that was asked for, finite */
async function verifyOne(name: string, { hash, finite }: VerifyOptions): Promise<boolean> {
  try {
    const { lines, finite: allFinite } = await verify(name, hash);
    await writeOut(`${lines.join("\n")}\n`);
    return allFinite || !finite;
  } catch (error) {
    if (!isUnitcellError(error)) throw error;
    await writeOut(`${oneLine(name)}: FAILED\n`);
    process.stderr.write(`unitcell: ${error.code}: ${oneLine(error.message)}\n`);
    return false;
  }
}

async function verify(name: string, hash: boolean): Promise<{ lines: string[]; finite: boolean }> {
  const opened = await openCheckpoint(name, { unknownClasses: "inert" });
  try {
    const { file, parts, zip } = opened;
    const { checked, absent } = await verifyRecords(parts, zip);
    const checksums = checksumText(checked, absent);
    const { lines: odd, content, count } = await verifyTensors(opened, hash);
    const lines = [`${oneLine(name)}: ok, ${file.format}, ${plural(count, "tensor")}, ${checksums}`];
    const { unknownGlobals } = file;
    const names = unknownGlobals.slice(0, MOST_NAMES).map((global) => escaped(global));
    if (names.length > 0) lines.push(...labelled("  names code", names.join(", ")));
    lines.push(...odd.slice(0, MOST_TENSORS));
    if (odd.length > MOST_TENSORS) lines.push(`  ... and ${plural(odd.length - MOST_TENSORS, "tensor")} more`);
    if (content !== undefined) {
      for (const part of parts) lines.push(`  sha256 ${await fileHash(part.source)}  ${shownName(part.name)}`);
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

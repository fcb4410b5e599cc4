import { summarizeArchitecture } from "../architecture-summary.js";
import { isUnitcellError } from "../errors.js";
import { type CheckpointSummary, nameTensors, readBeside, summarize, type TensorSummary } from "../summary.js";
import { TORCH_DTYPES } from "../tensor.js";
import type { TensorStats } from "../tensor-stats.js";
import { type OpenedCheckpoint, openCheckpoint } from "./open.js";
import { brief, type Column, counted, escaped, labelled, plural, shownName, table, toJson } from "./shown.js";
import { statsOf } from "./tensor-pieces.js";
import { sizes, treeLines, treeOf } from "./tree.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const INSPECT_HELP = `Usage: unitcell inspect [options] FILE|ZIP|URL|FOLDER

Shows what a checkpoint holds: values, tensors, number of parameters, names of code; of which network it is, with which
settings. Reads .pt, .pth, .ckpt, .bin of any PyTorch version, TorchScript, .safetensors, several files with an index
(the index, or the folder it is in), and what ALIGNN and matgl write, as a folder or a zip: the state dict's file, and
which files belong to it. Settings beside a FILE (config.json, matgl's model.pt and model.json) are taken into account as
unitcell predict does. Tensor data is not read; of an http(s) address only the parts needed are fetched. Files that
loading refuses because they name code are shown too: unitcell runs nothing.

Options:
      --tree        all levels of the values, and the tensors in their places
      --stats       read every tensor too, one at a time: smallest, largest, mean, NaN and infinities
      --limit N     entries shown of each dict or list, and rows of the tensor table (default 40; 0: all)
      --json        one JSON document. NaN, infinities and integers beyond 2^53 are strings: "NaN", "-Infinity"
  -h, --help        this text
`;

const DEFAULT_LIMIT = 40;
/** Levels of values: at a glance, and all that a person reads. */
const GLANCE_DEPTH = 2;
const TREE_DEPTH = 24;
/** Names of code in the text; the JSON has them all. */
const MOST_GLOBALS = 12;

export async function inspectCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      json: { type: "boolean" },
      tree: { type: "boolean" },
      stats: { type: "boolean" },
      limit: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(INSPECT_HELP);
    return 0;
  }
  if (positionals.length !== 1)
    throw new UsageError(`inspect takes one file, found ${positionals.length}; see unitcell inspect --help`);
  const limit = parseLimit(values.limit);
  const opened = await openCheckpoint(positionals[0], { unknownClasses: "inert", beside: true });
  try {
    const summary = summarize(opened.file, opened.bundle && (await readBeside(opened.bundle)));
    const stats = values.stats ? await allStats(opened) : undefined;
    const tree = treeOf(opened.file.root, {
      depth: values.tree ? TREE_DEPTH : GLANCE_DEPTH,
      limit,
      fold: !values.tree,
    });
    const { bytesRead } = opened.file;
    if (values.json) {
      const tensors = summary.tensors.map((tensor, i) => ({ ...tensor, ...(stats && { stats: stats[i] }) }));
      const { info, args: saved, file: inside, ...rest } = summary;
      const document = {
        file: opened.name,
        stateDictFile: inside,
        ...rest,
        architecture: summarizeArchitecture(summary),
        bytesRead,
        info: plainInfo(info),
        tensors,
      };
      await writeOut(toJson({ ...document, values: tree }));
      return 0;
    }
    const lines = [
      ...header(opened.name, { ...summary, bytesRead }),
      "",
      "values",
      ...valueLines(tree),
      "",
      ...tensorLines(summary.tensors, stats, limit),
    ];
    await writeOut(`${lines.join("\n")}\n`);
    return 0;
  } finally {
    opened.close();
  }
}

export function parseLimit(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LIMIT;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--limit takes a number of entries, found "${text}"`);
  return Number(text) || Number.POSITIVE_INFINITY;
}

function header(name: string, summary: CheckpointSummary): string[] {
  const { format, layout, bytes, parameters, tensors, epoch, metrics, unsafeGlobals, info, bytesRead } = summary;
  const { file, beside, problem } = summary;
  const inside = file === undefined || name.endsWith(file) ? "" : ` in ${shownName(file)}`;
  const facts = [...info].filter(([key]) => !["metadata", "sources", "sys_info", "root"].includes(key));
  const shownFacts = facts.map(([key, value]) => `, ${escaped(key)} ${escaped(String(value))}`).join("");
  const lines = [
    ...labelled("file", `${name}, ${plural(bytes, "byte")}${inside}`),
    ...beside.flatMap((other) => labelled("with", `${shownName(other.name)}, ${plural(other.bytes, "byte")}`)),
    ...(problem === undefined ? [] : labelled("PROBLEM", escaped(problem, problem.length))),
    ...labelled("format", `${format}${shownFacts}${layout ? `; layout ${layout}` : ""}`),
    ...labelled("parameters", parameterText(summary, parameters, tensors)),
  ];
  // What model it is and with which settings belongs here.
  lines.push(...architectureLines(summary));
  if (epoch !== undefined) lines.push(...labelled("epoch", String(epoch)));
  const measured = Object.entries(metrics).map(([key, value]) => `${shownName(key)} ${brief(value)}`);
  if (measured.length > 0) lines.push(...labelled("metrics", measured.slice(0, DEFAULT_LIMIT).join(", ")));
  const metadata = info.get("metadata");
  if (metadata instanceof Map)
    for (const [key, value] of [...metadata].slice(0, DEFAULT_LIMIT))
      lines.push(...labelled("metadata", `${shownName(String(key))}: ${escaped(String(value))}`));
  if (unsafeGlobals.length > 0) {
    const names = unsafeGlobals
      .slice(0, MOST_GLOBALS)
      .map((global) => escaped(global))
      .join(", ");
    const more = unsafeGlobals.length > MOST_GLOBALS ? ` and ${unsafeGlobals.length - MOST_GLOBALS} more` : "";
    lines.push(
      ...labelled(
        "WARNING",
        `names code: ${names}${more}; unitcell runs nothing, PyTorch with weights_only=False would import it and may run it`,
      ),
    );
  }
  const isPart = bytesRead > 0 && bytesRead < bytes;
  lines.push(...labelled("read", isPart ? `${counted(bytesRead)} bytes of ${counted(bytes)}` : "all of it"));
  return lines;
}

/** Which network it is and with which settings, or that it is none of ours. */
function architectureLines(summary: CheckpointSummary): string[] {
  const architecture = summarizeArchitecture(summary);
  if (!architecture) return [];
  const { name, task, property, found, assumed, problem } = architecture;
  const text = (of: string) => escaped(of, of.length);
  if (name === undefined) return labelled("model", `architecture not known${problem ? ` (${text(problem)})` : ""}`);
  if (problem !== undefined) return labelled("model", `${name}, but ${text(problem)}`);
  return [
    ...labelled("model", `${name}, ${task}${property === undefined ? "" : ` of ${text(property)}`}`),
    ...(found.length ? labelled("settings", text(found.join(", "))) : []),
    ...assumed.flatMap((assumption) => labelled("assumed", text(assumption))),
  ];
}

function parameterText(
  { stateDict }: CheckpointSummary,
  parameters: number,
  tensors: readonly TensorSummary[],
): string {
  const inStateDict = tensors.filter(({ key }) => key !== undefined).length;
  if (stateDict === undefined) return `${counted(parameters)} in ${plural(tensors.length, "tensor")} (no state dict)`;
  const where = stateDict === "" ? "" : ` of ${shownName(stateDict)}`;
  const others = tensors.length - inStateDict;
  const rest = others > 0 ? `; ${plural(others, "other tensor")}` : "";
  return `${counted(parameters)} in ${plural(inStateDict, "tensor")}${where}${rest}`;
}

function valueLines(tree: ReturnType<typeof treeOf>): string[] {
  const lines = treeLines(tree);
  const own = [tree.kind, ...(tree.text === undefined ? [] : [tree.text])].join(" ");
  return lines.length > 0 ? lines : [`  ${own}`];
}

const PLAIN_COLUMNS: readonly Column[] = [
  { title: "tensor" },
  { title: "dtype" },
  { title: "shape" },
  { title: "bytes", right: true },
  { title: "" },
];
const STATS_COLUMNS: readonly Column[] = [
  { title: "tensor" },
  { title: "dtype" },
  { title: "shape" },
  { title: "min", right: true },
  { title: "max", right: true },
  { title: "mean", right: true },
  { title: "NaN", right: true },
  { title: "Inf", right: true },
];

function tensorLines(
  tensors: readonly TensorSummary[],
  stats: readonly (TensorStats | undefined)[] | undefined,
  limit: number,
): string[] {
  if (tensors.length === 0) return ["no tensors"];
  const rows = tensors.slice(0, limit).map((tensor, i) => {
    const { name, dtype, shape, bytes } = tensor;
    const start = [shownName(name), TORCH_DTYPES[dtype], sizes(shape)];
    return stats ? [...start, ...statsCells(stats[i])] : [...start, counted(bytes), remarks(tensor)];
  });
  const lines = table(stats ? STATS_COLUMNS : PLAIN_COLUMNS, rows);
  if (tensors.length > rows.length) lines.push(`  ... and ${counted(tensors.length - rows.length)} more (--limit 0)`);
  const total = tensors.reduce((sum, { bytes, tiedTo }) => sum + (tiedTo === undefined ? bytes : 0), 0);
  lines.push(`  ${plural(tensors.length, "tensor")}, ${plural(total, "byte")}`);
  return lines;
}

function remarks({ strides, offset, tiedTo, device }: TensorSummary): string {
  const found: string[] = [];
  if (tiedTo !== undefined) found.push(`tied to ${shownName(tiedTo)}`);
  if (strides) found.push(`strides ${sizes(strides)}${offset ? ` from ${offset}` : ""}`);
  if (device !== "cpu") found.push(escaped(device));
  return found.join(", ");
}

function statsCells(stats: TensorStats | undefined): string[] {
  if (!stats) return ["-", "-", "-", "-", "-"];
  const { min, max, mean, nan, positiveInfinity, negativeInfinity } = stats;
  return [brief(min), brief(max), brief(mean), String(nan), String(positiveInfinity + negativeInfinity)];
}

/** In the order of the summary; undefined for tensors without numbers to look at (meta device, packed dtypes). */
async function allStats({ file }: OpenedCheckpoint): Promise<(TensorStats | undefined)[]> {
  const all: (TensorStats | undefined)[] = [];
  for (const { tensor } of nameTensors(file.root))
    all.push(
      await statsOf(file, tensor).catch((error) => {
        if (isUnitcellError(error, "UNSUPPORTED")) return undefined;
        throw error;
      }),
    );
  return all;
}

/** Text, numbers and dicts of them; source texts and the like are left out. */
function plainInfo(info: CheckpointSummary["info"]): Record<string, unknown> {
  const plain: [string, unknown][] = [];
  for (const [key, value] of info)
    if (value instanceof Map && key === "metadata") plain.push([key, Object.fromEntries(value)]);
    else if (value === null || typeof value !== "object") plain.push([key, value]);
  return Object.fromEntries(plain);
}

import { findStateDict } from "../checkpoint/layouts.js";
import type { TorchValue } from "../formats/values.js";
import { isTensor } from "../formats/walk.js";
import { nameTensors } from "../summary.js";
import { type Tensor, TORCH_DTYPES } from "../tensor.js";
import { compareTensors, type TensorDifference } from "./compare-tensors.js";
import { compareValues } from "./compare-values.js";
import { named, type OpenedCheckpoint, openCheckpoint } from "./open.js";
import { brief, type Column, counted, plural, quotedText, shownName, table, toJson } from "./shown.js";
import { sizes } from "./tree.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const DIFF_HELP = `Usage: unitcell diff [options] A B

Compares two checkpoints: names, shapes and dtypes of tensors, the largest difference of their numbers, and the other
values. Tensors of the state dicts are compared by their names there, wherever the dict is and in whatever container;
order, strides and sharing do not matter. NaN equals NaN at the same place, 0 equals -0, a dict an OrderedDict.

Options:
      --tolerance X  numbers may differ by up to X (absolute; default 0). Another dtype is always a difference
      --json         one JSON document
  -h, --help         this text

Exit codes: 0 no difference beyond the tolerance, 1 there is one, or a failure (with an error line), 2 wrong usage
`;

/** Lines of each kind in the text; the JSON has them all. */
const MOST_LINES = 100;

interface Report {
  readonly equal: boolean;
  /** Tensors without a difference beyond the tolerance. */
  readonly equalTensors: number;
  readonly onlyInA: readonly string[];
  readonly onlyInB: readonly string[];
  readonly tensors: readonly DifferentTensor[];
  readonly values: readonly { readonly path: string; readonly a: string | undefined; readonly b: string | undefined }[];
  readonly hint: string | undefined;
}

interface DifferentTensor extends Partial<TensorDifference> {
  readonly name: string;
  readonly dtype: readonly [string, string];
  readonly shape: readonly [readonly number[], readonly number[]];
}

export async function diffCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: { tolerance: { type: "string" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help) {
    process.stdout.write(DIFF_HELP);
    return 0;
  }
  if (positionals.length !== 2)
    throw new UsageError(`diff takes two files, found ${positionals.length}; see unitcell diff --help`);
  const tolerance = parseTolerance(values.tolerance);
  const opened: OpenedCheckpoint[] = [];
  try {
    for (const name of positionals) opened.push(await openCheckpoint(name, { unknownClasses: "inert" }));
    const report = await compare(opened[0], opened[1], tolerance);
    const [a, b] = positionals;
    await writeOut(values.json ? toJson({ a, b, tolerance, ...report }) : `${describe(report).join("\n")}\n`);
    return report.equal ? 0 : 1;
  } finally {
    for (const { close } of opened) close();
  }
}

export function parseTolerance(text: string | undefined): number {
  const tolerance = text === undefined ? 0 : text.trim() === "" ? Number.NaN : Number(text);
  if (!(tolerance >= 0)) throw new UsageError(`--tolerance takes a number that is not negative, found "${text}"`);
  return tolerance;
}

/** One file in the parts that are compared. */
interface Contents {
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Everything else, with the tensors of the state dict still in it where it is a module. */
  readonly rest: TorchValue;
}

/** @param flat all tensors by dotted names, as where no state dict is recognised */
function contentsOf(root: TorchValue, flat: boolean): Contents {
  const found = flat ? undefined : findStateDict(root);
  const tensors = new Map<string, Tensor>();
  for (const { name, key, tensor } of nameTensors(root))
    if (!found) tensors.set(name, tensor);
    else if (key !== undefined) tensors.set(key, tensor);
  if (!found?.dict || !(root instanceof Map)) return { tensors, rest: root };
  const rest = new Map<TorchValue, TorchValue>();
  for (const [key, value] of root) if (root !== found.dict && key !== found.key) rest.set(key, value);
  for (const [key, value] of found.dict) if (!isTensor(value)) rest.set(key, value);
  return { tensors, rest };
}

async function compare(a: OpenedCheckpoint, b: OpenedCheckpoint, tolerance: number): Promise<Report> {
  const flat = !findStateDict(a.file.root) || !findStateDict(b.file.root);
  const [ours, theirs] = [contentsOf(a.file.root, flat), contentsOf(b.file.root, flat)];
  const onlyInA = [...ours.tensors.keys()].filter((name) => !theirs.tensors.has(name));
  const onlyInB = [...theirs.tensors.keys()].filter((name) => !ours.tensors.has(name));
  const tensors: DifferentTensor[] = [];
  let equalTensors = 0;
  const check = async (name: string, x: Tensor, y: Tensor) => {
    const found = await compareTwo(a, b, name, x, y, tolerance);
    if (found) tensors.push(found);
    else equalTensors++;
  };
  for (const [name, tensor] of ours.tensors) {
    const other = theirs.tensors.get(name);
    if (other) await check(name, tensor, other);
  }
  const done = new Set([...ours.tensors.values(), ...theirs.tensors.values()]);
  const values: Report["values"][number][] = [];
  for (const found of compareValues(ours.rest, theirs.rest, tolerance))
    if (!("tensors" in found)) values.push(found);
    else if (!found.tensors.some((tensor) => done.has(tensor))) await check(found.path, ...found.tensors);
  const equal = onlyInA.length + onlyInB.length + tensors.length + values.length === 0;
  const nothingShared = onlyInA.length === ours.tensors.size && onlyInB.length === theirs.tensors.size;
  const hint = nothingShared
    ? (prefixHint("A", onlyInA, "B", onlyInB) ?? prefixHint("B", onlyInB, "A", onlyInA))
    : undefined;
  return { equal, equalTensors, onlyInA, onlyInB, tensors, values, hint };
}

/** undefined when two tensors are equal within the tolerance. */
async function compareTwo(
  a: OpenedCheckpoint,
  b: OpenedCheckpoint,
  name: string,
  x: Tensor,
  y: Tensor,
  tolerance: number,
): Promise<DifferentTensor | undefined> {
  const dtype = [TORCH_DTYPES[x.dtype], TORCH_DTYPES[y.dtype]] as const;
  const shape = [x.shape, y.shape] as const;
  if (x.shape.join() !== y.shape.join()) return { name, dtype, shape };
  try {
    const found = await compareTensors({ file: a.file, tensor: x }, { file: b.file, tensor: y });
    const isClose = found && found.differing !== undefined && found.nanMismatch === 0 && found.largest <= tolerance;
    return isClose && x.dtype === y.dtype ? undefined : { name, dtype, shape, ...found };
  } catch (error) {
    throw named(`${a.name} and ${b.name}`, error);
  }
}

/** What to try when no name of one file is in the other. */
function prefixHint(a: string, ours: readonly string[], b: string, theirs: readonly string[]): string | undefined {
  const prefix = /^[^.]*\./.exec(ours[0] ?? "")?.[0];
  if (!prefix || !ours.every((name) => name.startsWith(prefix))) return undefined;
  const others = new Set(theirs);
  const count = ours.filter((name) => others.has(name.slice(prefix.length))).length;
  if (count === 0) return undefined;
  const rename = /^[\w.-]+$/.test(prefix) ? ` (unitcell convert --rename '${prefix}=>')` : "";
  return `every name in ${a} starts with ${quotedText(prefix)}; without it ${plural(count, "name")} would be in ${b}${rename}`;
}

const COLUMNS: readonly Column[] = [
  { title: "tensors that differ" },
  { title: "dtype" },
  { title: "shape" },
  { title: "numbers", right: true },
  { title: "largest", right: true },
  { title: "relative", right: true },
];

function describe({ equal, equalTensors, onlyInA, onlyInB, tensors, values, hint }: Report): string[] {
  const lines: string[] = [];
  const only = (side: string, names: readonly string[]) => {
    if (names.length > 0) lines.push(`only in ${side}: ${plural(names.length, "tensor")}`);
    lines.push(...bounded(names.map((name) => `  ${shownName(name)}`)));
  };
  only("A", onlyInA);
  only("B", onlyInB);
  if (hint) lines.push(`hint: ${hint}`);
  if (tensors.length > 0) lines.push(...bounded(table(COLUMNS, tensors.map(tensorRow))));
  if (values.length > 0) lines.push("values that differ (A, B)");
  lines.push(
    ...bounded(values.map(({ path, a, b }) => `  ${path || "(the whole)"}: ${a ?? "absent"}, ${b ?? "absent"}`)),
  );
  const verdict = equal ? "equal" : "different";
  return [...lines, `${verdict}: ${plural(equalTensors, "tensor")} equal, ${counted(tensors.length)} not`];
}

function bounded(lines: readonly string[]): string[] {
  const rest = lines.length - MOST_LINES;
  return rest > 0 ? [...lines.slice(0, MOST_LINES), `  ... and ${counted(rest)} more (--json has them)`] : [...lines];
}

function tensorRow({
  name,
  dtype,
  shape,
  differing,
  count,
  largest,
  relative,
  nanMismatch,
}: DifferentTensor): string[] {
  const either = (pair: readonly [string, string]) => (pair[0] === pair[1] ? pair[0] : pair.join(" / "));
  const start = [shownName(name), either(dtype), either([sizes(shape[0]), sizes(shape[1])])];
  if (count === undefined) return [...start, "-", "-", "-"];
  if (differing === undefined) return [...start, "some", "-", "-"];
  const nan = nanMismatch ? `, ${counted(nanMismatch)} NaN` : "";
  return [...start, `${counted(differing)} of ${counted(count)}${nan}`, brief(largest), brief(relative)];
}

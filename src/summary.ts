/** What a checkpoint holds, told without reading its tensors, and also of files that loading would refuse. */
import type { Input } from "./bytes.js";
import { type Bundle, type CheckpointFiles, type Companion, openBundle } from "./checkpoint/bundle.js";
import { findStateDict } from "./checkpoint/layouts.js";
import { METADATA_LAYOUT, metadataValues } from "./checkpoint/metadata.js";
import { findArgs, numberOf, readMetrics } from "./checkpoint/parts.js";
import { isUnitcellError } from "./errors.js";
import { findShared } from "./formats/shared-memory.js";
import type { ReadOptions, TorchFile, TorchFormat } from "./formats/torch.js";
import { elementCount, isContiguous, storedBytes, TorchTensor } from "./formats/torch-tensors.js";
import type { TorchValue } from "./formats/values.js";
import { placeName, walkTensors } from "./formats/walk.js";
import type { DType, Tensor } from "./tensor.js";

/** One tensor, without its numbers. */
export interface TensorSummary {
  /** Where it is: keys joined by dots. In a saved module, the name its state dict would give it. */
  readonly name: string;
  /** Its name in the state dict; undefined for tensors elsewhere (an optimizer's). */
  readonly key: string | undefined;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Of the tensor as it would be written by itself. */
  readonly bytes: number;
  /** In elements; given where the tensor is not simply its storage from the start, row by row. */
  readonly strides?: readonly number[];
  readonly offset?: number;
  /** Name of the first tensor that this one shares memory with. */
  readonly tiedTo?: string;
  readonly requiresGrad: boolean;
  /** torch.nn.Parameter. */
  readonly parameter: boolean;
  /** Where the saving program had it: "cpu", "cuda:0", "meta" (it has no numbers). */
  readonly device: string;
}

/** What a checkpoint holds, read without the bytes of its tensors. */
export interface CheckpointSummary {
  readonly format: TorchFormat;
  /** As Checkpoint.layout; undefined where loadCheckpoint knows none. */
  readonly layout: string | undefined;
  /** The top-level key of the state dict; "" when the file is one (or a module), undefined when none was recognised. */
  readonly stateDict: string | undefined;
  /** Of the file. */
  readonly bytes: number;
  /** Elements of the state dict's tensors (of all tensors where there is none); what shares memory counts once. */
  readonly parameters: number;
  /** The state dict's in its order, then the others in the order of the file. */
  readonly tensors: readonly TensorSummary[];
  readonly epoch: number | undefined;
  /** Numbers at the top level that are named like a metric, and those of a dict called metrics. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Training arguments, as saved. */
  readonly args: ReadonlyMap<string, TorchValue> | undefined;
  /** Every class and function the file names. */
  readonly globals: readonly string[];
  /** Those outside the closed list: what Python's pickle would import and call. */
  readonly unsafeGlobals: readonly string[];
  /** Facts about the container: version, byte order, metadata of safetensors. */
  readonly info: ReadonlyMap<string, TorchValue>;
  /** What was fetched to tell all this; 0 when the input was in memory. */
  readonly bytesRead: number;
  /** Of a bundle: the state dict's file, which all of the above is about but for args that it does not hold itself. */
  readonly file: string | undefined;
  /** The other files that loadCheckpoint looks at. */
  readonly beside: readonly Companion[];
  /** Why loadCheckpoint refuses these: the error's code and message. */
  readonly problem: string | undefined;
}

/** What the files beside a state dict add to a summary. */
type Beside = Pick<CheckpointSummary, "args" | "file" | "beside" | "problem">;
const NOTHING_BESIDE: Beside = { args: undefined, file: undefined, beside: [], problem: undefined };

const METRIC = /best|loss|error|acc|mae|mse|auc|r2|score|metric/i;

/**
 * Summarise a checkpoint, which may be several files as for loadCheckpoint. No tensor data is read, and classes outside the
 * closed list are no reason to refuse.
 * @throws {UnitcellError} as openTorch, save UNSAFE for names in a file that can be read to its end; of several files as
 *   loadCheckpoint, save for what is wrong with those beside the state dict
 */
export async function inspectCheckpoint(
  input: Input | CheckpointFiles,
  options: Omit<ReadOptions, "unknownClasses"> = {},
): Promise<CheckpointSummary> {
  const bundle = await openBundle(input, { ...options, unknownClasses: "inert" });
  return summarize(bundle.torch, await readBeside(bundle));
}

/** The settings beside a state dict, or why they cannot be had. */
export async function readBeside({ torch, name, companions, settings }: Bundle): Promise<Beside> {
  const own = findArgs(topOf(torch).top)?.args;
  const found = { ...NOTHING_BESIDE, file: name, beside: companions };
  try {
    const { args } = await settings(own, "refuse");
    return { ...found, args };
  } catch (error) {
    if (!isUnitcellError(error)) throw error;
    return { ...found, problem: `${error.code}: ${error.message}` };
  }
}

/** The summary of an opened file. */
export function summarize(
  file: Pick<TorchFile, "format" | "size" | "root" | "globals" | "unknownGlobals" | "info" | "bytesRead">,
  { args, problem, ...beside }: Beside = NOTHING_BESIDE,
): CheckpointSummary {
  const { root } = file;
  const found = findStateDict(root);
  const named = nameTensors(root);
  const tensors = describeTensors(named);
  const { top, hasValues, problem: unread } = topOf(file);
  const counted = found ? tensors.filter(({ key }) => key !== undefined) : tensors;
  return {
    format: file.format,
    layout: hasValues ? METADATA_LAYOUT : found?.layout,
    stateDict: found && (found.key ?? ""),
    bytes: file.size,
    parameters: countElements(counted),
    tensors,
    epoch: numberOf(top.get("epoch")),
    metrics: metricsOf(top, found?.key),
    args: findArgs(top)?.args ?? args,
    globals: file.globals,
    unsafeGlobals: file.unknownGlobals,
    info: file.info,
    bytesRead: file.bytesRead,
    ...beside,
    problem: problem ?? unread,
  };
}

/** The values at the top level, those in the metadata of our own safetensors included, or why these cannot be read. */
function topOf({ root, info }: Pick<TorchFile, "root" | "info">): {
  top: ReadonlyMap<TorchValue, TorchValue>;
  hasValues: boolean;
  problem: string | undefined;
} {
  const top = root instanceof Map ? root : new Map<TorchValue, TorchValue>();
  try {
    const values = metadataValues(info.get("metadata"));
    const hasValues = values.size > 0;
    return { top: hasValues ? new Map([...top, ...values]) : top, hasValues, problem: undefined };
  } catch (error) {
    if (!isUnitcellError(error)) throw error;
    return { top, hasValues: false, problem: `${error.code}: ${error.message}` };
  }
}

/** Elements, those of tensors that share memory with an earlier one left out. */
function countElements(tensors: readonly TensorSummary[]): number {
  let count = 0;
  for (const { shape, tiedTo } of tensors) if (tiedTo === undefined) count += elementCount(shape);
  return count;
}

export interface NamedTensor {
  readonly name: string;
  readonly key: string | undefined;
  readonly tensor: Tensor;
}

/** Every tensor of a value with its names: the state dict's first, under all names it has there. */
export function nameTensors(root: TorchValue): NamedTensor[] {
  const found = findStateDict(root);
  const prefix = found?.key === undefined ? "" : `${found.key}.`;
  const named: NamedTensor[] = [];
  const seen = new Set<Tensor>();
  for (const [key, tensor] of found?.tensors ?? []) {
    named.push({ name: prefix + key, key, tensor });
    seen.add(tensor);
  }
  for (const { tensor, place } of walkTensors(root))
    if (!seen.has(tensor)) named.push({ name: placeName(place), key: undefined, tensor });
  return named;
}

function describeTensors(named: readonly NamedTensor[]): TensorSummary[] {
  const unique = new Map<string, Tensor>();
  // By place in the list: names of different tensors may be equal ("a.b" and b in a). Meta tensors have no memory.
  for (const [i, { tensor }] of named.entries())
    if (!(tensor instanceof TorchTensor && !tensor.storage)) unique.set(String(i), tensor);
  const shared = findShared(unique);
  return named.map((entry, i) => {
    const first = shared.get(String(i));
    return describeTensor(entry, first === undefined ? undefined : named[Number(first)].name);
  });
}

function describeTensor({ name, key, tensor }: NamedTensor, tiedTo: string | undefined): TensorSummary {
  const { dtype, shape } = tensor;
  const view = tensor instanceof TorchTensor ? tensor : undefined;
  return {
    name,
    key,
    dtype,
    shape,
    bytes: storedBytes(dtype, elementCount(shape)),
    ...(view && !(view.offset === 0 && isContiguous(view)) && { strides: view.strides, offset: view.offset }),
    ...(tiedTo !== undefined && { tiedTo }),
    requiresGrad: view?.requiresGrad ?? false,
    parameter: view?.isParameter ?? false,
    device: view ? (view.storage?.location ?? "meta") : "cpu",
  };
}

function metricsOf(top: ReadonlyMap<TorchValue, TorchValue>, stateDictKey: string | undefined): Record<string, number> {
  const metrics: [string, number][] = [];
  for (const [key, value] of top) {
    const number = numberOf(value);
    if (typeof key === "string" && key !== stateDictKey && METRIC.test(key) && number !== undefined)
      metrics.push([key, number]);
  }
  return { ...Object.fromEntries(metrics), ...readMetrics(top.get("metrics")) };
}

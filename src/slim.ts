/** Checkpoints for deployment: what predictions need, in fewer bytes. */

import { plainSettings } from "./checkpoint/plain.js";
import type { Checkpoint } from "./checkpoint.js";
import { eachBlock } from "./element-blocks.js";
import { UnitcellError } from "./errors.js";
import { castTensor } from "./formats/cast.js";
import { quoted } from "./formats/json-scanner.js";
import { findTied } from "./formats/shared-memory.js";
import { type SparsityReport, sparsify } from "./sparsify.js";
import {
  DTYPE_BYTES,
  type DType,
  isRealNumber,
  numElements,
  type StateDict,
  type Tensor,
  TORCH_DTYPES,
} from "./tensor.js";

/** How a checkpoint is made smaller: to which type weights are rounded, which share becomes zero. */
export interface SlimOptions {
  /** Weights that are wider are rounded to it; biases, norms and statistics stay. By default all stay. */
  readonly dtype?: SlimDType;
  /** Share of the weights that become zero (sparsify), before the cast. By default none do. */
  readonly sparsity?: number;
  readonly scope?: "global" | "tensor";
}

/** Float types that weights can be rounded to. */
export type SlimDType = "f32" | "f16" | "bf16";

/** What a cast to another float type did to the tensors of a state dict. */
export interface CastReport {
  readonly dtype: SlimDType;
  /** How many tensors were rounded. */
  readonly cast: number;
  /** Wider floating-point tensors that stayed, and why. */
  readonly kept: readonly { readonly name: string; readonly reason: string }[];
  /** Numbers that were not zero and are now: too small for the dtype. */
  readonly underflows: number;
}

/** What was left out and changed. */
export interface SlimReport {
  /** Keys beside the state dict that are left out: the optimizer, the scheduler, all that is not known. */
  readonly stripped: readonly string[];
  /** Settings without a plain form, by path: "args.model". */
  readonly leftOut: readonly string[];
  /** Of the state dict's tensors, tied ones once. */
  readonly tensorBytes: { readonly before: number; readonly after: number };
  readonly cast?: CastReport;
  readonly sparsity?: SparsityReport;
}

/**
 * What a network predicts with, and what says where it is from: state dict, normalizer, settings, epoch, metrics (as
 * measured before). Settings become plain values, so that saveCheckpoint writes what torch.load(weights_only=True) reads.
 * Without options no weight changes; a cast and sparsity change predictions, which comparePredictions measures.
 * @throws {UnitcellError} UNSUPPORTED for tensors that are no real numbers (quantized, complex), as sparsify
 */
export function slimCheckpoint(
  checkpoint: Checkpoint,
  { dtype, sparsity, scope }: SlimOptions = {},
): { checkpoint: Checkpoint; report: SlimReport } {
  const dense = denseTensors(checkpoint.stateDict);
  const sparse = sparsity === undefined ? undefined : sparsify(dense, { sparsity, ...(scope && { scope }) });
  const kept = sparse?.stateDict ?? dense;
  const narrow = dtype === undefined ? undefined : castWeights(kept, dtype);
  const stateDict = narrow?.stateDict ?? kept;
  const { normalizer, epoch, metrics } = checkpoint;
  const args = checkpoint.args && plainSettings(checkpoint.args, "args");
  return {
    checkpoint: {
      stateDict,
      ...(normalizer && { normalizer }),
      ...(args && { args: args.value }),
      ...(epoch !== undefined && { epoch }),
      ...(metrics && { metrics }),
      layout: "training",
      extra: new Map(),
    },
    report: {
      stripped: [...checkpoint.extra.keys()].map(String),
      leftOut: args?.leftOut ?? [],
      tensorBytes: { before: bytesOf(dense), after: bytesOf(stateDict) },
      ...(narrow && { cast: narrow.report }),
      ...(sparse && { sparsity: sparse.report }),
    },
  };
}

/** Without strides, gradients and what else of a storage a tensor does not show. */
function denseTensors(stateDict: StateDict): StateDict {
  const dense: StateDict = new Map();
  for (const [name, { dtype, shape, data }] of stateDict) {
    if (!isRealNumber(dtype))
      throw new UnitcellError("UNSUPPORTED", `tensor ${quoted(name)} is ${TORCH_DTYPES[dtype]}, no real numbers`, {
        name,
        dtype,
      });
    dense.set(name, { dtype, shape, data });
  }
  return dense;
}

function bytesOf(stateDict: StateDict): number {
  const tied = findTied(stateDict);
  let bytes = 0;
  for (const [name, { data }] of stateDict) if (!tied.has(name)) bytes += data.byteLength;
  return bytes;
}

const FLOATS: readonly DType[] = ["f64", "f32", "f16", "bf16"];

/**
 * Weights in a narrower dtype, each number rounded to the nearest, ties to even, as `tensor.to(dtype)` does. Only tensors
 * of two dimensions and more: biases, norms and running statistics are 1 to 12 % of the bytes, and rounding them to float16,
 * too, makes predictions change 1.1 to 2.3 times as much in the mean (test/slim-networks.test.ts prints it, nine networks;
 * to bfloat16, more in seven of the nine). A tensor with a number that would become infinite stays, too, and is named.
 */
function castWeights(stateDict: StateDict, dtype: SlimDType): { stateDict: StateDict; report: CastReport } {
  const tied = findTied(stateDict);
  const result: StateDict = new Map();
  const kept: { name: string; reason: string }[] = [];
  let [cast, underflows] = [0, 0];
  for (const [name, tensor] of stateDict) {
    const first = tied.get(name);
    const isWider = FLOATS.includes(tensor.dtype) && DTYPE_BYTES[tensor.dtype] > DTYPE_BYTES[dtype];
    result.set(name, first === undefined ? tensor : result.get(first)!);
    if (first !== undefined || !isWider) continue;
    if (tensor.shape.length < 2) {
      kept.push({ name, reason: "a bias, norm or buffer: fewer than two dimensions" });
      continue;
    }
    const narrow = castTensor(tensor, dtype);
    const losses = compare(tensor, narrow);
    if (losses.overflow !== undefined) {
      kept.push({ name, reason: `${losses.overflow} is too large for ${TORCH_DTYPES[dtype]}` });
      continue;
    }
    cast++;
    underflows += losses.underflows;
    result.set(name, narrow);
  }
  return { stateDict: result, report: { dtype, cast, kept, underflows } };
}

/** What rounding did beyond rounding: the first finite number that became infinite, and how many became zero. */
function compare(wide: Tensor, narrow: Tensor): { overflow: number | undefined; underflows: number } {
  const before = toFloat64(wide);
  let overflow: number | undefined;
  let [at, underflows] = [0, 0];
  eachBlock(narrow.dtype, narrow.data, (block, count) => {
    for (let i = 0; i < count; i++, at++) {
      if (Number.isFinite(before[at]) && !Number.isFinite(block[i])) overflow ??= before[at];
      if (before[at] !== 0 && block[i] === 0) underflows++;
    }
  });
  return { overflow, underflows };
}

function toFloat64({ dtype, shape, data }: Tensor): Float64Array {
  const numbers = new Float64Array(numElements(shape));
  let at = 0;
  eachBlock(dtype, data, (block, count) => {
    numbers.set(block.subarray(0, count), at);
    at += count;
  });
  return numbers;
}

/**
 * Magnitude pruning: the weights nearest to zero become zero. One shot, without the retraining that Han et al. do between
 * rounds, so that little survives a high sparsity: measure what it does to predictions (comparePredictions).
 * Source: S. Han, J. Pool, J. Tran, W. J. Dally, Learning both Weights and Connections for Efficient Neural Networks
 * (arXiv:1506.02626); the counts are those of torch.nn.utils.prune.
 */
import { eachBlock } from "./element-blocks.js";
import { UnitcellError } from "./errors.js";
import { quoted } from "./formats/json-scanner.js";
import { findTied } from "./formats/shared-memory.js";
import { DTYPE_BYTES, type DType, numElements, type StateDict, type Tensor } from "./tensor.js";

/** How many weights become zero, and among which they are chosen. */
export interface SparsifyOptions {
  /** Share of the weights that are zero afterwards, from 0 to 1. Those that are zero already count. */
  readonly sparsity: number;
  /** Whether the share is one of all weights together, or of every tensor's own. By default "global". */
  readonly scope?: "global" | "tensor";
}

/** One tensor before and after pruning. */
export interface SparsifiedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly zerosBefore: number;
  readonly zerosAfter: number;
  /** The largest magnitude that became zero; 0 when none did. */
  readonly threshold: number;
}

/** What pruning did to each tensor, and which it left as they were. */
export interface SparsityReport {
  readonly sparsity: number;
  readonly scope: "global" | "tensor";
  /** Of the weights that were pruned, all together; tied ones count once. */
  readonly elements: number;
  readonly zerosBefore: number;
  readonly zerosAfter: number;
  readonly tensors: readonly SparsifiedTensor[];
  /** Tensors that stayed as they were. */
  readonly left: readonly { readonly name: string; readonly reason: string }[];
}

const FLOATS: ReadonlySet<DType> = new Set(["f64", "f32", "f16", "bf16"]);

/** torch's names for weights of linear, convolution and recurrent layers. */
const WEIGHT = /(^|\.)weight(_[ih]h_l\d+(_reverse)?)?$/;

/**
 * A state dict whose weight matrices are sparse: of n weights round(sparsity * n) (half to even, as torch rounds) become
 * zero, the smallest magnitudes first and of equal ones those that come first in the state dict, row by row. Dense as
 * before: zeros take as much room as other numbers, until the file is compressed.
 *
 * Weights are the floating-point tensors of two dimensions and more that torch names `weight`. Biases, scales and running
 * statistics of norms, centres of Gaussians and other buffers stay, and so do tables of embeddings, whose rows are looked
 * up and not summed: those named `*embedding*.weight` without a bias beside them.
 * @returns the tensors that changed are new, tied ones still one; the others are the same objects
 * @throws {UnitcellError} ARGUMENT for a sparsity outside 0 to 1, MISMATCH for NaN among the weights
 */
export function sparsify(
  stateDict: StateDict,
  { sparsity, scope = "global" }: SparsifyOptions,
): { stateDict: StateDict; report: SparsityReport } {
  if (!(sparsity >= 0 && sparsity <= 1))
    throw new UnitcellError("ARGUMENT", `sparsity is a share from 0 to 1, found ${sparsity}`);
  const tied = findTied(stateDict);
  const weights: Weight[] = [];
  const left: { name: string; reason: string }[] = [];
  for (const [name, tensor] of stateDict) {
    const reason = tied.has(name) ? `tied to ${tied.get(name)}` : reasonToLeave(name, tensor, stateDict);
    if (reason === undefined) weights.push({ name, tensor, magnitudes: magnitudesOf(name, tensor) });
    else left.push({ name, reason });
  }
  const pruned = scope === "global" ? prune(weights, sparsity) : weights.flatMap((one) => prune([one], sparsity));
  const changed = new Map(pruned.map(({ name, tensor }) => [name, tensor]));
  const tensors = pruned.map(({ tensor: _, ...row }) => row);
  const sum = (of: (row: SparsifiedTensor) => number) => tensors.reduce((total, row) => total + of(row), 0);
  return {
    stateDict: new Map(
      [...stateDict].map(([name, tensor]) => [name, changed.get(tied.get(name) ?? name) ?? tensor] as const),
    ),
    report: {
      sparsity,
      scope,
      elements: sum(({ elements }) => elements),
      zerosBefore: sum(({ zerosBefore }) => zerosBefore),
      zerosAfter: sum(({ zerosAfter }) => zerosAfter),
      tensors,
      left,
    },
  };
}

interface Weight {
  readonly name: string;
  readonly tensor: Tensor;
  /** In row-major order. */
  readonly magnitudes: Float64Array;
}

function reasonToLeave(name: string, { dtype, shape }: Tensor, stateDict: StateDict): string | undefined {
  if (!FLOATS.has(dtype)) return "not of floating-point numbers";
  if (shape.length < 2) return "a bias, norm or buffer: fewer than two dimensions";
  if (!WEIGHT.test(name)) return "not named as a weight";
  const isEmbedding = /embed[^.]*\.weight$/i.test(name) && !stateDict.has(name.replace(/weight$/, "bias"));
  return isEmbedding ? "a table of embeddings" : undefined;
}

/** @throws {UnitcellError} MISMATCH for NaN, which has no magnitude */
function magnitudesOf(name: string, { dtype, shape, data }: Tensor): Float64Array {
  const magnitudes = new Float64Array(numElements(shape));
  let at = 0;
  eachBlock(dtype, data, (block, count) => {
    for (let i = 0; i < count; i++) {
      const size = Math.abs(block[i]);
      if (Number.isNaN(size))
        throw new UnitcellError("MISMATCH", `weight ${quoted(name)} is NaN at element ${at}: it has no magnitude`, {
          name,
          element: at,
        });
      magnitudes[at++] = size;
    }
  });
  return magnitudes;
}

/** The weights with the smallest of them zero. */
function prune(weights: readonly Weight[], sparsity: number): (SparsifiedTensor & { tensor: Tensor })[] {
  const all = new Float64Array(weights.reduce((sum, { magnitudes }) => sum + magnitudes.length, 0));
  let end = 0;
  for (const { magnitudes } of weights) {
    all.set(magnitudes, end);
    end += magnitudes.length;
  }
  all.sort();
  const count = roundHalfEven(sparsity * all.length);
  const threshold = count > 0 ? all[count - 1] : -1;
  // Of those equal to the threshold only so many, or there would be more zeros than asked for.
  let ties = 0;
  while (ties < count && all[count - 1 - ties] === threshold) ties++;
  return weights.map(({ name, tensor, magnitudes }) => {
    const data = Uint8Array.from(tensor.data);
    const size = DTYPE_BYTES[tensor.dtype];
    let [zerosBefore, zerosAfter, largest] = [0, 0, 0];
    for (const [i, magnitude] of magnitudes.entries()) {
      const isZeroed = magnitude < threshold || (magnitude === threshold && ties-- > 0);
      if (magnitude === 0) zerosBefore++;
      if (isZeroed || magnitude === 0) zerosAfter++;
      if (!isZeroed) continue;
      data.fill(0, i * size, (i + 1) * size);
      largest = Math.max(largest, magnitude);
    }
    const { dtype, shape } = tensor;
    const elements = magnitudes.length;
    return { name, shape, elements, zerosBefore, zerosAfter, threshold: largest, tensor: { dtype, shape, data } };
  });
}

/** Python's round. */
function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

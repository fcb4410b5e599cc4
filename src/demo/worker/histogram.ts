/** How the numbers of a tensor are distributed: two passes over its pieces, the first for the range. */
import { tensorPieces } from "../../cli/tensor-pieces.js";
import { eachBlock } from "../../element-blocks.js";
import type { TorchFile } from "../../formats/torch.js";
import type { Tensor } from "../../tensor.js";
import { StatsAccumulator } from "../../tensor-stats.js";
import type { Histogram } from "../messages.js";
import { pause } from "./pause.js";

const BINS = 48;

/** Infinities and NaN are counted in the statistics and stand in no bin. */
export async function histogramOf(torch: TorchFile, tensor: Tensor): Promise<Histogram> {
  const accumulator = new StatsAccumulator(tensor.dtype);
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for await (const piece of tensorPieces(torch, tensor)) {
    accumulator.add(piece);
    eachBlock(tensor.dtype, piece, (block, count) => {
      for (let i = 0; i < count; i++)
        if (Number.isFinite(block[i])) {
          least = Math.min(least, block[i]);
          most = Math.max(most, block[i]);
        }
    });
    await pause();
  }
  const stats = accumulator.result();
  if (least > most) return { stats, edges: [], counts: [] };
  const bins = least === most ? 1 : BINS;
  const counts = new Array<number>(bins).fill(0);
  const scale = bins / (most - least || 1);
  for await (const piece of tensorPieces(torch, tensor)) {
    eachBlock(tensor.dtype, piece, (block, count) => {
      for (let i = 0; i < count; i++)
        if (Number.isFinite(block[i])) counts[Math.min(bins - 1, Math.floor((block[i] - least) * scale))]++;
    });
    await pause();
  }
  const edges = Array.from({ length: bins + 1 }, (_, i) => least + (most - least) * (i / bins));
  return { stats, edges, counts };
}

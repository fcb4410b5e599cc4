/**
 * The kernels' ABI: what this file exports is all that src/backends/wasm.ts and src/graphs can call.
 * Raw pointers, no allocation, no imports but the memory. Dimension letters: B crystals, N atoms, E edges, F features, S segments,
 * K basis functions or input columns, R rows of any of these.
 * Every float32 buffer starts on 16 bytes and is padded to a multiple of 16 bytes: elementwise kernels run over the
 * padding too.
 */

export {
  expForward,
  logSoftmaxForward,
  shiftedSoftplusForward,
  sigmoidForward,
  siluForward,
  softplusForward,
  tanhForward,
} from "./activation";
export { envelopeForward, gaussianForward, hingeForward } from "./basis";
export { addForward, copyColumns, mulForward, ratioForward, scaleRowsForward, zerosForward } from "./elementwise";
export { gatedMeanForward, gatedSumForward, gateForward } from "./gate";
export { bandedLinearForward, linearForward, packedBytes, packWeight } from "./linear";
export { lstmCellForward, lstmOutputForward } from "./lstm";
export { binAtoms, nearestNeighbors } from "./neighbors";
export { affineForward, layerNormForward, normActForward } from "./norm";
export {
  gatherAddForward,
  gatherForward,
  gatherSumForward,
  segmentAttentionForward,
  segmentMeanForward,
  segmentSumForward,
} from "./segment";
export { sphereEdges, sphereScratch } from "./sphere";

/** First byte JavaScript may place buffers at; below it are this module's tables and scratch. */
export function heapBase(): usize {
  return __heap_base;
}

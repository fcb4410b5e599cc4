/** The entry unitcell/edge: predictions as an HTTP handler, and kernels for hosts that compile no Wasm. */
export { type HandlerOptions, type ModelSource, predictionHandler } from "./edge/handler.js";
export { useKernels } from "./kernels.js";

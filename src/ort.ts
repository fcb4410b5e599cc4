export { type AutoOptions, autoBackend, type CalibrationCache } from "./backends/auto.js";
export { type OrtBackend, type OrtOptions, ortBackend } from "./backends/ort.js";
export type { OrtProvider } from "./backends/ort-host.js";
export type { OrtInferenceSession, OrtModule, OrtSource, OrtTensor } from "./backends/ort-module.js";
export { exportOnnx, type OnnxExportOptions } from "./onnx/export.js";

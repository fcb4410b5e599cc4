export { exportOnnx, type OnnxExportOptions } from "./onnx/export.js";

/** The package is not among this one's: tests find it in build/runtimes (.ci/run). */
declare module "onnxruntime-web/webgpu" {
  type Module = import("../src/backends/ort-module.js").OrtModule;
  export const InferenceSession: Module["InferenceSession"];
  export const Tensor: Module["Tensor"];
  export const env: {
    logLevel: "verbose" | "warning";
    readonly wasm: { wasmPaths: { wasm: string }; numThreads: number };
  };
}

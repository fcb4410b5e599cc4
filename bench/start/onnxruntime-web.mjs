/** The other side: a network in ONNX, and its inputs as they are to be fed. No checkpoint, no CIF, no graph. */
import * as ort from "onnxruntime-web/wasm";

ort.env.wasm.numThreads = 1;

/** @param wasm ONNX Runtime's own, where it cannot be looked for beside the script */
export async function first(network, json, wasm) {
  if (wasm) ort.env.wasm.wasmBinary = wasm;
  const { feeds, mean, std } = JSON.parse(new TextDecoder().decode(json));
  const session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
  const tensors = feeds.map(({ name, type, data, dims }) => [
    name,
    type === "f32"
      ? new ort.Tensor("float32", Float32Array.from(data), dims)
      : new ort.Tensor("int32", Int32Array.from(data), dims),
  ]);
  const { output } = await session.run(Object.fromEntries(tensors));
  return output.data[0] * std + mean;
}

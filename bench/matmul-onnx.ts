/** An ONNX file of matrix products, one after another, for ONNX Runtime beside the kernels. */
import { encodeModel, type OnnxValue } from "../src/onnx/model-proto.js";

/** y = x W W ... W, `times` of them, with x (rows, columns) as input "x" and y as output "y". */
export function matmulModel(
  weight: Float32Array,
  { rows, columns, outputs, times }: { rows: number; columns: number; outputs: number; times: number },
): Uint8Array {
  const name = (i: number) => (i === 0 ? "x" : i === times ? "y" : `y${i}`);
  const value = (name: string, dims: number[]): OnnxValue => ({ name, type: "f32", dims, description: "" });
  const data = new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
  return encodeModel({
    producer: "unitcell bench",
    producerVersion: "",
    description: "",
    irVersion: 8,
    opset: 17,
    graph: {
      name: "matmul",
      nodes: Array.from({ length: times }, (_, i) => ({
        op: "MatMul",
        inputs: [name(i), "w"],
        output: name(i + 1),
        attributes: {},
      })),
      constants: [{ name: "w", type: "f32", dims: [columns, outputs], data }],
      inputs: [value("x", [rows, columns])],
      outputs: [value("y", [rows, outputs])],
    },
    metadata: new Map(),
  });
}

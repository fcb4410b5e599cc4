/** An ONNX file of matrix products, one after another, for ONNX Runtime beside the kernels. */

const FLOAT = 1;

/** A message's field of bytes; numbers are fields of varints. */
function field(number: number, value: number | string | Uint8Array): Uint8Array {
  if (typeof value === "number") return Uint8Array.of(...varint(number << 3), ...varint(value));
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return Buffer.concat([Uint8Array.of(...varint((number << 3) | 2), ...varint(bytes.length)), bytes]);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

const message = (...fields: Uint8Array[]): Uint8Array => Buffer.concat(fields);

function valueInfo(name: string, shape: readonly number[]): Uint8Array {
  const dims = message(...shape.map((size) => field(1, field(1, size))));
  return message(field(1, name), field(2, field(1, message(field(1, FLOAT), field(2, dims)))));
}

/**
 * y = x W W ... W, `times` of them, with x (rows, columns) as input "x" and y as output "y".
 * Field numbers: onnx.proto of ONNX 1.16 (IR version 8, operators of version 17).
 */
export function matmulModel(
  weight: Float32Array,
  { rows, columns, outputs, times }: { rows: number; columns: number; outputs: number; times: number },
): Uint8Array {
  const initializer = message(
    ...[columns, outputs].map((size) => field(1, size)),
    field(2, FLOAT),
    field(8, "w"),
    field(9, new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength)),
  );
  const name = (i: number) => (i === 0 ? "x" : i === times ? "y" : `y${i}`);
  const nodes = Array.from({ length: times }, (_, i) =>
    field(1, message(field(1, name(i)), field(1, "w"), field(2, name(i + 1)), field(4, "MatMul"))),
  );
  const graph = message(
    ...nodes,
    field(2, "matmul"),
    field(5, initializer),
    field(11, valueInfo("x", [rows, columns])),
    field(12, valueInfo("y", [rows, outputs])),
  );
  return message(field(1, 8), field(7, graph), field(8, field(2, 17)));
}

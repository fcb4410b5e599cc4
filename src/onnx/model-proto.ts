/**
 * The bytes of an ONNX file: protobuf messages of github.com/onnx/onnx, onnx/onnx.proto, of which this writes what a graph
 * of tensors needs. Field numbers below are that file's.
 */
import { BinaryWriter } from "@bufbuild/protobuf/wire";

/** TensorProto.DataType. */
export const DATA_TYPE = { f32: 1, i32: 6, i64: 7, bool: 9, f16: 10 } as const;
export type OnnxType = keyof typeof DATA_TYPE;

/** A constant; little-endian, row-major. */
export interface OnnxTensor {
  readonly name: string;
  readonly type: OnnxType;
  readonly dims: readonly number[];
  readonly data: Uint8Array;
}

/** An input or an output; a dimension with a name is free. */
export interface OnnxValue {
  readonly name: string;
  readonly type: OnnxType;
  readonly dims: readonly (number | string)[];
  readonly description: string;
}

/** Integers are INT or INTS; a float is given as { float }. */
export type OnnxAttribute = number | readonly number[] | { readonly float: number };

export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly output: string;
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

export interface OnnxModel {
  readonly producer: string;
  readonly producerVersion: string;
  readonly description: string;
  readonly irVersion: number;
  readonly opset: number;
  readonly graph: {
    readonly name: string;
    readonly nodes: readonly OnnxNode[];
    readonly constants: readonly OnnxTensor[];
    readonly inputs: readonly OnnxValue[];
    readonly outputs: readonly OnnxValue[];
  };
  readonly metadata: ReadonlyMap<string, string>;
}

const VARINT = 0;
const FIXED32 = 5;
const BYTES = 2;

/** AttributeProto.AttributeType. */
const ATTRIBUTE_TYPE = { float: 1, int: 2, ints: 7 } as const;

export function encodeModel(model: OnnxModel): Uint8Array {
  const out = new Message();
  out.int(1, model.irVersion);
  out.text(2, model.producer);
  out.text(3, model.producerVersion);
  out.text(6, model.description);
  out.message(7, (graph) => writeGraph(graph, model.graph));
  out.message(8, (opset) => {
    opset.text(1, "");
    opset.int(2, model.opset);
  });
  for (const [key, value] of model.metadata)
    out.message(14, (entry) => {
      entry.text(1, key);
      entry.text(2, value);
    });
  return out.finish();
}

/** A message while it is written. */
class Message {
  readonly #writer = new BinaryWriter();

  #tag(field: number, wire: number): BinaryWriter {
    return this.#writer.uint32((field << 3) | wire);
  }

  int(field: number, value: number): void {
    this.#tag(field, VARINT).int64(value);
  }

  float(field: number, value: number): void {
    this.#tag(field, FIXED32).float(value);
  }

  text(field: number, value: string): void {
    this.#tag(field, BYTES).string(value);
  }

  bytes(field: number, value: Uint8Array): void {
    this.#tag(field, BYTES).bytes(value);
  }

  message(field: number, write: (message: Message) => void): void {
    this.#tag(field, BYTES).fork();
    write(this);
    this.#writer.join();
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}

function writeGraph(out: Message, { name, nodes, constants, inputs, outputs }: OnnxModel["graph"]): void {
  for (const node of nodes) out.message(1, (message) => writeNode(message, node));
  out.text(2, name);
  for (const tensor of constants) out.message(5, (message) => writeTensor(message, tensor));
  for (const value of inputs) out.message(11, (message) => writeValue(message, value));
  for (const value of outputs) out.message(12, (message) => writeValue(message, value));
}

function writeNode(out: Message, { op, inputs, output, attributes }: OnnxNode): void {
  for (const input of inputs) out.text(1, input);
  out.text(2, output);
  out.text(3, output);
  out.text(4, op);
  for (const [name, value] of Object.entries(attributes))
    out.message(5, (message) => writeAttribute(message, name, value));
}

function writeAttribute(out: Message, name: string, value: OnnxAttribute): void {
  out.text(1, name);
  if (typeof value === "number") {
    out.int(3, value);
    out.int(20, ATTRIBUTE_TYPE.int);
  } else if ("float" in value) {
    out.float(2, value.float);
    out.int(20, ATTRIBUTE_TYPE.float);
  } else {
    for (const one of value) out.int(8, one);
    out.int(20, ATTRIBUTE_TYPE.ints);
  }
}

function writeTensor(out: Message, { name, type, dims, data }: OnnxTensor): void {
  for (const dim of dims) out.int(1, dim);
  out.int(2, DATA_TYPE[type]);
  out.text(8, name);
  out.bytes(9, data);
}

function writeValue(out: Message, { name, type, dims, description }: OnnxValue): void {
  out.text(1, name);
  out.message(2, (typeProto) =>
    typeProto.message(1, (tensorType) => {
      tensorType.int(1, DATA_TYPE[type]);
      tensorType.message(2, (shape) => {
        for (const dim of dims)
          shape.message(1, (one) => (typeof dim === "string" ? one.text(2, dim) : one.int(1, dim)));
      });
    }),
  );
  out.text(3, description);
}

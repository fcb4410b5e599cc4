/** ONNX files read back, by the field numbers of onnx.proto: what is in them, for tests that need no Python. */
import { BinaryReader } from "@bufbuild/protobuf/wire";

/** A message's fields in their order; of nested ones the bytes. */
type Fields = Map<number, (number | Uint8Array)[]>;

function fieldsOf(bytes: Uint8Array): Fields {
  const reader = new BinaryReader(bytes);
  const fields: Fields = new Map();
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    const value = wire === 0 ? Number(reader.int64()) : wire === 5 ? reader.float() : reader.bytes();
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

const numbers = (fields: Fields, field: number) => (fields.get(field) ?? []) as number[];
const messages = (fields: Fields, field: number) => (fields.get(field) ?? []) as Uint8Array[];
const texts = (fields: Fields, field: number) =>
  messages(fields, field).map((bytes) => new TextDecoder().decode(bytes));

export interface ReadValue {
  readonly name: string;
  /** TensorProto.DataType. */
  readonly type: number;
  readonly shape: readonly (string | number)[];
  readonly description: string;
}

export interface ReadNode {
  readonly op: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export interface ReadTensor {
  readonly name: string;
  readonly type: number;
  readonly dims: readonly number[];
  readonly raw: Uint8Array;
}

export interface ReadOnnx {
  readonly irVersion: number;
  readonly producer: string;
  readonly producerVersion: string;
  readonly description: string;
  readonly opsets: readonly [domain: string, version: number][];
  readonly metadata: ReadonlyMap<string, string>;
  readonly nodes: readonly ReadNode[];
  readonly constants: readonly ReadTensor[];
  readonly inputs: readonly ReadValue[];
  readonly outputs: readonly ReadValue[];
}

export function readOnnx(bytes: Uint8Array): ReadOnnx {
  const model = fieldsOf(bytes);
  const graph = fieldsOf(messages(model, 7)[0]);
  return {
    irVersion: numbers(model, 1)[0],
    producer: texts(model, 2)[0],
    producerVersion: texts(model, 3)[0],
    description: texts(model, 6)[0],
    opsets: messages(model, 8).map((opset) => {
      const fields = fieldsOf(opset);
      return [texts(fields, 1)[0], numbers(fields, 2)[0]];
    }),
    metadata: new Map(
      messages(model, 14).map((entry) => {
        const fields = fieldsOf(entry);
        return [texts(fields, 1)[0], texts(fields, 2)[0]];
      }),
    ),
    nodes: messages(graph, 1).map((node) => {
      const fields = fieldsOf(node);
      return {
        inputs: texts(fields, 1),
        outputs: texts(fields, 2),
        name: texts(fields, 3)[0],
        op: texts(fields, 4)[0],
      };
    }),
    constants: messages(graph, 5).map((tensor) => {
      const fields = fieldsOf(tensor);
      return {
        dims: numbers(fields, 1),
        type: numbers(fields, 2)[0],
        name: texts(fields, 8)[0],
        raw: messages(fields, 9)[0],
      };
    }),
    inputs: messages(graph, 11).map(readValue),
    outputs: messages(graph, 12).map(readValue),
  };
}

function readValue(bytes: Uint8Array): ReadValue {
  const value = fieldsOf(bytes);
  const tensor = fieldsOf(messages(fieldsOf(messages(value, 2)[0]), 1)[0]);
  const shape = messages(fieldsOf(messages(tensor, 2)[0]), 1).map((dim) => {
    const fields = fieldsOf(dim);
    return texts(fields, 2)[0] ?? numbers(fields, 1)[0];
  });
  return {
    name: texts(value, 1)[0],
    type: numbers(tensor, 1)[0],
    shape,
    description: texts(value, 3)[0] ?? "",
  };
}

/** An ONNX graph while it is written. */
import { UnitcellError } from "../errors.js";
import { castTensor } from "../formats/cast.js";
import type { Param, Value } from "../ops/program.js";
import { declare, type OnnxInput } from "./inputs.js";
import type { OnnxAttribute, OnnxNode, OnnxTensor, OnnxType } from "./model-proto.js";

/** The least that float16 rounds to infinity. */
const HALF_OVERFLOWS = 65520;

type Attributes = Readonly<Record<string, OnnxAttribute>>;

/** Names of tensors; each is written once. */
export class OnnxGraph {
  readonly nodes: OnnxNode[] = [];
  readonly constants = new Map<string, OnnxTensor>();
  readonly inputs = new Map<string, OnnxInput>();
  /** Weights of linears in half precision. */
  readonly half: boolean;
  readonly #params: ReadonlyMap<string, Param>;
  readonly #names: (value: Value) => string;
  readonly #written = new Map<string, string>();
  #current = "";
  #count = 0;

  constructor(params: ReadonlyMap<string, Param>, names: (value: Value) => string, half: boolean) {
    this.#params = params;
    this.#names = names;
    this.half = half;
  }

  /** What is written from here on is in aid of a value. */
  begin(value: Value): void {
    this.#current = this.#names(value);
    this.#count = 0;
  }

  value(value: Value): string {
    return this.#names(value);
  }

  /** An operation; its result's name. */
  add(op: string, inputs: readonly string[], attributes: Attributes = {}): string {
    return this.#push(op, inputs, attributes, `${this.#current}/${op}${this.#count++}`);
  }

  /** An operation that gives what the value asked for is. */
  finish(op: string, inputs: readonly string[], attributes: Attributes = {}): void {
    this.#push(op, inputs, attributes, this.#current);
  }

  /** A second name of a value. */
  alias(value: Value, name: string): void {
    this.#push("Identity", [this.value(value)], {}, name);
  }

  #push(op: string, inputs: readonly string[], attributes: Attributes, output: string): string {
    this.nodes.push({ op, inputs, output, attributes });
    return output;
  }

  /** What several values need, written where it is asked for first. */
  once(name: string, write: () => string): string {
    const found = this.#written.get(name) ?? write();
    this.#written.set(name, found);
    return found;
  }

  /** A constant of the operation. */
  floats(values: ArrayLike<number>, dims: readonly number[] = [values.length]): string {
    return this.#constant("f32", Float32Array.from(values), dims);
  }

  scalar(value: number): string {
    return this.#constant("f32", Float32Array.of(value), []);
  }

  int(value: number): string {
    return this.#constant("i32", Int32Array.of(value), []);
  }

  /** Axes, and where slices begin and end: of such ONNX wants int64. */
  places(...values: number[]): string {
    return this.#constant("i64", BigInt64Array.from(values, BigInt), [values.length]);
  }

  #constant(type: OnnxType, data: Float32Array | Int32Array | BigInt64Array, dims: readonly number[]): string {
    return this.#store(
      `${type}[${dims}] ${data.length > 8 ? `${this.#current}/${this.#count++}` : data}`,
      type,
      dims,
      data,
    );
  }

  /** A parameter's numbers. */
  data(name: string): Param {
    const param = this.#params.get(name);
    if (!param) throw new UnitcellError("NOT_FOUND", `program has no parameter "${name}"`);
    return param;
  }

  param(name: string): string {
    const { shape, data } = this.data(name);
    return this.#store(name, "f32", shape, data);
  }

  /** Numbers made of parameters, under a name of their own. */
  made(name: string, shape: readonly number[], data: () => Float32Array): string {
    return this.constants.get(name)?.name ?? this.#store(name, "f32", shape, data());
  }

  /** Such numbers rounded to float16. @throws {UnitcellError} LIMIT where one is beyond float16's range */
  halves(name: string, shape: readonly number[], data: () => Float32Array): string {
    const stored = `${name}.f16`;
    if (this.constants.has(stored)) return stored;
    const numbers = data();
    const beyond = numbers.find((x) => Number.isFinite(x) && Math.abs(x) >= HALF_OVERFLOWS);
    if (beyond !== undefined)
      throw new UnitcellError("LIMIT", `${name} has ${beyond}, float16 ends at 65504: this network needs float32`, {
        limit: 65504,
        found: beyond,
      });
    return this.#store(stored, "f16", shape, castTensor({ dtype: "f32", shape, data: bytesOf(numbers) }, "f16").data);
  }

  #store(name: string, type: OnnxType, dims: readonly number[], data: ArrayBufferView): string {
    if (!this.constants.has(name)) this.constants.set(name, { name, type, dims, data: bytesOf(data) });
    return name;
  }

  /** An input of the network. */
  input(input: OnnxInput): string {
    this.inputs.set(input.name, input);
    return input.name;
  }

  declared() {
    return [...this.inputs.values()].map(declare);
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

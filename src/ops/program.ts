import { UnitcellError } from "../errors.js";
import { OPS, type OpName } from "./ops.js";

/** Number of rows of a value: B crystals, N atoms, E edges or T triplets, bound when a batch is run. */
export type Axis = "B" | "N" | "E" | "T";

/** A float32 matrix of (rows, columns); `id` is its position in the program's list of nodes. */
export interface Value {
  readonly id: number;
  readonly rows: Axis;
  readonly columns: number;
}

/** Constant data of a program: weights, element tables; row-major float32. */
export interface Param {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** One operation and the value it gives. */
export interface Node {
  readonly op: OpName;
  readonly output: Value;
  /** Values read. */
  readonly inputs: readonly Value[];
  /** Names in Program.params. */
  readonly params: readonly string[];
  /** Name of the batch input read: an index or row starts. */
  readonly index?: string;
  /** Numbers that belong to the operation, such as a basis or a column. */
  readonly numbers: Readonly<Record<string, number>>;
}

/**
 * A network as data: nodes in an order in which they can run. Backends run it, exporters translate it, passes rewrite
 * it; none of them knows which model it is.
 */
export interface Program {
  readonly nodes: readonly Node[];
  readonly params: ReadonlyMap<string, Param>;
  readonly output: Value;
  /** Values with a name, for looking inside: "conv0.out", "pooled". */
  readonly labels: ReadonlyMap<string, Value>;
}

type Shape = { rows: Axis; columns: number };

/** Writes a Program one operation at a time; shapes are checked as it goes. Methods are named after torch's. */
export class ProgramBuilder {
  readonly #nodes: Node[] = [];
  readonly #params: Map<string, Param>;
  readonly #labels = new Map<string, Value>();

  /** @param params every constant the program may use, by name */
  constructor(params: ReadonlyMap<string, Param>) {
    this.#params = new Map(params);
  }

  /** Rows of a table, one per entry of an index input: nn.Embedding. */
  embedding(table: string, index: string, rows: Axis): Value {
    return this.#add("embedding", [], [table], { index, rows });
  }

  /** Gaussian expansion of a batch input of lengths, one row per entry. */
  gaussian(lengths: string, rows: Axis, basis: { first: number; step: number; count: number }): Value {
    return this.#add("gaussian", [], [], { index: lengths, rows, numbers: { ...basis } });
  }

  /** nn.Linear: weight `at`.weight (O, K), bias `at`.bias (O,). */
  linear(x: Value, at: string): Value {
    return this.#add("linear", [x], [`${at}.weight`, `${at}.bias`]);
  }

  /** nn.BatchNorm1d in evaluation mode, with torch's default eps. */
  batchNorm(x: Value, at: string): Value {
    const params = ["weight", "bias", "running_mean", "running_var"].map((name) => `${at}.${name}`);
    return this.#add("batchNorm", [x], params, { numbers: { eps: 1e-5 } });
  }

  /** x[index]: one row per entry of an index input. */
  gather(x: Value, index: string, rows: Axis): Value {
    return this.#add("gather", [x], [], { index, rows });
  }

  /** Columns side by side. */
  concat(...values: Value[]): Value {
    return this.#add("concat", values, []);
  }

  /** Equal parts of the columns. */
  split(x: Value, parts: number): Value[] {
    const columns = x.columns / parts;
    return Array.from({ length: parts }, (_, i) =>
      this.#add("slice", [x], [], { numbers: { first: i * columns, columns } }),
    );
  }

  sigmoid(x: Value): Value {
    return this.#add("sigmoid", [x], []);
  }

  softplus(x: Value): Value {
    return this.#add("softplus", [x], []);
  }

  logSoftmax(x: Value): Value {
    return this.#add("logSoftmax", [x], []);
  }

  add(a: Value, b: Value): Value {
    return this.#add("add", [a, b], []);
  }

  mul(a: Value, b: Value): Value {
    return this.#add("mul", [a, b], []);
  }

  /** Sums of consecutive rows, bounded by an input of row starts. */
  segmentSum(x: Value, starts: string, rows: Axis): Value {
    return this.#add("segmentSum", [x], [], { index: starts, rows });
  }

  /** Means of consecutive rows. */
  segmentMean(x: Value, starts: string, rows: Axis): Value {
    return this.#add("segmentMean", [x], [], { index: starts, rows });
  }

  /** Give a value a name to look it up by. */
  label(value: Value, name: string): Value {
    this.#labels.set(name, value);
    return value;
  }

  build(output: Value): Program {
    return { nodes: this.#nodes, params: this.#params, output, labels: this.#labels };
  }

  #add(
    op: OpName,
    inputs: Value[],
    params: string[],
    extra: { index?: string; rows?: Axis; numbers?: Record<string, number> } = {},
  ): Value {
    const shapes = params.map((name) => {
      const param = this.#params.get(name);
      if (!param) throw new UnitcellError("NOT_FOUND", `program has no parameter "${name}"`);
      return param.shape;
    });
    const numbers = extra.numbers ?? {};
    const columns = OPS[op](
      inputs.map((x) => x.columns),
      shapes,
      numbers,
    );
    const shape: Shape = { rows: extra.rows ?? inputs[0].rows, columns };
    if (!(Number.isInteger(columns) && columns > 0) || (!extra.rows && inputs.some((x) => x.rows !== shape.rows)))
      throw new UnitcellError("MISMATCH", `${op}(${params.join(", ")}): shapes do not fit`, {
        inputs: inputs.map((x) => [x.rows, x.columns]),
        params: shapes,
      });
    const output: Value = { id: this.#nodes.length, ...shape };
    this.#nodes.push({ op, output, inputs, params, numbers, ...(extra.index ? { index: extra.index } : {}) });
    return output;
  }
}

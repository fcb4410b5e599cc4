import { UnitcellError } from "../errors.js";
import { OPS, type OpName } from "./ops.js";

/**
 * Number of rows of a value, bound when a batch is run: B crystals, N atoms, E edges, T pairs of edges; L distinct lengths
 * of the edges and C distinct cosines of the pairs, which a pass makes of them.
 */
export type Axis = "B" | "N" | "E" | "T" | "L" | "C";

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

/** Activations that may follow an operation as part of it; operations of their own, too. */
export const ACTIVATIONS = ["softplus", "shiftedSoftplus", "silu", "sigmoid", "tanh"] as const;
export type Activation = (typeof ACTIVATIONS)[number];

/** One operation and the value it gives. */
export interface Node {
  readonly op: OpName;
  readonly output: Value;
  /** Values read. */
  readonly inputs: readonly Value[];
  /** Names in Program.params. */
  readonly params: readonly string[];
  /** Name of the batch input read: the numbers of an `input`, or for each row the row of an embedding's table. */
  readonly index?: string;
  /**
   * Of each value read, the name of the batch input that says which of its rows is read for each row of this node or, of
   * an operation on segments, for each row in them; undefined where row r is read for row r.
   */
  readonly indices?: readonly (string | undefined)[];
  /** Of an operation on segments: the name of the batch input with their row starts, and the axis of the rows in them. */
  readonly starts?: string;
  readonly over?: Axis;
  /**
   * Name of a batch input with one float32 weight per row in the segments: how many equal rows each stands for. A batch
   * without it means that all are 1.
   */
  readonly weights?: string;
  /**
   * What follows a linear, an affine, a layerNorm or a gatherSum as part of it (ops/epilogue.ts): what a linear reads after its first
   * value is added to it, the activation is applied, and if there is a residual, which is the last value read, that is
   * added.
   */
  readonly activation?: Activation;
  readonly residual?: boolean;
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

  /** Whether there is a parameter of that name. */
  has(param: string): boolean {
    return this.#params.has(param);
  }

  /** Its numbers, for what an operation has to know of them beforehand. */
  data(param: string): Float32Array {
    const found = this.#params.get(param);
    if (!found) throw new UnitcellError("NOT_FOUND", `program has no parameter "${param}"`);
    return found.data;
  }

  /** Numbers of the batch, `columns` a row. */
  input(name: string, rows: Axis, columns: number): Value {
    return this.#add("input", [], [], { index: name, rows, numbers: { columns } });
  }

  zeros(rows: Axis, columns: number): Value {
    return this.#add("zeros", [], [], { rows, numbers: { columns } });
  }

  /** Rows of a table, one per entry of an index input: nn.Embedding. */
  embedding(table: string, index: string, rows: Axis): Value {
    return this.#add("embedding", [], [table], { index, rows });
  }

  /** Gaussians around centres from `first` on, each as wide as the `step` between them. */
  gaussian(x: Value, { first, step, count }: { first: number; step: number; count: number }): Value {
    return this.#add("gaussian", [x], [], { numbers: { first, step, count, gamma: 1 / step ** 2 } });
  }

  /** exp(-gamma (x - c)²) for the centres c of a parameter. */
  radialBasis(x: Value, centers: string, gamma: number): Value {
    return this.#add("gaussian", [x], [centers], { numbers: { gamma } });
  }

  /** nn.Linear: weight (O, K), bias (O,); by default `at`.weight and `at`.bias. */
  linear(x: Value, at: string, [weight, bias] = ["weight", "bias"]): Value {
    return this.#add("linear", [x], [`${at}.${weight}`, `${at}.${bias}`]);
  }

  /** nn.BatchNorm1d in evaluation mode, with torch's default eps. */
  batchNorm(x: Value, at: string): Value {
    const params = ["weight", "bias", "running_mean", "running_var"].map((name) => `${at}.${name}`);
    return this.#add("batchNorm", [x], params, { numbers: { eps: 1e-5 } });
  }

  /** nn.LayerNorm over the columns, with torch's default eps. */
  layerNorm(x: Value, at: string): Value {
    return this.#add("layerNorm", [x], [`${at}.weight`, `${at}.bias`], { numbers: { eps: 1e-5 } });
  }

  /** x[index]: one row per entry of an index input. */
  gather(x: Value, index: string, rows: Axis): Value {
    return this.#add("gather", [x], [], { indices: [index], rows });
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

  /** softplus(x) - log 2, which is 0 at 0. */
  shiftedSoftplus(x: Value): Value {
    return this.#add("shiftedSoftplus", [x], []);
  }

  silu(x: Value): Value {
    return this.#add("silu", [x], []);
  }

  tanh(x: Value): Value {
    return this.#add("tanh", [x], []);
  }

  exp(x: Value): Value {
    return this.#add("exp", [x], []);
  }

  logSoftmax(x: Value): Value {
    return this.#add("logSoftmax", [x], []);
  }

  hinge(x: Value, { factor, threshold }: { factor: number; threshold: number }): Value {
    return this.#add("hinge", [x], [], { numbers: { factor, threshold } });
  }

  envelope(x: Value, { cutoff, exponent }: { cutoff: number; exponent: number }): Value {
    return this.#add("envelope", [x], [], { numbers: { cutoff, exponent } });
  }

  add(a: Value, b: Value): Value {
    return this.#add("add", [a, b], []);
  }

  mul(a: Value, b: Value): Value {
    return this.#add("mul", [a, b], []);
  }

  /** Each row of x times the only number in a's. */
  scaleRows(x: Value, a: Value): Value {
    return this.#add("scaleRows", [x, a], []);
  }

  /** a / (b + eps). */
  ratio(a: Value, b: Value, eps: number): Value {
    return this.#add("ratio", [a, b], [], { numbers: { eps } });
  }

  /** Sums of consecutive rows, bounded by an input of row starts; `weights` as in Node. */
  segmentSum(x: Value, starts: string, rows: Axis, weights?: string): Value {
    return this.#add("segmentSum", [x], [], { starts, over: x.rows, rows, weights });
  }

  /** Means of consecutive rows. */
  segmentMean(x: Value, starts: string, rows: Axis, weights?: string): Value {
    return this.#add("segmentMean", [x], [], { starts, over: x.rows, rows, weights });
  }

  /** Consecutive rows of x summed by the softmax of their products with the segment's row of `query`. */
  segmentAttention(x: Value, query: Value, starts: string, weights?: string): Value {
    return this.#add("segmentAttention", [x, query], [], { starts, over: x.rows, rows: query.rows, weights });
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
    {
      rows: given,
      numbers = {},
      weights,
      ...read
    }: {
      rows?: Axis;
      numbers?: Record<string, number>;
      weights?: string | undefined;
    } & Pick<Node, "index" | "indices" | "starts" | "over"> = {},
  ): Value {
    const shapes = params.map((name) => {
      const param = this.#params.get(name);
      if (!param) throw new UnitcellError("NOT_FOUND", `program has no parameter "${name}"`);
      return param.shape;
    });
    const columns = OPS[op](
      inputs.map((x) => x.columns),
      shapes,
      numbers,
    );
    const shape: Shape = { rows: given ?? inputs[0].rows, columns };
    if (!(Number.isInteger(columns) && columns > 0) || (!given && inputs.some((x) => x.rows !== shape.rows)))
      throw new UnitcellError("MISMATCH", `${op}(${params.join(", ")}): shapes do not fit`, {
        inputs: inputs.map((x) => [x.rows, x.columns]),
        params: shapes,
      });
    const output: Value = { id: this.#nodes.length, ...shape };
    this.#nodes.push({ op, output, inputs, params, numbers, ...read, ...(weights && { weights }) });
    return output;
  }
}

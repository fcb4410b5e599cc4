import type { OpName } from "./ops.js";
import type { Axis, Node, Param, Program, Value } from "./program.js";

/** A rewriting of a Program that gives the same values up to rounding; checked by running both (test/passes.test.ts). */
export type Pass = (program: Program) => Program;

/** Batch normalisation in evaluation mode is one multiply-add per column; scale and shift are worked out in float64. */
export const lowerBatchNorm: Pass = (program) => {
  const params = new Map(program.params);
  const nodes = program.nodes.map((node) => {
    if (node.op !== "batchNorm") return node;
    const [weight, bias, mean, variance] = node.params.map((name) => program.params.get(name)!.data);
    const scale = Float64Array.from(weight, (w, f) => w / Math.sqrt(variance[f] + node.numbers.eps));
    const shift = Float64Array.from(bias, (b, f) => b - mean[f] * scale[f]);
    const at = node.params[0].replace(/\.weight$/, "");
    const names = [`${at}.scale`, `${at}.shift`];
    params.set(names[0], { shape: [scale.length], data: Float32Array.from(scale) });
    params.set(names[1], { shape: [shift.length], data: Float32Array.from(shift) });
    return { ...node, op: "affine" as const, params: names, numbers: {} };
  });
  return rebuilt({ ...program, nodes, params });
};

/**
 * A linear that only an affine reads takes it up: (x Wᵀ + b) scale + shift = (x Wᵀ) scale + (b scale + shift).
 * W itself stays as it was, so that folding adds no rounding of weights.
 */
export const foldAffine: Pass = (program) => {
  const params = new Map(program.params);
  const readers = countReaders(program);
  const nodes = program.nodes.map((node) => {
    const before = program.nodes[node.inputs[0]?.id];
    if (node.op !== "affine" || before.op !== "linear" || readers.get(before.output.id) !== 1) return node;
    const bias = program.params.get(before.params[1])!;
    const [scale, shift] = node.params.map((name) => program.params.get(name)!.data);
    const names = [before.params[0], node.params[0], `${node.params[1]}.folded`];
    params.set(names[2], { ...bias, data: bias.data.map((b, o) => b * scale[o] + shift[o]) });
    return { ...before, op: "scaledLinear" as const, output: node.output, params: names };
  });
  return rebuilt({ ...program, nodes, params });
};

/**
 * A linear over columns side by side is a sum of linears, one for each; and a linear of gathered rows is the gathered
 * linear of the rows. So CGCNN's layer on [receiver, sender, edge] runs on the atoms for two of the three: 41 columns an
 * edge are multiplied, and not 169.
 */
export const splitLinear: Pass = (program) => {
  const params = new Map(program.params);
  let fresh = program.nodes.length;
  const nodes = program.nodes.flatMap((node) => {
    const concat = program.nodes[node.inputs[0]?.id];
    const linear = node.op === "linear" || node.op === "scaledLinear";
    if (!linear || concat.op !== "concat") return [node];
    const sources = concat.inputs.map((x) => program.nodes[x.id]);
    const gathered = sources.filter(({ op }) => op === "gather");
    // One part must stay where it is, to take the bias and start the sum.
    if (gathered.length === 0 || gathered.length + 1 !== sources.length) return [node];
    const out: Node[] = [];
    const push = (op: OpName, rows: Axis, rest: Partial<Node>): Value => {
      const output = { id: fresh++, rows, columns: node.output.columns };
      out.push({ op, output, inputs: [], params: [], numbers: {}, ...rest });
      return output;
    };
    let column = 0;
    const parts = sources.map((source) => {
      const x = source.op === "gather" ? source.inputs[0] : source.output;
      const names = sliceWeight(params, node, column, source.output.columns, source.op !== "gather");
      column += source.output.columns;
      return push(node.op, x.rows, { inputs: [x], params: names });
    });
    let sum = parts[sources.findIndex(({ op }) => op !== "gather")];
    for (const [i, { op, indices }] of sources.entries())
      if (op === "gather")
        sum = push("gatherAdd", node.output.rows, { inputs: [sum, parts[i]], indices: [undefined, indices![0]] });
    // The last of the sum stands for the node itself.
    out[out.length - 1] = { ...out[out.length - 1], output: node.output };
    return out;
  });
  return rebuilt({ ...program, nodes, params });
};

/** Parameters of a linear for some of its columns, without bias or shift unless `whole`. */
function sliceWeight(params: Map<string, Param>, node: Node, first: number, columns: number, whole: boolean): string[] {
  const [weight, ...rest] = node.params;
  const { shape, data } = params.get(weight)!;
  const name = `${weight}[${first}:${first + columns}]`;
  const slice = new Float32Array(shape[0] * columns);
  for (let o = 0; o < shape[0]; o++)
    slice.set(data.subarray(o * shape[1] + first, o * shape[1] + first + columns), o * columns);
  params.set(name, { shape: [shape[0], columns], data: slice });
  const shift = rest[rest.length - 1];
  if (whole) return [name, ...rest];
  params.set(`${shift}.none`, { shape: [shape[0]], data: new Float32Array(shape[0]) });
  return [name, ...rest.slice(0, -1), `${shift}.none`];
}

/** Replace mul(sigmoid(first half), softplus(second half)) of one value by one gate. */
export const fuseGate: Pass = (program) => {
  const readers = countReaders(program);
  const by = (value: Value) => program.nodes[value.id];
  const half = (value: Value, op: "sigmoid" | "softplus", second: boolean): Value | undefined => {
    const slice = by(value).op === op ? by(by(value).inputs[0]) : undefined;
    if (slice?.op !== "slice" || readers.get(value.id) !== 1 || readers.get(slice.output.id) !== 1) return undefined;
    const whole = slice.inputs[0];
    const { first, columns } = slice.numbers;
    return 2 * columns === whole.columns && first === (second ? columns : 0) ? whole : undefined;
  };
  const nodes = program.nodes.map((node) => {
    if (node.op !== "mul") return node;
    const [a, b] = node.inputs;
    const whole = half(a, "sigmoid", false);
    if (!whole || half(b, "softplus", true) !== whole) return node;
    return { ...node, op: "gate" as const, inputs: [whole] };
  });
  return rebuilt({ ...program, nodes });
};

/** Rows gathered only to be added to others are added as they are read. */
export const fuseGatherAdd: Pass = (program) => {
  const readers = countReaders(program);
  const nodes = program.nodes.map((node) => {
    const [x, gathered] = node.inputs;
    const gather = program.nodes[gathered?.id];
    if (node.op !== "add" || gather.op !== "gather" || readers.get(gathered.id) !== 1) return node;
    return {
      ...node,
      op: "gatherAdd" as const,
      inputs: [x, gather.inputs[0]],
      indices: [undefined, gather.indices![0]],
    };
  });
  return rebuilt({ ...program, nodes });
};

/**
 * Replace the ratio of segment sums of sigmoid(m) * v[index] and of sigmoid(m) by one gatedMean, so that none of the
 * three is written for every row.
 */
export const fuseGatedMean: Pass = (program) => {
  const readers = countReaders(program);
  const by = (value: Value) => program.nodes[value.id];
  const nodes = program.nodes.map((node) => {
    if (node.op !== "ratio") return node;
    const [above, below] = node.inputs.map(by);
    if (above.op !== "segmentSum" || below.op !== "segmentSum") return node;
    if (above.starts !== below.starts || above.weights !== below.weights) return node;
    const product = by(above.inputs[0]);
    const [gate, gathered] = product.inputs;
    const isGate = product.op === "mul" && by(gate).op === "sigmoid" && by(gathered).op === "gather";
    if (!isGate || below.inputs[0] !== gate || readers.get(gate.id) !== 2) return node;
    const inputs = [by(gate).inputs[0], by(gathered).inputs[0]];
    const { output, numbers } = node;
    return {
      ...above,
      op: "gatedMean" as const,
      output,
      inputs,
      numbers,
      indices: [undefined, by(gathered).indices![0]],
    };
  });
  return rebuilt({ ...program, nodes });
};

/** What a backend runs unless told otherwise, in this order. */
export const DEFAULT_PASSES: readonly Pass[] = [
  lowerBatchNorm,
  foldAffine,
  splitLinear,
  fuseGatherAdd,
  fuseGate,
  fuseGatedMean,
];

/** How many nodes read each value, the output counting as one. */
function countReaders({ nodes, output }: Pick<Program, "nodes" | "output">): Map<number, number> {
  const readers = new Map([[output.id, 1]]);
  for (const node of nodes) for (const { id } of node.inputs) readers.set(id, (readers.get(id) ?? 0) + 1);
  return readers;
}

/** A program in order again: nodes nobody reads dropped, values renumbered, their labels and parameters kept. */
function rebuilt(program: Program): Program {
  let live = program.nodes;
  for (let count = -1; count !== live.length; ) {
    count = live.length;
    const readers = countReaders({ nodes: live, output: program.output });
    live = live.filter((node) => readers.has(node.output.id));
  }
  const values = new Map<number, Value>();
  const nodes = live.map((node, id) => {
    const output = { ...node.output, id };
    values.set(node.output.id, output);
    return { ...node, output, inputs: node.inputs.map((input) => values.get(input.id)!) };
  });
  const used = new Set(nodes.flatMap((node) => node.params));
  const labels = [...program.labels].flatMap(([name, { id }]) => {
    const value = values.get(id);
    return value ? [[name, value] as const] : [];
  });
  return {
    nodes,
    output: values.get(program.output.id)!,
    params: new Map([...program.params].filter(([name]) => used.has(name))),
    labels: new Map(labels),
  };
}

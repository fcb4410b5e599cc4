import type { Node, Program, Value } from "./program.js";

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
  return withoutUnused({ ...program, nodes, params }, new Set());
};

/**
 * A linear that only an affine reads takes it up: (x Wᵀ + b) scale + shift = (x Wᵀ) scale + (b scale + shift).
 * W itself stays as it was: rounding scale * W to float32 would cost the published networks half their accuracy.
 */
export const foldAffine: Pass = (program) => {
  const params = new Map(program.params);
  const readers = countReaders(program);
  const gone = new Set<number>();
  const nodes = program.nodes.map((node) => {
    const before = program.nodes[node.inputs[0]?.id];
    if (node.op !== "affine" || before.op !== "linear" || readers[before.output.id] !== 1) return node;
    const bias = program.params.get(before.params[1])!;
    const [scale, shift] = node.params.map((name) => program.params.get(name)!.data);
    const names = [before.params[0], node.params[0], `${node.params[1]}.folded`];
    params.set(names[2], { ...bias, data: bias.data.map((b, o) => b * scale[o] + shift[o]) });
    gone.add(before.output.id);
    return { ...before, op: "scaledLinear" as const, output: node.output, params: names };
  });
  return withoutUnused({ ...program, nodes, params }, gone);
};

/** Replace mul(sigmoid(first half), softplus(second half)) of one value by one gate. */
export const fuseGate: Pass = (program) => {
  const readers = countReaders(program);
  const gone = new Set<number>();
  const by = (value: Value) => program.nodes[value.id];
  const half = (value: Value, op: "sigmoid" | "softplus", second: boolean): Value | undefined => {
    const slice = by(value).op === op ? by(by(value).inputs[0]) : undefined;
    if (slice?.op !== "slice" || readers[value.id] !== 1 || readers[slice.output.id] !== 1) return undefined;
    const whole = slice.inputs[0];
    const { first, columns } = slice.numbers;
    return 2 * columns === whole.columns && first === (second ? columns : 0) ? whole : undefined;
  };
  const nodes = program.nodes.map((node) => {
    if (node.op !== "mul") return node;
    const [a, b] = node.inputs;
    const whole = half(a, "sigmoid", false);
    if (!whole || half(b, "softplus", true) !== whole) return node;
    for (const value of [a, b]) {
      gone.add(value.id);
      gone.add(by(value).inputs[0].id);
    }
    return { ...node, op: "gate" as const, inputs: [whole] };
  });
  return withoutUnused({ ...program, nodes }, gone);
};

/** What a backend runs unless told otherwise, in this order. */
export const DEFAULT_PASSES: readonly Pass[] = [lowerBatchNorm, foldAffine, fuseGate];

/** How many nodes (and labels, and the output) read each value. */
function countReaders(program: Program): number[] {
  const readers = program.nodes.map(() => 0);
  for (const node of program.nodes) for (const input of node.inputs) readers[input.id]++;
  readers[program.output.id]++;
  return readers;
}

/** Drop nodes by the id of their value, renumber the rest, and drop labels and parameters nobody reads any more. */
function withoutUnused(program: Program, gone: ReadonlySet<number>): Program {
  const values = new Map<number, Value>();
  const nodes: Node[] = [];
  for (const node of program.nodes) {
    if (gone.has(node.output.id)) continue;
    const output = { ...node.output, id: nodes.length };
    values.set(node.output.id, output);
    nodes.push({ ...node, output, inputs: node.inputs.map((input) => values.get(input.id)!) });
  }
  const used = new Set(nodes.flatMap((node) => node.params));
  return {
    nodes,
    output: values.get(program.output.id)!,
    params: new Map([...program.params].filter(([name]) => used.has(name))),
    labels: new Map(
      [...program.labels].flatMap(([name, value]) => {
        const kept = values.get(value.id);
        return kept ? [[name, kept] as const] : [];
      }),
    ),
  };
}

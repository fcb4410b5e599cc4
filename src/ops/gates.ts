/** The gates of CGCNN and ALIGNN, each as one operation that writes nothing for each edge. */
import type { Value } from "./program.js";
import { type Pass, type Rewriting, rewriteNodes } from "./rewrite.js";
import { MAX_TERMS } from "./sums.js";

/** Replace mul(sigmoid(first half), softplus(second half)) of one value by one gate. */
export const fuseGate: Pass = (program) =>
  rewriteNodes(program, (node, rewriting) => {
    if (node.op !== "mul") return node;
    const [a, b] = node.inputs;
    const whole = half(a, "sigmoid", false, rewriting);
    if (!whole || half(b, "softplus", true, rewriting) !== whole) return node;
    return { ...node, op: "gate" as const, inputs: [whole] };
  });

/** The value of which `value` is an activation of one half of the columns. */
function half(
  value: Value,
  op: "sigmoid" | "softplus",
  second: boolean,
  { by, readOnce }: Rewriting,
): Value | undefined {
  const slice = by(value).op === op ? by(by(value).inputs[0]) : undefined;
  if (slice?.op !== "slice" || !readOnce(value) || !readOnce(slice.output)) return undefined;
  const whole = slice.inputs[0];
  const { first, columns } = slice.numbers;
  return 2 * columns === whole.columns && first === (second ? columns : 0) ? whole : undefined;
}

/** The index that gives each row in a batch's segments the segment's number. */
export const SEGMENT_OF: Readonly<Record<string, string>> = {
  edgeStart: "receiver",
  tripletStart: "tripletReceiver",
  crystalStart: "atomCrystal",
  crystalEdgeStart: "edgeCrystal",
};

/**
 * Replace the segment sum of the gate of a sum of three values, one of which is the segment's own, by one gatedSum: what
 * is left of CGCNN's convolution beside linears of atoms and of distinct lengths.
 */
export const fuseGatedSum: Pass = (program) =>
  rewriteNodes(program, (node, { by, readOnce }) => {
    if (node.op !== "segmentSum") return node;
    const gate = by(node.inputs[0]);
    const sum = gate.op === "gate" ? by(gate.inputs[0]) : gate;
    if (sum.op !== "gatherSum" || !readOnce(gate.output) || !readOnce(sum.output)) return node;
    const own = sum.indices!.filter((index) => index === SEGMENT_OF[node.starts!]);
    if (own.length !== 1 || sum.inputs.length !== MAX_TERMS) return node;
    return { ...node, op: "gatedSum" as const, inputs: sum.inputs, indices: sum.indices! };
  });

/**
 * Replace the ratio of segment sums of sigmoid(m) * v[index] and of sigmoid(m) by one gatedMean, so that none of the
 * three is written for every row.
 */
export const fuseGatedMean: Pass = (program) =>
  rewriteNodes(program, (node, { by, readOnce }) => {
    if (node.op !== "ratio") return node;
    const [above, below] = node.inputs.map(by);
    if (above.op !== "segmentSum" || below.op !== "segmentSum") return node;
    if (above.starts !== below.starts || above.weights !== below.weights) return node;
    const product = by(above.inputs[0]);
    const [gate, neighbors] = product.inputs;
    if (product.op !== "mul" || by(gate).op !== "sigmoid" || by(neighbors).op !== "gather") return node;
    // Read by the product and by the sum below, which are read here.
    if (below.inputs[0] !== gate && below.inputs[0].id !== gate.id) return node;
    if (![above, below, product].every(({ output }) => readOnce(output))) return node;
    const { output, numbers } = node;
    const inputs = [by(gate).inputs[0], by(neighbors).inputs[0]];
    return {
      ...above,
      op: "gatedMean" as const,
      output,
      inputs,
      numbers,
      indices: [undefined, by(neighbors).indices![0]],
    };
  });

/** A gatherSum that only a gatedMean reads is added up as its rows are read. */
export const fuseGatedMeanSum: Pass = (program) =>
  rewriteNodes(program, (node, { by, readOnce }) => {
    if (node.op !== "gatedMean" || node.inputs.length !== 2) return node;
    const [m, v] = node.inputs;
    const sum = by(m);
    if (sum.op !== "gatherSum" || !readOnce(m)) return node;
    return { ...node, inputs: [...sum.inputs, v], indices: [...sum.indices!, node.indices![1]] };
  });

import type { OpName } from "./ops.js";
import type { Value } from "./program.js";
import { type Pass, type Rewriting, rewriteNodes } from "./rewrite.js";

/** Gates in the order of an LSTM's rows of weights: input, forget, candidate, output. */
const GATES: readonly OpName[] = ["sigmoid", "sigmoid", "tanh", "sigmoid"];

/**
 * The two elementwise halves of an LSTM's step are an operation each: sigmoid(f) cell + sigmoid(i) tanh(g), and
 * sigmoid(o) tanh(cell), with the gates i, f, g, o side by side in one value.
 */
export const fuseLstm: Pass = (program) =>
  rewriteNodes(program, (node, rewriting) => {
    const { by } = rewriting;
    const product = (value: Value) => (by(value).op === "mul" ? by(value).inputs : undefined);
    if (node.op === "mul") {
      const [o, activated] = node.inputs;
      const gates = gateOf(o, 3, rewriting);
      const tanh = by(activated);
      if (!gates || tanh.op !== "tanh" || by(tanh.inputs[0]).op === "slice") return node;
      return { ...node, op: "lstmOutput" as const, inputs: [gates, tanh.inputs[0]] };
    }
    if (node.op !== "add") return node;
    const [kept, taken] = node.inputs.map(product);
    const gates = kept && gateOf(kept[0], 1, rewriting);
    if (!gates || !taken || gateOf(taken[0], 0, rewriting) !== gates || gateOf(taken[1], 2, rewriting) !== gates)
      return node;
    return { ...node, op: "lstmCell" as const, inputs: [gates, kept[1]] };
  });

/** The value of which `value` is the gate of that number, activated. */
function gateOf(value: Value, gate: number, { by }: Rewriting): Value | undefined {
  const activation = by(value);
  const slice = activation.op === GATES[gate] ? by(activation.inputs[0]) : undefined;
  if (slice?.op !== "slice") return undefined;
  const { first, columns } = slice.numbers;
  const gates = slice.inputs[0];
  return gates.columns === GATES.length * columns && first === gate * columns ? gates : undefined;
}

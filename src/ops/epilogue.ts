import type { OpName } from "./ops.js";
import { ACTIVATIONS, type Activation, type Node, type Value } from "./program.js";
import { type Pass, type Rewriting, rewriteNodes } from "./rewrite.js";

/** Operations that may be followed by an activation and a residual (Node.activation, Node.residual). */
const FOLLOWED: ReadonlySet<OpName> = new Set(["linear", "scaledLinear", "affine", "layerNorm", "gatherSum"]);

/** As many gathered values as a linear's epilogue adds. */
export const MAX_GATHERED = 3;

/**
 * What alone reads a linear, a norm or a sum, and goes number by number, becomes its epilogue: gathered rows
 * added to a linear, an activation, a residual. So a value is written once, when its rows are still in the cache.
 */
export const fuseEpilogue: Pass = (program) =>
  rewriteNodes(program, (node, rewriting) => {
    if (node.op === "gatherSum") return linearOfSum(node, rewriting) ?? node;
    if (ACTIVATIONS.includes(node.op as Activation)) return activated(node, rewriting) ?? node;
    if (node.op === "add") return withResidual(node, rewriting) ?? node;
    return node;
  });

/** The node that a value comes from if nobody else reads it and it can take more. */
function open(value: Value, { by, readOnce }: Rewriting): Node | undefined {
  const node = by(value);
  return readOnce(value) && FOLLOWED.has(node.op) && !node.residual ? node : undefined;
}

/** Of a sum of a linear with gathered rows, and at most one value row by row: the linear. */
function linearOfSum(node: Node, rewriting: Rewriting): Node | undefined {
  const terms = node.inputs.map((value, i) => ({ value, index: node.indices![i] }));
  const base = terms.find(({ value, index }) => {
    const linear = index === undefined ? open(value, rewriting) : undefined;
    return (
      (linear?.op === "linear" || linear?.op === "scaledLinear") && !linear.activation && linear.inputs.length === 1
    );
  });
  if (!base) return undefined;
  const gathered = terms.filter(({ index }) => index !== undefined);
  const rest = terms.filter((term) => term !== base && term.index === undefined);
  if (rest.length > 1 || gathered.length > MAX_GATHERED) return undefined;
  const linear = rewriting.by(base.value);
  const added = [...gathered, ...rest];
  return {
    ...linear,
    output: node.output,
    inputs: [...linear.inputs, ...added.map(({ value }) => value)],
    indices: [undefined, ...added.map(({ index }) => index)],
    ...(rest.length > 0 && { residual: true }),
  };
}

function activated(node: Node, rewriting: Rewriting): Node | undefined {
  const before = open(node.inputs[0], rewriting);
  return before && !before.activation
    ? { ...before, output: node.output, activation: node.op as Activation }
    : undefined;
}

/** The second of the two values takes the first, or the first the second. */
function withResidual({ inputs: [a, b], output }: Node, rewriting: Rewriting): Node | undefined {
  for (const [value, residual] of [
    [b, a],
    [a, b],
  ]) {
    const before = a.id === b.id ? undefined : open(value, rewriting);
    if (before) return { ...before, output, inputs: [...before.inputs, residual], residual: true };
  }
  return undefined;
}

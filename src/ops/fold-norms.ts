/** Batch norms become scales and shifts, and go into the linear before them. */
import { type Pass, rewriteNodes } from "./rewrite.js";

/** Batch normalisation in evaluation mode is one multiply-add per column; scale and shift are worked out in float64. */
export const lowerBatchNorm: Pass = (program) =>
  rewriteNodes(program, (node, { params }) => {
    if (node.op !== "batchNorm") return node;
    const [weight, bias, mean, variance] = node.params.map((name) => params.get(name)!.data);
    const scale = Float64Array.from(weight, (w, f) => w / Math.sqrt(variance[f] + node.numbers.eps));
    const shift = Float64Array.from(bias, (b, f) => b - mean[f] * scale[f]);
    const at = node.params[0].replace(/\.weight$/, "");
    const names = [`${at}.scale`, `${at}.shift`];
    params.set(names[0], { shape: [scale.length], data: Float32Array.from(scale) });
    params.set(names[1], { shape: [shift.length], data: Float32Array.from(shift) });
    return { ...node, op: "affine" as const, params: names, numbers: {} };
  });

/**
 * A linear that only an affine reads takes it up: (x Wᵀ + b) scale + shift = (x Wᵀ) scale + (b scale + shift).
 * W itself stays as it was, so that folding adds no rounding of weights.
 */
export const foldAffine: Pass = (program) =>
  rewriteNodes(program, (node, { params, by, readOnce }) => {
    if (node.op !== "affine") return node;
    const before = by(node.inputs[0]);
    if (before.op !== "linear" || !readOnce(before.output)) return node;
    const bias = params.get(before.params[1])!;
    const [scale, shift] = node.params.map((name) => params.get(name)!.data);
    const names = [before.params[0], node.params[0], `${node.params[1]}.folded`];
    params.set(names[2], { ...bias, data: bias.data.map((b, o) => b * scale[o] + shift[o]) });
    return { ...before, op: "scaledLinear" as const, output: node.output, params: names };
  });

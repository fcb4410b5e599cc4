import { type Pass, rewriteNodes } from "./rewrite.js";

/** Gaussians below e to minus this are 0 (assembly/basis.ts). */
const LEAST_EXPONENT = 60;

/** Bands wider than this share of the centres are not worth it. */
const NARROW = 0.5;

/**
 * A linear of Gaussians of ascending numbers multiplies only those columns that are not 0 in neighbouring rows. The same
 * bits; run behind moveToDistinct, whose numbers ascend. Of the published networks CGCNN's Gaussians are narrow enough.
 */
export const bandLinear: Pass = (program) =>
  rewriteNodes(program, (node, { by }) => {
    if (node.op !== "linear" && node.op !== "scaledLinear") return node;
    const { op, output, params, numbers } = by(node.inputs[0]);
    if (op !== "gaussian" || params.length > 0 || (output.rows !== "L" && output.rows !== "C")) return node;
    const band = 2 * Math.sqrt(LEAST_EXPONENT / numbers.gamma);
    return band < NARROW * numbers.step * numbers.count ? { ...node, op: "bandedLinear" as const } : node;
  });

import type { Node, Value } from "./program.js";
import { type Pass, type Rewriting, rewriteNodes } from "./rewrite.js";

/** As many as gatherSum takes. */
export const MAX_TERMS = 3;

/**
 * Rows that are gathered only to be added are added as they are read: sums of up to MAX_TERMS values of which some are
 * gathered are one operation.
 */
export const fuseGatherSum: Pass = (program) =>
  rewriteNodes(program, (node, rewriting) => {
    if (node.op !== "add") return node;
    const terms = node.inputs.flatMap((value) => termsOf(value, rewriting));
    if (terms.length > MAX_TERMS || terms.every(({ index }) => index === undefined)) return node;
    const inputs = terms.map(({ value }) => value);
    return { ...node, op: "gatherSum" as const, inputs, indices: terms.map(({ index }) => index) };
  });

interface Term {
  readonly value: Value;
  readonly index: string | undefined;
}

function termsOf(value: Value, { by, readOnce }: Rewriting): Term[] {
  const { op, inputs, indices = [] }: Node = by(value);
  if (!readOnce(value) || (op !== "gather" && op !== "gatherSum")) return [{ value, index: undefined }];
  return inputs.map((input, i) => ({ value: input, index: indices[i] }));
}

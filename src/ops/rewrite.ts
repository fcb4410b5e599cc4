/** What passes are made of. */
import type { Axis, Node, Param, Program, Value } from "./program.js";

/** A rewriting of a Program that gives the same values up to rounding; checked by running both (test/passes.test.ts). */
export type Pass = (program: Program) => Program;

/** A program while its nodes are rewritten from first to last. */
export interface Rewriting {
  /** Parameters, for a rewriting to add to. */
  readonly params: Map<string, Param>;
  /** The node that gives a value, as rewritten. */
  by(value: Value): Node;
  /** Whether one node alone reads a value; the output counts as read. */
  readOnce(value: Value): boolean;
  /** A new value. */
  fresh(rows: Axis, columns: number): Value;
}

/** Replace each node by those that `rewrite` gives, of which the last gives the node's own value; then drop what is unread. */
export function rewriteNodes(
  program: Program,
  rewrite: (node: Node, rewriting: Rewriting) => readonly Node[] | Node,
): Program {
  const params = new Map(program.params);
  const readers = countReaders(program);
  const nodes: Node[] = [];
  const rewritten = new Map<number, Node>();
  let next = program.nodes.length;
  const rewriting: Rewriting = {
    params,
    by: ({ id }) => rewritten.get(id)!,
    readOnce: ({ id }) => readers.get(id) === 1,
    fresh: (rows, columns) => ({ id: next++, rows, columns }),
  };
  for (const node of program.nodes)
    for (const made of [rewrite(node, rewriting)].flat()) {
      nodes.push(made);
      rewritten.set(made.output.id, made);
    }
  return rebuilt({ ...program, nodes, params });
}

/** How many nodes read each value, the output counting as one. */
function countReaders({ nodes, output }: Program): Map<number, number> {
  const readers = new Map([[output.id, 1]]);
  for (const node of nodes) for (const { id } of node.inputs) readers.set(id, (readers.get(id) ?? 0) + 1);
  return readers;
}

/** A program in order again: nodes nobody reads dropped, values renumbered, their labels and parameters kept. */
function rebuilt(program: Program): Program {
  const read = new Set([program.output.id]);
  for (const node of program.nodes.toReversed())
    if (read.has(node.output.id)) for (const { id } of node.inputs) read.add(id);
  const values = new Map<number, Value>();
  const nodes = program.nodes
    .filter((node) => read.has(node.output.id))
    .map((node, id) => {
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

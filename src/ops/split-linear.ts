import type { Node, Param, Value } from "./program.js";
import { type Pass, type Rewriting, rewriteNodes } from "./rewrite.js";

/** An index that is two in turn: the crystal of an edge is that of the edge's receiving atom. */
const THROUGH: Readonly<Record<string, readonly [first: string, then: string]>> = {
  edgeCrystal: ["receiver", "atomCrystal"],
};

/** Neighbouring columns of a concat that are read alike. */
interface Part {
  readonly index: string | undefined;
  readonly values: Value[];
  first: number;
  columns: number;
}

/**
 * A linear over columns side by side is a sum of linears, one for each; and a linear of gathered rows is the gathered
 * linear of the rows. So CGCNN's layer on [receiver, sender, edge] runs on the atoms for two of the three: 41 columns an
 * edge are multiplied, and not 169. Of MEGNet's [sender, receiver, edge, crystal] the crystal's part joins the receiver's
 * on the atoms, as two gathers add up to one.
 */
export const splitLinear: Pass = (program) =>
  rewriteNodes(program, (node, rewriting) => {
    if (node.op !== "linear" && node.op !== "scaledLinear") return node;
    const concat = rewriting.by(node.inputs[0]);
    if (concat.op !== "concat") return node;
    const parts = partsOf(concat, rewriting);
    if (parts.every(({ index }) => index === undefined)) return node;
    return sumOf(node, parts, rewriting);
  });

/** Columns that are not gathered stay together where they are neighbours. */
function partsOf(concat: Node, { by }: Rewriting): Part[] {
  const parts: Part[] = [];
  let first = 0;
  for (const value of concat.inputs) {
    const source = by(value);
    const last = parts.at(-1);
    const { columns } = value;
    if (source.op === "gather") parts.push({ index: source.indices![0], values: [source.inputs[0]], first, columns });
    else if (last && last.index === undefined) {
      last.values.push(value);
      last.columns += columns;
    } else parts.push({ index: undefined, values: [value], first, columns });
    first += columns;
  }
  return parts;
}

/** A linear for each part, gathered and added to those before it; the first takes the bias. */
function sumOf(node: Node, parts: readonly Part[], { params, fresh }: Rewriting): Node[] {
  const out: Node[] = [];
  const push = (
    made: Omit<Node, "output" | "params" | "numbers">,
    rows: Value["rows"],
    names: string[] = [],
  ): Value => {
    const output = fresh(rows, made.op === "concat" ? columnsOf(made.inputs) : node.output.columns);
    out.push({ params: names, numbers: {}, ...made, output });
    return output;
  };
  const terms = parts.map(({ index, values, first, columns }, i) => {
    const [{ rows }] = values;
    const x = values.length === 1 ? values[0] : push({ op: "concat", inputs: values }, rows);
    const names = sliceWeight(params, node, first, columns, i === 0);
    return { index, value: push({ op: node.op, inputs: [x] }, rows, names) };
  });
  const gathered = (value: Value, index: string, rows: Value["rows"]) =>
    push({ op: "gather", inputs: [value], indices: [index] }, rows);
  for (const term of [...terms]) {
    const [first, then] = THROUGH[term.index ?? ""] ?? [];
    const target = terms.find(({ index }) => first !== undefined && index === first);
    if (!target || then === undefined) continue;
    const { rows } = target.value;
    target.value = push({ op: "add", inputs: [target.value, gathered(term.value, then, rows)] }, rows);
    terms.splice(terms.indexOf(term), 1);
  }
  const { rows } = node.output;
  const sum = terms
    .map(({ index, value }) => (index === undefined ? value : gathered(value, index, rows)))
    .reduce((a, b) => push({ op: "add", inputs: [a, b] }, rows));
  // What gives the sum stands for the node itself.
  return out.map((made) => (made.output === sum ? { ...made, output: node.output } : made));
}

function columnsOf(values: readonly Value[]): number {
  return values.reduce((sum, { columns }) => sum + columns, 0);
}

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

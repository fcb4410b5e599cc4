/** Which graphs count as the same: those alike in everything that a network reads, and no others. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { type AnyGraph, lift } from "../src/graphs/lift.js";
import { distinctGraphs } from "../src/graphs/same-graph.js";
import { exampleModel, exampleStructures } from "./examples.js";

const structure = exampleStructures().find(({ id }) => id === "CsCl")!;

type Numbers = Float64Array | Float32Array | Int32Array | Uint8Array;

/** The graph's arrays of numbers, those of its line graph included, and the graph with one of them exchanged. */
function* arraysOf(graph: AnyGraph): Generator<[name: string, Numbers, put: (numbers: Numbers) => AnyGraph]> {
  for (const [name, value] of Object.entries(graph) as [string, unknown][])
    if (ArrayBuffer.isView(value)) yield [name, value as Numbers, (numbers) => ({ ...graph, [name]: numbers })];
  if (!("line" in graph)) return;
  for (const [name, value] of Object.entries(graph.line!) as [string, Numbers][])
    yield [`line.${name}`, value, (numbers) => ({ ...graph, line: { ...graph.line!, [name]: numbers } })];
}

for (const file of ["cgcnn_ionic_best.pt", "megnet_ionic_best.pt", "alignn_ionic_best.pt"]) {
  const { config } = await exampleModel(file);
  const whole = buildGraph(structure, config.graph);
  for (const graph of [whole, lift(whole)]) {
    const kind = `${file}, ${graph === whole ? "whole" : "lifted"}`;
    test(`${kind}: a copy is the same, and so is one whose atoms were listed otherwise`, () => {
      const copies = [...arraysOf(graph)].map(([, numbers, put]) => put(numbers.slice()));
      const { graphs, of } = distinctGraphs([graph, ...copies, { ...graph, warnings: [] }]);
      assert.is(graphs.length, 1);
      assert.equal([...new Set(of)], [0]);
    });
    test(`${kind}: one number more or less anywhere that a network reads makes another`, () => {
      let changed = 0;
      for (const [name, numbers, put] of arraysOf(graph)) {
        if (name === "rowOf") continue; // tells which atoms the rows stand for; each record reads its own
        for (const at of new Set([0, numbers.length >> 1, numbers.length - 1])) {
          const other = numbers.slice();
          other[at] += other instanceof Float64Array ? 1e-9 : 1;
          const { graphs, of } = distinctGraphs([graph, put(other), graph]);
          assert.is(graphs.length, 2, `${name}[${at}]`);
          assert.equal(of, [0, 1, 0]);
          changed++;
        }
      }
      assert.ok(changed > 9);
    });
  }
  test(`${file}: a whole graph and its lifted one are two`, () => {
    assert.is(distinctGraphs([whole, lift(whole)]).graphs.length, 2);
    assert.ok(collate([whole, lift(whole)]).inputs.has("edgeWeight"));
  });
}

test.run();

/** Structures that are no crystals: each ends soon, in bounded memory, with a result or an error of the right kind. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { GraphConfig } from "../src/config.js";
import { embed } from "../src/embed.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { buildGraph } from "../src/graphs/graph.js";
import type { Model } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import type { Structure } from "../src/structures/structure.js";
import { exampleStructures } from "./examples.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";
import { throwsCode } from "./throws.js";

const shell = { select: "shell", cutoff: 8, maxNeighbors: 12, canonize: true, lineGraph: true } as const;
const RULES: Record<string, GraphConfig> = {
  nearest: { select: "nearest", cutoff: 8, maxNeighbors: 12 },
  upstream: { ...shell, neighborPolicy: "upstream" },
  symmetric: { ...shell, neighborPolicy: "symmetric" },
  radius: { select: "radius-graph", cutoff: 8, cutoffExtra: 3, lineGraph: true },
  sphere: { select: "sphere", cutoff: 5 },
};

/** One sodium atom in an orthogonal cell. */
function oneAtom(edges: readonly number[], coordinates: readonly number[] = [0, 0, 0]): Structure {
  const lattice = new Float64Array(9);
  for (const [i, edge] of edges.entries()) lattice[4 * i] = edge;
  return {
    lattice,
    pbc: [true, true, true],
    numbers: Uint8Array.of(11),
    fracCoords: Float64Array.from(coordinates),
  };
}

/** The error by each rule, in the order of RULES; "" for a graph. */
const ROWS: [what: string, structure: Structure, codes: readonly (ErrorCode | "")[]][] = [
  ["an edge of 1e-300 Å", oneAtom([1e-300, 1e-300, 1e-300]), ["CORRUPT", "CORRUPT", "CORRUPT", "CORRUPT", "CORRUPT"]],
  ["an edge of 1e150 Å", oneAtom([1e150, 1e150, 1e150]), ["CORRUPT", "CORRUPT", "CORRUPT", "CORRUPT", "CORRUPT"]],
  ["edges of 1,000 Å", oneAtom([1000, 1000, 1000]), ["", "", "", "LIMIT", "UNSUPPORTED"]],
  ["edges of 1e6 Å", oneAtom([1e6, 1e6, 1e6]), ["", "LIMIT", "LIMIT", "LIMIT", "UNSUPPORTED"]],
  ["a needle", oneAtom([3, 3, 1e6]), ["", "", "", "", ""]],
  ["a plate", oneAtom([3, 1e6, 1e6]), ["", "LIMIT", "", "", ""]],
  ["a coordinate of 100 cells, which upstream misses", oneAtom([4, 4, 4], [100, 0, 0]), ["", "", "", "", ""]],
  ["a coordinate of 1,000 cells", oneAtom([4, 4, 4], [1000, 0, 0]), ["", "LIMIT", "", "LIMIT", ""]],
  ["1e15 cells", oneAtom([4, 4, 4], [1e15, 0, 0]), ["CORRUPT", "CORRUPT", "CORRUPT", "CORRUPT", "CORRUPT"]],
];
for (const [what, structure, codes] of ROWS)
  for (const [i, [rule, config]] of Object.entries(RULES).entries())
    test(`${what}, by ${rule}: ${codes[i] || "a graph"}`, () => {
      const began = performance.now();
      let code = "";
      try {
        buildGraph(structure, config);
      } catch (error) {
        if (!isUnitcellError(error)) throw error;
        code = error.code;
      }
      assert.is(code, codes[i]);
      const seconds = (performance.now() - began) / 1000;
      assert.ok(seconds < 20, `${seconds} s`);
    });

test("after a crystal that took much memory a session is as before, and has given it back", async () => {
  const [first] = exampleStructures();
  // 20³ atoms, simple cubic, 2.5 Å apart.
  const n = 20;
  const fracCoords = Float64Array.from({ length: 3 * n ** 3 }, (_, i) => {
    const atom = Math.floor(i / 3);
    return (Math.floor(atom / n ** (i % 3)) % n) / n;
  });
  const large = { ...oneAtom([2.5 * n, 2.5 * n, 2.5 * n]), numbers: new Uint8Array(n ** 3).fill(11), fracCoords };
  const model = randomAlignn({ hidden: 32 });
  const [before] = await predict(model, [first]);
  const Memory = WebAssembly.Memory;
  const made: WebAssembly.Memory[] = [];
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      made.push(this);
    }
  };
  try {
    assert.is((await predict(model, [large], { lift: false }))[0].sites, n ** 3); // lifted it is one atom
    const [after] = await predict(model, [first]);
    assert.is(after.value, before.value);
  } finally {
    WebAssembly.Memory = Memory;
  }
  assert.ok(made.length > 0, "a new memory in the place of the large one");
  for (const { buffer } of made) assert.ok(buffer.byteLength < 64 * 2 ** 20, `${buffer.byteLength} bytes kept`);
});

const INFINITE: [name: string, model: Model, bias: string][] = [
  ["CGCNN", randomCgcnn(), "embedding.bias"],
  ["ALIGNN", randomAlignn(), "atom_embedding.layer.0.bias"],
  ["MEGNet", randomMegnet(), "node_encoder.layers.0.bias"],
];
for (const [name, model, bias] of INFINITE)
  test(`${name} with NaN among its weights gives errors, neither values nor vectors`, async () => {
    model.program.params.get(bias)!.data.fill(Number.NaN);
    const structures = exampleStructures().slice(0, 1);
    await throwsCode(() => predict(model, structures), "CORRUPT", /the network gives NaN/);
    await throwsCode(() => embed(model, structures), "CORRUPT", /the network gives NaN/);
  });

test("a normalizer may take a finite output beyond all numbers: an error, too", async () => {
  const structures = exampleStructures().slice(0, 1);
  const [{ value }] = await predict(randomCgcnn({}, { normalizer: { mean: 0, std: 1 } }), structures);
  const model = randomCgcnn({}, { normalizer: { mean: Math.sign(value) * 1.79e308, std: 1.7e308 } });
  await throwsCode(() => predict(model, structures), "CORRUPT", /the network gives -?Infinity/);
});

test.run();

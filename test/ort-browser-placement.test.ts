/** No operation of an exported network leaves the GPU: read from onnxruntime's own log of where it places them. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { OnnxModel } from "../src/onnx/model-proto.js";
import { haveFixtures } from "./fixtures.js";
import { CHECKPOINTS } from "./goldens.js";
import { alignnGoldens } from "./goldens-alignn.js";
import { findOrtBrowser, type OrtBrowsers, type OrtPage, startOrtBrowsers } from "./ort-browser.js";
import type { Source } from "./ort-browser.page.js";
import { inFull } from "./scope.js";

/** Nodes on the GPU, and what is not there: "Slice (crystal/Slice0) on CPUExecutionProvider", "MemcpyToHost (...)". */
interface Placement {
  readonly onGpu: number;
  readonly elsewhere: readonly string[];
}

/**
 * What a session's log says, one of:
 *   All nodes placed on [WebGpuExecutionProvider]. Number of nodes: 41
 *   Node(s) placed on [CPUExecutionProvider]. Number of nodes: 1, then a line for each: Slice (name)
 */
function placementOf(log: readonly string[]): Placement {
  let onGpu = 0;
  let provider = "";
  const elsewhere: string[] = [];
  for (const line of log.flatMap((text) => text.split("\n"))) {
    const heading = /odes? ?(?:\(s\))? placed on \[(\w+)\]\. Number of nodes: (\d+)/.exec(line);
    const node = /VerifyEachNodeIsAssignedToAnEp\]\s+(\S+ \(.*\))/.exec(line);
    if (heading) {
      provider = heading[1];
      if (provider === "WebGpuExecutionProvider") onGpu += Number(heading[2]);
      else if (/All nodes/.test(line)) elsewhere.push(`all ${heading[2]} on ${provider}`);
    } else if (node && (provider !== "WebGpuExecutionProvider" || /Memcpy/.test(node[1])))
      elsewhere.push(`${node[1]} on ${provider}`);
    else if (/AddCopyNode\]/.test(line)) elsewhere.push(line.replace(/.*AddCopyNode\] /, ""));
  }
  return { onGpu, elsewhere };
}

const graphOf = (
  nodes: readonly [op: string, inputs: string[], output: string][],
  inputs: OnnxModel["graph"]["inputs"],
  outputs: OnnxModel["graph"]["outputs"],
  constants: readonly [name: string, value: number][] = [],
): OnnxModel["graph"] => ({
  name: "test",
  nodes: nodes.map(([op, from, output]) => ({ op, inputs: from, output, attributes: {} })),
  constants: constants.map(([name, value]) => ({
    name,
    type: "i64",
    dims: [1],
    data: new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
  })),
  inputs,
  outputs,
});

const rows = (name: string, type: "f32" | "i32", columns = 8) => ({
  name,
  type,
  dims: ["rows", columns],
  description: "",
});

/** Graphs that leave the GPU, so that this test is known to see it. */
const LEAVING: readonly [name: string, graph: OnnxModel["graph"], what: RegExp][] = [
  [
    "an only operation",
    graphOf([["LogSoftmax", ["x"], "y"]], [rows("x", "f32")], [rows("y", "f32")]),
    /^all 1 on CPUExecutionProvider$/,
  ],
  [
    "one of several, in their midst",
    graphOf(
      [
        ["Add", ["x", "x"], "a"],
        ["Slice", ["a", "from", "to", "axis"], "b"],
        ["Add", ["b", "b"], "y"],
      ],
      [rows("x", "i32")],
      [rows("y", "i32", 3)],
      [
        ["from", 1],
        ["to", 4],
        ["axis", 1],
      ],
    ),
    /Slice \(b\) on CPUExecutionProvider/,
  ],
];

function testPlacement(path: string): void {
  let browsers: OrtBrowsers;
  let page: OrtPage;
  test.before(async () => {
    browsers = await startOrtBrowsers(path);
    page = await browsers.open("?verbose");
  });
  test.after(async () => {
    await browsers?.stop();
  });

  /** What the console got meanwhile: it comes in order, and later than the page's answers. */
  async function logOf(name: string, work: () => Promise<unknown>): Promise<Placement> {
    const began = page.log.length;
    await work();
    const end = `end of ${name}`;
    await page.page.evaluate((text) => console.log(text), end);
    for (const deadline = Date.now() + 10_000; !page.log.includes(end, began); ) {
      assert.ok(Date.now() < deadline, "the console's lines come within 10 s");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return placementOf(page.log.slice(began));
  }

  for (const [name, graph, what] of LEAVING)
    test(`a graph that leaves the GPU is seen to: ${name}`, async () => {
      const { elsewhere } = await logOf(name, () => page.window("placeGraph", graph));
      console.log(`  ${elsewhere.join("; ")}`);
      assert.match(elsewhere.join("; "), what);
    });

  test("a graph that leaves the GPU is seen to: copies", async () => {
    const { elsewhere } = await logOf("copies", () => page.window("placeGraph", LEAVING[1][1]));
    assert.match(elsewhere.join("; "), /MemcpyToHost.*MemcpyFromHost|MemcpyFromHost.*MemcpyToHost/);
  });

  const staysThere = (name: string, source: Source) =>
    test(`${name}: every operation is on the GPU, those of embed too`, async () => {
      const network = await logOf(name, () => page.window("place", source));
      const embedding = await logOf(`${name}, embed`, () => page.window("place", source, ["crystal", "atoms"]));
      console.log(`  ${name}: ${network.onGpu} operations, of embed ${embedding.onGpu}`);
      assert.equal(network.elsewhere, []);
      assert.equal(embedding.elsewhere, []);
      // The log was there, and said so.
      assert.ok(network.onGpu > 20 && embedding.onGpu > 20, `${network.onGpu} and ${embedding.onGpu}`);
    });

  const fixture = (file: string) => `/fixtures/${file}`;
  if (haveFixtures("cgcnn"))
    for (const name of CHECKPOINTS) staysThere(name, { files: [fixture(`cgcnn/${name}.pth.tar`)] });
  if (haveFixtures("megnet"))
    staysThere("MEGNet", { files: ["state.pt", "model.pt", "model.json"].map((name) => fixture(`megnet/${name}`)) });
  if (haveFixtures("alignn"))
    for (const name of alignnGoldens().keys())
      staysThere(`ALIGNN ${name}`, {
        files: ["best_model.pt", "config.json"].map((file) => fixture(`alignn/${name}/${file}`)),
      });
}

const executablePath = findOrtBrowser();
if (executablePath && inFull("where operations are placed")) testPlacement(executablePath);

test.run();

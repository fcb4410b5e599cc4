/**
 * ALIGNN at its default size on batches of large cells without symmetry: the Wasm kernels, ONNX Runtime natively, and
 * onnxruntime-web's WebGPU provider in Chromium, on the GPU that there is; on a machine without one that is a software
 * adapter, whose times say nothing of GPUs.
 */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import type { Session } from "../src/backends/backend.js";
import { loadOf } from "../src/backends/calibrate.js";
import { wasmBackend } from "../src/backends/wasm.js";
import { readCheckpointFiles } from "../src/cli/checkpoint-files.js";
import {
  buildGraph,
  type CrystalGraph,
  collate,
  loadCheckpoint,
  modelFromCheckpoint,
  type Structure,
} from "../src/index.js";
import type { Program } from "../src/ops/program.js";
import { ortBackend } from "../src/ort.js";
import { fixturesRoot } from "../test/fixtures.js";
import { findOrtBrowser, startOrtBrowsers } from "../test/ort-browser.js";
import { runAll } from "./chunks.js";
import { type Context, timeCalls } from "./compare.js";
import type { GpuTasks, PlainCrystal } from "./gpu.page.js";
import { ONE_THREAD, onnxRuntimes } from "./onnx.js";
import { type Row, type SectionResult, type Summary, summarize } from "./stats.js";
import { jitteredCell } from "./structures.js";

/** Cells of a batch, and atoms of a cell; an example's network and small cells where the bench is to be quick. */
const FULL = { counts: [1, 4, 16, 64, 256], atoms: 140, checkpoint: join(fixturesRoot, "alignn/alignn_default") };
const QUICK = { counts: [1, 4], atoms: 16, checkpoint: "examples/saved_models/alignn_ionic_best.pt" };
/** With which Chromium uses the GPU of a Linux machine without a screen. */
const GPU_FLAGS = ["--ignore-gpu-blocklist", "--enable-features=Vulkan"];
/** A round that would take longer is left out, and one that takes so long is not repeated. */
const MOST_MS = 300_000;
const LONG_MS = 10_000;
const MOST_ROUNDS = 5;
/** |output - ours| relative to max(1, |ours|): on a GPU what float32 there may differ by. */
const TOLERANCE = { cpu: 2e-5, gpu: 1e-4 };

/** One who computes outputs of cells. */
interface Side {
  readonly name: string;
  readonly tolerance: number;
  run(cells: readonly Cell[]): Promise<{ outputs: readonly number[]; ms: number }>;
  /** What runs there, for people; known when it has run. */
  describe?(): Promise<string>;
  stop?(): Promise<void>;
}

interface Cell {
  readonly structure: Structure;
  readonly graph: CrystalGraph;
}

export async function gpu(context: Context): Promise<SectionResult> {
  const { counts, atoms, checkpoint } = context.quick || !existsSync(FULL.checkpoint) ? QUICK : FULL;
  const model = modelFromCheckpoint(await loadCheckpoint((await readCheckpointFiles(checkpoint)).files));
  const cellOf = (atoms: number, seed: number): Cell => {
    const structure = jitteredCell(atoms, seed);
    return { structure, graph: buildGraph(structure, model.config.graph) };
  };
  const cells = Array.from({ length: Math.max(...counts) }, (_, i) => cellOf(atoms, i + 1));
  const missing: string[] = [];
  const sides = [
    sessionSide("ours", await wasmBackend().createSession(model.program)),
    ...(await nativeSides(model.program, missing)),
    ...(await webGpuSides(checkpoint, missing)),
  ];
  const work = loadOf(model.program).work;
  const workOf = (cells: readonly Cell[]) => work(collate(cells.map(({ graph }) => graph)).sizes);
  try {
    const small = [cellOf(2, 1), cellOf(5, 1)];
    const rates = new Map<Side, number>();
    for (const side of sides) {
      await side.run(small); // shaders and V8 compile what they need
      rates.set(side, workOf(small) / (await side.run(small)).ms);
    }
    const contest = { sides, rates, workOf, rounds: Math.min(context.rounds, MOST_ROUNDS) };
    const { rows, notes, failures } = await measure(contest, cells, counts);
    const described = await Promise.all(sides.map(async (side) => side.describe?.()));
    const { numEdges } = cells[0].graph;
    return {
      rows: rows.map((row) => ({ section: "gpu", ...row })),
      notes: [
        `${basename(checkpoint)}: cells of ${atoms} atoms without symmetry, no two alike, the first with ${numEdges} bonds`,
        ...described.filter((text) => text !== undefined),
        ...missing,
        ...notes,
      ],
      failures,
    };
  } finally {
    for (const side of sides) await side.stop?.();
  }
}

interface Contest {
  readonly sides: readonly Side[];
  /** Floating-point operations a ms that each has reached last. */
  readonly rates: Map<Side, number>;
  readonly workOf: (cells: readonly Cell[]) => number;
  readonly rounds: number;
}

/** Each batch size by each side, in turns; a side drops out where a round would take longer than is worth it. */
async function measure({ sides, rates, workOf, rounds }: Contest, cells: readonly Cell[], counts: readonly number[]) {
  const rows: Omit<Row, "section">[] = [];
  const notes: string[] = [];
  const failures: string[] = [];
  for (const count of counts) {
    const batch = cells.slice(0, count);
    const work = workOf(batch);
    const taking = sides.filter((side) => {
      const expected = work / rates.get(side)!;
      if (expected > MOST_MS)
        notes.push(`${side.name}: ${count} cells would take some ${Math.round(expected / 60_000)} min`);
      return expected <= MOST_MS;
    });
    const samples = new Map(taking.map((side): [Side, number[]] => [side, []]));
    let first: readonly number[] | undefined;
    for (let round = 0; round < rounds; round++)
      for (const [side, ms] of samples) {
        if (round > 0 && work / rates.get(side)! > LONG_MS) continue;
        const result = await side.run(batch);
        ms.push(result.ms / count);
        rates.set(side, work / result.ms);
        first ??= result.outputs;
        const by = difference(first, result.outputs);
        if (!(by <= side.tolerance)) failures.push(`${side.name}: ${count} cells differ by ${by.toExponential(1)}`);
      }
    const summaries = new Map([...samples].map(([side, ms]) => [side, summarize(ms)]));
    const [ours, ...peers] = sides;
    const found = Object.fromEntries(
      peers.flatMap((side) => (summaries.has(side) ? [[side.name, summaries.get(side)!]] : [])),
    );
    if (!summaries.has(ours)) continue;
    const fastest = Math.min(...Object.values<Summary>(found).map(({ median }) => median));
    rows.push({
      step: "ALIGNN on large cells, a cell",
      size: `batch ${count}`,
      unit: "ms",
      ours: summaries.get(ours)!,
      peers: found,
      ...(Number.isFinite(fastest) && { ratio: fastest / summaries.get(ours)!.median }),
    });
  }
  return { rows, notes, failures };
}

function difference(ours: readonly number[], theirs: readonly number[]): number {
  return Math.max(...ours.map((x, i) => Math.abs(theirs[i] - x) / Math.max(1, Math.abs(x))));
}

function sessionSide(name: string, session: Session): Side {
  return {
    name,
    tolerance: TOLERANCE.cpu,
    run: async (cells) => {
      const graphs = cells.map(({ graph }) => graph);
      let outputs: number[] = [];
      const call = async () => {
        outputs = await runAll(session, graphs);
      };
      // Both have one thread, and wait for nothing: processor time, as in "networks".
      const ms = await timeCalls(call, 1, "processor");
      return { outputs, ms };
    },
    stop: async () => session.dispose(),
  };
}

/** ONNX Runtime's own kernels, on one core as ours. */
async function nativeSides(program: Program, missing: string[]): Promise<Side[]> {
  const { runtimes, missing: others } = await onnxRuntimes();
  missing.push(...others);
  const sides: Side[] = [];
  for (const { name, description, ort, provider } of runtimes) {
    if (provider !== "cpu") continue;
    const backend = ortBackend(ort, { provider, sessionOptions: ONE_THREAD });
    sides.push({
      ...sessionSide(name, await backend.createSession(program)),
      describe: async () => `${name}: ${description}`,
    });
  }
  return sides;
}

/** The network in a page with WebGPU; none, and why, where there is no Chromium. */
async function webGpuSides(checkpoint: string, missing: string[]): Promise<Side[]> {
  const chromium = findOrtBrowser();
  if (!chromium) {
    missing.push("WebGPU takes no part: Chromium or onnxruntime-web is missing");
    return [];
  }
  const browsers = await startOrtBrowsers<GpuTasks>(chromium, { entry: "bench/gpu.page.ts", flags: GPU_FLAGS });
  const tab = await browsers.open();
  const files = checkpoint.endsWith(".pt")
    ? [checkpoint]
    : ["best_model.pt", "config.json"].map((name) => `${checkpoint}/${name}`);
  await tab.window(
    "open",
    files.map((file) => file.replace(fixturesRoot, "fixtures")),
  );
  return [
    {
      name: "WebGPU",
      tolerance: TOLERANCE.gpu,
      run: (cells) =>
        tab.window(
          "run",
          cells.map(({ structure }) => plain(structure)),
        ),
      describe: async () =>
        `WebGPU: onnxruntime-web in Chromium ${tab.page.context().browser()!.version()} on ${await tab.window("device")}`,
      stop: () => browsers.stop(),
    },
  ];
}

function plain({ lattice, numbers, fracCoords }: Structure): PlainCrystal {
  return { lattice: [...lattice], numbers: [...numbers], fracCoords: [...fracCoords] };
}

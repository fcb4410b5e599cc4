/** How fast the Wasm kernels and a GPU are here: measured once a device, on a small program like ALIGNN's. */
import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import { plainProgram } from "../onnx/program-onnx.js";
import { programWork } from "../ops/cost.js";
import { type Param, type Program, ProgramBuilder, type Value } from "../ops/program.js";
import type { Backend, Session } from "./backend.js";
import { largestSizes } from "./sizes.js";

/** What decides where a batch runs. Rates are floating-point operations (ops/cost.ts) a ms. */
export interface Calibration {
  readonly wasmRate: number;
  readonly gpuRate: number;
  /** What a GPU takes for each operation of a program, however few rows it has; ms. */
  readonly nodeMs: number;
}

/** A program as far as its time goes: its operations as they are exported, and their work. */
export interface Load {
  readonly nodes: number;
  readonly work: (sizes: Batch["sizes"]) => number;
}

export function loadOf(program: Program): Load {
  const plain = plainProgram(program);
  const work = programWork(plain);
  return { nodes: plain.nodes.length, work: (sizes) => work(largestSizes(sizes)) };
}

/** Whether the GPU takes less time for so many operations, of a program of so many nodes. */
export function gpuWins({ wasmRate, gpuRate, nodeMs }: Calibration, work: number, nodes: number): boolean {
  return nodes * nodeMs + work / gpuRate < work / wasmRate;
}

const WIDTH = 256; // ALIGNN's
const NEIGHBORS = 12;
const ATOMS = 32; // of a crystal; rows are then as many as a GPU's batches are padded to
const CONVOLUTIONS = 2;

/**
 * Crystals in a batch: 0.1, 0.9 and 7 billion operations. The first has few enough that a GPU's time is launches, the last
 * so many that it is arithmetic.
 */
const CRYSTALS = [1, 8, 64] as const;

/** A larger batch is not tried where it could take longer: a GPU so slow is none worth having. */
const LONGEST_MS = 200;

const ROUNDS = 3;

/** No clock of a browser is so fine that less would mean anything. */
const LEAST_MS = 0.05;

/**
 * Measure both, some 2 s at most where the GPU is a fast one and its shaders are compiled as fast. Both of its numbers err
 * to its disadvantage: the rate has launches in it, and those the arithmetic of the smallest batch.
 * @param now a clock in ms
 * @throws {UnitcellError} BACKEND where a batch did not run on the GPU, or not at once; whatever its runs throw
 */
export async function calibrate(wasm: Backend, gpu: Backend, now: () => number): Promise<Calibration> {
  const program = calibrationProgram();
  const { nodes, work } = loadOf(program);
  const batches = CRYSTALS.map(calibrationBatch);
  const onGpu = await gpu.createSession(program);
  let [batch, ...larger] = batches;
  let ms = await medianMs(onGpu, batch, now);
  const nodeMs = ms / nodes;
  for (const next of larger) {
    if ((ms * work(next.sizes)) / work(batch.sizes) > LONGEST_MS) break;
    ms = await medianMs(onGpu, next, now);
    batch = next;
  }
  await onGpu.dispose();
  const gpuRate = work(batch.sizes) / ms;
  const onWasm = await wasm.createSession(program);
  const wasmRate = work(batches[1].sizes) / (await medianMs(onWasm, batches[1], now));
  await onWasm.dispose();
  return { wasmRate, gpuRate, nodeMs };
}

/** Median of some rounds after a first that compiles and allocates, fewer where they are long. */
async function medianMs(session: Session, batch: Batch, now: () => number): Promise<number> {
  const began = now();
  const rounds: number[] = [];
  for (let round = 0; round <= ROUNDS && (round < 2 || now() - began < LONGEST_MS); round++) {
    const start = now();
    let failure: string | undefined;
    await session.run(batch, ({ warning }) => {
      failure = warning?.message;
    });
    if (failure !== undefined) throw new UnitcellError("BACKEND", failure);
    if (round > 0) rounds.push(now() - start);
  }
  rounds.sort((a, b) => a - b);
  return Math.max(LEAST_MS, rounds[rounds.length >> 1]);
}

/** ALIGNN's convolution (models/alignn.ts) twice, of made-up weights, between an embedding and a readout. */
function calibrationProgram(): Program {
  const params = new Map<string, Param>([["atoms", wave([ATOMS, WIDTH])]]);
  const linear = (at: string, outputs: number, inputs: number) => {
    params.set(`${at}.weight`, wave([outputs, inputs])).set(`${at}.bias`, wave([outputs]));
  };
  const norm = (at: string) => {
    for (const name of ["weight", "running_var"]) params.set(`${at}.${name}`, filled(1));
    for (const name of ["bias", "running_mean"]) params.set(`${at}.${name}`, filled(0));
  };
  linear("bonds", WIDTH, 1);
  for (let k = 0; k < CONVOLUTIONS; k++) {
    for (const gate of ["sender", "receiver", "bond", "message", "own"]) linear(`${k}.${gate}`, WIDTH, WIDTH);
    for (const rows of ["atoms", "bonds"]) norm(`${k}.${rows}`);
  }
  linear("readout", 1, WIDTH);
  const p = new ProgramBuilder(params);
  let atoms = p.embedding("atoms", "numbers", "N");
  let bonds = p.linear(p.input("lengths", "E", 1), "bonds");
  for (let k = 0; k < CONVOLUTIONS; k++) [atoms, bonds] = convolution(p, `${k}`, atoms, bonds);
  return p.build(p.label(p.linear(p.segmentMean(atoms, "crystalStart", "B"), "readout"), "output"));
}

function convolution(p: ProgramBuilder, at: string, atoms: Value, bonds: Value): [Value, Value] {
  const gathered = (name: string, index: string) => p.gather(p.linear(atoms, `${at}.${name}`), index, "E");
  const ends = p.add(gathered("sender", "source"), gathered("receiver", "receiver"));
  const m = p.add(p.linear(bonds, `${at}.bond`), ends);
  const gate = p.sigmoid(m);
  const messages = p.segmentSum(p.mul(gate, gathered("message", "source")), "edgeStart", "N", "edgeWeight");
  const mean = p.ratio(messages, p.segmentSum(gate, "edgeStart", "N", "edgeWeight"), 1e-6);
  const x = p.add(p.linear(atoms, `${at}.own`), mean);
  return [p.add(atoms, p.silu(p.batchNorm(x, `${at}.atoms`))), p.add(bonds, p.silu(p.batchNorm(m, `${at}.bonds`)))];
}

/** Numbers of a linear's usual size, none like the next. */
function wave(shape: readonly number[]): Param {
  const count = shape.reduce((product, size) => product * size, 1);
  return { shape, data: Float32Array.from({ length: count }, (_, i) => Math.sin(i) / Math.sqrt(WIDTH)) };
}

function filled(value: number): Param {
  return { shape: [WIDTH], data: new Float32Array(WIDTH).fill(value) };
}

/** Crystals in which each atom has the next twelve for neighbours, no two bonds of one length. */
function calibrationBatch(crystals: number): Batch {
  const N = crystals * ATOMS;
  const E = N * NEIGHBORS;
  const index = (length: number, of: (i: number) => number) => Int32Array.from({ length }, (_, i) => of(i));
  const receiver = (e: number) => Math.floor(e / NEIGHBORS);
  const neighbor = (e: number) => {
    const atom = receiver(e);
    const first = atom - (atom % ATOMS);
    return first + ((atom - first + 1 + (e % NEIGHBORS)) % ATOMS);
  };
  return {
    sizes: { B: crystals, N, E, T: 0 },
    inputs: new Map<string, Float32Array | Int32Array>([
      ["numbers", index(N, (i) => i % ATOMS)],
      ["lengths", Float32Array.from({ length: E }, (_, e) => 1 + e / E)],
      ["source", index(E, neighbor)],
      ["receiver", index(E, receiver)],
      ["edgeStart", index(N + 1, (i) => i * NEIGHBORS)],
      ["crystalStart", index(crystals + 1, (b) => b * ATOMS)],
    ]),
  };
}

/** As text for a cache, with the device that it is of. */
export function writeCalibration(calibration: Calibration, device: string): string {
  return JSON.stringify({ device, ...calibration });
}

/** What such a text says; nothing where it is damaged, of another device, or holds what no measurement gives. */
export function readCalibration(text: unknown, device: string): Calibration | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const { device: found, wasmRate, gpuRate, nodeMs } = JSON.parse(text);
    const measured = [wasmRate, gpuRate, nodeMs].every((x) => Number.isFinite(x) && x > 0);
    return found === device && measured ? { wasmRate, gpuRate, nodeMs } : undefined;
  } catch {
    return undefined; // no JSON, or null
  }
}

import { UnitcellError } from "./errors.js";
import { embeddedModule } from "./kernel-modules.js";

/** The exports of assembly/index.ts; addresses and sizes are numbers, contracts stand in the kernels' own files. */
export interface Kernels {
  heapBase(): number;
  packedBytes(O: number, K: number): number;
  packWeight(out: number, weight: number, scale: number, shift: number, O: number, K: number): void;
  linearForward(out: number, x: number, packed: number, R: number, O: number, K: number, epilogue: number): void;
  bandedLinearForward(out: number, x: number, packed: number, R: number, O: number, K: number): void;
  affineForward(out: number, x: number, scale: number, shift: number, R: number, F: number): void;
  normActForward(
    out: number,
    x: number,
    scale: number,
    shift: number,
    residual: number,
    activation: number,
    R: number,
    F: number,
  ): void;
  lstmCellForward(out: number, gates: number, cell: number, B: number, w: number): void;
  lstmOutputForward(out: number, gates: number, cell: number, B: number, w: number): void;
  layerNormForward(
    out: number,
    x: number,
    weight: number,
    bias: number,
    eps: number,
    residual: number,
    activation: number,
    R: number,
    F: number,
  ): void;
  gaussianForward(out: number, x: number, centers: number, gamma: number, R: number, K: number): void;
  envelopeForward(out: number, x: number, cutoff: number, exponent: number, n: number): void;
  hingeForward(out: number, x: number, factor: number, threshold: number, n: number): void;
  gatherForward(out: number, x: number, index: number, R: number, F: number): void;
  gatherAddForward(out: number, x: number, v: number, index: number, R: number, F: number): void;
  gatherSumForward(
    out: number,
    a: number,
    indexA: number,
    b: number,
    indexB: number,
    c: number,
    indexC: number,
    activation: number,
    residual: number,
    R: number,
    F: number,
  ): void;
  segmentSumForward(out: number, x: number, start: number, weights: number, S: number, F: number): void;
  segmentMeanForward(out: number, x: number, start: number, weights: number, S: number, F: number): void;
  segmentAttentionForward(
    out: number,
    x: number,
    query: number,
    start: number,
    weights: number,
    S: number,
    F: number,
  ): void;
  gateForward(out: number, z: number, R: number, F: number): void;
  gatedSumForward(
    out: number,
    own: number,
    a: number,
    indexA: number,
    b: number,
    indexB: number,
    start: number,
    weights: number,
    S: number,
    F: number,
  ): void;
  gatedMeanForward(
    out: number,
    v: number,
    indexV: number,
    a: number,
    indexA: number,
    b: number,
    indexB: number,
    c: number,
    indexC: number,
    start: number,
    weights: number,
    S: number,
    F: number,
    eps: number,
  ): void;
  addForward(out: number, a: number, b: number, n: number): void;
  mulForward(out: number, a: number, b: number, n: number): void;
  ratioForward(out: number, a: number, b: number, eps: number, n: number): void;
  scaleRowsForward(out: number, x: number, a: number, R: number, F: number): void;
  copyColumns(out: number, outStride: number, x: number, xStride: number, R: number, F: number): void;
  zerosForward(out: number, n: number): void;
  sigmoidForward(out: number, x: number, n: number): void;
  siluForward(out: number, x: number, n: number): void;
  softplusForward(out: number, x: number, n: number): void;
  shiftedSoftplusForward(out: number, x: number, n: number): void;
  tanhForward(out: number, x: number, n: number): void;
  expForward(out: number, x: number, n: number): void;
  logSoftmaxForward(out: number, x: number, R: number, F: number): void;
  binAtoms(atoms: number, start: number, frac: number, N: number, na: number, nb: number, nc: number): void;
  nearestNeighbors(
    count: number,
    index: number,
    distance: number,
    image: number,
    room: number,
    first: number,
    last: number,
    k: number,
    cutoff: number,
    tolerance: number,
    lattice: number,
    frac: number,
    heights: number,
    atoms: number,
    start: number,
    best: number,
    na: number,
    nb: number,
    nc: number,
  ): number;
  sphereScratch(N: number, bins: number): number;
  sphereEdges(
    start: number,
    source: number,
    length: number,
    image: number,
    capacity: number,
    cell: number,
    frac: number,
    given: number,
    origin: number,
    N: number,
    na: number,
    nb: number,
    nc: number,
    scratch: number,
  ): number;
}

/**
 * The two builds of the same sources: plain SIMD, whose results have the same bits everywhere, and relaxed SIMD, whose
 * multiply-add may be rounded once: where an engine does that (backends/multiply-add.ts), results differ in last bits.
 */
export type KernelVariant = "baseline" | "relaxed";

/** A module with one i8x16.relaxed_swizzle, which engines without relaxed SIMD do not validate. */
const RELAXED_PROBE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0],
  ...[10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11],
);

let hasRelaxed: boolean | undefined;
let given: "baseline" | "both" | undefined;

/**
 * The build to run: relaxed where the engine has it, unless told otherwise.
 * @throws {UnitcellError} BACKEND when relaxed is asked for and the engine does not have it
 */
export function kernelVariant(relaxed?: boolean): KernelVariant {
  hasRelaxed ??= WebAssembly.validate(RELAXED_PROBE);
  if (relaxed && !hasRelaxed) throw new UnitcellError("BACKEND", "this engine has no relaxed SIMD");
  if (relaxed && given === "baseline") throw new UnitcellError("BACKEND", "useKernels was given no relaxed build");
  return (relaxed ?? (hasRelaxed && given !== "baseline")) ? "relaxed" : "baseline";
}

const compiled: { [variant in KernelVariant]?: WebAssembly.Module } = {};

/** The kernels, each build compiled once. */
function kernelModule(variant: KernelVariant): WebAssembly.Module {
  compiled[variant] ??= embeddedModule(variant);
  return compiled[variant];
}

/**
 * Runs these modules in place of the embedded bytes: for hosts that compile no Wasm at run time and whose bundler gives
 * `unitcell/unitcell.wasm` as a WebAssembly.Module. Call it before anything else; with the first alone that build is used.
 * @throws {UnitcellError} ARGUMENT for what is no module of these kernels
 */
export function useKernels(baseline: WebAssembly.Module, relaxed?: WebAssembly.Module): void {
  checkKernels(baseline, "baseline");
  if (relaxed !== undefined) checkKernels(relaxed, "relaxed");
  compiled.baseline = baseline;
  if (relaxed) compiled.relaxed = relaxed;
  given = relaxed ? "both" : "baseline";
}

/** Which modules were given in place of the embedded ones: "baseline", "both" or none. */
export function kernelsGiven(): typeof given {
  return given;
}

/** The tile that only the relaxed build has. */
const RELAXED_EXPORT = "tile6";

function checkKernels(module: unknown, variant: KernelVariant): void {
  const names = module instanceof WebAssembly.Module ? WebAssembly.Module.exports(module).map(({ name }) => name) : [];
  const isOne = names.includes("gatedMeanForward") && names.includes(RELAXED_EXPORT) === (variant === "relaxed");
  if (isOne) return;
  const file = variant === "relaxed" ? "unitcell.relaxed.wasm" : "unitcell.wasm";
  throw new UnitcellError("ARGUMENT", `expected a WebAssembly.Module of ${file}, found something else`);
}

const PAGE = 65536;
const MAX_PAGES = 65535; // 4 GiB less one: kernels count up to the address behind the last, which must not be 0 again

/** All that a KernelMemory can hold. */
export const MAX_MEMORY_BYTES = MAX_PAGES * PAGE;

/** One instance of the kernels with its own memory, and bump allocation on it. */
export class KernelMemory {
  readonly kernels: Kernels;
  readonly #memory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES });
  #top: number;

  constructor(variant: KernelVariant = kernelVariant()) {
    const instance = new WebAssembly.Instance(kernelModule(variant), { env: { memory: this.#memory } });
    this.kernels = instance.exports as unknown as Kernels;
    this.#top = align(this.kernels.heapBase());
  }

  /** All that it holds of the machine's memory. */
  get bytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /** The address up to which memory is taken; `release` goes back to it. */
  mark(): number {
    return this.#top;
  }

  release(mark: number): void {
    this.#top = mark;
  }

  /**
   * The address of `bytes` new bytes, 16-byte aligned and padded, not cleared. Views taken before are stale after it.
   * @throws {UnitcellError} BACKEND when memory cannot grow so far
   */
  allocate(bytes: number): number {
    const at = this.#top;
    const top = align(at + bytes);
    const missing = Math.ceil(top / PAGE) - this.#memory.buffer.byteLength / PAGE;
    if (missing > 0) this.#grow(missing, top);
    this.#top = top;
    return at;
  }

  #grow(pages: number, top: number): void {
    try {
      this.#memory.grow(pages);
    } catch (cause) {
      throw new UnitcellError(
        "BACKEND",
        `Wasm memory cannot grow to ${Math.ceil(top / 2 ** 20)} MiB`,
        { top },
        { cause },
      );
    }
  }

  f64(at: number, length: number): Float64Array {
    return new Float64Array(this.#memory.buffer, at, length);
  }

  f32(at: number, length: number): Float32Array {
    return new Float32Array(this.#memory.buffer, at, length);
  }

  i32(at: number, length: number): Int32Array {
    return new Int32Array(this.#memory.buffer, at, length);
  }

  /** Allocate and fill in one step. */
  put(data: Float32Array | Float64Array | Int32Array): number {
    const at = this.allocate(data.byteLength);
    this.copy(at, data);
    return at;
  }

  /** Numbers to memory already taken. */
  copy(at: number, data: Float32Array | Float64Array | Int32Array): void {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(this.#memory.buffer, at, data.byteLength).set(bytes);
  }
}

function align(at: number): number {
  return Math.ceil(at / 16) * 16; // not a bit mask: addresses pass 2^31
}

/** Which of two results the relaxed kernels have: an engine may round a relaxed multiply-add once or twice. */
import { KernelMemory } from "../kernels.js";

let fuses: boolean | undefined;

/**
 * Whether the relaxed build's multiply-adds are rounded once here. V8 and SpiderMonkey do so on processors that have such an
 * instruction; JavaScriptCore (Bun, WebKit) multiplies and adds, and then the build has the bits of the baseline.
 * @throws {UnitcellError} BACKEND when the engine lacks relaxed SIMD
 */
export function fusesMultiplyAdd(): boolean {
  fuses ??= roundsOnce(new KernelMemory("relaxed"));
  return fuses;
}

/** (1 + e)² - (1 + 2e) is e², which a product rounded to float32 has no place for. */
function roundsOnce(memory: KernelMemory): boolean {
  const e = 2 ** -12;
  const [x, shift] = [1 + e, -(1 + 2 * e)].map((value) => memory.put(new Float32Array(4).fill(value)));
  const out = memory.allocate(16);
  memory.kernels.affineForward(out, x, x, shift, 1, 4);
  return memory.f32(out, 1)[0] === e * e;
}
